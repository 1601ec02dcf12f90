"""The section ``[run]``: the processes."""

from typing import Annotated, Literal

from msgspec import Meta

from arbshard.config.section import Positive, Section


class RunConfig(Section, frozen=True):
    """The processes."""

    shards: Annotated[int, Meta(ge=1, le=64)] = 4
    symbols: tuple[str, ...] = ()
    """Pairs to trade, by base or either market's name; empty for all that both venues list."""
    max_pairs: Annotated[int, Meta(ge=1, le=1000)] = 1000
    doorbell: Literal["pipe", "zmq"] = "pipe"
    receiver: Literal["auto", "websockets", "picows"] = "auto"
    """WebSocket client of the feeds; ``auto`` takes picows when it is installed (extra ``fast``)."""
    spin_us: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """How long a worker looks for more before it sleeps; burns CPU, wants a core per worker."""
    pin_cores: tuple[Annotated[int, Meta(ge=0, le=4095)], ...] = ()
    """CPU cores by number: supervisor on the first, workers on the others in turn; empty: left to the system."""
    stop_timeout_s: Positive = 20.0
    """How long a graceful stop may take to close positions."""
    restart_tries: Annotated[int, Meta(ge=0, le=100)] = 5
    """Restarts of one child within ``restart_window_s`` before it is given up."""
    restart_window_s: Positive = 60.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
