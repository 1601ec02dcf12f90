"""Trading rules, and finding one's way between a pair and its markets."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.model.market import MarketRules, TickBand, opposite, reverse

BANDS = (
    TickBand(Decimal(1000), Decimal(5)),
    TickBand(Decimal(100), Decimal(1)),
    TickBand(Decimal(0), Decimal("0.1")),
)
RULES = MarketRules(BANDS, Decimal("0.01"), Decimal("0.05"), Decimal(10), Decimal(5000))


@pytest.mark.parametrize(
    ("price", "tick"), [("5000", 5), ("1000", 5), ("999.9", 1), ("100", 1), ("99.99", "0.1"), ("0", "0.1")]
)
def test_tick_of_the_band(price, tick):
    assert RULES.tick_at(Decimal(price)) == Decimal(tick)


@given(price=st.decimals(min_value=1, max_value=10_000, places=4))
def test_limit_is_never_worse_for_us(price):
    buy, sell = RULES.round_price(price, "buy"), RULES.round_price(price, "sell")
    assert buy <= price <= sell
    tick = RULES.tick_at(price)
    assert price - buy < tick
    assert sell - price < tick
    assert buy % tick == sell % tick == 0


@given(quantity=st.decimals(min_value=0, max_value=1000, places=8))
def test_quantity_down_to_the_lot(quantity):
    rounded = RULES.round_quantity(quantity)
    assert rounded <= quantity < rounded + RULES.lot
    assert rounded % RULES.lot == 0


@pytest.mark.parametrize(
    ("price", "quantity", "accepted"),
    [
        ("100", "0.1", True),  # 10: the least
        ("99.9", "0.1", False),
        ("100", "50", True),  # 5000: the most
        ("100", "50.01", False),
        ("1000", "0.05", True),
        ("1000", "0.04", False),  # enough money, too few coins
        ("1000", "0", False),
    ],
)
def test_minimum_and_maximum(price, quantity, accepted):
    assert RULES.accepts(Decimal(price), Decimal(quantity)) is accepted


def test_largest_quantity():
    rules = replace(RULES, quantity_max=Decimal("2.005"))
    assert rules.accepts(Decimal(100), Decimal("2.005"))
    assert not rules.accepts(Decimal(100), Decimal("2.006"))
    assert rules.round_quantity(Decimal(50)) == Decimal("2.005") // RULES.lot * RULES.lot


@pytest.mark.parametrize("quantity", ["0", "-1"])
def test_nothing_is_no_order_even_without_minimums(quantity):
    free = replace(RULES, quantity_min=Decimal(0), notional_min=Decimal(0))
    assert not free.accepts(Decimal(100), Decimal(quantity))
    assert free.accepts(Decimal(100), Decimal("0.01"))


def test_opposites():
    assert (opposite("buy"), opposite("sell")) == ("sell", "buy")
    assert (reverse("buy_home"), reverse("buy_away")) == ("buy_away", "buy_home")


def test_leg_on_a_venue(make):
    assert make.pair.leg("upbit") is make.home
    assert make.pair.leg("binance") is make.away
    with pytest.raises(KeyError):
        make.pair.leg("kraken")


@pytest.mark.parametrize("name", ["BTC", "btc", "KRW-BTC", "krw-btc", "BTCUSDT", "btcusdt"])
def test_answers_to_its_names(make, name):
    assert make.pair.answers_to(name)


@pytest.mark.parametrize("name", ["", "BT", "USDT", "KRW", "BTCKRW", "ETH"])
def test_does_not_answer_to_others(make, name):
    assert not make.pair.answers_to(name)


def test_market_as_text(make):
    assert str(make.home.market) == "upbit:KRW-BTC"
