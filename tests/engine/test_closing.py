"""What closing now would bring: the same money as the fills at those prices, in both directions."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.engine.closing import close_now, gap_bps
from arbshard.engine.edge import find_edge, terms_of
from arbshard.engine.engine import held_of
from arbshard.model.intent import FxQuote
from arbshard.model.market import reverse
from arbshard.model.money import BPS, exact
from arbshard.model.position import Flows

DIRECTIONS = ["buy_home", "buy_away"]


def sold(flows_base, flows_quote, quantity, levels, fee_bps):
    """Balances after selling ``quantity`` level by level, the fee taken in money."""
    for price, size in levels:
        take = min(quantity, exact(size))
        flows_base -= take
        flows_quote += take * exact(price) * (1 - fee_bps / BPS)
        quantity -= take
    assert quantity == 0
    return flows_base, flows_quote


def bought(flows_base, flows_quote, quantity, levels, fee_bps, *, in_base):
    """Balances after buying until ``quantity`` has arrived, the fee taken in the coin or in money."""
    kept = 1 - fee_bps / BPS if in_base else Decimal(1)
    gross = quantity / kept
    for price, size in levels:
        take = min(gross, exact(size))
        flows_base += take * kept
        flows_quote -= take * exact(price) * (1 if in_base else 1 + fee_bps / BPS)
        gross -= take
    assert gross == 0
    return flows_base, flows_quote


@given(
    direction=st.sampled_from(DIRECTIONS),
    quantity=st.integers(1, 8000).map(lambda n: Decimal(n) * Decimal("0.00001")),
    gap=st.floats(-200, 200),
    bid=st.integers(1300, 1450),
    spread=st.integers(0, 3),
)
def test_pnl_is_that_of_the_fills(make, direction, quantity, gap, bid, spread):
    home, away = make.home_book(gap), make.away_book()
    fx = FxQuote(Decimal(bid), Decimal(bid + spread))
    position = make.position(direction, quantity)
    flows = position.flows
    if direction == "buy_home":
        base, money = sold(flows.home_base, flows.home_quote, quantity, home.bids, Decimal(5))
        away_base, away_money = bought(
            flows.away_base, flows.away_quote, quantity, away.asks, Decimal(10), in_base=True
        )
    else:
        base, money = bought(
            flows.home_base, flows.home_quote, quantity, home.asks, Decimal(5), in_base=False
        )
        away_base, away_money = sold(flows.away_base, flows.away_quote, quantity, away.bids, Decimal(10))
    closed = replace(position, flows=Flows(base, money, away_base, away_money))
    pnl = float(closed.value(fx, exact(home.mid)))
    closing = close_now(
        held_of(position),
        home,
        away,
        (float(fx.bid), float(fx.ask)),
        terms_of(make.pair, reverse(direction)),
    )
    assert closing.is_whole
    assert closing.pnl == pytest.approx(pnl, rel=1e-6, abs=1e-6 * float(position.entry_notional))
    assert closing.net_bps == pytest.approx(closing.pnl / float(position.entry_notional) * 1e4)


@pytest.mark.parametrize("direction", DIRECTIONS)
@given(quantity=st.integers(1, 8000), gap=st.floats(-100, 100))
def test_in_and_out_at_the_same_books_loses_the_costs(make, direction, quantity, gap):
    """Fees of 5 and 10 bps twice, the FX spread and the books' own spreads: never a gain, never much more."""
    home, away = make.home_book(gap), make.away_book()
    buys_home = direction == "buy_home"
    terms = terms_of(make.pair, direction)
    edge = find_edge(
        home.asks if buys_home else away.asks,
        away.bids if buys_home else home.bids,
        terms,
        make.fx[0] if buys_home else make.fx[1],
        entry_bps=-1000.0,
        min_edge_bps=-1000.0,
        cost_max=1e12,
        sell_max=quantity * 1e-5,
    )
    assert edge is not None
    sell, buy = exact(edge.sell_quantity), exact(edge.buy_quantity)
    received = sell * exact(edge.sell_price) * exact(terms.proceeds_factor)
    paid = buy * exact(edge.buy_price) * exact(terms.cost_factor)
    arrived = buy * exact(terms.base_kept)
    flows = Flows(arrived, -paid, -sell, received) if buys_home else Flows(-sell, received, arrived, -paid)
    position = make.position(direction, flows=flows, entry_notional=exact(edge.cost))
    closing = close_now(held_of(position), home, away, make.fx, terms_of(make.pair, reverse(direction)))
    assert closing.is_whole
    # 30 bps of fees, 7.2 bps of FX; the books' spreads and up to one lot of 0.00001 on top.
    lot_bps = 0.00001 * 146_000_000 / edge.cost * 1e4
    assert -60 - 2 * lot_bps < closing.net_bps < -30 + lot_bps


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_shallow_book_is_not_whole(make, direction):
    held = held_of(make.position(direction, "0.05"))
    back = terms_of(make.pair, reverse(direction))
    deep_home, deep_away = make.home_book(size=0.02), make.away_book(size=0.02)
    thin_home, thin_away = make.home_book(size=0.002), make.away_book(size=0.002)
    assert close_now(held, deep_home, deep_away, make.fx, back).is_whole
    assert not close_now(held, thin_home, deep_away, make.fx, back).is_whole
    assert not close_now(held, deep_home, thin_away, make.fx, back).is_whole


