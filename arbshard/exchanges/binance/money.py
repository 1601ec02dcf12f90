"""Implements Binance's rules of money: a commission on what is received, rounded down to 8 decimals.

Nothing is locked for it. This is ``accounts.rules.MoneyRules``.
"""

from decimal import ROUND_DOWN, Decimal

from arbshard.exchanges.accounts.order import Side
from arbshard.exchanges.accounts.rules import FillFee

FEE_RATE = Decimal("0.001")
"""Commission of makers and takers, for an ordinary user who does not pay in BNB."""
_STEP = Decimal("0.00000001")


class BinanceMoney:
    """Computes commissions, locks and ids as Binance does."""

    dust_is_done = True

    def __init__(self) -> None:
        self.fee_rate = FEE_RATE

    def order_id(self, number: int) -> str:
        """Return the number as text."""
        return str(number)

    def trade_id(self, number: int) -> str:
        """Return the number as text."""
        return str(number)

    def lock(self, funds: Decimal, rate: Decimal) -> Decimal:  # noqa: ARG002 - the fee is taken from what comes
        """Return the funds alone."""
        return funds

    def fee(self, side: Side, quantity: Decimal, funds: Decimal, rate: Decimal) -> FillFee:
        """Return a share of the coins that were bought, or of the quote that was received."""
        received = quantity if side == "buy" else funds
        return FillFee((received * rate).quantize(_STEP, ROUND_DOWN), in_base=side == "buy")
