"""Holds an account's money at a venue: free and locked per currency, exact. Only ``matching`` changes it.

Nothing here rounds: callers run inside ``MONEY_CONTEXT``.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from arbshard.model.money import ZERO


class WalletBalance(NamedTuple):
    """Holds the balance of one currency."""

    currency: str
    free: Decimal
    locked: Decimal


class Wallet:
    """Holds balances by currency. Every method asserts that nothing becomes negative: callers check
    ``free`` first.
    """

    def __init__(self, opening: Mapping[str, Decimal]) -> None:
        """Begin with ``opening``: free amounts by currency."""
        assert all(amount >= 0 for amount in opening.values()), opening
        self._free = dict(opening)
        self._locked: dict[str, Decimal] = dict.fromkeys(opening, ZERO)
        self._changed: dict[str, None] = {}

    @classmethod
    def restored(cls, balances: Sequence[WalletBalance]) -> "Wallet":
        """Return a wallet that holds exactly ``balances``."""
        wallet = cls({one.currency: one.free for one in balances})
        wallet._locked.update({one.currency: one.locked for one in balances})
        return wallet

    def free(self, currency: str) -> Decimal:
        """Return what may be spent or locked."""
        return self._free.get(currency, ZERO)

    def locked(self, currency: str) -> Decimal:
        """Return what open orders have locked."""
        return self._locked.get(currency, ZERO)

    def balance(self, currency: str) -> WalletBalance:
        """Return both parts of ``currency``."""
        return WalletBalance(currency, self.free(currency), self.locked(currency))

    def balances(self) -> Iterator[WalletBalance]:
        """Return the balances of all currencies that were ever held, in the order in which they came."""
        return (self.balance(currency) for currency in self._free)

    def lock(self, currency: str, amount: Decimal) -> None:
        """Lock ``amount`` for an order."""
        self._move(currency, -amount, amount)

    def unlock(self, currency: str, amount: Decimal) -> None:
        """Unlock ``amount`` of what was locked."""
        self._move(currency, amount, -amount)

    def credit(self, currency: str, amount: Decimal) -> None:
        """Receive ``amount``."""
        assert amount >= 0, (currency, amount)
        self._move(currency, amount, ZERO)

    def spend(self, currency: str, amount: Decimal) -> None:
        """Spend ``amount`` of what an order has locked."""
        assert amount >= 0, (currency, amount)
        self._move(currency, ZERO, -amount)

    def take_changed(self) -> tuple[WalletBalance, ...]:
        """Return the balances that changed since the last call, as they are now."""
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
