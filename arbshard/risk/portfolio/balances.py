"""What we own and what of it is set aside, by venue and currency. Pure; part of ``portfolio``."""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from arbshard.ledger.events import Amounts
from arbshard.model.money import ZERO
from arbshard.risk.portfolio.journal import Journal

Account = tuple[str, str]
"""(venue, currency)."""


class Balance(msgspec.Struct, frozen=True):
    """One currency on one venue."""

    total: Decimal = ZERO
    held: Decimal = ZERO
    """Set aside for orders that may still spend it."""

    @property
    def available(self) -> Decimal:
        """What a new order may spend; never below 0."""
        return max(ZERO, self.total - self.held)


_NOTHING = Balance()


class Balances:
    """All balances. Changed through the journal of the state that owns them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.table: dict[Account, Balance] = {}

    def get(self, venue: str, currency: str) -> Balance:
        """A balance; zero where there never was one."""
        return self.table.get((venue, currency), _NOTHING)

    def __contains__(self, account: Account) -> bool:
        return account in self.table

    def items(self) -> Iterator[tuple[Account, Balance]]:
        """Every balance that ever was."""
        yield from self.table.items()

    def totals(self) -> Amounts:
        """(venue, currency, total) of every balance, sorted."""
        return tuple((*account, balance.total) for account, balance in sorted(self.table.items()))

    def add(self, venue: str, currency: str, amount: Decimal) -> None:
        """Own ``amount`` more (negative: less)."""
        old = self.get(venue, currency)
        self._journal.put(self.table, (venue, currency), Balance(old.total + amount, old.held))

    def hold(self, venue: str, currency: str, amount: Decimal) -> None:
        """Set ``amount`` more aside (negative: release it)."""
        old = self.get(venue, currency)
        held = old.held + amount
        assert held >= 0, (venue, currency, held)
        self._journal.put(self.table, (venue, currency), Balance(old.total, held))
