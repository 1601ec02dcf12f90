"""Defines what risk reports on its page. ``risk.note`` writes it, status and the supervisor read it.

Money is text in plain notation.
"""

from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.model.intent import ApartCause, CloseReason, HaltLevel, LeadingLeg
from arbshard.model.market import Direction, Side
from arbshard.model.money import plain
from arbshard.model.order import OrderFault


class Tally(msgspec.Struct, frozen=True):
    """Holds the results of one symbol, or of all."""

    entries: int = 0
    exits: int = 0
    open: int = 0
    """Number of open positions."""
    wins: int = 0
    losses: int = 0
    win_rate: float | None = None
    """0 to 1; None when nothing was closed."""
    pnl: str = "0"
    """Result of closed positions, after fees."""
    fees: str = "0"
    """Fees of closed positions."""
    fx: str = "0"
    """The part of ``pnl`` that the change of the FX rate has brought while positions were open."""

    @property
    def trade(self) -> str:
        """Return the part of ``pnl`` that prices have brought, before fees: ``pnl`` is this, less ``fees``, plus
        ``fx``.
        """
        return plain(Decimal(self.pnl) + Decimal(self.fees) - Decimal(self.fx))


class PortfolioTally(Tally, frozen=True):
    """Holds the results of all symbols."""

    currency: str = "KRW"
    """Currency of all money here."""
    exposure: str = "0"
    """Entry notional of open positions and of entries under way."""
    beside: str = "0"
    """The part of ``pnl`` that no position brought: fees and losses of transfers, unexplained differences."""
    residue: dict[str, dict[str, str]] = {}
    """What all closed positions ever have left over, by venue and coin."""

    @property
    def trade(self) -> str:
        """Return the same as for a symbol, without what no position brought."""
        return plain(Decimal(super().trade) - Decimal(self.beside))


class BalanceNote(msgspec.Struct, frozen=True):
    """Is one currency on one venue."""

    total: str
    held: str


class PositionNote(msgspec.Struct, frozen=True):
    """Is a position in brief."""

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
    """Realised result; None while it is open."""
    fees: str = "0"
    """Fees so far."""
    home_flow: str = "0"
    """What was received less what was paid so far, in home quote; fees included."""
    away_flow: str = "0"
    """The same in away quote."""
    unrealised: str | None = None
    """Result of closing it now, after all fees; None before a book has valued it, and once it is closed."""
    unrealised_bps: float | None = None
    books_ms: int = 0
    """Wall time in ms of the books that ``unrealised`` is computed with; 0 while there was none."""
    is_whole: bool = True
    """Whether these books are deep enough to close all of it."""


class NakedNote(msgspec.Struct, frozen=True):
    """Is an open intent, or a position, that is bought on one venue and not sold on the other, or the reverse."""

    position_id: str
    pair: str
    quantity: str
    """Base; positive when more was bought than sold."""
    notional: str
    krw_s: str
    """Notional in KRW x seconds so far."""


class ValueChangeNote(msgspec.Struct, frozen=True):
    """What has changed the account value since this run began, in reporting currency; the parts add up to all."""

    started: str = "0"
    """The account value at the first prices of this run, and with what it began a new ledger with."""
    trading: str = "0"
    """By how much equity changed: results and what is unrealised."""
    moved: str = "0"
    """What was brought from outside less what was taken there."""
    fx: str = "0"
    """What the change of the FX rate did to the money of the away venue."""
    inventory: str = "0"
    """The rest: what the prices of the coins did to the inventory."""
    equity_started: str = "0"
    """Equity when this run began."""


class EquityNote(msgspec.Struct, frozen=True):
    """States what trading has brought, and what the account is worth, in reporting currency."""

    equity: str = "0"
    """Realised since the ledger began, plus unrealised. Loss limits use this."""
    realised: str = "0"
    unrealised: str = "0"
    high_water: str = "0"
    """The highest equity so far, or since a person accepted a drawdown."""
    drawdown: str = "0"
    day_loss: str = "0"
    """By how much equity fell in the trading day; negative for a gain."""
    week_loss: str = "0"
    naked: str = "0"
    """Sum of all naked exposure."""
    naked_by: tuple[NakedNote, ...] = ()
    oldest_ms: int = 0
    """Wall time in ms of the oldest books that ``unrealised`` is computed with; 0 where nothing is open."""
    unvalued: tuple[str, ...] = ()
    """Open positions for which there was no book yet."""
    account_value: str = "0"
    """All balances at the present bids: with deposits, and with the price of the inventory."""
    unpriced: tuple[str, ...] = ()
    """Currencies that are not in ``account_value`` because they have no price."""
    change: ValueChangeNote | None = None
    """What changed ``account_value`` since this run began; None before anything was valued."""


