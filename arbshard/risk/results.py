"""What trading has brought: counts, wins, PnL and fees, by session and for the ledger's life. Pure.

Part of ``portfolio.PortfolioState``, which tells it of every position opened and closed.
"""

from decimal import Decimal

import msgspec

from arbshard.model.money import ZERO
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.risk.journal import Journal

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


class Results:
    """All sums. Changed through the journal of the state that owns it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.session: dict[str, Totals] = {}
        """Since the last start, by symbol and for ``ALL``."""
        self.lifetime: dict[str, Totals] = {}
        self.session_reasons: dict[str, int] = {}
        """Closed positions by reason, since the last start."""
        self.lifetime_reasons: dict[str, int] = {}
        self.approved: dict[str, int] = {}
        """Intents approved since the last start, by symbol."""
        self.refused: dict[tuple[str, Refusal], int] = {}
        """Intents refused since the last start, by symbol and reason."""
        self.doubted: dict[str, int] = {}
        """Positions called done of which too much was left, since the last start, by symbol."""
        self.daily: dict[tuple[int, str], Decimal] = {}
        """Realised PnL by UTC day, by symbol and for ``ALL``."""
        self.residue: dict[tuple[str, str], Decimal] = {}
        """What closed positions left behind (negative: are short of), by venue and coin."""

    def start_session(self) -> None:
        """A new session has no results yet."""
        for name in ("session", "session_reasons", "approved", "refused", "doubted"):
            self._journal.assign(self, name, {})

    def opened(self, position: Position) -> None:
        """A position came to be."""
        for table in (self.session, self.lifetime):
            for key in (position.pair, ALL):
                self._journal.put(table, key, table.get(key, Totals()).with_entry())

    def closed(self, position: Position, home: str, away: str) -> None:
        """A position was closed; ``home`` and ``away`` are its venues."""
        assert position.pnl is not None, position.position_id
        assert position.reason is not None, position.position_id
        put = self._journal.put
        for table in (self.session, self.lifetime):
            for key in (position.pair, ALL):
                put(table, key, table.get(key, Totals()).with_exit(position.pnl, position.fees))
        for reasons in (self.session_reasons, self.lifetime_reasons):
            put(reasons, position.reason, reasons.get(position.reason, 0) + 1)
        day = day_of(position.closed_ms)
        if (day, ALL) not in self.daily:
            self._forget_old_days(day)
        for key in (position.pair, ALL):
            put(self.daily, (day, key), self.daily.get((day, key), ZERO) + position.pnl)
        for venue, left in ((home, position.flows.home_base), (away, position.flows.away_base)):
            if left:
                coin = venue, position.pair
                put(self.residue, coin, self.residue.get(coin, ZERO) + left)

    def count(self, table: dict[str, int], symbol: str) -> None:
        """One more of ``approved`` or ``doubted``."""
        self._journal.put(table, symbol, table.get(symbol, 0) + 1)

    def count_refusal(self, symbol: str, reason: Refusal) -> None:
        """One more intent refused."""
        key = symbol, reason
        self._journal.put(self.refused, key, self.refused.get(key, 0) + 1)

    def _forget_old_days(self, today: int) -> None:
        for key in [key for key in self.daily if key[0] <= today - _DAYS_KEPT]:
            self._journal.drop(self.daily, key)
