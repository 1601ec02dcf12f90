"""Holds what the ledger knows of equity: the high-water mark and the last valuation of what is open. Pure.

Equity is the result of trading: what was realised since the ledger began, and what closing all open positions would
bring. Deposits, withdrawals and the price of the inventory do not enter it. ``EquityState`` is part of
``state.PortfolioState`` and changes by events alone; ``risk.valuation`` holds the present figures.
"""

from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal

import msgspec

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import EquityMarked, Resumed
from arbshard.model.money import MONEY_CONTEXT, ZERO
from arbshard.risk.portfolio.holdings import Part

_CENT = Decimal("0.01")
_DAYS_OF_WEEK = 7
_MONDAY = 3
"""Day 0, 1970-01-01, was a Thursday: so many days after a Monday."""


def week_of(day: int) -> int:
    """Return the number of the ISO week, Monday to Sunday, that a trading day belongs to."""
    return (day + _MONDAY) // _DAYS_OF_WEEK


def first_day_of(week: int) -> int:
    """Return the number of the trading day that is the Monday of ``week``."""
    return week * _DAYS_OF_WEEK - _MONDAY


def to_cents(amount: Decimal) -> Decimal:
    """Round ``amount`` up to two places, as a valuation, which is an estimate, is stored."""
    return amount.quantize(_CENT, ROUND_CEILING, MONEY_CONTEXT)


class EquityState(Part):
    """Holds the last valuation that was stored. Amounts are in reporting currency."""

    high_water: Decimal = ZERO
    """The highest equity so far; it falls only when a person accepts a drawdown."""
    equity: Decimal = ZERO
    unrealised: Decimal = ZERO
    day: int = 0
    """Number of the trading day of the last valuation."""
    day_unrealised: Decimal = ZERO
    """What was unrealised when that day began."""
    week_unrealised: Decimal = ZERO
    """What was unrealised when the week of that day began."""
    marks: tuple[tuple[str, Decimal, int], ...] = ()
    """The marks as in ``EquityMarked``: valuation begins with them after a restart."""
    marked_ms: int = 0
    accepted: dict[str, int] = msgspec.field(default_factory=dict)
    """How often a person released the pair of an open position though it had lost too much, by position."""

    def mark(self, event: EquityMarked, realised: Decimal) -> None:
        """Apply a valuation. Raises ``LedgerDamaged`` when it contradicts what was ``realised``, or itself."""
        if event.equity != to_cents(realised + event.unrealised):
            raise LedgerDamaged(
                f"equity is stated as {event.equity}, realised {realised} and unrealised {event.unrealised}"
            )
        if event.high_water < self.high_water:
            raise LedgerDamaged(f"the high-water mark fell to {event.high_water} from {self.high_water}")
        self._journal.keep_fields(self)
        self.high_water, self.equity, self.unrealised = event.high_water, event.equity, event.unrealised
        self.day, self.day_unrealised = event.day, event.day_unrealised
        self.week_unrealised = event.week_unrealised
        self.marks, self.marked_ms = event.marks, event.at_ms

    def reach(self, equity: Decimal) -> None:
        """Raise the high-water mark to ``equity`` if it is higher."""
        if equity > self.high_water:
            self._journal.keep_fields(self)
            self.high_water = equity

    def accept_losses(self, position_ids: Iterable[str]) -> None:
        """Note that a person released a pair that was set apart for the loss of these positions."""
        for position_id in position_ids:
            self._journal.set_item(self.accepted, position_id, self.accepted.get(position_id, 0) + 1)

    def forget(self, position_id: str) -> None:
        """Drop what is kept of a position that was closed."""
        if position_id in self.accepted:
            self._journal.drop(self.accepted, position_id)

    def resumed(self, event: Resumed) -> None:
        """Set the high-water mark anew where the person accepted a drawdown."""
        if event.high_water is not None:
            self._journal.keep_fields(self)
            self.high_water = event.high_water
