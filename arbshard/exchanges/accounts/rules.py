"""Defines what differs between the venues' handling of money: fees, locks, ids. Each venue implements it.

``matching`` calls it; amounts are Decimal, inside ``MONEY_CONTEXT``.
"""

from decimal import Decimal
from typing import NamedTuple, Protocol

from arbshard.exchanges.accounts.order import Side


class FillFee(NamedTuple):
    """Describes the fee of a fill."""

    amount: Decimal
    in_base: bool
    """Whether it is taken from the coin that was bought; otherwise it is paid in quote."""


class MoneyRules(Protocol):
    """Defines a venue's rules."""

    @property
    def dust_is_done(self) -> bool:
        """Return whether an order by funds is done, not canceled, when what is left buys less than one lot."""
        ...

    def order_id(self, number: int) -> str:
        """Return the venue's id of its order ``number``."""
        ...

    def trade_id(self, number: int) -> str:
        """Return the venue's id of its trade ``number``."""
        ...

    fee_rate: Decimal
    """The fee of a new order, as a share; it may change while the exchange runs. An order keeps its own."""

    def lock(self, funds: Decimal, rate: Decimal) -> Decimal:
        """Return the quote that is locked in order to spend ``funds``; it is proportional to them."""
        ...

    def fee(self, side: Side, quantity: Decimal, funds: Decimal, rate: Decimal) -> FillFee:
        """Return the fee of one fill, maker or taker, of an order with the fee ``rate``."""
        ...
