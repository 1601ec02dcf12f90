from decimal import Decimal

import pytest

from arbshard.exchanges.accounts.order import Side
from arbshard.exchanges.binance.money import BinanceMoney


@pytest.mark.parametrize(
    ("side", "quantity", "funds", "fee", "in_base"),
    [
        ("buy", "0.001", "60.001", "0.000001", True),
        ("sell", "0.001", "60.001", "0.060001", False),
        ("buy", "0.00001999", "1", "0.00000001", True),
        ("sell", "1", "0.00000999", "0", False),
    ],
)
def test_commission_is_taken_from_what_is_received_and_rounded_down(
    side: Side, quantity: str, funds: str, fee: str, in_base: bool
) -> None:
    money = BinanceMoney()
    taken = money.fee(side, Decimal(quantity), Decimal(funds), money.fee_rate)
    assert taken == (Decimal(fee), in_base)


def test_nothing_is_locked_for_commission() -> None:
    assert BinanceMoney().lock(Decimal("850.7613"), Decimal("0.001")) == Decimal("850.7613")
