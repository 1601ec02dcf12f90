"""Defines the messages between the hosts of a cluster. ``docs/cluster.md`` draws who sends them when.

Over the agents' ports: ``AskVote``, answered by ``Voted``, and ``Gossip``. Over the follow link, which every host's
agent opens to the leader's risk: ``FollowerMessage`` to the leader, ``LeaderMessage`` from it. Requests of workers
and commands of operators cross hosts as ``wire.messages`` defines them.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from arbshard.errors import ProtocolError
from arbshard.model.cluster_note import HostView
from arbshard.wire.messages import UNREADABLE

VERSION = 2
"""Version of these messages; hosts of different versions refuse each other."""
EPOCHS_PER_GRANT = 1000
"""An epoch is the number of its grant times this, plus the number of the incarnation within the grant."""
PAUSE_NS = 10_000_000_000
"""How long (ns) a worker pauses, and does not end, after the time for which its host may trade is over: the
next leader most likely confirms the same grant. Only with synchronous replication, where that leader knows all that
the worker was answered."""
UNLIMITED_NS = 2**62
"""A duration without a limit."""

Message = TypeVar("Message")


class LogPosition(msgspec.Struct, frozen=True, order=True):
    """States how much of the ledger a host has; a greater one has more."""

    term: int
    """Term of the last leadership in the ledger; 0 for none."""
    seq: int
    """Sequence number of the last event."""


class AskVote(msgspec.Struct, frozen=True, tag=True):
    """Asks for a vote."""

    version: int
    host: str
    term: int
    position: LogPosition
    is_trial: bool = False
    """Whether it asks only what the answer would be: nothing is promised."""


class Voted(msgspec.Struct, frozen=True, tag=True):
    """Answers ``AskVote``. ``term`` is the greatest term that the voter has promised."""

    host: str
    term: int
    granted: bool
    position: LogPosition
    """What the voter's ledger has."""
    why: str = ""
    """Why it was not granted."""
    is_trial: bool = False


class Placement(msgspec.Struct, frozen=True):
    """Is where the leader wants each shard."""

    term: int
    serial: int
    """Number of the change within the term."""
    hosts: tuple[str, ...]
    """The host of each shard."""


class Gossip(msgspec.Struct, frozen=True, tag=True):
    """Is what each agent sends to all others, several times in a lease; it is not answered."""

    host: str
    view: HostView
    placement: Placement | None
    """The newest one that the host knows."""
    phase: int
    """What the operators ordered, as far as the host knows: 0 to run, 1 to end, 2 to end and keep positions."""


class _Follower(msgspec.Struct, frozen=True, tag=True):
    pass


class Join(_Follower, frozen=True):
    """Is the first message of a follower on a link. Answer: ``Joined``."""

    version: int
    host: str
    term: int
    """Term of the leader that it follows."""
    position: LogPosition
    digest: bytes
    """SHA-256 of its last event's body; empty without events."""


class Stored(_Follower, frozen=True):
    """States that all events up to ``seq`` are stored."""

    term: int
    seq: int


class HeldShard(msgspec.Struct, frozen=True):
    """Describes a shard on the host that runs it."""

    shard: int
    grant: int
    epoch: int
    """Epoch of its running worker; 0 while none is up."""
    universe: int
    """Serial of the universe that its worker has carried out; -1 while none is up."""


class HostBeat(_Follower, frozen=True):
    """States that a host is alive, every ``beat_ms``. Answer: ``Valid``."""

    number: int
    shards: tuple[HeldShard, ...]


class Claim(_Follower, frozen=True):
    """Asks for the right to run a shard, by a host that holds its lease. Answer: ``Granted`` or ``ClaimRefused``."""

    shard: int
    grant: int


class Release(_Follower, frozen=True):
    """States that the host's worker of the shard has ended: another host may run it at once."""

    shard: int
    grant: int


class StuckWorker(_Follower, frozen=True):
    """States that the worker of a shard does nothing: its epoch is to be fenced."""

    shard: int
    epoch: int
    reason: str


class BookSample(msgspec.Struct, frozen=True, array_like=True):
    """Is the newest frame of a slot."""

    slot: int
    age_ns: int
    """How old the frame was when it was sent."""
    frame: bytes


class Samples(_Follower, frozen=True):
    """Carries newest frames of a host's slots."""

    universe: int
    """Serial of the universe that names the slots."""
    books: tuple[BookSample, ...]


FollowerMessage = Join | Stored | HostBeat | Claim | Release | StuckWorker | Samples


class _Leader(msgspec.Struct, frozen=True, tag=True):
    pass


class Joined(_Leader, frozen=True):
    """Accepts a follower. Unless ``must_copy``, the events after its position follow."""

    term: int
    must_copy: bool
    """Whether its ledger contradicts the leader's, or lacks what the leader has only in archives: a whole copy
    follows."""


class NotJoined(_Leader, frozen=True):
    """Refuses a follower."""

    term: int
    why: str


class Events(_Leader, frozen=True):
    """Carries events of the ledger, without a gap."""

    term: int
    first: int
    """Sequence number of the first of them."""
    bodies: tuple[bytes, ...]


class CopyPart(_Leader, frozen=True):
    """Carries a part of a whole copy of the ledger: of its newest archive, if it has one, then of its file."""

    offset: int
    """Place in the file that the part belongs to."""
    data: bytes
    is_last: bool
    """Whether nothing follows."""
    seq: int
    """Sequence number of the last event in the copy."""
    archive: str = ""
    """Name of the archive that the part belongs to; empty for the ledger's file."""


class Valid(_Leader, frozen=True):
    """Confirms ``HostBeat`` ``number``."""

    term: int
    number: int
    left_ns: int = UNLIMITED_NS
    """How much longer the leader may lead when it sends this: nothing that it makes valid lasts longer."""


class Granted(_Leader, frozen=True):
    """Allows a host to run a shard with epochs ``grant * EPOCHS_PER_GRANT + 1`` and so on."""

    shard: int
    grant: int


class ClaimRefused(_Leader, frozen=True):
    """Refuses a claim."""

    shard: int
    lowest: int
    """The lowest number that may be proposed."""
    why: str
    is_lasting: bool = False
    """Whether only a greater number helps. Otherwise the same claim may be made again later."""


class PageState(_Leader, frozen=True):
    """Carries what risk's page shows: counters that have changed by name, and the note when it has."""

    values: dict[str, int]
    note: bytes | None = None


LeaderMessage = Joined | NotJoined | Events | CopyPart | Valid | Granted | ClaimRefused | PageState


def encode(message: msgspec.Struct) -> bytes:
    """Return a message as bytes."""
    return msgspec.msgpack.encode(message)


def _decode(decoder: msgspec.msgpack.Decoder[Message], what: str, data: bytes) -> Message:
    try:
        return decoder.decode(data)
    except UNREADABLE as error:
        raise ProtocolError(f"{what}: {error}") from error


decode_follower: Callable[[bytes], FollowerMessage] = partial(
    _decode, msgspec.msgpack.Decoder(FollowerMessage), "a follower's message"
)
"""Return a follower's message. Raises ``ProtocolError``."""
decode_leader: Callable[[bytes], LeaderMessage] = partial(
    _decode, msgspec.msgpack.Decoder(LeaderMessage), "a leader's message"
)
"""Return a leader's message. Raises ``ProtocolError``."""
decode_vote: Callable[[bytes], AskVote | Voted | Gossip] = partial(
    _decode, msgspec.msgpack.Decoder(AskVote | Voted | Gossip), "a message between agents"
)
"""Return a message between agents. Raises ``ProtocolError``."""
