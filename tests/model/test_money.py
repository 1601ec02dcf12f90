"""Exact money: rounding, and the way of a venue's text through a float and back."""

from decimal import Decimal, InvalidOperation, getcontext, localcontext
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.model.money import (
    MONEY_CONTEXT,
    ceil_to,
    exact,
    floor_to,
    plain,
    typed_amount,
    use_money_context,
)

amounts = st.decimals(min_value=0, max_value=10**15, places=8)
steps = st.sampled_from(
    [Decimal(text) for text in ("0.00000001", "0.00001", "0.01", "0.5", "1", "5", "1000")]
)


@given(value=amounts, step=steps)
def test_floor_and_ceil_are_the_multiples_around(value, step):
    down, up = floor_to(value, step), ceil_to(value, step)
    assert down <= value <= up
    assert value - down < step
    assert up - value < step
    assert down % step == up % step == 0
    assert (down == up) == (value % step == 0)


@given(value=st.decimals(min_value=-1000, max_value=0, places=8), step=steps)
def test_below_zero_floor_is_further_down(value, step):
    assert floor_to(value, step) <= value <= ceil_to(value, step)


@given(value=amounts, step=steps)
def test_rounding_does_not_depend_on_the_current_context(value, step):
    with localcontext() as context:
        context.prec = 6
        rounded = floor_to(value, step), ceil_to(value, step)
    assert rounded == (floor_to(value, step), ceil_to(value, step))


@pytest.mark.parametrize("step", ["0", "-1"])
def test_step_must_be_positive(step):
    with pytest.raises(AssertionError):
        floor_to(Decimal(1), Decimal(step))
    with pytest.raises(AssertionError):
        ceil_to(Decimal(1), Decimal(step))


@given(digits=st.integers(1, 10**15 - 1), places=st.integers(0, 12))
def test_venue_text_survives_the_float(digits, places):
    """Up to 15 significant digits, as prices and sizes have."""
    text = f"{Decimal(digits).scaleb(-places):f}"
    assert exact(float(text)) == Decimal(text)


@given(value=st.decimals(min_value=-(10**15), max_value=10**15, places=8))
def test_plain_text_is_the_same_number_without_exponent_or_trailing_zeros(value):
    text = plain(value)
    assert Decimal(text) == value
    assert "e" not in text.lower()
    assert "." not in text or not text.endswith(("0", "."))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.00000000", "0"), ("-0", "0"), ("1E+6", "1000000"), ("100", "100"), ("1.50", "1.5"),
        ("1E-8", "0.00000001"), ("-12.00", "-12"), ("0E-10", "0"),
    ],
)  # fmt: skip
def test_plain(value, text):
    assert plain(Decimal(value)) == text


@given(
    quantity=st.decimals(min_value=0, max_value=10**9, places=8),
    price=st.decimals(min_value=0, max_value=10**9, places=8),
    bps=st.decimals(min_value=0, max_value=100, places=3),
    fx=st.decimals(min_value=1000, max_value=2000, places=2),
)
def test_products_of_money_are_never_rounded(quantity, price, bps, fx):
    """As in quantity x price x fee x FX, in the context that every process uses."""
    value = quantity * price * bps / 10_000 * fx
    with localcontext() as context:
        context.prec = 200
        assert value == quantity * price * bps / 10_000 * fx


def test_context_is_set_for_the_thread_that_asks():
    seen = []

    def work():
        before = getcontext().prec
        use_money_context()
        seen.extend((before, getcontext().prec))

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [28, 50]
    assert getcontext() is not MONEY_CONTEXT  # a copy: nobody can change it for all


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("20000", "20000"),
        ("1.5", "1.5"),
        ("20,000", "20000"),
        (" 1,234,567.25 ", "1234567.25"),
        ("1e3", "1000"),
    ],
)
def test_an_amount_is_read_as_people_write_it(text, amount):
    assert typed_amount(text) == Decimal(amount)


@pytest.mark.parametrize(
    "text", ["1,5", "0,25", "1,50", "12,34.5", "1,0000", ",5", "1.000,5", "1,000,5", "abc", ""]
)
def test_a_comma_that_may_be_a_decimal_point_is_refused(text):
    with pytest.raises(InvalidOperation):
        typed_amount(text)
