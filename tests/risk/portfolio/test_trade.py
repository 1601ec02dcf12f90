"""What is held for an order, and how an intent's orders add up."""

from decimal import Decimal

from arbshard.risk.portfolio.holdings import Trade, hold_for, notional_of, outcome_of
from support import world as w


def test_a_sell_holds_the_coins() -> None:
    intent = w.World().entry(direction="buy_away")
    hold = hold_for(intent.home, w.make_pair("BTC", 1).home)
    assert (hold.venue, hold.currency, hold.amount) == ("upbit", "BTC", Decimal("0.5"))


def test_a_buy_holds_the_money_and_the_fee_taken_in_it() -> None:
    world = w.World()
    pair = world.pairs["BTC"]
    at_home = hold_for(world.entry(direction="buy_home").home, pair.home)
    assert (at_home.currency, at_home.amount) == ("KRW", Decimal(500_000) * Decimal("1.0005"))
    away = hold_for(world.entry(direction="buy_away").away, pair.away)
    assert (away.currency, away.amount) == ("USDT", Decimal(350))  # this fee is taken in the coin


def test_the_notional_is_the_bought_leg_in_reporting_currency() -> None:
    world = w.World()
    assert notional_of(world.entry(direction="buy_home")) == Decimal(500_000)
    assert notional_of(world.entry(direction="buy_away")) == Decimal(350) * w.FX.ask


def test_orders_stand_legs_first() -> None:
    world = w.World()
    intent = world.entry()
    pair = world.pairs["BTC"]
    trade = Trade.begin(intent, (hold_for(intent.home, pair.home),))
    hedge = w.Order(f"{intent.intent_id}-h1", pair.home.market, "sell", Decimal("0.1"), Decimal(1), "hedge")
    trade = trade.extended(hedge, hold_for(hedge, pair.home))
    trade = trade.reported(w.filled(intent.away), None)
    assert [one.order for one in trade.orders] == [intent.home, intent.away, hedge]
    assert [one.state for one in trade.orders] == ["INTENT", "FILLED", "INTENT"]
    assert trade.unfinished() is trade.orders[0]
    assert {hold.client_id for hold in trade.holds} == {intent.home.client_id, hedge.client_id}
    assert trade.result("nobody") is None
    assert trade.find_fill(f"{intent.away.client_id}:0") is not None
    assert trade.find_fill("nothing") is None


def test_an_outcome_knows_what_was_booked() -> None:
    world = w.World()
    intent = world.entry()
    trade = Trade.begin(intent, ()).reported(w.filled(intent.home), None)
    outcome = outcome_of(trade, None)
    assert outcome.knows(w.filled(intent.home))
    assert outcome.knows(w.expired(intent.away))
    assert not outcome.knows(w.filled(intent.away))


def test_an_outcome_knows_the_fills_of_its_own_orders_alone() -> None:
    """A late report of a concluded intent is answered as known only if every fill of it was booked."""
    world = w.World()
    entry = world.entry()
    world.carry_out(entry)
    outcome = world.state.outcomes[entry.intent_id]
    assert outcome.knows(w.filled(entry.home))
    more = w.OrderResult(entry.home, "FILLED", (w.make_fill(entry.home, entry.home.quantity, n=7),))
    assert not outcome.knows(more)
    stranger = world.entry("ETH")
    assert not outcome.knows(w.filled(stranger.home))
