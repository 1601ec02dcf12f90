"""What risk tells everybody on its page. Written by ``risk.note``, read by status and the supervisor.

Money is text in plain notation.
"""

from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.model.intent import ApartCause, CloseReason, HaltLevel, Lead
from arbshard.model.market import Direction, Side
from arbshard.model.money import plain
from arbshard.model.order import OrderFault


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
    fx: str = "0"
    """The part of ``pnl`` that the change of the FX rate has brought while positions were open."""

    @property
    def trade(self) -> str:
        """The part of ``pnl`` that prices have brought, before fees: ``pnl`` is this less fees and with ``fx``."""
        return plain(Decimal(self.pnl) + Decimal(self.fees) - Decimal(self.fx))


class PortfolioTally(Tally, frozen=True):
    """Results of all symbols."""

    currency: str = "KRW"
    """Of all money here."""
    exposure: str = "0"
    """Entry notional of open positions and of entries under way."""
    beside: str = "0"
    """What of ``pnl`` no position brought: fees and losses of transfers, unexplained differences."""
    residue: dict[str, dict[str, str]] = {}
    """What all closed positions ever have left behind, by venue and coin."""

    @property
    def trade(self) -> str:
        """As of a symbol, without what no position brought."""
        return plain(Decimal(super().trade) - Decimal(self.beside))


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
    """Realised; None while it is open."""
    fees: str = "0"
    """So far."""
    home_flow: str = "0"
    """What came in less what was paid so far, in home quote; fees included."""
    away_flow: str = "0"
    """The same in away quote."""
    unrealised: str | None = None
    """What closing it now would bring, after all fees; None while no book has said so, and once it is closed."""
    unrealised_bps: float | None = None
    books_ms: int = 0
    """Wall time of the books that ``unrealised`` rests on; 0 while there was none."""
    is_whole: bool = True
    """Whether these books are deep enough to close all of it."""


class NakedNote(msgspec.Struct, frozen=True):
    """An open intent, or a position, that is bought on one venue and not sold on the other, or the reverse."""

    position_id: str
    pair: str
    quantity: str
    """Base; positive when more was bought than sold."""
    notional: str
    krw_s: str
    """Notional x seconds so far."""


class EquityNote(msgspec.Struct, frozen=True):
    """What trading has brought, and what the account is worth. In reporting currency."""

    equity: str = "0"
    """Realised since the ledger began, and unrealised: what loss limits look at."""
    realised: str = "0"
    unrealised: str = "0"
    high_water: str = "0"
    """The highest equity so far, or since a person accepted a drawdown."""
    drawdown: str = "0"
    day_loss: str = "0"
    """By how much equity fell in the trading day; negative for a gain."""
    week_loss: str = "0"
    naked: str = "0"
    """All naked exposure."""
    naked_by: tuple[NakedNote, ...] = ()
    oldest_ms: int = 0
    """Wall time of the oldest books that ``unrealised`` rests on; 0 where nothing is open."""
    unvalued: tuple[str, ...] = ()
    """Open positions for which no book was there yet."""
    account_value: str = "0"
    """All balances at the bids of now: with deposits, and with the price of the inventory."""
    unpriced: tuple[str, ...] = ()
    """Currencies that are not in ``account_value`` because they have no price."""


class FxNote(msgspec.Struct, frozen=True):
    """The FX rate, and what open positions hold of the away quote."""

    rate: float = 0.0
    """Mid of the FX book; 0 before there was one."""
    implied: float | None = None
    """What the coins imply, as the median; None with fresh books of too few pairs."""
    pairs: int = 0
    """Pairs with fresh books."""
    premium_bps: float | None = None
    """By how much ``implied`` is above ``rate``."""
    level_bps: float | None = None
    """The usual premium."""
    doubt: str = ""
    """Why no pair is entered; empty while the rate is believed."""
    since_ms: int = 0
    held: str = "0"
    """Away quote in open positions; negative: owed."""
    quote: str = ""
    """The away quote's name."""
    worth: str = "0"
    """``held`` without its sign, in reporting currency at the rate of now."""


class HaltNote(msgspec.Struct, frozen=True):
    """The kill switch is on: no entries."""

    at_ms: int
    cause: str
    """``ledger.events.HaltCause``."""
    reason: str
    level: HaltLevel = "reduce_only"


