"""Holds what outlives every restart besides money: orders of people and rules, and how venues and ledger differ.
Pure.

These are parts of ``state.PortfolioState``, which passes them the events concerned. ``core``, ``limits`` and
``reconcile`` decide on those events.
"""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import (
    AccountOpened,
    ClosesOrdered,
    CoinConfirmed,
    DifferenceFound,
    DifferenceResolved,
    Event,
    HaltCause,
    Halted,
    LimitsChanged,
    LimitsScaled,
    PairReleased,
    PairSetApart,
    ReconciliationEvent,
    Resumed,
    StrayFound,
    StrayGone,
)
from arbshard.model.intent import CLOSED_BY_HAND, ApartCause, ExitReason, HaltLevel
from arbshard.model.money import ONE, ZERO
from arbshard.model.risk_note import HaltSpan
from arbshard.risk.portfolio.holdings import Account, Part

StandingEvent = (
    Halted
    | Resumed
    | ClosesOrdered
    | PairSetApart
    | PairReleased
    | CoinConfirmed
    | LimitsChanged
    | LimitsScaled
)

HALTS_KEPT = 50
"""Halts of a run that are kept; the newest count."""


class HaltState(msgspec.Struct, frozen=True):
    """States that the kill switch is on."""

    at_ms: int
    cause: HaltCause
    reason: str
    level: HaltLevel = "reduce_only"


class Scale(msgspec.Struct, frozen=True):
    """States that limits are tightened."""

    factor: Decimal
    cause: str
    since_ms: int


class Apart(msgspec.Struct, frozen=True):
    """States that a pair is set apart: it enters nothing until a person releases it."""

    since_ms: int
    """When it was set apart first."""
    cause: ApartCause
    """The newest cause."""
    reason: str
    intent_id: str
    """The intent concerned; empty when there is none."""
    earlier: tuple[ApartCause, ...] = ()
    """Other causes since it was released last; they still apply."""

    @property
    def causes(self) -> tuple[ApartCause, ...]:
        """Return all causes that apply."""
        return (*self.earlier, self.cause)

    @property
    def is_closed_by_hand(self) -> bool:
        """Return whether positions of the pair are closed only when a person orders it."""
        return not CLOSED_BY_HAND.isdisjoint(self.causes)


class ConfirmedCoin(msgspec.Struct, frozen=True):
    """States that a person has confirmed that both markets of a pair trade the same coin."""

    ratio: Decimal
    """Ratio of its prices at that time: later ones are compared with it."""
    at_ms: int
    reason: str


class OperatorState(Part):
    """Holds the halt, ordered closes, pairs set apart, changed limits and tightened limits.

    Tables are replaced, never changed in place, so that ``is`` shows whether something changed.
    """

    halt: HaltState | None = None
    halts: tuple[HaltSpan, ...] = ()
    """The halts of this run, the newest last; one from before its start is among them."""
    acknowledged: tuple[str, ...] = ()
    """What the last ``Resumed`` accepted."""
    closing: dict[str, ExitReason] = msgspec.field(default_factory=dict)
    """Pairs that are being closed."""
    apart: dict[str, Apart] = msgspec.field(default_factory=dict)
    """Pairs that are set apart."""
    confirmed: dict[str, ConfirmedCoin] = msgspec.field(default_factory=dict)
    """Pairs whose coin was confirmed."""
    changes: dict[tuple[str, str], str] = msgspec.field(default_factory=dict)
    """(symbol, key) → value, where it is not the configuration's; an empty symbol means all."""
    scales: dict[str, Scale] = msgspec.field(default_factory=dict)
    """Tightened limits by symbol, empty for all."""
    serial: int = 0
    """Number of changes of ``halt``, ``closing`` and ``apart``; workers compare it."""

    @property
    def is_stopped(self) -> bool:
        """Return whether exits are stopped too."""
        return self.halt is not None and self.halt.level == "stopped"

    def begin_run(self) -> None:
        """Forget the halts that are over."""
        self._journal.keep_fields(self)
        self.halts = tuple(one for one in self.halts if not one.until_ms)
        if self.halt is not None and not self.halts:  # a state that an older program wrote has no spans
            self.halts = (HaltSpan(self.halt.at_ms, self.halt.cause, self.halt.reason, self.halt.level),)

    def apply(self, event: StandingEvent) -> None:
        """Apply an event. Raises ``LedgerDamaged`` when it contradicts the state."""
        self._journal.keep_fields(self)
        match event:
            case Halted():
                self.halt = HaltState(event.at_ms, event.cause, event.reason, event.level)
                self._end_span(event.at_ms, is_raised=True)
                span = HaltSpan(event.at_ms, event.cause, event.reason, event.level, by=event.by)
                self.halts = (*self.halts, span)[-HALTS_KEPT:]
                self.serial += 1
            case Resumed():
                if self.halt is None and event.high_water is None:
                    raise LedgerDamaged("resumed though nothing was halted")
                self.acknowledged = event.acknowledged
                self.halt = None
                self._end_span(event.at_ms, resumed_by=event.by, resumed_why=event.reason)
                self.serial += 1
            case ClosesOrdered():
                self.closing = {**self.closing, **dict.fromkeys(event.pairs, event.reason)}
                self.serial += 1
            case PairSetApart() | PairReleased():
                self._set_apart(event)
            case CoinConfirmed():
                known = ConfirmedCoin(event.ratio, event.at_ms, event.reason)
                self.confirmed = {**self.confirmed, event.pair: known}
            case LimitsChanged():
                self._change(event.symbol, event.changes)
            case LimitsScaled():
                scales = {symbol: scale for symbol, scale in self.scales.items() if symbol != event.symbol}
                if event.factor != ONE:
                    scales[event.symbol] = Scale(event.factor, event.cause, event.at_ms)
                self.scales = scales

    def became_flat(self, pair: str) -> None:
        """Forget the order to close ``pair``: nothing of it is open or under way any more."""
        if pair in self.closing:
            self._journal.keep_fields(self)
            self.closing = {one: why for one, why in self.closing.items() if one != pair}
            self.serial += 1

    def _end_span(
        self, at_ms: int, *, resumed_by: str = "", resumed_why: str = "", is_raised: bool = False
    ) -> None:
        """End the newest halt of this run, if it is still in force."""
        if not self.halts or self.halts[-1].until_ms:
            return
        ended = msgspec.structs.replace(
            self.halts[-1],
            until_ms=at_ms,
            resumed_by=resumed_by,
            resumed_why=resumed_why,
            is_raised=is_raised,
        )
        self.halts = (*self.halts[:-1], ended)

    def _set_apart(self, event: PairSetApart | PairReleased) -> None:
        others = {pair: apart for pair, apart in self.apart.items() if pair != event.pair}
        known = self.apart.get(event.pair)
        self.serial += 1
        if isinstance(event, PairReleased):
            if known is None:
                raise LedgerDamaged(f"{event.pair} was released though it was not set apart")
            self.apart = others
            return
        since_ms, causes = (known.since_ms, known.causes) if known is not None else (event.at_ms, ())
        earlier = tuple(cause for cause in causes if cause != event.cause)
        others[event.pair] = Apart(since_ms, event.cause, event.reason, event.intent_id, earlier)
        self.apart = others

    def _change(self, symbol: str, changes: Iterable[tuple[str, str]]) -> None:
        table = dict(self.changes)
        for key, value in changes:
            if value:
                table[symbol, key] = value
            else:
                table.pop((symbol, key), None)
        self.changes = table


