"""What orders may have moved between the moment a venue read a balance and now."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.model.order import OrderResult
from arbshard.risk.limits.guard import holds_for
from arbshard.risk.portfolio.holdings import Balances, Journal, Trade
from arbshard.risk.reconcile.activity import EXACT, Activity, Span
from support import world as w


@pytest.fixture
def world():
    return w.World()


@pytest.fixture
def activity(world):
    made = Activity(world.pairs.values())
    made.begin(1000)
    return made


@pytest.fixture
def balances():
    made = Balances()
    made.use(Journal())
    for venue, currency, amount in (
        (w.HOME, "KRW", 100),
        (w.AWAY, "USDT", 100),
        (w.AWAY, "BNB", 5),
        (w.AWAY, "DOGE", 7),
    ):
        made.add(venue, currency, Decimal(amount))
    return made


def opened(world, direction="buy_away"):
    intent = world.entry("BTC", direction)
    return Trade.begin(intent, holds_for(intent, world.pairs["BTC"]))


def test_nothing_has_happened(activity, balances) -> None:
    assert activity.spans(w.AWAY, 1001, (), balances) == {}
    assert activity.is_too_old(w.AWAY, 1000)
    assert not activity.is_too_old(w.AWAY, 1001)


def test_orders_under_way_are_bounded_by_what_is_held_for_them(activity, world, balances) -> None:
    trade = opened(world)  # buys 0.5 for 350 USDT, sells 0.5 for 500,000 KRW at least
    assert activity.spans(w.HOME, 2000, (trade,), balances) == {
        "BTC": Span(Decimal("-0.5"), Decimal(0)),
        "KRW": Span(Decimal(0), Decimal(750_000)),
    }
    assert activity.spans(w.AWAY, 2000, (trade,), balances) == {
        "USDT": Span(Decimal("-353.5"), Decimal(0)),  # an account may pay a fee above the configured one
        "BTC": Span(Decimal(0), Decimal("0.5")),
        "BNB": Span(Decimal(-5), Decimal(0), is_vague=True),  # any order may pay its fee in it
        "DOGE": Span(Decimal(-7), Decimal(0), is_vague=True),  # or in what is not traded
    }


def test_a_buy_may_cost_a_fee_above_the_configured_one(activity, world, balances) -> None:
    trade = opened(world, "buy_home")
    fees = world.pairs["BTC"].home.fees
    order = trade.intent.home
    paid = order.quantity * order.limit * (1 + 2 * fees.buy_bps / 10_000)
    span = activity.spans(w.HOME, 2000, (trade,), balances)["KRW"]
    assert trade.hold(order.client_id).amount < paid  # so the hold alone does not explain it
    assert span.nearest(-paid) == -paid


def test_an_order_that_has_ended_moves_nothing_more(activity, world, balances) -> None:
    trade = opened(world)
    for order in (trade.intent.home, trade.intent.away):
        trade = trade.reported(OrderResult(order, "EXPIRED"), None)
    assert activity.spans(w.HOME, 2000, (trade,), balances) == {}
    assert activity.spans(w.AWAY, 2000, (trade,), balances) == {}


def test_what_was_booked_since_may_be_stated_or_not(activity, world, balances) -> None:
    sold = w.make_fill(opened(world).intent.home)
    activity.booked((sold,), 2000)
    paid = Decimal(500_000) - 250
    assert activity.spans(w.HOME, 2000, (), balances) == {
        "BTC": Span(Decimal(0), Decimal("0.5")),
        "KRW": Span(-paid, Decimal(0)),
    }
    assert activity.spans(w.HOME, 2001, (), balances) == {}
    assert activity.spans(w.AWAY, 2000, (), balances) == {}


def test_a_statement_that_is_older_than_what_is_remembered_is_not_compared(activity, world) -> None:
    fill = w.make_fill(opened(world).intent.home)
    for number in range(6000):
        activity.booked((fill,), 2000 + number)
    assert activity.is_too_old(w.HOME, 2500)
    assert not activity.is_too_old(w.HOME, 4000)
    assert not activity.is_too_old(w.AWAY, 2500)


def test_what_no_statement_will_be_compared_with_is_forgotten(activity, world, balances) -> None:
    fill = w.make_fill(opened(world).intent.home)
    for number in range(6000):
        activity.booked((fill,), 2000 + number)
        activity.forget_before(w.HOME, 2000 + number)
    assert not activity.is_too_old(w.HOME, 2500)
    assert activity.spans(w.HOME, 0, (), balances)["BTC"] == Span(Decimal(0), Decimal("0.5"))


def test_strays_are_looked_for_by_when_intents_ended(activity, world) -> None:
    activity.ended(opened(world), 2000)
    assert activity.has_ended_since((w.AWAY, "BTC"), 2000)
    assert not activity.has_ended_since((w.AWAY, "BTC"), 2001)


def test_a_fee_coin_that_is_traded_is_unbounded_too() -> None:
    world = w.World(("BTC", "BNB"))
    activity = Activity(world.pairs.values())
    balances = world.state.balances
    trade = opened(world)
    assert activity.spans(w.AWAY, 2000, (trade,), balances)["BNB"].is_vague
    assert "BNB" not in activity.spans(w.HOME, 2000, (trade,), balances)  # there it is a coin like any other


@pytest.mark.parametrize(("difference", "explained"), [(-9, -3), (-3, -3), (-1, -1), (0, 0), (2, 2), (5, 2)])
def test_the_nearest_explanation(difference, explained) -> None:
    assert Span(Decimal(-3), Decimal(2)).nearest(Decimal(difference)) == explained
    assert EXACT.nearest(Decimal(difference)) == 0


def test_rounding_grows_with_the_fills_since_both_agreed(activity, world) -> None:
    account, unit = (w.HOME, "KRW"), Decimal("1e-8")
    assert activity.rounding(account, unit, 1000) == 1000 * unit  # nothing is known of before this session
    activity.agreed(account)
    assert activity.rounding(account, unit, 1000) == 0
    fill = w.make_fill(opened(world).intent.home)
    for number in range(1, 4):
        activity.booked((replace(fill, fill_id=str(number)),), 2000)
        turnover = number * (Decimal(500_000) - 250)
        assert activity.rounding(account, unit, 1000) == number * unit + turnover * Decimal("1e-15")
    activity.agreed(account)
    assert activity.rounding(account, unit, 1000) == 0