class ApartNote(msgspec.Struct, frozen=True):
    """A pair is set apart: it enters nothing until a person releases it."""

    since_ms: int
    cause: ApartCause
    reason: str
    intent_id: str = ""
    by_hand: bool = False
    """Whether its positions are closed only when a person orders it."""


class FailingNote(msgspec.Struct, frozen=True):
    """The last exits of a pair achieved nothing."""

    tries: int
    cost: str
    """What they cost the position, in reporting currency."""
    lead: Lead
    """The leg that has to go first."""
    why: str


class DayNote(msgspec.Struct, frozen=True):
    """A trading day so far, or one of the last."""

    label: str
    """The local date on which it begins."""
    starts_ms: int = 0
    """Of the running day only."""
    ends_ms: int = 0
    exits: int = 0
    wins: int = 0
    losses: int = 0
    pnl: str = "0"
    fees: str = "0"
    drawdown: str = "0"
    """By how much the realised result is below its highest of the day."""


class TightNote(msgspec.Struct, frozen=True):
    """Limits that a rule has tightened."""

    factor: str
    cause: str
    since_ms: int


class VenueWord(msgspec.Struct, frozen=True):
    """What a venue last stated of our account. Monotonic times; 0 for never since the last start."""

    read_ns: int
    compared_ns: int
    """The oldest of the newest comparisons of its currencies with the ledger."""
    settled: bool
    trouble: str = ""
    """Why entries wait for its statements, as a sentence; empty when they do not."""


class DifferenceNote(msgspec.Struct, frozen=True):
    """Venue and ledger say different amounts; ``arbshard reconcile`` tells more."""

    venue: str
    currency: str
    stated: str
    booked: str
    since_ms: int
    pairs: int
    """So many are blocked."""


class StrayNote(msgspec.Struct, frozen=True):
    """An open order of ours that no open intent owns, or one whose fate is unknown."""

    venue: str
    client_id: str
    symbol: str
    pair: str
    since_ms: int


class VenueRefusalNote(msgspec.Struct, frozen=True):
    """A venue, or one of its markets, takes no orders of ours."""

    venue: str
    symbol: str
    """Empty: the venue as a whole."""
    pairs: tuple[str, ...]
    """The pairs of the run that it concerns."""
    fault: OrderFault
    why: str
    since_ms: int


class ShortageNote(msgspec.Struct, frozen=True):
    """Orders that a venue refused because its account had too little of a currency."""

    venue: str
    currency: str
    count: int
    since_ms: int
    why: str


class FeeNote(msgspec.Struct, frozen=True):
    """A fee that is not the configured one: of a fill, or as the account states it."""

    venue: str
    side: Side
    symbol: str
    configured_bps: str
    paid_bps: str
    since_ms: int
    stated: Literal["", "above", "below"] = ""
    """Where the account states it, and not a fill: whether it is above or below the configured one."""


class BarNote(msgspec.Struct, frozen=True):
    """A rule that keeps a pair from being entered."""

    direction: str
    """``buy_home`` or ``buy_away``; empty for both."""
    reason: str
    """Name of the refusal."""
    detail: str


class EntryNote(msgspec.Struct, frozen=True):
    """What is known of a pair's gap, and what keeps it from being entered."""

    level_bps: float | None = None
    """What the gap returns to; None while it is being learned."""
    band_bps: float | None = None
    """Its usual distance from there."""
    half_life_s: float | None = None
    """The median time in which an excursion loses half of its height; None while too few have returned."""
    samples: int = 0
    returns: int = 0
    """Excursions that have lost half of their height."""
    excursion_s: float = 0.0
    """For how long the excursion of now has lasted; 0 when there is none."""
    bars: tuple[BarNote, ...] = ()


class WarningNote(msgspec.Struct, frozen=True):
    """What a venue warns of, and what the rule for it lets the pair do."""

    pair: str
    text: str
    rule: str
    """``ignore``, ``no_entries`` or ``close``."""


class WalletNote(msgspec.Struct, frozen=True):
    """What a venue last said of its wallets."""

    venue: str
    at_ms: int
    """Wall time; 0 for never."""
    problem: str
    """Why it could not be asked the last time; empty when it could."""


class RunsOutNote(msgspec.Struct, frozen=True):
    """A currency of which soon nothing will be free on a venue, at the present rate."""

    venue: str
    currency: str
    runs_out_ms: int