class FxNote(msgspec.Struct, frozen=True):
    """Is the FX rate, with what open positions hold of the away quote."""

    rate: float = 0.0
    """Mid of the FX book; 0 before there was one."""
    implied: float | None = None
    """The rate that the coins imply, as the median; None with fresh books of too few pairs."""
    pairs: int = 0
    """Number of pairs with fresh books."""
    premium_bps: float | None = None
    """By how much ``implied`` is above ``rate``."""
    level_bps: float | None = None
    """The usual premium."""
    doubt: str = ""
    """Why no pair is entered; empty while the rate is trusted."""
    since_ms: int = 0
    held: str = "0"
    """Amount of away quote in open positions; negative: owed."""
    quote: str = ""
    """The away quote's name."""
    worth: str = "0"
    """Value of ``held`` without its sign, in reporting currency at the present rate."""


class HaltNote(msgspec.Struct, frozen=True):
    """States that the kill switch is on: no entries."""

    at_ms: int
    cause: str
    """One of ``ledger.events.HaltCause``."""
    reason: str
    level: HaltLevel = "reduce_only"


class HaltSpan(msgspec.Struct, frozen=True):
    """Describes a halt of this run, or one from before its start that was still in force."""

    since_ms: int
    cause: str
    """One of ``ledger.events.HaltCause``."""
    reason: str
    level: HaltLevel
    until_ms: int = 0
    """When it ended; 0 while it is in force."""
    by: str = ""
    """Who ordered it, and by which means; empty where a rule did, and where it is not known."""
    resumed_by: str = ""
    """Who ended it; empty while it is in force, and where it is not known."""
    resumed_why: str = ""
    is_raised: bool = False
    """Whether it ended because a halt of another level took its place, and not because a person resumed."""


def resumption_of(halt: HaltSpan) -> str:
    """Return who resumed and why, for a halt that a person has ended."""
    by = f" by {halt.resumed_by}" if halt.resumed_by else ""
    return f"resumed{by}: {halt.resumed_why or 'no reason given'}"


class ApartNote(msgspec.Struct, frozen=True):
    """States that a pair is set apart: it enters nothing until a person releases it."""

    since_ms: int
    cause: ApartCause
    reason: str
    intent_id: str = ""
    by_hand: bool = False
    """Whether its positions are closed only when a person orders it."""


class FailingNote(msgspec.Struct, frozen=True):
    """States that the last exits of a pair achieved nothing."""

    tries: int
    cost: str
    """What they cost the position, in reporting currency."""
    lead: LeadingLeg
    """The leg that has to be sent first."""
    why: str


class DayNote(msgspec.Struct, frozen=True):
    """Is a trading day so far, or one of the last."""

    label: str
    """The local date on which it begins."""
    starts_ms: int = 0
    """Start of the day, wall time in ms; only of the running day."""
    ends_ms: int = 0
    exits: int = 0
    wins: int = 0
    losses: int = 0
    pnl: str = "0"
    fees: str = "0"
    drawdown: str = "0"
    """By how much the realised result is below its highest of the day."""


class TightNote(msgspec.Struct, frozen=True):
    """Describes limits that a rule has tightened."""

    factor: str
    cause: str
    since_ms: int


class StatementTimes(msgspec.Struct, frozen=True):
    """States when a venue last stated our account. Times are monotonic ns; 0 for never since the last start."""

    read_ns: int
    compared_ns: int
    """The oldest of the newest comparisons of its currencies with the ledger."""
    settled: bool
    trouble: str = ""
    """Why entries wait for its statements, as a sentence; empty when they do not."""


