from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.exchanges.binance.filters import OPEN_ORDERS_MAX, Rules, filters_json, rules_of, text8
from arbshard.exchanges.binance.refusals import BinanceRefusal
from arbshard.exchanges.market import RuleFactors, SimListing
from arbshard.exchanges.units import UNIT

RULES = rules_of(SimListing("ABCUSDT", "ABC", "USDT", "", "", UNIT // 100, UNIT // 1000), RuleFactors())
"""Tick 0.01, lot 0.001."""
REFERENCE = Decimal(100)
BY_TYPE: dict[str, Any] = {entry["filterType"]: entry for entry in filters_json(RULES)}


def failure(action: Callable[[], object]) -> str:
    with pytest.raises(BinanceRefusal) as refused:
        action()
    assert (refused.value.code, refused.value.status) == (-1013, 400)
    return refused.value.message.removeprefix("Filter failure: ")


@pytest.mark.parametrize("price", ["50", "100", "99.99", "200"])
def test_prices_that_pass(price: str) -> None:
    RULES.check_price(Decimal(price), REFERENCE)


@pytest.mark.parametrize(
    ("price", "name"),
    [
        ("100.005", "PRICE_FILTER"),
        ("0", "PRICE_FILTER"),
        ("0.001", "PRICE_FILTER"),
        ("1000000.01", "PRICE_FILTER"),
        ("49.99", "PERCENT_PRICE_BY_SIDE"),
        ("200.01", "PERCENT_PRICE_BY_SIDE"),
    ],
)
def test_prices_that_fail(price: str, name: str) -> None:
    assert failure(lambda: RULES.check_price(Decimal(price), REFERENCE)) == name


@pytest.mark.parametrize(
    ("quantity", "is_market", "name"),
    [
        ("0.0001", False, "LOT_SIZE"),
        ("0", True, "LOT_SIZE"),
        ("1.0005", False, "LOT_SIZE"),
        ("900000.001", False, "LOT_SIZE"),
        ("18000.001", True, "MARKET_LOT_SIZE"),
    ],
)
def test_quantities_that_fail(quantity: str, is_market: bool, name: str) -> None:
    assert failure(lambda: RULES.check_quantity(Decimal(quantity), is_market=is_market)) == name


def test_quantities_that_pass() -> None:
    for quantity in ("0.001", "900000"):
        RULES.check_quantity(Decimal(quantity), is_market=False)
    RULES.check_quantity(Decimal(18000), is_market=True)


def test_notional_of_both_kinds() -> None:
    for is_market in (True, False):
        RULES.check_notional(Decimal(5), is_market=is_market)
        assert failure(lambda: RULES.check_notional(Decimal("4.99999999"), is_market=is_market)) == "NOTIONAL"  # noqa: B023 - called at once
    RULES.check_notional(Decimal(9_000_001), is_market=True)
    assert failure(lambda: RULES.check_notional(Decimal(9_000_001), is_market=False)) == "NOTIONAL"


def test_number_of_open_orders() -> None:
    RULES.check_open_orders(OPEN_ORDERS_MAX - 1)
    assert failure(lambda: RULES.check_open_orders(OPEN_ORDERS_MAX)) == "MAX_NUM_ORDERS"


def test_what_is_printed_is_what_is_checked() -> None:
    price, lot, market = BY_TYPE["PRICE_FILTER"], BY_TYPE["LOT_SIZE"], BY_TYPE["MARKET_LOT_SIZE"]
    assert [Decimal(price[name]) for name in ("tickSize", "minPrice", "maxPrice")] == [
        RULES.tick, RULES.tick, RULES.price_max,
    ]  # fmt: skip
    assert [Decimal(lot[name]) for name in ("stepSize", "minQty", "maxQty")] == [
        RULES.lot, RULES.lot, RULES.quantity_max,
    ]  # fmt: skip
    assert Decimal(market["maxQty"]) == RULES.market_quantity_max
    assert Decimal(BY_TYPE["NOTIONAL"]["minNotional"]) == RULES.notional_min
    assert next(iter(BY_TYPE)) == "PRICE_FILTER"


@given(tick=st.sampled_from((1, 10, 1000, UNIT // 100)), rungs=st.integers(1, 10**6), off=st.integers(1, 9))
def test_a_price_passes_exactly_on_the_tick(tick: int, rungs: int, off: int) -> None:
    rules: Rules = rules_of(SimListing("A", "A", "B", "", "", tick, UNIT), RuleFactors())
    price = Decimal(rungs * tick) / UNIT
    rules.check_price(price, price)
    beside = price + Decimal(tick * off) / UNIT / 10
    assert failure(lambda: rules.check_price(beside, beside)) == "PRICE_FILTER"


def test_amounts_have_eight_decimals() -> None:
    assert text8(Decimal("1E+2")) == "100.00000000"
    assert text8(Decimal("0.00000001")) == "0.00000001"
    with pytest.raises(AssertionError):
        text8(Decimal("0.000000001"))
