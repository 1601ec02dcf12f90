"""Upbit's rules of money: fees in KRW on top of what is bought and out of what is sold; exact, never rounded.

Implements ``accounts.rules.MoneyRules``. The formulas are those of real orders' reserved, remaining and paid fees.
"""

import uuid
from decimal import Decimal
from hashlib import blake2b

from arbshard.exchanges.accounts.order import Side
from arbshard.exchanges.accounts.rules import FillFee

FEE_RATE = Decimal("0.0005")
"""Of KRW markets, maker and taker."""


class UpbitMoney:
    """See ``MoneyRules``."""

    dust_is_done = False

    def __init__(self) -> None:
        self.fee_rate = FEE_RATE

    def order_id(self, number: int) -> str:
        """A UUID that depends on ``number`` alone."""
        return uuid_of("order", number)

    def trade_id(self, number: int) -> str:
        """A UUID that depends on ``number`` alone."""
        return uuid_of("trade", number)

    def lock(self, funds: Decimal, rate: Decimal) -> Decimal:
        """The funds and their fee."""
        return funds + funds * rate

    def fee(self, side: Side, quantity: Decimal, funds: Decimal, rate: Decimal) -> FillFee:  # noqa: ARG002
        """A share of the funds, in quote."""
        return FillFee(funds * rate, in_base=False)


def uuid_of(kind: str, number: int) -> str:
    """The same UUID for the same thing, looking like a random one."""
    digest = blake2b(f"{kind} {number}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))
