"""Defines the section ``[run]``: the processes."""

from typing import Annotated, Literal

from msgspec import Meta

from arbshard.config.section import NotNegative, Positive, Section

SHARDS_MAX = 64
PAIRS_MAX = 3000


class RunConfig(Section, frozen=True):
    """Sets which processes there are, and how they are started and ended."""

    shards: Annotated[int, Meta(ge=1, le=SHARDS_MAX)] = 4
    symbols: tuple[str, ...] = ()
    """Pairs to trade, by base or either market's name; empty for all that both venues list."""
    max_pairs: Annotated[int, Meta(ge=1, le=PAIRS_MAX)] = 1000
    transport: Literal["local", "zmq"] = "local"
    """``local``: a FIFO wakes workers and a Unix socket carries limit checks. ``zmq``: PUB/SUB and REQ/ROUTER."""
    receiver: Literal["auto", "websockets", "picows"] = "auto"
    """WebSocket client of the feeds; ``auto`` uses picows when it is installed (extra ``fast``)."""
    spin_us: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """How long a worker polls before it sleeps, in microseconds; this uses CPU and wants a core per worker."""
    pin_cores: tuple[Annotated[int, Meta(ge=0, le=4095)], ...] = ()
    """CPU cores by number: workers on all but the first in turn, all else on the first; empty: left to the system."""
    stop_timeout_s: Positive = 20.0
    """How long a graceful stop may take to close positions."""
    restart_tries: Annotated[int, Meta(ge=0, le=100)] = 5
    """Restarts of one child within ``restart_window_s`` before it is given up."""
    restart_window_s: Positive = 60.0
    stuck_after_ms: Annotated[float, Meta(ge=100, le=60_000)] = 1000.0
    """A worker whose loop does nothing for so long (ms) while its books change is fenced and replaced."""
    spare_workers: Annotated[int, Meta(ge=0, le=8)] = 1
    """Workers kept ready, already imported, to take over a shard whose worker died."""
    rebalance_s: NotNegative = 30.0
    """How often pairs are moved to shards with less load, in seconds, if the loads differ much; 0: never."""
    disk_free_min_mb: NotNegative = 100.0
    """With less free space on the ledger's disk, a person is alerted."""
    disk_free_stop_mb: NotNegative = 20.0
    """With less free space there, nothing is entered; exits go on."""
    log_trades: bool = True
    """Whether the supervisor's log has one line for each entry and each exit."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
