"""A position's two legs and its worth, in both directions, derived from flows alone."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.model.intent import FxQuote
from arbshard.model.position import Flows

amounts = st.decimals(min_value=-1000, max_value=1000, places=8)


@given(home=amounts, away=amounts, direction=st.sampled_from(["buy_home", "buy_away"]))
def test_legs_of_any_flows(make, home, away, direction):
    position = make.position(direction, flows=Flows(home_base=home, away_base=away))
    long, short = (home, -away) if direction == "buy_home" else (away, -home)
    assert (position.long_base, position.short_base) == (long, short)
    assert position.imbalance == long - short == home + away
    assert position.quantity == max(0, min(long, short))


@pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
def test_balanced_position(make, direction):
    position = make.position(direction, "0.25")
    assert position.long_base == position.short_base == position.quantity == Decimal("0.25")
    assert position.imbalance == 0


@pytest.mark.parametrize(("long", "short", "imbalance"), [("0.3", "0.2", "0.1"), ("0.2", "0.3", "-0.1")])
@pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
def test_lopsided_position(make, direction, long, short, imbalance):
    position = make.position(direction, long, short)
    assert position.imbalance == Decimal(imbalance)
    assert position.quantity == Decimal("0.2")


@pytest.mark.parametrize(
    ("away_quote", "imbalance", "worth"),
    [
        ("100", "0", "140000"),  # 1,000 and 100 USDT sold at the bid
        ("-100", "0", "-138100"),  # bought at the ask
        ("0", "0.5", "51000"),  # left-over base at the mark
        ("0", "-0.5", "-49000"),
    ],
)
def test_value(make, away_quote, imbalance, worth):
    flows = Flows(Decimal(imbalance), Decimal(1000), Decimal(0), Decimal(away_quote))
    position = make.position(flows=flows)
    fx = FxQuote(Decimal(1390), Decimal(1391))
    assert position.value(fx, Decimal(100_000)) == Decimal(worth)


@given(amount=amounts, bid=st.integers(1, 2000), spread=st.integers(0, 100))
def test_fx_takes_the_worse_side(amount, bid, spread):
    fx = FxQuote(Decimal(bid), Decimal(bid + spread))
    assert fx.value(amount) == min(amount * fx.bid, amount * fx.ask)


def test_round_trip_by_hand(make):
    """0.01 BTC: bought at 140,000,000 KRW and sold at 102,000 USDT; then sold and bought back at one price."""
    flows = Flows(
        home_base=Decimal("0.01") - Decimal("0.01"),
        home_quote=Decimal(-1_400_700) + Decimal("1417290.995"),
        away_base=Decimal("-0.01") + Decimal("0.01"),
        away_quote=Decimal("1018.98") - Decimal("1021.021021"),
    )
    position = replace(make.position(flows=flows), state="CLOSED")
    worth = position.value(FxQuote(Decimal(1390), Decimal(1391)), Decimal(141_800_000))
    assert worth == Decimal("16590.995") - Decimal("2.041021") * 1391


def test_order_of_an_intent_by_venue(make):
    intent = make.intent()
    assert intent.order("upbit") is intent.home
    assert intent.order("binance") is intent.away