def test_what_a_thin_book_lacks_is_valued_at_its_last_price(make):
    """Ten coins, two levels of one coin: 100 + 9 * 50 less the fee, and not ten times the average (749.6)."""
    book = make.book(make.home, [(100.0, 1.0), (50.0, 1.0)], [(101.0, 100.0)])
    away = make.book(make.away, [(0.1, 100.0)], [(0.101, 100.0)])
    held = held_of(make.position())._replace(
        long_base=10.0, short_base=0.0, home_quote=0.0, away_quote=0.0, entry_notional=1000.0
    )
    closing = close_now(held, book, away, make.fx, terms_of(make.pair, "buy_away"))
    assert closing.pnl == pytest.approx(549.7, abs=0.05)
    assert not closing.is_whole
    assert closing.sell_worst == 50.0


def test_quantities_and_worst_prices_of_closing_a_position_bought_at_home(make):
    home = make.book(make.home, [(146_000_000.0, 0.0005), (145_990_000.0, 1.0)], [(146_001_000.0, 1.0)])
    away = make.book(make.away, [(104_999.0, 1.0)], [(105_000.0, 0.0005), (105_010.0, 1.0)])
    held = held_of(make.position("buy_home", "0.001"))
    closing = close_now(held, home, away, make.fx, terms_of(make.pair, "buy_away"))
    assert closing.sell_quantity == 0.001
    assert closing.buy_quantity == pytest.approx(0.001 / 0.999)  # enough for the fee in the coin
    assert closing.sell_worst == 145_990_000.0
    assert closing.buy_worst == 105_010.0


def test_quantities_and_worst_prices_of_closing_a_position_bought_away(make):
    home = make.book(make.home, [(146_000_000.0, 1.0)], [(146_001_000.0, 0.0005), (146_011_000.0, 1.0)])
    away = make.book(make.away, [(104_999.0, 0.0005), (104_990.0, 1.0)], [(105_000.0, 1.0)])
    held = held_of(make.position("buy_away", "0.001"))
    closing = close_now(held, home, away, make.fx, terms_of(make.pair, "buy_home"))
    assert closing.sell_quantity == closing.buy_quantity == 0.001
    assert closing.sell_worst == 104_990.0
    assert closing.buy_worst == 146_011_000.0


@pytest.mark.parametrize(("away_quote", "rate"), [(100.0, 1390.0), (-100.0, 1391.0)])
def test_away_money_is_valued_at_the_worse_side_of_the_fx(make, away_quote, rate):
    """All base is gone: what is left is the money."""
    held = held_of(make.position())._replace(
        long_base=0.0, short_base=0.0, home_quote=0.0, away_quote=away_quote, entry_notional=1_000_000.0
    )
    closing = close_now(held, make.home_book(), make.away_book(), make.fx, terms_of(make.pair, "buy_away"))
    assert closing.pnl == pytest.approx(away_quote * rate)


def test_position_without_notional_has_no_bps(make):
    held = held_of(make.position())._replace(entry_notional=0.0)
    closing = close_now(held, make.home_book(), make.away_book(), make.fx, terms_of(make.pair, "buy_away"))
    assert closing.net_bps == 0.0


@pytest.mark.parametrize("gap", [-120.0, 0.0, 80.0])
def test_gap_has_the_sign_of_home(make, gap):
    assert gap_bps(make.home_book(gap), make.away_book(), make.fx) == pytest.approx(gap, abs=0.1)
