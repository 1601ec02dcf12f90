"""Balances in one currency."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from arbshard.model.valuation import worth_of

MARKS = {"KRW": Decimal(1), "USDT": Decimal(1450), "BTC": Decimal(146_000_000)}
AMOUNTS = st.decimals(-10_000, 10_000, places=8)


def test_each_at_its_mark():
    holdings = [
        ("KRW", Decimal(5)),
        ("USDT", Decimal("2.5")),
        ("BTC", Decimal("0.001")),
        ("BTC", Decimal("0.002")),
    ]
    assert worth_of(holdings, MARKS) == (Decimal(5) + Decimal(3625) + Decimal(438_000), ())


def test_what_has_no_mark_is_named_and_not_counted():
    holdings = [("KRW", Decimal(5)), ("XYZ", Decimal(3)), ("ABC", Decimal(1)), ("NIL", Decimal(0))]
    assert worth_of(holdings, MARKS) == (Decimal(5), ("ABC", "XYZ"))


@given(st.lists(st.tuples(st.sampled_from(sorted(MARKS)), AMOUNTS), max_size=20))
def test_the_whole_is_the_sum_of_its_parts(holdings):
    whole = worth_of(holdings, MARKS).amount
    assert whole == sum((worth_of([one], MARKS).amount for one in holdings), Decimal(0))