def set_apart(
    standing: OperatorState, pair: str, cause: ApartCause, reason: str, at_ms: int, intent_id: str = ""
) -> list[Event]:
    """Return the events that set a pair apart; none when it is set apart for this cause already."""
    known = standing.apart.get(pair)
    if known is not None and cause in known.causes:
        return []
    return [PairSetApart(at_ms=at_ms, pair=pair, cause=cause, reason=reason, intent_id=intent_id)]


class KnownDifference(msgspec.Struct, frozen=True):
    """States that venue and ledger have different amounts."""

    stated: Decimal
    booked: Decimal
    since_ms: int
    low: Decimal = ZERO
    """The part of it that orders under way may explain: from ``low``, which is 0 or below, to ``high``."""
    high: Decimal = ZERO

    @property
    def amount(self) -> Decimal:
        """Return what the venue has more at least, whatever became of orders under way; negative: less."""
        difference = self.stated - self.booked
        return difference - min(max(difference, self.low), self.high)

    @property
    def uncertain(self) -> Decimal:
        """Return how much larger the difference may be, depending on what became of orders under way."""
        return self.high - self.low


class KnownStray(msgspec.Struct, frozen=True):
    """Is an open order of ours that no open intent owns."""

    symbol: str
    remaining: Decimal
    pair: str
    since_ms: int


class Reconciled(Part):
    """Compares the statements of the venues with the ledger, as far as events recorded it."""

    opened: dict[str, int] = msgspec.field(default_factory=dict)
    """Wall time in ms at which each venue first stated what we own there."""
    differences: dict[Account, KnownDifference] = msgspec.field(default_factory=dict)
    strays: dict[tuple[str, str], KnownStray] = msgspec.field(default_factory=dict)
    """Stray orders by (venue, client id)."""

    def apply(self, event: ReconciliationEvent) -> None:
        """Apply an event. Raises ``LedgerDamaged`` when it contradicts the state."""
        put, drop = self._journal.set_item, self._journal.drop
        match event:
            case AccountOpened():
                if event.venue in self.opened:
                    self._forget(event.venue)  # a simulated exchange that began anew knows nothing earlier
                put(self.opened, event.venue, event.at_ms)
            case DifferenceFound():
                account = event.venue, event.currency
                known = self.differences.get(account)
                since_ms = known.since_ms if known is not None else event.at_ms
                found = KnownDifference(event.stated, event.booked, since_ms, event.low, event.high)
                put(self.differences, account, found)
            case DifferenceResolved():
                if (event.venue, event.currency) not in self.differences:
                    raise LedgerDamaged(f"{event.venue} {event.currency} did not differ")
                drop(self.differences, (event.venue, event.currency))
            case StrayFound():
                stray = KnownStray(event.symbol, event.remaining, event.pair, event.at_ms)
                put(self.strays, (event.venue, event.client_id), stray)
            case StrayGone():
                if (event.venue, event.client_id) not in self.strays:
                    raise LedgerDamaged(f"{event.client_id} was not astray at {event.venue}")
                drop(self.strays, (event.venue, event.client_id))

    def _forget(self, venue: str) -> None:
        for account in [one for one in self.differences if one[0] == venue]:
            self._journal.drop(self.differences, account)
        for order in [one for one in self.strays if one[0] == venue]:
            self._journal.drop(self.strays, order)
