"""The edge against a slow exact calculation, and its promises one by one."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.engine.edge import Terms, edge_at, find_edge, floor_lot, terms_of, top_edge_bps, walk
from support import edge_oracle as oracle

ANY_AVERAGE = -9_000.0
"""An average that no trade of these tests falls below."""
NO_LIMITS = {"entry_bps": ANY_AVERAGE, "cost_max": 1e15, "sell_max": 1e9}
AWKWARD = (0.1, 0.2, 0.3, 1 / 3, 0.7, 1e-5, 0.00003, 0.00007, 1.1, 2.675)


@st.composite
def sides(draw, *, falling):
    """One side of a book, best first."""
    price = draw(st.integers(9_980, 10_200) if falling else st.integers(9_850, 10_020))  # mostly a gap
    levels = []
    for _ in range(draw(st.integers(1, 6))):
        size = draw(st.integers(1, 100_000).map(lambda n: n * 1e-5) | st.sampled_from(AWKWARD))
        levels.append((price / 100, size))
        price += draw(st.integers(1, 40)) * (-1 if falling else 1)
    return tuple(levels)


@st.composite
def all_terms(draw):
    fee = draw(st.sampled_from([0.0, 0.0005, 0.001, 0.01]))
    in_base = draw(st.booleans())
    return Terms(
        base_kept=1 - fee if in_base else 1.0,
        cost_factor=1.0 if in_base else 1 + fee,
        proceeds_factor=1 - draw(st.sampled_from([0.0, 0.0005, 0.001])),
        buy_lot=draw(st.sampled_from([1e-5, 1e-3, 0.01])),
        sell_lot=draw(st.sampled_from([1e-8, 1e-5, 1e-3])),
        buy_is_home=draw(st.booleans()),
    )


@st.composite
def cases(draw):
    """Two books quoted so far apart as the FX says, and the limits to stay within."""
    terms = draw(all_terms())
    fx = draw(st.sampled_from([1.0, 1390.0, 0.00072, 1391.37]))
    asks, bids = draw(sides(falling=False)), draw(sides(falling=True))
    if terms.buy_is_home:
        asks = tuple((price * fx, size) for price, size in asks)
    else:
        bids = tuple((price * fx, size) for price, size in bids)
    cost_max = draw(st.floats(5.0, 500.0)) * fx
    sell_max = draw(st.floats(0.05, 3.0))
    return asks, bids, terms, fx, draw(st.sampled_from([-20.0, 0.0, 10.0, 50.0])), cost_max, sell_max


def found(case):
    asks, bids, terms, fx, min_edge_bps, cost_max, sell_max = case
    return find_edge(
        asks,
        bids,
        terms,
        fx,
        entry_bps=ANY_AVERAGE,
        min_edge_bps=min_edge_bps,
        cost_max=cost_max,
        sell_max=sell_max,
    )


@given(case=cases())
def test_quantity_is_the_exact_one(case):
    asks, bids, terms, fx, min_edge_bps, cost_max, sell_max = case
    edge = found(case)
    # Floats may fall on either side of a threshold that is hit exactly; no further.
    least, most = (
        oracle.best_quantity(
            asks,
            bids,
            terms,
            fx,
            min_edge_bps=min_edge_bps - sign * 1e-7,
            cost_max=cost_max,
            sell_max=sell_max,
        )
        * (1 + sign * Fraction(1, 10**9))
        for sign in (-1, 1)
    )
    lot = max(terms.buy_lot, terms.sell_lot) if terms.base_kept == 1.0 else terms.buy_lot
    if edge is None:
        buy = oracle.lots(least, lot)
        sell = oracle.lots(buy * Fraction(terms.base_kept) * (1 - Fraction(1, 10**9)), terms.sell_lot)
        assert buy == 0 or sell == 0
        return
    bought = Fraction(edge.buy_quantity)
    nearly = bought * Fraction(1, 10**9)
    assert oracle.lots(least, lot) - nearly <= bought <= oracle.lots(most, lot) + nearly


@given(case=cases())
def test_net_bps_is_the_exact_one(case):
    asks, bids, terms, fx, *_ = case
    edge = found(case)
    assume(edge is not None)
    lot = max(terms.buy_lot, terms.sell_lot) if terms.base_kept == 1.0 else terms.buy_lot
    buy = round(edge.buy_quantity / lot) * Fraction(str(lot))
    sell = round(edge.sell_quantity / terms.sell_lot) * Fraction(str(terms.sell_lot))
    buy, sell = min(buy, oracle.depth_of(asks)), min(sell, oracle.depth_of(bids))  # float dust of the sizes
    assert edge.net_bps == pytest.approx(float(oracle.net_bps(asks, bids, terms, fx, buy, sell)), abs=1e-5)
    cost, _ = oracle.rates(terms, fx)
    assert edge.cost == pytest.approx(float(oracle.total(asks, buy) * cost), rel=1e-9)
    assert edge.buy_price == pytest.approx(float(oracle.total(asks, buy) / buy), rel=1e-9)
    assert edge.sell_price == pytest.approx(float(oracle.total(bids, sell) / sell), rel=1e-9)
    # Without fees: the whole gross quantity at the average prices, at the same FX.
    rate = Fraction(fx) if terms.buy_is_home else 1 / Fraction(fx)
    gross = (oracle.total(bids, sell) / sell) / (oracle.total(asks, buy) / buy) * rate - 1
    assert edge.gross_bps == pytest.approx(float(gross * 10_000), abs=1e-5)


@given(case=cases())
def test_stays_within_books_money_and_coins(case):
    asks, bids, terms, _, _, cost_max, sell_max = case
    edge = found(case)
    assume(edge is not None)
    dust = 1 + 1e-9
    assert 0 < edge.buy_quantity <= float(oracle.depth_of(asks)) * dust
    assert 0 < edge.sell_quantity <= float(oracle.depth_of(bids)) * dust
    assert edge.cost <= cost_max * dust
    assert edge.sell_quantity <= sell_max * dust
    assert edge.sell_quantity <= edge.buy_quantity * terms.base_kept * dust  # never sells more than arrives


@given(case=cases())
def test_last_unit_clears_and_next_does_not(case):
    asks, bids, terms, fx, min_edge_bps, *_ = case
    edge = find_edge(
        asks, bids, terms, fx, entry_bps=ANY_AVERAGE, min_edge_bps=min_edge_bps, cost_max=1e18, sell_max=1e12
    )
    assume(edge is not None)
    lot = max(terms.buy_lot, terms.sell_lot) if terms.base_kept == 1.0 else terms.buy_lot
    bought = Fraction(edge.buy_quantity)
    last = oracle.unit_edge_bps(asks, bids, terms, fx, bought * (1 - Fraction(1, 10**9)))
    assert last is not None
    assert last >= min_edge_bps - 1e-6
    beyond = oracle.unit_edge_bps(
        asks, bids, terms, fx, (bought + Fraction(str(lot))) * (1 + Fraction(1, 10**9))
    )
    assert beyond is None or beyond <= min_edge_bps + 1e-6


@st.composite
def few_lots(draw):
    """Two books of at most some hundred lots together, so that each quantity can be tried."""
    lot, lots = 0.01, st.integers(1, 40)
    fee = draw(st.sampled_from([0.0, 0.001]))
    in_base = draw(st.booleans())
    terms = Terms(
        base_kept=1 - fee if in_base else 1.0,
        cost_factor=1.0 if in_base else 1 + fee,
        proceeds_factor=1 - draw(st.sampled_from([0.0, 0.0005])),
        buy_lot=lot,
        sell_lot=1e-8 if in_base else draw(st.sampled_from([lot, 1e-8])),  # the lots of today's venues
        buy_is_home=draw(st.booleans()),
    )
    books = []
    for worse in (1, -1):
        price, levels = 100.0 - worse * draw(st.integers(0, 60)) / 100, []
        for _ in range(draw(st.integers(1, 5))):
            levels.append((price, draw(lots) * lot))
            price += worse * draw(st.integers(1, 40)) / 100
        books.append(tuple(levels))
    entry_bps = draw(st.floats(-20.0, 60.0))
    return *books, terms, entry_bps, entry_bps - draw(st.sampled_from([0.0, 5.0, 20.0, 200.0]))


@given(case=few_lots())
def test_largest_number_of_lots_whose_average_clears(case):
    """Every number of lots is tried: the largest that may be bought is found, and nothing when there is none."""
    asks, bids, terms, entry_bps, min_edge_bps = case
    edge = find_edge(
        asks, bids, terms, 1.0, entry_bps=entry_bps, min_edge_bps=min_edge_bps, cost_max=1e9, sell_max=1e9
    )
    depth = min(oracle.depth_of(asks), oracle.depth_of(bids) / Fraction(terms.base_kept))
    best = {}
    for sign in (-1, 1):  # a float may fall on either side of a threshold that is hit exactly
        slack = sign * 1e-6
        best[sign] = 0.0
        for lots in range(1, int(depth / Fraction(1, 100) * (1 + Fraction(1, 10**9))) + 1):
            quantity = Fraction(lots, 100)
            last = oracle.unit_edge_bps(asks, bids, terms, 1.0, quantity * (1 - Fraction(1, 10**9)))
            tried = edge_at(float(quantity), asks, bids, terms, 1.0)
            assert last is not None
            assert tried is not None
            if last >= min_edge_bps + slack and tried.net_bps >= entry_bps + slack:
                best[sign] = float(quantity)
    bought = edge.buy_quantity if edge is not None else 0.0
    assert best[1] - 1e-9 <= bought <= best[-1] + 1e-9


def test_units_at_the_top_pay_for_dearer_ones(make):
    """Judged by ``min_edge_bps`` alone the walk took all and found the whole too poor: nothing was bought."""
    terms = terms_of(make.pair, "buy_home")
    asks = ((140_000_000.0, 0.0012), (140_300_000.0, 0.02))
    bids = ((101_350.0, 1.0),)
    of_the_top, of_all = (edge_at(size, asks, bids, terms, 1390.0) for size in (0.0012, 0.0212))
    assert of_the_top.net_bps == pytest.approx(47.5, abs=0.1)
    assert of_all.net_bps < 30
    edge = find_edge(
        asks, bids, terms, 1390.0, entry_bps=30.0, min_edge_bps=20.0, cost_max=1e15, sell_max=1e9
    )
    assert edge is not None
    assert edge.net_bps == pytest.approx(30.0, abs=0.3)
    assert 0.0012 < edge.buy_quantity < 0.0212


@given(case=cases())
def test_limits_are_the_last_prices_that_were_needed(case):
    """The worst prices become order limits: one level too deep would be a trade nobody decided on."""
    asks, bids, *_ = case
    edge = found(case)
    assume(edge is not None)
    just_before = 1 - Fraction(1, 10**9)
    assert edge.buy_worst == float(oracle.price_at(asks, Fraction(edge.buy_quantity) * just_before))
    assert edge.sell_worst == float(oracle.price_at(bids, Fraction(edge.sell_quantity) * just_before))


def top_of(asks, bids, terms, fx):
    return top_edge_bps(asks[0][0], bids[0][0], terms, fx)


@given(
    case=cases(),
    worse=st.integers(0, 5),
    by=st.floats(0.0001, 0.02),
    what=st.sampled_from(["ask", "bid", "size"]),
)
def test_worse_book_is_never_better(case, worse, by, what):
    asks, bids, terms, fx, min_edge_bps, cost_max, sell_max = case
    if what == "bid":
        bids = tuple(
            sorted(((p * (1 - by) if n >= worse else p, s) for n, (p, s) in enumerate(bids)), reverse=True)
        )
    elif what == "ask":
        asks = tuple((p * (1 + by) if n >= worse else p, s) for n, (p, s) in enumerate(asks))
    else:
        asks = tuple((p, s * (1 - by)) for p, s in asks)
    worsened = found((asks, bids, terms, fx, min_edge_bps, cost_max, sell_max))
    before = found(case)
    if worsened is None:
        return
    assert before is not None
    assert worsened.buy_quantity <= before.buy_quantity * (1 + 1e-9)
    assert top_of(asks, bids, terms, fx) <= top_of(*case[:4]) + 1e-9

    # What is earned above the hurdle cannot grow either, but for the lot that rounding took off.
    def above(edge):
        return edge.cost * (edge.net_bps - min_edge_bps) / 10_000

    one_lot = terms.sell_lot * case[1][0][0] * (fx if terms.buy_is_home else 1.0)
    assert above(worsened) <= above(before) + one_lot + 1e-9 * before.cost


@given(case=cases(), factor=st.sampled_from([0.5, 2.0, 1024.0]))
def test_fx_and_home_prices_scale_together(case, factor):
    """Another reporting unit changes no decision: no rate can have been taken as 1 in silence."""
    asks, bids, terms, fx, min_edge_bps, cost_max, sell_max = case
    home = tuple((p * factor, s) for p, s in (asks if terms.buy_is_home else bids))
    scaled = find_edge(
        home if terms.buy_is_home else asks,
        bids if terms.buy_is_home else home,
        terms,
        fx * factor,
        entry_bps=ANY_AVERAGE,
        min_edge_bps=min_edge_bps,
        cost_max=cost_max * factor,
        sell_max=sell_max,
    )
    before = found(case)
    assert (scaled is None) == (before is None)
    if before is not None and scaled is not None:
        assert scaled.buy_quantity == before.buy_quantity
        assert scaled.net_bps == pytest.approx(before.net_bps, abs=1e-6)
        assert scaled.cost == pytest.approx(before.cost * factor)


@pytest.mark.parametrize("buy_is_home", [True, False])
def test_top_edge_is_the_first_unit_of_the_oracle(buy_is_home):
    terms = Terms(0.999, 1.0, 0.9995, 1e-5, 1e-8, buy_is_home)
    asks, bids = ((100.0, 1.0),), ((0.08, 1.0),)
    for fx in (1200.0, 1300.0, 0.0008):
        expected = oracle.unit_edge_bps(asks, bids, terms, fx, Fraction(0))
        assert top_of(asks, bids, terms, fx) == pytest.approx(float(expected))
    # A dearer USDT makes selling for USDT better and buying with USDT worse.
    rises = top_of(asks, bids, terms, 1300.0) > top_of(asks, bids, terms, 1200.0)
    assert rises is buy_is_home


def test_terms_of_both_directions(make):
    buy_home, buy_away = terms_of(make.pair, "buy_home"), terms_of(make.pair, "buy_away")
    assert buy_home == Terms(1.0, 1.0005, 0.999, 1e-8, 1e-5, buy_is_home=True)
    assert buy_away == Terms(0.999, 1.0, 0.9995, 1e-5, 1e-8, buy_is_home=False)


def test_hand_calculated_buy_home(make):
    """0.01 BTC for 1,400,000 KRW + 700 fee; sold for 1,020 USDT - 1.02 fee at 1,390."""
    edge = find_edge(
        ((140_000_000.0, 0.01),),
        ((102_000.0, 0.5),),
        terms_of(make.pair, "buy_home"),
        1390.0,
        min_edge_bps=0.0,
        **NO_LIMITS,
    )
    assert edge is not None
    assert edge.buy_quantity == edge.sell_quantity == pytest.approx(0.01)
    assert edge.cost == pytest.approx(1_400_700)
    assert edge.net_bps == pytest.approx((1018.98 * 1390 / 1_400_700 - 1) * 1e4)
    assert edge.gross_bps == pytest.approx((1020 * 1390 / 1_400_000 - 1) * 1e4)


def test_hand_calculated_buy_away(make):
    """0.01 BTC for 1,000 USDT at 1,391, of which 0.00999 arrive; sold at 142,000,000 KRW - 5 bps."""
    edge = find_edge(
        ((100_000.0, 0.01),),
        ((142_000_000.0, 0.5),),
        terms_of(make.pair, "buy_away"),
        1391.0,
        min_edge_bps=0.0,
        **NO_LIMITS,
    )
    assert edge is not None
    assert edge.buy_quantity == pytest.approx(0.01)
    assert edge.sell_quantity == pytest.approx(0.00999)
    assert edge.cost == pytest.approx(1_391_000)
    assert edge.net_bps == pytest.approx((0.00999 * 142_000_000 * 0.9995 / 1_391_000 - 1) * 1e4)


@pytest.mark.parametrize("limit", ["cost_max", "sell_max"])
def test_no_money_or_no_coins_no_edge(make, limit):
    limits = {**NO_LIMITS, limit: 0.0}
    assert (
        find_edge(
            ((140_000_000.0, 0.01),),
            ((102_000.0, 0.5),),
            terms_of(make.pair, "buy_home"),
            1390.0,
            min_edge_bps=0.0,
            **limits,
        )
        is None
    )


def test_less_than_a_lot_is_nothing(make):
    terms = terms_of(make.pair, "buy_home")
    asks, bids = ((140_000_000.0, 0.0000099),), ((102_000.0, 0.5),)
    assert find_edge(asks, bids, terms, 1390.0, min_edge_bps=0.0, **NO_LIMITS) is None


def test_fee_that_leaves_less_than_a_selling_lot_is_nothing(make):
    coarse = replace(make.home, rules=replace(make.home.rules, lot=Decimal("0.01")))
    pair = replace(make.pair, home=coarse)
    asks, bids = ((100_000.0, 0.01),), ((142_000_000.0, 0.5),)
    terms = terms_of(pair, "buy_away")
    assert find_edge(asks, bids, terms, 1391.0, min_edge_bps=0.0, **NO_LIMITS) is None


def test_nothing_clears(make):
    terms = terms_of(make.pair, "buy_home")
    asks, bids = ((150_000_000.0, 1.0),), ((102_000.0, 0.5),)
    assert find_edge(asks, bids, terms, 1390.0, min_edge_bps=0.0, **NO_LIMITS) is None


def test_walk_average_and_worst():
    levels = ((100.0, 1.0), (101.0, 2.0), (110.0, 1.0))
    taken = walk(levels, 2.0)
    assert taken.price == pytest.approx(100.5)
    assert taken.worst == 101.0
    assert taken.quantity == 2.0


def test_walk_says_how_far_a_shallow_book_goes():
    taken = walk(((100.0, 1.0), (102.0, 1.0)), 5.0)
    assert taken.quantity == 2.0
    assert taken.worst == 102.0
    assert taken.price == pytest.approx(101.0)


def test_walk_of_nothing_is_at_the_touch():
    assert walk(((100.0, 1.0), (102.0, 1.0)), 0.0) == (100.0, 100.0, 0.0)


def test_walk_does_not_reach_one_level_too_deep_for_float_dust():
    """0.0001 - 0.00003 - 0.00007 is 1e-20, not 0: the third level must not be touched for it."""
    levels = ((100.0, 0.00003), (101.0, 0.00007), (120.0, 1.0))
    assert walk(levels, 0.0001).worst == 101.0


@given(lots=st.integers(0, 10**9), lot=st.sampled_from([1e-8, 1e-5, 0.001, 0.1, 1.0, 10.0]))
def test_lots_survive_floats(lots, lot):
    assert round(floor_lot(lots * lot, lot) / lot) == lots


@given(quantity=st.floats(1e-6, 1e3), lot=st.sampled_from([1e-5, 0.001, 0.1, 1.0]))
def test_lots_round_down(quantity, lot):
    down = floor_lot(quantity, lot)
    assert down <= quantity * (1 + 1e-9) < down + lot * (1 + 1e-6) + quantity * 1e-8
