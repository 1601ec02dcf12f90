"""What the supervisor says of itself on its page: the part of status that no counter can hold."""

from typing import Literal

import msgspec

FeedState = Literal["connecting", "connected", "partly", "stale", "down"]
ChildState = Literal["starting", "running", "restarting", "quarantined", "ended"]
RunState = Literal["starting", "running", "draining", "ended"]


class VenueNote(msgspec.Struct, frozen=True):
    """One venue's feed."""

    name: str
    state: FeedState
    connections: int
    """Up now."""
    symbols: int
    frames: int
    msg_s: float
    reconnects: int
    bad_frames: int
    """Frames the supervisor could not use; the workers count those they could not decode."""
    last_error: str = ""


class ChildNote(msgspec.Struct, frozen=True):
    """One child process."""

    name: str
    """``sim``, ``risk``, ``worker-0`` …"""
    state: ChildState
    pid: int
    """0 while it does not run."""
    epoch: int
    restarts: int


class SupervisorNote(msgspec.Struct, frozen=True):
    """The run as a whole."""

    name: str
    mode: str
    """``paper``."""
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
    """Open positions of pairs that this run does not trade: nobody closes them."""
