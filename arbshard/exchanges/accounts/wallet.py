"""An account's money at a venue: free and locked per currency, exact. Changed by ``matching`` alone.

Nothing here rounds: callers run inside ``MONEY_CONTEXT``.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from arbshard.model.money import ZERO


class WalletBalance(NamedTuple):
    """One currency as it stands."""

    currency: str
    free: Decimal
    locked: Decimal


class Wallet:
    """Balances by currency. Every method asserts that nothing becomes negative: callers ask ``free`` first."""

    def __init__(self, opening: Mapping[str, Decimal]) -> None:
        """``opening``: free amounts by currency."""
        assert all(amount >= 0 for amount in opening.values()), opening
        self._free = dict(opening)
        self._locked: dict[str, Decimal] = dict.fromkeys(opening, ZERO)
        self._changed: dict[str, None] = {}

    @classmethod
    def restored(cls, balances: Sequence[WalletBalance]) -> "Wallet":
        """A wallet that holds just this, free and locked."""
        wallet = cls({one.currency: one.free for one in balances})
        wallet._locked.update({one.currency: one.locked for one in balances})
        return wallet

    def free(self, currency: str) -> Decimal:
        """What may be spent or locked."""
        return self._free.get(currency, ZERO)

    def locked(self, currency: str) -> Decimal:
        """What open orders hold."""
        return self._locked.get(currency, ZERO)

    def balance(self, currency: str) -> WalletBalance:
        """Both parts of ``currency``."""
        return WalletBalance(currency, self.free(currency), self.locked(currency))

    def balances(self) -> Iterator[WalletBalance]:
        """All currencies ever held, in the order in which they came."""
        return (self.balance(currency) for currency in self._free)

    def lock(self, currency: str, amount: Decimal) -> None:
        """Set ``amount`` aside for an order."""
        self._move(currency, -amount, amount)

    def unlock(self, currency: str, amount: Decimal) -> None:
        """Give ``amount`` of what was set aside back."""
        self._move(currency, amount, -amount)

    def credit(self, currency: str, amount: Decimal) -> None:
        """Receive ``amount``."""
        assert amount >= 0, (currency, amount)
        self._move(currency, amount, ZERO)

    def spend(self, currency: str, amount: Decimal) -> None:
        """Pay ``amount`` out of what an order has set aside."""
        assert amount >= 0, (currency, amount)
        self._move(currency, ZERO, -amount)

    def take_changed(self) -> tuple[WalletBalance, ...]:
        """The currencies that changed since this was last asked, as they are now."""
        changed = tuple(self.balance(currency) for currency in self._changed)
        self._changed.clear()
        return changed

    def _move(self, currency: str, free: Decimal, locked: Decimal) -> None:
        if not free and not locked:
            return
        new_free, new_locked = self.free(currency) + free, self.locked(currency) + locked
        assert new_free >= 0, (currency, new_free)
        assert new_locked >= 0, (currency, new_locked)
        self._free[currency] = new_free
        self._locked[currency] = new_locked
        self._changed[currency] = None
