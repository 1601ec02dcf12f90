"""The edge at arrival: the formula of ``engine.edge`` over fills in place of books."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.engine.edge import edge_at, terms_of
from arbshard.model.intent import FxQuote, Intent
from arbshard.model.market import opposite
from arbshard.model.money import MONEY_CONTEXT
from arbshard.model.order import Order
from arbshard.report.arrival import edge_at_arrival
from support import world as w

PAIR = w.make_pair("BTC", 1)
prices = st.integers(600_000, 1_400_000).map(Decimal)
shares = st.integers(1, 1000).map(lambda n: Decimal(n) / 1000)


def entry(direction, quantity, home_price, away_price, fx=w.FX):
    """An entry as ``engine.edge`` would size it, and the edge that it has at these prices."""
    home_is_bought = direction == "buy_home"
    rate = float(fx.bid if home_is_bought else fx.ask)
    home, away = ((float(home_price), 1e9),), ((float(away_price), 1e9),)
    asks, bids = (home, away) if home_is_bought else (away, home)
    edge = edge_at(float(quantity), asks, bids, terms_of(PAIR, direction), rate)
    assert edge is not None
    bought, sold = Decimal(repr(round(edge.buy_quantity, 8))), Decimal(repr(round(edge.sell_quantity, 8)))
    sizes = (bought, sold) if home_is_bought else (sold, bought)
    side = "buy" if home_is_bought else "sell"
    intent = Intent(
        *("s1-0-1-1", "entry", "BTC", direction, "s1-0-1-1"),
        Order("h0", PAIR.home.market, side, sizes[0], home_price),
        Order("a0", PAIR.away.market, opposite(side), sizes[1], away_price),
        *("net_edge", edge.net_bps, fx, w.NOW_MS),
    )
    return intent, edge.net_bps


@st.composite
def entries(draw):
    away = draw(prices) / Decimal(1400)
    return entry(
        draw(st.sampled_from(["buy_home", "buy_away"])),
        draw(st.integers(2, 50_000)) / Decimal(10_000),
        draw(prices),
        away.quantize(Decimal("0.0001")),
    )


def fills_of(intent, *, home=Decimal(1), away=Decimal(1)):
    legs = ((intent.home, home), (intent.away, away))
    return [w.make_fill(order, order.quantity * share) for order, share in legs if share]


@given(entries())
def test_whole_fills_at_the_promised_prices_have_the_promised_edge(made):
    intent, promised = made
    assert float(edge_at_arrival(intent, fills_of(intent))) == pytest.approx(promised, abs=1e-6)


@given(entries(), shares, shares)
def test_only_what_both_legs_filled_counts(made, home, away):
    intent, promised = made
    found = edge_at_arrival(intent, fills_of(intent, home=home, away=away))
    assert float(found) == pytest.approx(promised, abs=1e-6)


@given(entries(), st.lists(shares, min_size=1, max_size=5))
def test_an_order_may_fill_in_pieces(made, parts):
    intent, _ = made
    total = sum(parts)
    pieces = [
        w.make_fill(order, MONEY_CONTEXT.divide(order.quantity * part, total), n=n)
        for order in (intent.home, intent.away)
        for n, part in enumerate(parts)
    ]
    assert float(edge_at_arrival(intent, pieces)) == pytest.approx(
        float(edge_at_arrival(intent, fills_of(intent))), abs=1e-9
    )


@given(entries(), st.sampled_from(["home", "away"]), st.integers(1, 500))
def test_a_worse_price_of_either_leg_costs_its_difference(made, leg, bps):
    intent, promised = made
    home, away = fills_of(intent)
    hit = home if leg == "home" else away
    factor = 1 + Decimal(bps if hit.side == "buy" else -bps) / 10_000
    worse = w.make_fill(intent.order(hit.market.venue), price=hit.price * factor)
    found = edge_at_arrival(intent, [worse, away if leg == "home" else home])
    assert found < edge_at_arrival(intent, [home, away])
    rate = 1 / float(factor) if hit.side == "buy" else float(factor)
    assert float(found) == pytest.approx(((1 + promised / 1e4) * rate - 1) * 1e4, abs=1e-6)


@given(entries())
def test_a_higher_fee_than_planned_costs_itself(made):
    intent, _ = made
    fills = fills_of(intent)
    dearer = [replace(fill, fee=fill.fee * 2) for fill in fills]
    lost = edge_at_arrival(intent, fills) - edge_at_arrival(intent, dearer)
    # 5 bps at home and 10 away, of amounts that the edge makes unequal by a factor between 1/3 and 3.
    assert Decimal(15) / 4 < lost < Decimal(15) * 4


@given(entries())
def test_an_unwind_is_no_part_of_the_edge(made):
    intent, _ = made
    fills = fills_of(intent)
    back = Order("h1", intent.home.market, opposite(intent.home.side), Decimal(1), Decimal(1), "unwind")
    assert edge_at_arrival(intent, [*fills, w.make_fill(back)]) == edge_at_arrival(intent, fills)


@given(entries(), st.sampled_from(["home", "away"]))
def test_an_entry_of_one_leg_has_no_edge(made, leg):
    intent, _ = made
    assert edge_at_arrival(intent, fills_of(intent, **{leg: Decimal(0)})) is None
    assert edge_at_arrival(intent, []) is None


def test_fees_in_other_coins_count_with_what_they_are_worth():
    """1,000,000 KRW are paid, and the fees of 1,000 KRW in BNB are ten basis points of it."""
    intent, _ = entry(
        "buy_home", Decimal(1), Decimal(1_000_000), Decimal(750), FxQuote(Decimal(1400), Decimal(1400))
    )
    home, away = (replace(fill, fee=Decimal(0)) for fill in fills_of(intent))
    assert edge_at_arrival(intent, [home, away]) == 500
    paid_in_bnb = replace(away, fee=Decimal("0.001"), fee_currency="BNB")
    assert edge_at_arrival(intent, [home, paid_in_bnb], Decimal(1000)) == 490
