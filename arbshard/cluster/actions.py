"""Defines the actions of ``HostCore``, which the agent and the simulation of several hosts carry out."""

from typing import NamedTuple

from arbshard.cluster.terms import Promise
from arbshard.wire.cluster import AskVote, FollowerMessage, Voted


class Persist(NamedTuple):
    """Is an action: store the promise, so that it survives a loss of power, before anything that follows."""

    promise: Promise


class SendVote(NamedTuple):
    """Is an action: send a request for a vote, or a vote, to the agent of another host. It may be lost."""

    host: str
    message: AskVote | Voted


class Follow(NamedTuple):
    """Is an action: join this leader over a new link; an old one is closed. It is repeated while none answers."""

    host: str
    term: int


class Unfollow(NamedTuple):
    """Is an action: close the follow link. Nothing that was stored is acknowledged any more."""


class Lead(NamedTuple):
    """Is an action: close the ledger, then call ``replica(None)``. ``leads`` is shown only from then on."""

    term: int


class StepDown(NamedTuple):
    """Is an action: this host does not lead any more. Open the ledger once risk has ended, then call ``replica``."""

    why: str


class SendToLeader(NamedTuple):
    """Is an action: send a message over the follow link. It may be lost with the link."""

    message: FollowerMessage


class PutLease(NamedTuple):
    """Is an action: write ``value`` if the key's revision is still ``revision`` (0: if it does not exist)."""

    key: str
    value: bytes
    revision: int
    serial: int
    sent_ns: int
    """When the action was returned. The lease counts from here."""


class ReadEntry(NamedTuple):
    """Is an action: read a key and call ``kv_entry``. Nothing is called when NATS does not answer."""

    key: str


class PublishView(NamedTuple):
    """Is an action: send what ``gossip`` returns to the agents of all other hosts. It may be lost."""


Action = (
    Persist
    | SendVote
    | Follow
    | Unfollow
    | Lead
    | StepDown
    | SendToLeader
    | PutLease
    | ReadEntry
    | PublishView
)
