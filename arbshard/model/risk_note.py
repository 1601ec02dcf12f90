"""What risk tells everybody on its page. Written by ``risk.note``, read by status and the supervisor.

Money is text in plain notation.
"""

import msgspec

from arbshard.model.intent import CloseReason
from arbshard.model.market import Direction


class Tally(msgspec.Struct, frozen=True):
    """Results of one symbol, or of all."""

    entries: int = 0
    exits: int = 0
    open: int = 0
    """Open positions now."""
    wins: int = 0
    losses: int = 0
    win_rate: float | None = None
    """0 to 1; None when nothing was closed."""
    pnl: str = "0"
    """Of positions closed, after fees."""
    fees: str = "0"
    """Of positions closed."""


class PortfolioTally(Tally, frozen=True):
    """Results of all symbols."""

    currency: str = "KRW"
    """Of all money here."""
    exposure: str = "0"
    """Entry notional of open positions and of entries under way."""
    residue: dict[str, dict[str, str]] = {}
    """What all closed positions ever have left behind, by venue and coin."""


class BalanceNote(msgspec.Struct, frozen=True):
    """One currency on one venue."""

    total: str
    held: str


class PositionNote(msgspec.Struct, frozen=True):
    """A position in brief."""

    position_id: str
    pair: str
    direction: Direction
    quantity: str
    entry_home_price: str
    entry_away_price: str
    notional: str
    opened_ms: int
    closed_ms: int
    reason: CloseReason | None
    pnl: str | None


class RiskNoteHead(msgspec.Struct, frozen=True, kw_only=True):
    """All but what changes little from note to note."""

    session: int
    portfolio: PortfolioTally
    """This session."""
    lifetime: PortfolioTally
    refusals: dict[str, int]
    """This session, by name of the reason."""
    reasons: dict[str, int]
    """Positions closed in this session by reason."""
    doubted: int
    """Positions called done of which too much was left, in this session."""
    open_intents: int
    positions: tuple[PositionNote, ...]
    """All that are open."""
    closed: tuple[PositionNote, ...]
    """The last that were closed, newest first."""


class RiskNote(RiskNoteHead, frozen=True, kw_only=True):
    """The whole note."""

    symbols: dict[str, Tally]
    """This session."""
    balances: dict[str, dict[str, BalanceNote]]


NO_NOTE = RiskNote(
    session=0,
    portfolio=PortfolioTally(),
    lifetime=PortfolioTally(),
    refusals={},
    reasons={},
    doubted=0,
    open_intents=0,
    positions=(),
    closed=(),
    symbols={},
    balances={},
)
"""Before risk has written any."""

_decoder = msgspec.json.Decoder(RiskNote)


def decode_risk_note(note: bytes) -> RiskNote:
    """Raises ``msgspec.MsgspecError`` for anything that is not a whole note."""
    return _decoder.decode(note)
