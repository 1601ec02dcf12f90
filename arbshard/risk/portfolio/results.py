"""Adds up what trading has brought: counts, wins, PnL and fees, by run, by trading day and for the ledger's life.
Pure.

``Results`` is part of ``state.PortfolioState``, which reports every opened and closed position to it.
``TradingDays`` computes when a trading day begins and ends: with the default (09:00 in Seoul) it is the UTC day,
which is also the home venue's own. ``Scatter`` measures how widely a symbol's results scatter; rules tighten limits
by it.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from math import sqrt
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from arbshard.model.intent import NOT_RETURNED, RETURNED
from arbshard.model.market import Direction, Market
from arbshard.model.money import MONEY_CONTEXT, ZERO
from arbshard.model.order import Fill
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.holdings import Part

DAY_MS = 86_400_000
DRIFT_SPAN_MS = DAY_MS // 6
DRIFT_SPANS = 7
"""Number of spans of drift that are kept, with the present one: the last 24 to 28 hours."""
_DAYS_KEPT = 8
RETURNS_KEPT = 20
"""Number of results of a symbol for which it is remembered whether its gap had come back."""
_EPOCH = date(1970, 1, 1)

_FAST, _SLOW = 1 / 8, 1 / 64
_RESULTS_MIN = 30
"""With fewer results than this, a symbol's usual scatter is unknown."""

ALL = ""
"""Key of the totals over all symbols."""


def day_of(at_ms: int) -> int:
    """Return the number of the UTC day that a wall time is in."""
    return at_ms // DAY_MS


class Totals(msgspec.Struct, frozen=True):
    """Holds sums over positions. Amounts are in reporting currency."""

    entries: int = 0
    """Number of positions that were opened, also those that were taken back at once."""
    exits: int = 0
    """Number of positions closed."""
    wins: int = 0
    """Number of positions closed with a PnL above 0; all other closed ones are losses."""
    losses: int = 0
    pnl: Decimal = ZERO
    """The sum over closed positions, after all fees, and ``beside``."""
    fees: Decimal = ZERO
    """The fees that closed positions have paid."""
    beside: Decimal = ZERO
    """The part of ``pnl`` that no position brought: fees and losses of transfers, and differences that were not
    explained.
    """
    fx: Decimal = ZERO
    """The part of ``pnl`` that the change of the FX rate has brought, as far as it is known."""

    @property
    def win_rate(self) -> float | None:
        """Return the wins per closed position, 0 to 1; None when none was closed."""
        return self.wins / self.exits if self.exits else None

    def with_entry(self) -> "Totals":
        """Return the sums with one more position."""
        return replace(self, entries=self.entries + 1)

    def with_exit(self, position: Position) -> "Totals":
        """Return the sums with one more closed position."""
        assert position.pnl is not None, position.position_id
        won = position.pnl > 0
        return Totals(
            self.entries,
            self.exits + 1,
            self.wins + won,
            self.losses + (not won),
            self.pnl + position.pnl,
            self.fees + position.fees,
            self.beside,
            self.fx + (position.fx_pnl or ZERO),
        )

    def with_beside(self, value: Decimal) -> "Totals":
        """Return the sums with a result that no position brought."""
        return replace(self, pnl=self.pnl + value, beside=self.beside + value)


class Streak(msgspec.Struct, frozen=True):
    """Says how many losses a symbol has had in a row."""

    losses: int
    last_ms: int
    """Wall time in ms at which the last of them was closed."""


class FailedReturns(msgspec.Struct, frozen=True):
    """Counts positions of a pair and direction in a row that were closed before the gap had come back."""

    exits: int
    last_ms: int
    """When the last of them was closed (wall time)."""


class Scatter(msgspec.Struct, frozen=True):
    """Holds exponential means of a symbol's results, in basis points.

    This is the measure of volatility that risk has without asking another process: the result of a closed position,
    in basis points of what was bought, is how the symbol's gap moved while it was held, less costs. It keeps two
    means of the squared deviation, one over about the last 8 results, one over the last 64.
    """

    count: int = 0
    mean: float = 0.0
    fast: float = 0.0
    slow: float = 0.0

    def after(self, bps: float) -> "Scatter":
        """Return the means with one more result."""
        count = self.count + 1
        deviation = (bps - self.mean) ** 2 if self.count else 0.0
        # The first results count fully, so that the beginning at 0 is forgotten.
        fast, slow = max(_FAST, 1 / count), max(_SLOW, 1 / count)
        return Scatter(
            count,
            self.mean + slow * (bps - self.mean),
            self.fast + fast * (deviation - self.fast),
            self.slow + slow * (deviation - self.slow),
        )

    @property
    def ratio(self) -> float | None:
        """Return how many times as wide as usual it is; None when that is not known yet."""
        if self.count < _RESULTS_MIN or self.slow <= 0:
            return None
        return sqrt(self.fast / self.slow)


