"""Binance's rules of money: commission out of what is received, rounded down to 8 decimals; nothing locked for it.

Implements ``accounts.rules.MoneyRules``.
"""

from decimal import ROUND_DOWN, Decimal

from arbshard.exchanges.accounts.order import Side
from arbshard.exchanges.accounts.rules import FillFee

FEE_RATE = Decimal("0.001")
"""Maker and taker of an ordinary user who does not pay in BNB."""
_STEP = Decimal("0.00000001")


class BinanceMoney:
    """See ``MoneyRules``."""

    dust_is_done = True

    def __init__(self) -> None:
        self.fee_rate = FEE_RATE

    def order_id(self, number: int) -> str:
        """The number."""
        return str(number)

    def trade_id(self, number: int) -> str:
        """The number."""
        return str(number)

    def lock(self, funds: Decimal, rate: Decimal) -> Decimal:  # noqa: ARG002 - the fee is taken from what comes
        """The funds alone."""
        return funds

    def fee(self, side: Side, quantity: Decimal, funds: Decimal, rate: Decimal) -> FillFee:
        """A share of the coins bought, or of the quote sold for."""
        received = quantity if side == "buy" else funds
        return FillFee((received * rate).quantize(_STEP, ROUND_DOWN), in_base=side == "buy")
