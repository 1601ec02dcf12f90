"""Queues customers' limit orders that wait in one market, best first. ``matching`` keeps one per such market."""

from bisect import bisect_left, insort
from typing import NamedTuple

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.order import SimOrder
from arbshard.exchanges.accounts.taking import units_of


class RestingOrder(NamedTuple):
    """Holds an order in its queue. Entries are sorted by price, then by age: ``number`` never repeats."""

    rank: int
    """Price of a sell, or minus the price of a buy, in units of 1e-8."""
    number: int
    account: TradingAccount
    order: SimOrder


class Resting:
    """Holds both queues of a market."""

    def __init__(self) -> None:
        self.buys: list[RestingOrder] = []
        self.sells: list[RestingOrder] = []

    def __bool__(self) -> bool:
        return bool(self.buys or self.sells)

    def add(self, account: TradingAccount, order: SimOrder) -> None:
        """Add ``order``, which has a price."""
        insort(self._queue(order), _waiting(account, order))

    def remove(self, account: TradingAccount, order: SimOrder) -> None:
        """Remove ``order``, which waits here."""
        queue, entry = self._queue(order), _waiting(account, order)
        index = bisect_left(queue, entry)
        assert queue[index].order is order, order.id
        del queue[index]

    def _queue(self, order: SimOrder) -> list[RestingOrder]:
        return self.buys if order.side == "buy" else self.sells


def _waiting(account: TradingAccount, order: SimOrder) -> RestingOrder:
    assert order.price is not None, order.id
    rank = units_of(order.price)
    return RestingOrder(-rank if order.side == "buy" else rank, order.number, account, order)