class Results(Part):
    """Holds sums over positions and intents."""

    run: dict[str, Totals] = msgspec.field(default_factory=dict)
    """Sums of this run, by symbol and for ``ALL``. A restart of risk within the run changes nothing."""
    lifetime: dict[str, Totals] = msgspec.field(default_factory=dict)
    run_reasons: dict[str, int] = msgspec.field(default_factory=dict)
    """Closed positions of this run by reason."""
    lifetime_reasons: dict[str, int] = msgspec.field(default_factory=dict)
    approved: dict[str, int] = msgspec.field(default_factory=dict)
    """Intents approved in this run, by symbol."""
    refused: dict[tuple[str, Refusal], int] = msgspec.field(default_factory=dict)
    """Intents refused in this run, by symbol and reason."""
    doubted: dict[str, int] = msgspec.field(default_factory=dict)
    """Number of positions of this run called done of which too much was left, by symbol."""
    daily: dict[tuple[int, str], Decimal] = msgspec.field(default_factory=dict)
    """Realised PnL by trading day, by symbol and for ``ALL``."""
    days: dict[int, Totals] = msgspec.field(default_factory=dict)
    """Closed positions of each trading day."""
    peaks: dict[int, Decimal] = msgspec.field(default_factory=dict)
    """The highest PnL of each trading day so far, at least 0."""
    streaks: dict[str, Streak] = msgspec.field(default_factory=dict)
    """Streaks of losses by symbol; a symbol whose last result was no loss has none."""
    scatter: dict[str, Scatter] = msgspec.field(default_factory=dict)
    """How widely the results of a symbol scatter, by symbol."""
    failed_returns: dict[tuple[str, Direction], FailedReturns] = msgspec.field(default_factory=dict)
    """By symbol and direction of the entry, where the gap had not come back when the last position was closed."""
    returns: dict[str, tuple[bool, ...]] = msgspec.field(default_factory=dict)
    """By symbol: whether the gap had come back when each of its last positions was closed, oldest first."""
    residue: dict[tuple[str, str], Decimal] = msgspec.field(default_factory=dict)
    """What closed positions left over (negative: are short of), by venue and coin."""
    drift: dict[tuple[int, str, str], Decimal] = msgspec.field(default_factory=dict)
    """By how much round trips have changed what is owned: by span of ``DRIFT_SPAN_MS``, venue and currency. Only
    positions that were closed count, so money that is bound in open ones does not look spent."""
    drift_since_ms: int = 0
    """When the oldest round trip that ``drift`` holds was closed; 0 for none."""

    rounding: dict[tuple[str, str], Decimal] = msgspec.field(default_factory=dict)
    """What the venues' rounding of fills has brought (negative: cost), by venue and currency."""

    def start_run(self) -> None:
        """Begin the counts of a new run."""
        self._journal.keep_fields(self)
        self.run, self.run_reasons = {}, {}
        self.approved, self.refused, self.doubted = {}, {}, {}

    def opened(self, position: Position) -> None:
        """Count an opened position."""
        for table in (self.run, self.lifetime):
            for key in (position.pair, ALL):
                self._journal.set_item(table, key, table.get(key, Totals()).with_entry())

    def drawdown(self, day: int) -> Decimal:
        """Return how far the PnL of a trading day is below its peak, never below 0."""
        return self.peaks.get(day, ZERO) - self.daily.get((day, ALL), ZERO)

    def rounded(self, venue: str, currency: str, amount: Decimal) -> None:
        """Add what a venue's rounding of fills has brought or cost."""
        account = venue, currency
        self._journal.set_item(self.rounding, account, self.rounding.get(account, ZERO) + amount)

    def loss(self, day: int, symbol: str = ALL) -> Decimal:
        """Return the realised loss of a trading day, negative for a gain."""
        return -self.daily.get((day, symbol), ZERO)

    def closed(self, position: Position, home: Market, away: Market, day: int) -> None:
        """Count a position that was closed on trading day ``day``; ``home`` and ``away`` are its markets."""
        assert position.pnl is not None, position.position_id
        assert position.reason is not None, position.position_id
        put = self._journal.set_item
        for table in (self.run, self.lifetime):
            for key in (position.pair, ALL):
                put(table, key, table.get(key, Totals()).with_exit(position))
        for reasons in (self.run_reasons, self.lifetime_reasons):
            put(reasons, position.reason, reasons.get(position.reason, 0) + 1)
        self._count_day(position.pair, position.pnl, day, lambda totals: totals.with_exit(position))
        self._count_streak(position.pair, position.pnl, position.closed_ms)
        self._count_return(position)
        if position.entry_notional:
            bps = float(MONEY_CONTEXT.divide(position.pnl, position.entry_notional)) * 1e4
            put(self.scatter, position.pair, self.scatter.get(position.pair, Scatter()).after(bps))
        flows = position.flows
        for market, left, earned in (
            (home, flows.home_base, flows.home_quote),
            (away, flows.away_base, flows.away_quote),
        ):
            self._drift(market.venue, market.quote, earned, position.closed_ms)
            if left:
                self._drift(market.venue, position.pair, left, position.closed_ms)
                coin = market.venue, position.pair
                put(self.residue, coin, self.residue.get(coin, ZERO) + left)

    def paid_in_other_coins(self, fills: Iterable[Fill], at_ms: int) -> None:
        """Count as drift the fees of ``fills`` that were paid in neither base nor quote."""
        for fill in fills:
            if fill.fee and fill.fee_currency not in (fill.market.base, fill.market.quote):
                self._drift(fill.market.venue, fill.fee_currency, -fill.fee, at_ms)

    def add_beside(self, value: Decimal, day: int) -> None:
        """Count a result of trading day ``day`` that no position brought."""
        for table in (self.run, self.lifetime):
            self._journal.set_item(table, ALL, table.get(ALL, Totals()).with_beside(value))
        self._count_day(ALL, value, day, lambda totals: totals.with_beside(value))

    def drift_per_day(self, now_ms: int) -> tuple[dict[tuple[str, str], Decimal], float]:
        """Return (net change per day by venue and currency, hours of the measurement).

        The window is ``DRIFT_SPANS`` spans long at most, and begins with the oldest round trip that is known.
        """
        oldest = now_ms // DRIFT_SPAN_MS - DRIFT_SPANS + 1
        since_ms = max(self.drift_since_ms, oldest * DRIFT_SPAN_MS)
        if not self.drift_since_ms or now_ms <= since_ms:
            return {}, 0.0
        sums: dict[tuple[str, str], Decimal] = {}
        for (span, venue, currency), change in self.drift.items():
            if span >= oldest:
                sums[venue, currency] = sums.get((venue, currency), ZERO) + change
        # A rate over minutes says nothing about a day: less than an hour counts as one.
        measured_ms = max(now_ms - since_ms, DAY_MS // 24)
        per_day = MONEY_CONTEXT.divide(Decimal(DAY_MS), Decimal(measured_ms))
        return {account: change * per_day for account, change in sums.items() if change}, measured_ms / 3.6e6

    def residue_of(self, coin: str) -> Decimal:
        """Return what closed positions have left of ``coin``, over all venues."""
        return sum((left for (_, base), left in self.residue.items() if base == coin), ZERO)

    def forget_returns(self, symbol: str) -> None:
        """Begin anew with a symbol that a person allowed to trade again."""
        if symbol in self.returns:
            self._journal.drop(self.returns, symbol)
        for key in [key for key in self.failed_returns if key[0] == symbol]:
            self._journal.drop(self.failed_returns, key)

    def count(self, table: dict[str, int], symbol: str) -> None:
        """Add one to a symbol's count in ``approved`` or ``doubted``."""
        self._journal.set_item(table, symbol, table.get(symbol, 0) + 1)

    def count_refusal(self, symbol: str, reason: Refusal) -> None:
        """Count one refused intent."""
        key = symbol, reason
        self._journal.set_item(self.refused, key, self.refused.get(key, 0) + 1)

    def count_refusals(self, counts: Iterable[tuple[str, Refusal, int]]) -> None:
        """Count refusals that were not stored one by one."""
        for symbol, reason, count in counts:
            key = symbol, reason
            self._journal.set_item(self.refused, key, self.refused.get(key, 0) + count)

    def _drift(self, venue: str, currency: str, change: Decimal, at_ms: int) -> None:
        span = at_ms // DRIFT_SPAN_MS
        key = span, venue, currency
        if key not in self.drift:
            for old in [one for one in self.drift if one[0] <= span - DRIFT_SPANS]:
                self._journal.drop(self.drift, old)
            if not self.drift_since_ms:
                self._journal.keep_fields(self)
                self.drift_since_ms = at_ms
        self._journal.set_item(self.drift, key, self.drift.get(key, ZERO) + change)

    def _count_day(self, symbol: str, pnl: Decimal, day: int, count: Callable[[Totals], Totals]) -> None:
        put = self._journal.set_item
        if (day, ALL) not in self.daily:
            self._forget_old_days(day)
        for key in dict.fromkeys((symbol, ALL)):
            put(self.daily, (day, key), self.daily.get((day, key), ZERO) + pnl)
        put(self.days, day, count(self.days.get(day, Totals())))
        put(self.peaks, day, max(self.peaks.get(day, ZERO), self.daily[day, ALL]))

    def _count_streak(self, symbol: str, pnl: Decimal, closed_ms: int) -> None:
        if pnl <= 0:
            before = self.streaks[symbol].losses if symbol in self.streaks else 0
            self._journal.set_item(self.streaks, symbol, Streak(before + 1, closed_ms))
        elif symbol in self.streaks:
            self._journal.drop(self.streaks, symbol)

    def _count_return(self, position: Position) -> None:
        has_returned = position.reason in RETURNED
        if not has_returned and position.reason not in NOT_RETURNED:
            return
        put, key = self._journal.set_item, (position.pair, position.direction)
        put(
            self.returns,
            position.pair,
            (*self.returns.get(position.pair, ()), has_returned)[-RETURNS_KEPT:],
        )
        known = self.failed_returns.get(key)
        if not has_returned:
            exits = known.exits + 1 if known is not None else 1
            put(self.failed_returns, key, FailedReturns(exits, position.closed_ms))
        elif known is not None:
            self._journal.drop(self.failed_returns, key)

    def _forget_old_days(self, today: int) -> None:
        oldest = today - _DAYS_KEPT
        for key in [key for key in self.daily if key[0] <= oldest]:
            self._journal.drop(self.daily, key)
        for day in [day for day in self.days if day <= oldest]:
            self._journal.drop(self.days, day)
            self._journal.drop(self.peaks, day)


class TradingDay(NamedTuple):
    """Is a span of wall time from ``starts_ms`` until before ``ends_ms``."""

    number: int
    """Number of the local date on which it begins, in days since 1970-01-01."""
    starts_ms: int
    ends_ms: int

    @property
    def label(self) -> str:
        """Return the local date on which the day begins."""
        return label_of(self.number)


def label_of(number: int) -> str:
    """Return the date of a trading day's number, as in ``2026-11-21``."""
    return (_EPOCH + timedelta(days=number)).isoformat()


class TradingDays:
    """Divides time into trading days."""

    def __init__(self, starts: str, zone: tzinfo) -> None:
        """Make the calendar. ``starts`` is ``HH:MM`` by the clocks of ``zone``."""
        self._starts = time.fromisoformat(starts)
        self._zone = zone
        self._last = TradingDay(0, 0, 0)

    def day_at(self, at_ms: int) -> TradingDay:
        """Return the trading day that ``at_ms`` is in.

        Where the clock skips the hour of its beginning, a day begins as if it had not; where the clock repeats it,
        at the first time. So each instant is in exactly one day, and days have 23 to 25 hours.
        """
        last = self._last
        if last.starts_ms <= at_ms < last.ends_ms:
            return last
        local = datetime.fromtimestamp(at_ms / 1000, self._zone).date()
        number = (local - _EPOCH).days
        while at_ms < self._start_ms(number):
            number -= 1
        while at_ms >= self._start_ms(number + 1):
            number += 1
        self._last = TradingDay(number, self._start_ms(number), self._start_ms(number + 1))
        return self._last

    def _start_ms(self, number: int) -> int:
        begins = datetime.combine(_EPOCH + timedelta(days=number), self._starts, self._zone)
        since = begins.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        return since // timedelta(milliseconds=1)