class OverdueNote(msgspec.Struct, frozen=True):
    """A transfer that should have ended."""

    transfer_id: str
    text: str
    """What it is, with its id."""
    amount: str
    """What is still to arrive, or to leave."""
    age_h: float


Orders = Literal["", "paper", "dry run", "live"]
"""Where orders go; empty before risk has said."""


class RiskNoteHead(msgspec.Struct, frozen=True, kw_only=True):
    """All but what changes little from note to note."""

    session: int
    at_ms: int = 0
    """When this note was written (wall time)."""
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
    halt: HaltNote | None = None
    equity: EquityNote = EquityNote()
    fx: FxNote = FxNote()
    closing: dict[str, str] = {}
    """Pairs that are being closed, by order of a person or of the kill switch, and why."""
    apart: dict[str, ApartNote] = {}
    """Pairs that are set apart."""
    failing: dict[str, FailingNote] = {}
    """Pairs that could not be left."""
    day: DayNote | None = None
    days: tuple[DayNote, ...] = ()
    """The last trading days that had a result, newest first."""
    tightened: dict[str, TightNote] = {}
    """By symbol; empty for all together."""
    limits_changed: dict[str, str] = {}
    """Limits that people changed while risk ran: key, or ``SYMBOL key`` → value."""
    exposures: dict[str, str] = {}
    """What is bought on one venue and sold on the other, by direction."""
    fences: dict[str, str] = {}
    """Shards of which an incarnation was fenced in this run, by number, and why the last one was."""
    broken: str = ""
    """Why the books do not balance; empty when they do."""
    orders: Orders = ""
    tag: str = ""
    """The ledger's, part of every order's name at its venue."""
    accounts: dict[str, VenueWord] = {}
    """By venue; live only."""
    states_every_s: float = 0.0
    """How often venues are asked to state what we own; 0 for never."""
    differences: tuple[DifferenceNote, ...] = ()
    rounding: dict[str, dict[str, str]] = {}
    """What the venues' rounding of fills has brought, or cost where it is below 0, by venue and currency."""
    strays: tuple[StrayNote, ...] = ()
    under_way: tuple[str, ...] = ()
    """Pairs with an intent that has no outcome yet."""
    unknown: tuple[StrayNote, ...] = ()
    """Orders of open intents whose fate at the venue is not known; ``since_ms``: when the intent was decided."""
    unclosable: dict[str, str] = {}
    """Why open pairs cannot be closed on both venues now, by base."""
    refusing: tuple[VenueRefusalNote, ...] = ()
    """Venues and markets that take no orders of ours."""
    taking: dict[str, int] = {}
    """Since when each venue takes orders (wall ms), by the orders that it took in this run."""
    short: tuple[ShortageNote, ...] = ()
    runs_out: tuple[RunsOutNote, ...] = ()
    """The first to run out comes first."""
    overdue: tuple[OverdueNote, ...] = ()
    under_way_worth: str = "0"
    """Worth of all that is between venues, in reporting currency; part of ``equity.account_value``."""
    entries: dict[str, EntryNote] = {}
    """By base; all pairs of the run."""
    fees: tuple[FeeNote, ...] = ()
    warnings: tuple[WarningNote, ...] = ()
    """What the venues warn of for the run's pairs, by pair; the rule that bars most comes first."""
    wallets: tuple[WalletNote, ...] = ()
    """Live only, of the venues that are asked."""


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


class _PairOf(msgspec.Struct, frozen=True):
    pair: str


class _Open(msgspec.Struct, frozen=True):
    """What is open, by the note; the rest of the note is skipped."""

    positions: tuple[_PairOf, ...]
    under_way: tuple[str, ...] = ()


_decoder = msgspec.json.Decoder(RiskNote)
_open_decoder = msgspec.json.Decoder(_Open)


def decode_risk_note(note: bytes) -> RiskNote:
    """Raises ``msgspec.MsgspecError`` for anything that is not a whole note."""
    return _decoder.decode(note)


def open_pairs(note: bytes) -> frozenset[str]:
    """Pairs with an open position or an intent under way. Raises ``msgspec.MsgspecError`` as above."""
    found = _open_decoder.decode(note)
    return frozenset((*(position.pair for position in found.positions), *found.under_way))
