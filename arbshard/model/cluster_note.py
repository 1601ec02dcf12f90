"""Defines what the cluster agent of a host shows on its page: counters that processes of the host act on, and a note
for people.
"""

from collections.abc import Sequence

import msgspec

COUNTED = (
    "relayed",  # requests of this host's processes that the leader has answered
    "unrelayed",  # requests given up without an answer, or refused because too many waited
    "bad_messages",  # messages of hosts or of NATS that were refused
    "votes", "claims", "claims_refused",
    "copies",  # whole copies of the ledger that this host had to take
    "nats_failures",  # reads and writes at NATS that failed, as far as is known
    "unknown_counters",  # counters of the leader's risk that this version does not know
)  # fmt: skip
"""What the agent has counted since it began, which is shown to people."""
LEADING_GAUGES = (
    "followers",  # other hosts that follow
    "uncommitted",  # events that no majority has stored yet
    "held_replies",  # replies that wait for that
)
LEADING_COUNTS = (
    "unanswered",  # requests that were not handled because too many replies waited
    "link_refused",  # connections with a key that is not in the cluster file, and messages by another cluster file
    "link_bad",  # invalid messages of followers, and followers that had to join again
    "samples_ignored",  # books of other hosts that were not used, because they are of other pairs
)
"""What the leader's risk shows of its followers, for people: how it is now, and what it has counted."""
COUNTERS = (
    "pid", "beat", "beat_ns", "ready", "errors",
    "term",  # the term of the leader that this host knows
    "leads",  # 1: this host's supervisor shall run risk, in this term
    "lead_until_ns",  # until when the leader may decide, by its lease (ns, the clock of leases)
    "valid_until_ns",  # until when the workers of this host may send orders (ns, the clock of leases)
    "universe",  # serial of the newest universe of the cluster
    "phase",  # 1: the cluster shall end; 2: the same, positions kept
    "stored_seq",  # last event of this host's replica
    *COUNTED,
)  # fmt: skip


def counters(shards: int) -> Sequence[str]:
    """Return the names of all counters: ``grant_<shard>`` is the grant of a shard that this host may run, or 0."""
    return (*COUNTERS, *(f"grant_{shard}" for shard in range(shards)))


def supervisor_counters(shards: int) -> Sequence[str]:
    """Return the names of the counters by which the supervisor's page answers the agent."""
    return (
        "universe",  # serial of the universe in force on this host; 0 for none
        "risk_term",  # term of the risk process that exists on this host; 0 for none
        "risk_ended",  # newest term whose risk has ended on this host and is not started again; 0 for none
        "leaves",  # 1: this host leaves the cluster; its workers have ended
        "phase",  # 1: an operator of this host has ordered that the cluster ends; 2: the same, positions kept
        "ready_risk",  # 1: a risk process is ready to lead
        "ready_risk_ended",  # number of those that have ended before they were wanted
        *(f"epoch_{shard}" for shard in range(shards)),  # epoch of the worker process that exists; 0 for none
        *(f"back_{shard}" for shard in range(shards)),  # a grant that this host gives back; 0 for none
    )


class ShardPlace(msgspec.Struct, frozen=True):
    """States where a shard is."""

    shard: int
    grant: int
    epoch: int
    universe: int
    """Serial of the universe that its worker has carried out; -1 while none is up."""


class HostView(msgspec.Struct, frozen=True):
    """Describes a host to the others."""

    host: str
    at_ms: int
    """When it was written (wall time of that host)."""
    version: str
    """Version of arbshard."""
    leads: bool
    term: int
    """Term of the leader that has confirmed its beats within a lease; 0 for none."""
    seq: int
    """Last event of its replica."""
    shards: tuple[ShardPlace, ...]
    frames_s: float
    """Frames per second that its feeds receive."""
    cpu: float
    """Share of a core that its processes use."""
    nats: bool
    """Whether it is connected to NATS."""
    note: str = ""
    """What a person should know about it; empty when all is well."""
    leaving: bool = False
    """Whether it gives up its shards, because an operator ordered so."""
    universe: int = 0
    """Serial of the universe that its supervisor has in force; 0 for none."""
    alerts: bool = False
    """Whether its alerts reach a target, as far as it knows."""


class HostSight(msgspec.Struct, frozen=True):
    """States when another host was last seen."""

    age_ms: float
    """Time since its newest view has arrived, by this host's own monotonic clock."""
    ahead_ms: float
    """How much its wall clock was ahead of that of this host then, without the time on the way."""


class ClusterNote(msgspec.Struct, frozen=True):
    """Is the note of the page."""

    cluster: str
    host: str
    leader: str
    """Name of the leader's host; empty while none is known."""
    term: int
    nats: bool
    """Whether this host is connected to NATS."""
    contact_ms: float
    """Time since the leader last confirmed a beat of this host; -1 for never."""
    hosts: tuple[HostView, ...]
    """The newest view of each host."""
    placement: tuple[tuple[int, str], ...] = ()
    """(shard, host) as the leader wants it."""
    kept: tuple[str, ...] = ()
    """Commands of operators that wait until the leader can be reached."""
    why: str = ""
    """Why this host does not trade; empty when it does."""
    sights: dict[str, HostSight] = {}
    """When each of the other hosts was last seen."""
    refused: tuple[str, ...] = ()
    """Which hosts this one refuses to hear, and why."""


def decode_cluster_note(data: bytes) -> ClusterNote:
    """Return the note. Raises ``msgspec.MsgspecError``."""
    return msgspec.json.decode(data, type=ClusterNote)