class DifferenceNote(msgspec.Struct, frozen=True):
    """States that venue and ledger have different amounts; ``arbshard reconcile`` shows more."""

    venue: str
    currency: str
    stated: str
    booked: str
    since_ms: int
    pairs: int
    """Number of pairs that it blocks."""


class StrayNote(msgspec.Struct, frozen=True):
    """Is an open order of ours that no open intent owns, or one whose outcome is unknown."""

    venue: str
    client_id: str
    symbol: str
    pair: str
    since_ms: int


class TradeOrderNote(msgspec.Struct, frozen=True):
    """How one order of a trade under way is."""

    venue: str
    side: Side
    role: str
    """``leg``, ``hedge`` or ``unwind``."""
    quantity: str
    filled: str
    limit: str
    state: str


class TradeNote(msgspec.Struct, frozen=True):
    """A trade that has no outcome yet: an intent with its orders."""

    intent_id: str
    pair: str
    kind: str
    """``entry`` or ``exit``."""
    direction: Direction
    decided_ms: int
    orders: tuple[TradeOrderNote, ...]


class VenueRefusalNote(msgspec.Struct, frozen=True):
    """States that a venue, or one of its markets, accepts no orders of ours."""

    venue: str
    symbol: str
    """The market; empty: the venue as a whole."""
    pairs: tuple[str, ...]
    """The pairs of the run that it concerns."""
    fault: OrderFault
    why: str
    since_ms: int


class ShortageNote(msgspec.Struct, frozen=True):
    """Counts orders that a venue refused because its account had too little of a currency."""

    venue: str
    currency: str
    count: int
    since_ms: int
    why: str


class FeeNote(msgspec.Struct, frozen=True):
    """Is a fee that is not the configured one: of a fill, or as the account states it."""

    venue: str
    side: Side
    symbol: str
    configured_bps: str
    paid_bps: str
    since_ms: int
    stated: Literal["", "above", "below"] = ""
    """Whether the fee that the account states is above or below the configured one; empty for the fee of a fill."""


class BarNote(msgspec.Struct, frozen=True):
    """Is a rule that keeps a pair from being entered."""

    direction: str
    """``buy_home`` or ``buy_away``; empty for both."""
    reason: str
    """Name of the refusal."""
    detail: str


class EntryNote(msgspec.Struct, frozen=True):
    """States what is known of a pair's gap, and what keeps it from being entered."""

    level_bps: float | None = None
    """The level that the gap returns to; None while it is being learned."""
    band_bps: float | None = None
    """Its usual distance from the level, in basis points."""
    half_life_s: float | None = None
    """The median time in which an excursion loses half of its height; None while too few have returned."""
    samples: int = 0
    """Number of samples on which the level rests, or that there are as long as it is being learned."""
    returns: int = 0
    """Number of excursions that have lost half of their height."""
    excursion_s: float = 0.0
    """For how long the present excursion has lasted, in seconds; 0 when there is none."""
    bars: tuple[BarNote, ...] = ()


class WarningNote(msgspec.Struct, frozen=True):
    """States what a venue warns of, and what the rule for it allows the pair to do."""

    pair: str
    text: str
    rule: str
    """``ignore``, ``no_entries`` or ``close``."""


class WalletNote(msgspec.Struct, frozen=True):
    """States when a venue was last asked about its wallets, and with what problem."""

    venue: str
    at_ms: int
    """Wall time of its last answer in ms; 0 for never."""
    problem: str
    """Why it could not be asked the last time; empty when it could."""


class RunsOutNote(msgspec.Struct, frozen=True):
    """Is a currency of which soon nothing will be free on a venue, at the present rate."""

    venue: str
    currency: str
    runs_out_ms: int


class OverdueNote(msgspec.Struct, frozen=True):
    """Is a transfer that should have ended."""

    transfer_id: str
    text: str
    """What kind of transfer it is, with its id."""
    amount: str
    """The amount that is still to arrive, or to leave."""
    age_h: float


Orders = Literal["", "paper", "dry run", "live"]
"""Where orders are sent; empty before risk has stated it."""


