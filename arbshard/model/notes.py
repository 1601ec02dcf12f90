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


class Totals(msgspec.Struct, frozen=True):
    """What trading has brought, over a session, a lifetime or a symbol. Money as plain decimal text."""

    entries: int = 0
    exits: int = 0
    open: int = 0
    wins: int = 0
    losses: int = 0
    """Closed without a gain; a result of exactly 0 is one."""
    win_rate: float | None = None
    """Wins over closed positions, 0 to 1; None before the first."""
    pnl: str = "0"
    """Realised, after all fees."""
    fees: str = "0"
    currency: str = "KRW"


class BalanceNote(msgspec.Struct, frozen=True):
    """One currency on one venue."""

    total: str
    held: str


class PositionNote(msgspec.Struct, frozen=True):
    """One open position."""

    position_id: str
    pair: str
    direction: str
    quantity: str
    notional: str
    opened_ms: int


class RiskNote(msgspec.Struct, frozen=True):
    """What risk says of the portfolio."""

    session: int
    portfolio: Totals
    """Since this start."""
    lifetime: Totals
    """Since the ledger began."""
    refusals: dict[str, int] = {}
    """Of this session, by reason."""
    reasons: dict[str, int] = {}
    """Closed positions of this session, by exit reason."""
    symbols: dict[str, Totals] = {}
    balances: dict[str, dict[str, BalanceNote]] = {}
    positions: tuple[PositionNote, ...] = ()
    residue: dict[str, dict[str, str]] = {}
    """Left-over base below the venues' minimum, by venue and coin."""
