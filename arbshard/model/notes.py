"""Defines what the supervisor and the workers report on their pages: the part of status that is not a counter."""

from typing import Literal

import msgspec

from arbshard.model.funnel import EdgeFunnel
from arbshard.model.risk_note import HaltSpan

FeedState = Literal["connecting", "connected", "partly", "stale", "down", "rest", "idle"]
"""``idle``: this host carries none of the venue's markets, because other hosts of the cluster do."""
ChildState = Literal["starting", "running", "restarting", "quarantined", "ending", "ended"]
COMPANIONS = ("series", "metrics", "alerts", "web")
"""Children that only read what a run shows: a run trades as well without them."""
SpareState = Literal["starting", "ready"]
RunState = Literal["starting", "running", "draining", "ended"]


class VenueNote(msgspec.Struct, frozen=True):
    """Describes one venue's feed."""

    name: str
    state: FeedState
    connections: int
    """Number of connections that are up now."""
    symbols: int
    frames: int
    msg_s: float
    reconnects: int
    bad_frames: int
    """Number of frames that the supervisor could not use; the workers count those that they could not decode."""
    last_error: str = ""
    wanted: int = 0
    """Number of connections there should be; 0 when books are read over REST only."""
    planned: int = 0
    """Number of connections renewed before they ended, without a gap; not counted as ``reconnects``."""
    duplicates: int = 0
    """Number of frames that another connection had brought before."""
    stalls: int = 0
    """How often a connection or a market was silent for too long."""
    resyncs: int = 0
    """Number of books made anew from a snapshot after a gap in their changes."""
    refusals: int = 0
    """Number of requests that the venue refused; they are made again."""
    source: str = "ws"
    """Where books come from: ``ws``, ``ws x2``, ``rest``, ``ws + rest``."""
    quiet: tuple[str, ...] = ()
    """Markets from which nothing comes, whatever is tried; a few at most."""
    lines: tuple[str, ...] = ()
    """Each connection in one line, a few at most."""
    confirmed: int = 0
    """Number of quiet books of which REST has shown that they are still the newest."""
    dead: int = 0
    """How often the stream of one market had stopped though its connection was alive, as REST showed."""
    lag_ms: int | None = None
    """Time in ms from the sending of a frame, by the venue's clock, to its receipt, by this computer's; the median
    of the markets. None where frames do not state when they were sent.
    """
    lag_ms_max: int | None = None
    """Frames with a larger lag come late, and nothing is entered on them."""
    late: tuple[str, ...] = ()
    """Markets whose newest frame came late; a few at most."""
    touches: int | None = None
    """Best bids and asks that were newer than the levels of their book and were joined to them; None where the
    venue's feed has no stream of them."""
    touches_overdue: int = 0
    """Those that were not used because no levels of their book had come for too long."""
    touch_mismatches: int = 0
    """Times that the update ids of the two streams of a book did not fit together."""


class ChildNote(msgspec.Struct, frozen=True):
    """Describes one child process."""

    name: str
    """``sim``, ``risk``, ``worker-0`` …"""
    state: ChildState
    pid: int
    """Its process id; 0 while it does not run."""
    epoch: int
    restarts: int
    again_in_s: float = 0.0
    """Seconds until it is started again, when its state is ``restarting``."""
    reason: str = ""
    """Why its last incarnation ended; empty when none has."""


class WorkerNote(msgspec.Struct, frozen=True):
    """Holds what a worker reports on its page beside its counters."""

    missing: dict[str, int] = {}
    """Number of entries that were not made for lack of money or coins, by ``VENUE CURRENCY``."""
    funnel: dict[str, EdgeFunnel] = {}
    """How far the edges of its pairs came, by base; pairs without any are left out."""


RECORDING = "recording"
"""The mode of a run that has feeds and a recorder, and neither risk nor workers."""


class JournalNote(msgspec.Struct, frozen=True):
    """Describes what a person or a rule has decided."""

    at_ms: int
    kind: str
    """``halted``, ``resumed``, ``limits``, ``tightened``, ``loosened``, ``apart``, ``released``, ``closing``."""
    text: str


class SupervisorNote(msgspec.Struct, frozen=True):
    """Describes the run as a whole."""

    name: str
    mode: str
    """``paper`` or ``live``; ``RECORDING`` for a run that trades nothing."""
    data: str
    """``sim`` (simulated exchanges) or ``public``."""
    state: RunState
    pid: int
    started_ms: int
    state_dir: str
    shards: int
    pairs: int
    venues: tuple[VenueNote, ...] = ()
    children: tuple[ChildNote, ...] = ()
    alerts: tuple[str, ...] = ()
    """The newest last, a few at most: time and one line each."""
    alerts_total: int = 0
    unattended: tuple[str, ...] = ()
    """Open positions of pairs that this run does not trade: no process closes them."""
    spares: tuple[SpareState, ...] = ()
    """Workers kept ready to take over a shard."""
    spares_wanted: int = 0
    away: tuple[int, ...] = ()
    """Shards that other hosts of the cluster run, or that wait for one."""
    regime: str = ""
    """How the prices of the simulated exchanges behave; empty for public feeds."""
    halts: tuple[HaltSpan, ...] = ()
    """The halts of this run, the newest last; 50 at most."""
    journal: tuple[JournalNote, ...] = ()
    """What people and rules have decided in this run, the newest last; 100 at most."""
    waits_for: str = ""
    """Why the start waits for the venues; empty when it does not."""
