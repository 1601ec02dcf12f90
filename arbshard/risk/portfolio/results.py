"""What trading has brought: counts, wins, PnL and fees, by run, by trading day and for the ledger's life. Pure.

Part of ``portfolio.PortfolioState``, which tells it of every position opened and closed.
"""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from arbshard.model.money import MONEY_CONTEXT, ZERO
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.journal import Journal
from arbshard.risk.portfolio.scatter import Scatter

DAY_MS = 86_400_000
_DAYS_KEPT = 8

ALL = ""
"""Key of the totals over all symbols."""


def day_of(at_ms: int) -> int:
    """Number of the UTC day that a wall time lies in."""
    return at_ms // DAY_MS


class Totals(msgspec.Struct, frozen=True):
    """Sums over positions. Amounts in reporting currency."""

    entries: int = 0
    """Positions that came to be, also those that were taken back at once."""
    exits: int = 0
    """Positions closed."""
    wins: int = 0
    """Closed with a PnL above 0; all other closed ones are losses."""
    losses: int = 0
    pnl: Decimal = ZERO
    """Of closed positions, all fees paid."""
    fees: Decimal = ZERO
    """Of closed positions."""

    @property
    def win_rate(self) -> float | None:
        """Wins per closed position, 0 to 1; None when none was closed."""
        return self.wins / self.exits if self.exits else None

    def with_entry(self) -> "Totals":
        """One more position."""
        return Totals(self.entries + 1, self.exits, self.wins, self.losses, self.pnl, self.fees)

    def with_exit(self, pnl: Decimal, fees: Decimal) -> "Totals":
        """One more closed position."""
        won = pnl > 0
        return Totals(
            self.entries,
            self.exits + 1,
            self.wins + won,
            self.losses + (not won),
            self.pnl + pnl,
            self.fees + fees,
        )


class Streak(msgspec.Struct, frozen=True):
    """Losses of a symbol in a row."""

    losses: int
    last_ms: int
    """When the last of them was closed."""


class Results:
    """All sums. Changed through the journal of the state that owns it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.run: dict[str, Totals] = {}
        """Of this run, by symbol and for ``ALL``; a restart of risk within it changes nothing."""
        self.lifetime: dict[str, Totals] = {}
        self.run_reasons: dict[str, int] = {}
        """Closed positions of this run by reason."""
        self.lifetime_reasons: dict[str, int] = {}
        self.approved: dict[str, int] = {}
        """Intents approved in this run, by symbol."""
        self.refused: dict[tuple[str, Refusal], int] = {}
        """Intents refused in this run, by symbol and reason."""
        self.doubted: dict[str, int] = {}
        """Positions of this run called done of which too much was left, by symbol."""
        self.daily: dict[tuple[int, str], Decimal] = {}
        """Realised PnL by trading day (``risk.days``), by symbol and for ``ALL``."""
        self.days: dict[int, Totals] = {}
        """Closed positions of each trading day."""
        self.peaks: dict[int, Decimal] = {}
        """The highest that a trading day's PnL has stood, at least 0."""
        self.streaks: dict[str, Streak] = {}
        """By symbol, where the last result was a loss."""
        self.scatter: dict[str, Scatter] = {}
        """By symbol: how wide its results scatter."""
        self.residue: dict[tuple[str, str], Decimal] = {}
        """What closed positions left behind (negative: are short of), by venue and coin."""

    def start_run(self) -> None:
        """A new run has no results yet."""
        for name in ("run", "run_reasons", "approved", "refused", "doubted"):
            self._journal.assign(self, name, {})

    def opened(self, position: Position) -> None:
        """A position came to be."""
        for table in (self.run, self.lifetime):
            for key in (position.pair, ALL):
                self._journal.put(table, key, table.get(key, Totals()).with_entry())

    def drawdown(self, day: int) -> Decimal:
        """How far the PnL of a trading day stands below its peak, never below 0."""
        return self.peaks.get(day, ZERO) - self.daily.get((day, ALL), ZERO)

    def loss(self, day: int, symbol: str = ALL) -> Decimal:
        """Realised loss of a trading day, negative for a gain."""
        return -self.daily.get((day, symbol), ZERO)

    def closed(self, position: Position, home: str, away: str, day: int) -> None:
        """A position was closed on trading day ``day``; ``home`` and ``away`` are its venues."""
        assert position.pnl is not None, position.position_id
        assert position.reason is not None, position.position_id
        put = self._journal.put
        for table in (self.run, self.lifetime):
            for key in (position.pair, ALL):
                put(table, key, table.get(key, Totals()).with_exit(position.pnl, position.fees))
        for reasons in (self.run_reasons, self.lifetime_reasons):
            put(reasons, position.reason, reasons.get(position.reason, 0) + 1)
        self._count_day(position.pair, position.pnl, position.fees, day)
        self._count_streak(position.pair, position.pnl, position.closed_ms)
        if position.entry_notional:
            bps = float(MONEY_CONTEXT.divide(position.pnl, position.entry_notional)) * 1e4
            put(self.scatter, position.pair, self.scatter.get(position.pair, Scatter()).after(bps))
        for venue, left in ((home, position.flows.home_base), (away, position.flows.away_base)):
            if left:
                coin = venue, position.pair
                put(self.residue, coin, self.residue.get(coin, ZERO) + left)

    def residue_of(self, coin: str) -> Decimal:
        """What closed positions have left of ``coin``, over all venues."""
        return sum((left for (_, base), left in self.residue.items() if base == coin), ZERO)

    def count(self, table: dict[str, int], symbol: str) -> None:
        """One more of ``approved`` or ``doubted``."""
        self._journal.put(table, symbol, table.get(symbol, 0) + 1)

    def count_refusal(self, symbol: str, reason: Refusal) -> None:
        """One more intent refused."""
        key = symbol, reason
        self._journal.put(self.refused, key, self.refused.get(key, 0) + 1)

    def count_refusals(self, counts: Iterable[tuple[str, Refusal, int]]) -> None:
        """Refusals that were not counted one by one."""
        for symbol, reason, count in counts:
            key = symbol, reason
            self._journal.put(self.refused, key, self.refused.get(key, 0) + count)

    def _count_day(self, symbol: str, pnl: Decimal, fees: Decimal, day: int) -> None:
        put = self._journal.put
        if (day, ALL) not in self.daily:
            self._forget_old_days(day)
        for key in (symbol, ALL):
            put(self.daily, (day, key), self.daily.get((day, key), ZERO) + pnl)
        put(self.days, day, self.days.get(day, Totals()).with_exit(pnl, fees))
        put(self.peaks, day, max(self.peaks.get(day, ZERO), self.daily[day, ALL]))

    def _count_streak(self, symbol: str, pnl: Decimal, closed_ms: int) -> None:
        if pnl <= 0:
            before = self.streaks[symbol].losses if symbol in self.streaks else 0
            self._journal.put(self.streaks, symbol, Streak(before + 1, closed_ms))
        elif symbol in self.streaks:
            self._journal.drop(self.streaks, symbol)

    def _forget_old_days(self, today: int) -> None:
        oldest = today - _DAYS_KEPT
        for key in [key for key in self.daily if key[0] <= oldest]:
            self._journal.drop(self.daily, key)
        for day in [day for day in self.days if day <= oldest]:
            self._journal.drop(self.days, day)
            self._journal.drop(self.peaks, day)
