from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from arbshard.exchanges.units import fixed8, plain

units = st.integers(0, 10**20)


@given(units)
def test_both_texts_say_exactly_the_amount(amount: int) -> None:
    assert Decimal(plain(amount)) == Decimal(fixed8(amount)) == Decimal(amount) / 10**8


@given(units)
def test_plain_has_no_exponent_and_no_trailing_zero(amount: int) -> None:
    text = plain(amount)
    assert "e" not in text
    assert "." not in text or not text.endswith(("0", "."))


def test_fixed_has_eight_decimals() -> None:
    assert fixed8(1) == "0.00000001"
    assert fixed8(60_000 * 10**8) == "60000.00000000"
    assert plain(1_450_000) == "0.0145"
    assert plain(137_002_000 * 10**8) == "137002000"
