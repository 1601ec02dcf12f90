"""When a venue's word can be compared with the ledger."""

import pytest

from arbshard.risk.portfolio.holdings import Trade
from arbshard.risk.reconcile.activity import Activity
from support import world as w


@pytest.fixture
def world():
    return w.World()


@pytest.fixture
def activity(world):
    made = Activity(world.pairs.values())
    made.begin(1000)
    return made


def quiet(activity, venue, at_ms, *trades):
    asked = activity.quiet(venue, at_ms, trades)
    return [one for one in ("KRW", "USDT", "BTC", "ETH", "BNB", "DOGE") if asked(one)]


EVERYTHING = ["KRW", "USDT", "BTC", "ETH", "BNB", "DOGE"]


def test_nothing_has_happened(activity) -> None:
    assert quiet(activity, "binance", 1001) == EVERYTHING
    assert activity.is_before_session(1000)
    assert not activity.is_before_session(1001)


def test_an_open_intent_moves_its_coin_its_money_and_what_fees_are_paid_in(activity, world) -> None:
    trade = Trade.begin(world.entry("BTC"), ())
    assert quiet(activity, "binance", 2000, trade) == ["ETH"]
    assert quiet(activity, "upbit", 2000, trade) == ["ETH"]


def test_what_ended_counts_for_statements_read_before(activity, world) -> None:
    activity.ended(Trade.begin(world.entry("BTC"), ()), 2000)
    assert quiet(activity, "binance", 2000) == ["ETH"]
    assert quiet(activity, "binance", 2001) == EVERYTHING
    assert activity.has_ended_since(("binance", "BTC"), 2000)
    assert not activity.has_ended_since(("binance", "BTC"), 2001)


def test_a_fee_coin_that_is_traded_is_moved_by_every_order() -> None:
    world = w.World(("BTC", "BNB"))
    activity = Activity(world.pairs.values())
    trade = Trade.begin(world.entry("BTC"), ())
    assert "BNB" not in quiet(activity, "binance", 2000, trade)
    assert "BNB" in quiet(activity, "upbit", 2000, trade)  # there it is a coin like any other
