"""Implements Upbit's rules of money: fees in KRW, added to a buy and taken from a sale; exact, never rounded.

This is ``accounts.rules.MoneyRules``. The formulas are those of real orders' reserved, remaining and paid fees.
"""

import uuid
from decimal import Decimal
from hashlib import blake2b

from arbshard.exchanges.accounts.order import Side
from arbshard.exchanges.accounts.rules import FillFee

FEE_RATE = Decimal("0.0005")
"""Fee of KRW markets, for makers and takers."""


class UpbitMoney:
    """Computes fees, locks and ids as Upbit does."""

    dust_is_done = False

    def __init__(self) -> None:
        self.fee_rate = FEE_RATE

    def order_id(self, number: int) -> str:
        """Return a UUID that depends on ``number`` alone."""
        return uuid_of("order", number)

    def trade_id(self, number: int) -> str:
        """Return a UUID that depends on ``number`` alone."""
        return uuid_of("trade", number)

    def lock(self, funds: Decimal, rate: Decimal) -> Decimal:
        """Return the funds and their fee."""
        return funds + funds * rate

    def fee(self, side: Side, quantity: Decimal, funds: Decimal, rate: Decimal) -> FillFee:  # noqa: ARG002
        """Return a share of the funds, in quote."""
        return FillFee(funds * rate, in_base=False)


def uuid_of(kind: str, number: int) -> str:
    """Return a UUID that looks random, and is always the same for the same arguments."""
    digest = blake2b(f"{kind} {number}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))
