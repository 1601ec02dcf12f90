"""Risk checks the limit prices of entries: what they bring after fees, and how far from the books they are."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.config import Config
from arbshard.engine.edge import find_edge, terms_of
from arbshard.engine.engine import Entry
from arbshard.execution.plan import plan_entry
from arbshard.model.book import BookTop, PairView
from arbshard.model.refusal import Refusal
from arbshard.risk.limits.guard import net_edge_bps
from arbshard.wire.messages import Approved
from support import world as w


def reason_of(reply):
    return getattr(reply, "reason", None)


def test_an_entry_that_loses_at_its_own_limits_is_refused() -> None:
    """Finding 17: one that lost 2006 bps at them was approved."""
    world = w.World(config=Config())
    reply = world.submit(world.entry("BTC", "buy_home", home_limit=Decimal(1_200_000)))
    assert reply.reason is Refusal.EDGE_BELOW_FLOOR
    assert reply.detail.endswith(" bps after fees at its limit prices, the least is 0")
    assert isinstance(world.submit(world.entry("BTC", "buy_away")), Approved)


@pytest.mark.parametrize("floor", [-10.0, 0.0, 25.0])
@pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
def test_the_floor_is_what_one_coin_nets_at_the_limits(direction, floor) -> None:
    world = w.World(config=w.with_limits(edge_bps_min=floor))
    for above, expected in ((Decimal("-0.01"), Refusal.EDGE_BELOW_FLOOR), (Decimal("0.01"), None)):
        net = 1 + (Decimal(str(floor)) + above) / 10_000
        if direction == "buy_home":  # pays 5 bps in KRW, sells at the bid of FX less 10 bps
            away = net * w.HOME_PRICE * Decimal("1.0005") / (Decimal("0.999") * w.FX.bid)
        else:  # 10 bps of the coins are kept by the venue, which are not sold at home for 5 bps
            away = w.HOME_PRICE * Decimal("0.9995") * Decimal("0.999") / (net * w.FX.ask)
        intent = world.entry("BTC", direction, away_limit=away.quantize(Decimal("1e-9")))
        assert net_edge_bps(intent, world.pairs["BTC"]) == pytest.approx(floor + float(above), abs=1e-3)
        assert reason_of(world.submit(intent)) is expected


@given(
    gap=st.floats(-400.0, 400.0),
    least=st.floats(0.0, 50.0),
    cost_max=st.floats(50_000.0, 3_000_000.0),
    direction=st.sampled_from(["buy_home", "buy_away"]),
)
def test_what_a_strategy_enters_nets_its_least_edge_at_the_limits(
    make, gap, least, cost_max, direction
) -> None:
    """So the default floor of 0 refuses nothing that a strategy with ``min_edge_bps`` of 0 or more has found."""
    home, away = make.home_book(gap), make.away_book()
    buys_home = direction == "buy_home"
    edge = find_edge(
        home.asks if buys_home else away.asks,
        away.bids if buys_home else home.bids,
        terms_of(make.pair, direction),
        make.fx[0] if buys_home else make.fx[1],
        entry_bps=least,
        min_edge_bps=least,
        cost_max=cost_max,
        sell_max=1e9,
    )
    if edge is None:
        return
    intent = plan_entry(Entry(make.pair, direction, edge, make.fx), "s1-0-1-1", make.now_ms)
    assert net_edge_bps(intent, make.pair) >= least - 1e-6


def seen(world, home: float, away: float) -> PairView:
    tops = (BookTop(price * 0.9999, 1.0, price, 1.0, 1) for price in (home, away))
    return PairView(*tops, seen_ns=world.now_ms * 1_000_000)


@pytest.mark.parametrize(
    ("home", "away", "named"),
    [
        (1_000_000.0, 700.0, None),
        (1_029_000.0, 700.0, None),
        (1_040_000.0, 700.0, "h0: limit 1000000, risk has seen 1039896"),
        (960_000.0, 700.0, "h0: limit 1000000, risk has seen 959904"),
        (1_000_000.0, 722.0, "a0: limit 700, risk has seen 722"),
        (1_000_000.0, 679.0, "a0: limit 700, risk has seen 679"),
    ],
)
def test_limits_far_from_the_books_that_risk_has_read_are_refused(home, away, named) -> None:
    world = w.World()
    world.core.guard.set_views({"BTC": seen(world, home, away)})
    reply = world.submit(world.entry("BTC", "buy_away"))
    if named is None:
        assert isinstance(reply, Approved)
    else:
        assert reply.reason is Refusal.PRICE_OUT_OF_BOUNDS
        assert named in reply.detail
        assert reply.detail.endswith("; 300 bps are allowed between them")
    assert world.core.guard.unviewed == 0


@pytest.mark.parametrize("age_ms", [None, 5_100])
def test_without_a_fresh_view_it_does_not_apply_and_is_counted(age_ms) -> None:
    world = w.World()
    if age_ms is not None:
        world.core.guard.set_views({"BTC": seen(world, 2_000_000.0, 700.0)})
        world.now_ms += age_ms
    assert isinstance(world.submit(world.entry("BTC", "buy_away")), Approved)
    assert world.core.guard.unviewed == 1


def test_exits_may_have_any_price() -> None:
    world = w.World()
    position = world.open_position()
    world.core.guard.set_views({"BTC": seen(world, 2_000_000.0, 1400.0)})
    assert isinstance(world.submit(world.exit_of(position)), Approved)