class RiskNoteHead(msgspec.Struct, frozen=True, kw_only=True):
    """Holds all parts of the note except those that change little from note to note."""

    session: int
    at_ms: int = 0
    """Wall time at which this note was written, in ms."""
    portfolio: PortfolioTally
    """Results of this session."""
    lifetime: PortfolioTally
    refusals: dict[str, int]
    """Number of refusals in this session, by name of the reason."""
    reasons: dict[str, int]
    """Number of positions closed in this session, by reason."""
    doubted: int
    """Number of positions in this session that a worker called done, though too much of them was left."""
    open_intents: int
    positions: tuple[PositionNote, ...]
    """All positions that are open."""
    closed: tuple[PositionNote, ...]
    """The positions that were closed last, newest first."""
    halt: HaltNote | None = None
    halts: tuple[HaltSpan, ...] = ()
    """The halts of this run, the newest last; one from before its start is among them."""
    equity: EquityNote = EquityNote()
    fx: FxNote = FxNote()
    closing: dict[str, str] = {}
    """Pairs that are being closed, by order of a person or of the kill switch, and why."""
    apart: dict[str, ApartNote] = {}
    """Pairs that are set apart."""
    failing: dict[str, FailingNote] = {}
    """Pairs whose exits failed."""
    day: DayNote | None = None
    days: tuple[DayNote, ...] = ()
    """The last trading days that had a result, newest first."""
    tightened: dict[str, TightNote] = {}
    """Tightened limits by symbol; empty for all together."""
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
    """The ledger's tag, part of every order's name at its venue."""
    accounts: dict[str, StatementTimes] = {}
    """Statements by venue; live only."""
    states_every_s: float = 0.0
    """How often venues are asked to state what we own, in seconds; 0 for never."""
    differences: tuple[DifferenceNote, ...] = ()
    rounding: dict[str, dict[str, str]] = {}
    """What the venues' rounding of fills has brought, or cost where it is below 0, by venue and currency."""
    strays: tuple[StrayNote, ...] = ()
    under_way: tuple[str, ...] = ()
    """Pairs with an intent that has no outcome yet."""
    trades: tuple[TradeNote, ...] = ()
    """The oldest of them, with their orders."""
    unknown: tuple[StrayNote, ...] = ()
    """Orders of open intents whose outcome at the venue is not known; ``since_ms``: when the intent was decided."""
    unclosable: dict[str, str] = {}
    """Why open pairs cannot be closed on both venues now, by base."""
    refusing: tuple[VenueRefusalNote, ...] = ()
    """Venues and markets that accept no orders of ours."""
    taking: dict[str, int] = {}
    """Since when each venue accepts orders (wall ms), known from the orders that it accepted in this run."""
    short: tuple[ShortageNote, ...] = ()
    runs_out: tuple[RunsOutNote, ...] = ()
    """Currencies that run out; the first to run out comes first."""
    overdue: tuple[OverdueNote, ...] = ()
    under_way_worth: str = "0"
    """Value of all that is between venues, in reporting currency; part of ``equity.account_value``."""
    entries: dict[str, EntryNote] = {}
    """All pairs of the run, by base."""
    fees: tuple[FeeNote, ...] = ()
    warnings: tuple[WarningNote, ...] = ()
    """What the venues warn of for the run's pairs, by pair; the rule that bars most comes first."""
    wallets: tuple[WalletNote, ...] = ()
    """States of wallets, live only, of the venues that are asked."""


class RiskNote(RiskNoteHead, frozen=True, kw_only=True):
    """Is the whole note."""

    symbols: dict[str, Tally]
    """Results of this session by symbol."""
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
"""The note before risk has written any."""


class _PairOf(msgspec.Struct, frozen=True):
    pair: str


class _Open(msgspec.Struct, frozen=True):
    """Holds what is open according to the note; the rest of the note is skipped."""

    positions: tuple[_PairOf, ...]
    under_way: tuple[str, ...] = ()


_decoder = msgspec.json.Decoder(RiskNote)
_open_decoder = msgspec.json.Decoder(_Open)


def decode_risk_note(note: bytes) -> RiskNote:
    """Return the note. Raises ``msgspec.MsgspecError`` for anything that is not a whole note."""
    return _decoder.decode(note)


def open_pairs(note: bytes) -> frozenset[str]:
    """Return the pairs with an open position or an intent under way. Raises ``msgspec.MsgspecError`` as above."""
    found = _open_decoder.decode(note)
    return frozenset((*(position.pair for position in found.positions), *found.under_way))
