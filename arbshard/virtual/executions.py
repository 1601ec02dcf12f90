"""Records what the simulated exchanges have executed, and calculates how each execution changes an account.

The record outlives every process of the system, and the arithmetic here is the oracle's own: nothing of it is taken
from what the system reports about a fill. The embedded exchanges define which venue takes a buyer's fee in the coin
that was bought; all other fees are taken in the quote currency.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

from arbshard.config import Config
from arbshard.exchanges.embedded import TAKES_COIN

_TEN_THOUSAND = Decimal(10_000)
_KEPT = 20_000
"""Largest number of executions in the record. Those of intents that end are removed one by one."""


class VenueFee(NamedTuple):
    """Holds the fees that a venue charges."""

    buy_bps: Decimal
    sell_bps: Decimal
    takes_coin: bool


class Execution(NamedTuple):
    """Is one execution as the exchange has recorded it."""

    client_id: str
    holder: str
    """The process that had sent the order."""
    venue: str
    symbol: str
    base: str
    quote: str
    side: str
    quantity: Decimal
    price: Decimal
    is_late: bool = False
    """Whether the exchange reports it only after the order's end."""
    fee: Decimal | None = None
    """Fee that the exchange took, where it keeps accounts; None where it follows from the exchange's rates."""
    fee_currency: str = ""
    trade_id: str = ""
    """The exchange's own id of the execution."""

    @property
    def fill_id(self) -> str:
        """Return the id that the system has to give to the fill."""
        return f"{self.venue}:{self.symbol}:{self.trade_id}"


class BalanceChange(NamedTuple):
    """Is the change of an account by an execution, fee included."""

    base: Decimal
    quote: Decimal
    fee: Decimal
    fee_currency: str


def fees_of(config: Config) -> dict[str, VenueFee]:
    """Return the fees that each venue charges in this run, by its name."""
    sections = {name: config.venues.get(name) for name in TAKES_COIN}
    return {
        name: VenueFee(section.buy_fee_bps, section.sell_fee_bps, TAKES_COIN[name])
        for name, section in sections.items()
    }


class Executions:
    """Holds the exchanges' own records of executions."""

    def __init__(self, fees: dict[str, VenueFee]) -> None:
        self.fees = fees
        self._by_fill: dict[str, Execution] = {}
        self._of_order: dict[str, dict[str, None]] = {}

    def happened(self, fill_id: str, execution: Execution) -> None:
        """Record an execution."""
        self._by_fill[fill_id] = execution
        self._of_order.setdefault(execution.client_id, {})[fill_id] = None
        if len(self._by_fill) > _KEPT:
            self.forget((next(iter(self._of_order)),))

    def get(self, fill_id: str) -> Execution | None:
        """Return the execution with this fill id, or None."""
        return self._by_fill.get(fill_id)

    def of_order(self, client_id: str) -> dict[str, Execution]:
        """Return all executions of an order, by fill id."""
        return {fill_id: self._by_fill[fill_id] for fill_id in self._of_order.get(client_id, ())}

    def of_account(self, venue: str, base: str) -> Iterator[tuple[str, Execution]]:
        """Return the executions of a coin on a venue that belong to intents under way."""
        for fill_id, execution in self._by_fill.items():
            if (execution.venue, execution.base) == (venue, base):
                yield fill_id, execution

    def in_quote(self, venue: str, quote: str) -> Iterator[tuple[str, Execution]]:
        """Return the executions against a currency on a venue that belong to intents under way."""
        for fill_id, execution in self._by_fill.items():
            if (execution.venue, execution.quote) == (venue, quote):
                yield fill_id, execution

    def forget(self, client_ids: Iterable[str]) -> None:
        """Drop the executions of these orders: their intent has ended."""
        for client_id in client_ids:
            for fill_id in self._of_order.pop(client_id, ()):
                del self._by_fill[fill_id]

    def change(self, execution: Execution) -> BalanceChange:
        """Return how ``execution`` changes the account of its venue."""
        fee = self.fees[execution.venue]
        amount = execution.quantity * execution.price
        if execution.fee is not None:
            return _recorded(execution, amount, execution.fee)
        if execution.side == "sell":
            taken = amount * fee.sell_bps / _TEN_THOUSAND
            return BalanceChange(-execution.quantity, amount - taken, taken, execution.quote)
        if fee.takes_coin:
            taken = execution.quantity * fee.buy_bps / _TEN_THOUSAND
            return BalanceChange(execution.quantity - taken, -amount, taken, execution.base)
        taken = amount * fee.buy_bps / _TEN_THOUSAND
        return BalanceChange(execution.quantity, -amount - taken, taken, execution.quote)

    def unexpected_fee(self, execution: Execution) -> Decimal:
        """Return what the venue took beyond its configured rate, in quote."""
        taken, usual = self.change(execution), self.change(execution._replace(fee=None))
        difference = taken.fee - usual.fee
        return difference * execution.price if taken.fee_currency == execution.base else difference


def _recorded(execution: Execution, amount: Decimal, fee: Decimal) -> BalanceChange:
    """Return the change with the fee that the exchange has recorded."""
    sign = 1 if execution.side == "buy" else -1
    base, quote = sign * execution.quantity, -sign * amount
    if execution.fee_currency == execution.base:
        base -= fee
    else:
        quote -= fee
    return BalanceChange(base, quote, fee, execution.fee_currency)
