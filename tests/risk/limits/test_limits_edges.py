"""The rest of the limits, each at, below and above its edge; and that no sequence of approvals goes beyond any."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.config import LimitsConfig
from arbshard.model.refusal import Refusal
from arbshard.risk.limits.effective import SymbolRiskLimits
from arbshard.risk.limits.guard import implied_edge_bps
from arbshard.risk.portfolio.holdings import notional_of
from arbshard.wire.messages import Approved, Extend, Refused, Resume
from support import world as w
from support.effort import effort

NOTIONAL = Decimal(350) * 1401
"""Of the world's usual entry, bought away."""
HOME_NOTIONAL = Decimal(500_000)
"""Bought at home."""
LOST_AT = Decimal(1_000_000)
"""Home price at which the world's usual round trip loses about 1,480."""


def reason_of(reply) -> Refusal | None:
    if isinstance(reply, Approved):
        return None
    assert isinstance(reply, Refused)
    return reply.reason


def ask(world, base="BTC", direction="buy_away", **changes) -> Refusal | None:
    return reason_of(world.submit(replace(world.entry(base, direction), **changes)))


def own(symbol="BTC", **changes) -> SymbolRiskLimits:
    return replace(SymbolRiskLimits(symbol, Decimal(3_000_000), 1), **changes)


# 3xx


def test_intents_of_a_symbol_under_way() -> None:
    world = w.World(config=w.with_limits(symbol_trades_max=1))
    intent = world.entry()
    world.submit(intent)
    assert ask(world) is Refusal.SYMBOL_TRADES
    world.report(intent, w.expired(intent.home), w.expired(intent.away))
    world.conclude(intent)
    assert ask(world) is None


@pytest.mark.parametrize(
    ("limit", "reason"),
    [(NOTIONAL + 1, None), (NOTIONAL, None), (NOTIONAL - Decimal("0.01"), Refusal.ORDER_NOTIONAL)],
)
def test_one_order(limit, reason) -> None:
    assert ask(w.World(config=w.with_limits(order_notional_max=limit))) is reason
    world = w.World()
    world.core.guard.set_symbol_limits(own(max_order_notional=limit))
    assert ask(world, "BTC") is reason
    assert ask(world, "ETH") is None


def test_a_symbols_daily_loss() -> None:
    lost = -w.World().round_trip().pnl
    for limit, reason in (
        (lost + 1, None),
        (lost, Refusal.SYMBOL_DAILY_LOSS),
        (lost - 1, Refusal.SYMBOL_DAILY_LOSS),
    ):
        world = w.World(config=w.with_limits(symbol_daily_loss_max=limit))
        world.round_trip("BTC")
        assert ask(world, "BTC") is reason
        assert ask(world, "ETH") is None
        world.now_ms += 86_400_000
        if reason is not None:
            assert ask(world, "BTC") is None


class TestLossStreak:
    @pytest.fixture
    def world(self):
        return w.World(config=w.with_limits(loss_streak_max=2, loss_streak_pause_s=10.0))

    def test_pauses_after_so_many_and_no_other_symbol_does(self, world) -> None:
        world.round_trip()
        assert ask(world, "ETH") is None
        world.round_trip()
        assert ask(world) is Refusal.LOSS_STREAK

    def test_the_pause_ends_to_the_millisecond(self, world) -> None:
        world.round_trip()
        closed_ms = world.round_trip().closed_ms
        world.now_ms = closed_ms + 9_998
        intent = world.entry()
        assert reason_of(world.submit(intent)) is Refusal.LOSS_STREAK  # at + 9,999
        assert ask(world) is None  # at + 10,000

    @pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000])
    def test_the_pause_does_not_follow_a_wall_clock_that_is_set(self, world, step_ms) -> None:
        world.round_trip()
        closed_ms = world.round_trip().closed_ms
        assert ask(world) is Refusal.LOSS_STREAK
        world.wall_off_ms = step_ms
        world.now_ms = closed_ms + 9_900
        intent = world.entry()
        assert reason_of(world.submit(intent)) is Refusal.LOSS_STREAK
        world.now_ms = closed_ms + 10_100
        assert ask(world) is None

    def test_a_win_ends_the_streak(self, world) -> None:
        world.round_trip()
        world.round_trip(home_out=Decimal(980_000))
        world.round_trip()
        assert ask(world) is None

    def test_after_the_pause_as_many_more_are_needed(self, world) -> None:
        world.round_trip()
        world.round_trip()
        world.now_ms += 10_000
        world.round_trip()  # the third in a row
        world.open_position()
        world.carry_out(world.exit_of(world.state.get_symbol_positions("BTC")[0]), done=True)
        assert ask(world) is Refusal.LOSS_STREAK  # the fourth

    def test_it_outlives_a_restart(self, world) -> None:
        world.round_trip()
        world.round_trip()
        world = world.restart()
        assert ask(world) is Refusal.LOSS_STREAK


@pytest.mark.parametrize(
    ("edge_bps", "reason"), [(600.0, None), (600.1, Refusal.EDGE_IMPLAUSIBLE), (-3.0, None)]
)
def test_a_promise_too_good(edge_bps, reason) -> None:
    assert ask(w.World(), edge_bps=edge_bps) is reason


@pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
def test_limit_prices_too_good_whatever_is_promised(direction) -> None:
    world = w.World()
    honest = world.entry("BTC", direction)
    good = Decimal("1.07") if direction == "buy_away" else Decimal("0.91")
    too_good = replace(honest.home, limit=honest.home.limit * good)
    assert implied_edge_bps(honest) < 600 < implied_edge_bps(replace(honest, home=too_good))
    assert ask(world, "BTC", direction) is None
    intent = world.entry("ETH", direction)
    intent = replace(intent, home=replace(intent.home, limit=intent.home.limit * good))
    assert reason_of(world.submit(intent)) is Refusal.EDGE_IMPLAUSIBLE


# 4xx


def test_what_is_bought_and_sold_on_a_venue() -> None:
    for limit, reason in ((NOTIONAL * 2, None), (NOTIONAL * 2 - 1, Refusal.VENUE_NOTIONAL)):
        world = w.World(("A", "B", "C"), config=w.with_limits(venue_notional_max=limit))
        world.submit(world.entry("A"))  # under way counts
        reply = world.submit(world.entry("B"))
        assert reason_of(reply) is reason
        if reason is not None:
            assert reply.detail.startswith("bought on binance, sold on upbit would come to 980700")
        assert ask(world, "C", "buy_home") is None  # the other way round


def test_a_venues_exposure_falls_with_the_exit() -> None:
    world = w.World(config=w.with_limits(venue_notional_max=NOTIONAL))
    position = world.open_position("BTC")
    assert ask(world, "ETH") is Refusal.VENUE_NOTIONAL
    world.carry_out(world.exit_of(position), done=True)
    assert world.state.exposures == {"buy_home": 0, "buy_away": 0}
    world.now_ms += 10_000
    assert ask(world, "ETH") is None


def test_drawdown_from_the_high_water_mark() -> None:
    probe = w.World()
    probe.round_trip(home_out=Decimal(980_000))
    probe.round_trip()
    fell = probe.state.results.drawdown(probe.day)
    assert fell > 1000
    assert probe.state.results.loss(probe.day) < 0  # all in all it has won
    for limit, reason in ((fell + 1, None), (fell, Refusal.DRAWDOWN), (fell - 1, Refusal.DRAWDOWN)):
        world = w.World(config=w.with_limits(drawdown_max=limit, tighten_factor=1.0))
        world.round_trip(home_out=Decimal(980_000))
        world.round_trip()
        assert ask(world) is reason
        world.now_ms += 86_400_000  # another day changes nothing
        assert ask(world, "ETH") is reason
        if reason is not None:
            world.tell(Resume("seen"))
            assert ask(world, "ETH") is None


def test_orders_per_second() -> None:
    bases = tuple(f"C{n}" for n in range(8))
    world = w.World(bases, config=w.with_limits(orders_per_s_max=4.0))
    world.now_ms += 10_000
    assert [ask(world, base) for base in bases[:3]] == [None, None, Refusal.ORDER_RATE]
    world.now_ms += 500  # two orders more
    assert [ask(world, base) for base in bases[3:5]] == [None, Refusal.ORDER_RATE]


def test_exits_and_hedges_do_not_wait_but_count() -> None:
    world = w.World(config=w.with_limits(orders_per_s_max=4.0))
    position = world.open_position("BTC")
    world.now_ms += 10_000
    leave = world.exit_of(position)
    assert reason_of(world.submit(leave)) is None
    world.report(leave, w.filled(leave.away))
    hedge = w.Order(f"{leave.intent_id}-h1", leave.home.market, "buy", Decimal("0.1"), Decimal(1), "hedge")
    for n in range(1, 4):
        order = replace(hedge, client_id=f"{leave.intent_id}-h{n}")
        assert isinstance(world.ask(Extend(0, 1, leave.intent_id, order)), Approved)
    assert ask(world, "ETH") is Refusal.ORDER_RATE
    world.now_ms += 1000
    assert ask(world, "ETH") is None


def test_share_of_one_symbol_once_there_is_much() -> None:
    bases = ("A", "B", "C")
    settings_ = {"concentration_max": 0.5, "concentration_floor": NOTIONAL * 2, "symbol_positions_max": 9}
    world = w.World(bases, config=w.with_limits(**settings_))
    world.open_position("A")
    assert ask(world, "A") is None  # all in one, but not above the floor
    world = w.World(bases, config=w.with_limits(**settings_))
    world.open_position("A")
    world.open_position("B")
    assert ask(world, "A") is Refusal.CONCENTRATION  # two of three
    assert ask(world, "C") is None  # one of three
    world = w.World(bases, config=w.with_limits(**{**settings_, "concentration_max": 0.67}))
    world.open_position("A")
    world.open_position("B")
    assert ask(world, "A") is None


def know(world, correlations) -> None:
    world.core.guard.correlations.set_known(correlations, world.now_ms * 1_000_000)


class TestCorrelated:
    @pytest.fixture
    def world(self):
        world = w.World(("A", "B", "C", "D"), config=w.with_limits(correlated_notional_max=NOTIONAL * 2))
        world.open_position("C")
        world.submit(world.entry("A"))
        return world

    def test_unknown_counts_as_correlated(self, world) -> None:
        reply = world.submit(world.entry("B"))
        assert reply.reason is Refusal.CORRELATED_NOTIONAL
        assert "the correlation with 2 of them is not known yet" in reply.detail

    def test_unknown_counts_for_nothing_where_that_is_set(self) -> None:
        limits = {"correlated_notional_max": NOTIONAL * 2, "unknown_correlated": False}
        world = w.World(("A", "B", "C"), config=w.with_limits(**limits))
        world.open_position("C")
        world.submit(world.entry("A"))
        assert ask(world, "B") is None

    def test_an_open_position_of_the_same_symbol_counts_once(self, world) -> None:
        know(world, {("A", "C"): 0.0})
        total, why = world.core.guard.correlated_exposure("C")
        assert total == world.state.get_symbol_exposure("C") > 0
        assert why == ""

    @pytest.mark.parametrize(("typical", "expected"), [(0.49, None), (0.5, Refusal.CORRELATED_NOTIONAL)])
    def test_under_stress_all_count_as_one(self, world, typical, expected) -> None:
        others = {(f"X{number}", f"Y{number}"): typical for number in range(20)}
        know(world, others | {("A", "B"): 0.0, ("B", "C"): 0.0})
        assert ask(world, "B") is expected

    def test_a_doubted_fx_rate_is_stress(self, world) -> None:
        know(world, {("A", "B"): 0.0, ("B", "C"): 0.0})
        world.core.guard.fx.doubt = "the FX book is wrong"
        total, why = world.core.guard.correlated_exposure("B")
        assert total == world.state.exposure
        assert why == "all pairs count as one: the FX book is wrong"

    def test_what_moves_together_counts_together(self, world) -> None:
        know(world, {("A", "B"): 0.81, ("B", "C"): 0.9, ("A", "D"): 0.1, ("C", "D"): 0.1})
        assert ask(world, "B") is Refusal.CORRELATED_NOTIONAL
        assert ask(world, "D") is None

    def test_at_the_threshold_it_does_not(self, world) -> None:
        know(world, {("A", "B"): 0.8, ("B", "C"): -0.95})
        assert ask(world, "B") is None

    def test_at_the_limit_it_passes(self, world) -> None:
        know(world, {("A", "B"): 0.9, ("B", "C"): 0.0})
        assert ask(world, "B") is None


# 6xx and who is spared


def test_a_halt_is_named_before_everything_else() -> None:
    world = w.World(config=w.with_limits(symbol_notional_max=Decimal(1)))
    world.tell(w_halt())
    assert ask(world) is Refusal.HALTED


def test_exits_pass_every_limit() -> None:
    tight = {
        "symbol_notional_max": Decimal(1), "order_notional_max": Decimal(1), "symbol_daily_loss_max": Decimal(1),
        "loss_streak_max": 1, "portfolio_notional_max": Decimal(1), "venue_notional_max": Decimal(1),
        "drawdown_max": Decimal(1), "daily_loss_max": Decimal(1), "edge_bps_max": 0.1,
        "concentration_floor": Decimal(1), "concentration_max": 0.01, "correlated_notional_max": Decimal(1),
    }  # fmt: skip
    world = w.World()
    lost = world.open_position("ETH")
    position = world.open_position("BTC")
    again = world.restart()
    world = w.World(config=w.with_limits(**tight), ready=False, now_ms=again.now_ms, serial=again.serial)
    for event in again.events:
        world.state.apply(event)
    world.core.commit()
    world.events = again.events
    know(world, {("BTC", "ETH"): 1.0})
    world.carry_out(world.exit_of(lost), done=True)
    world.tell(w_halt())
    assert ask(world, "ETH") is Refusal.HALTED
    assert reason_of(world.submit(world.exit_of(position))) is None


def w_halt():
    from arbshard.wire.messages import Halt

    return Halt("test", flatten=False)


# no sequence of approvals goes beyond any limit

BASES = ("A", "B", "C", "D", "E")
CORRELATED = {("A", "B"): 0.9, ("B", "C"): 0.95, ("A", "C"): 0.1}
limits = st.fixed_dictionaries(
    {
        "symbol_notional_max": st.integers(300_000, 1_500_000).map(Decimal),
        "symbol_positions_max": st.integers(1, 3),
        "order_notional_max": st.integers(200_000, 700_000).map(Decimal),
        "portfolio_notional_max": st.integers(400_000, 3_000_000).map(Decimal),
        "venue_notional_max": st.integers(400_000, 2_000_000).map(Decimal),
        "portfolio_positions_max": st.integers(1, 6),
        "open_intents_max": st.integers(1, 4),
        "orders_per_s_max": st.floats(4.0, 100.0),
        "concentration_max": st.floats(0.2, 1.0),
        "concentration_floor": st.integers(500_000, 2_000_000).map(Decimal),
        "correlated_notional_max": st.integers(400_000, 1_500_000).map(Decimal),
    }
)
steps = st.lists(
    st.tuples(
        st.sampled_from(("enter", "enter", "enter", "fill", "fail", "leave", "wait")),
        st.sampled_from(BASES),
        st.booleans(),
        st.integers(1, 100),
    ),
    min_size=10,
    max_size=60,
)


def check_limits(world, config: LimitsConfig, intent) -> None:
    """After an approval: everything that was counted before it, and the order on top, is inside."""
    state = world.state
    order = notional_of(intent)
    assert order <= config.order_notional_max
    symbol = state.get_total_symbol_position_value(intent.pair) + order
    assert symbol <= config.symbol_notional_max
    assert len(state.get_symbol_positions(intent.pair)) < config.symbol_positions_max
    assert state.exposure <= config.portfolio_notional_max
    assert state.exposures[intent.direction] <= config.venue_notional_max
    assert len(state.positions) + state.entering <= config.portfolio_positions_max
    assert len(state.trades) <= config.open_intents_max
    if state.exposure > config.concentration_floor:
        share = Decimal(repr(config.concentration_max))
        assert state.get_symbol_exposure(intent.pair) <= state.exposure * share
    alike = sum(
        state.get_symbol_exposure(base)
        for base in BASES
        if base == intent.pair or CORRELATED.get(tuple(sorted((base, intent.pair))), 1.0) > 0.8
    )
    assert alike <= config.correlated_notional_max


@settings(max_examples=effort(60, 600))
@given(limits, steps)
def test_no_sequence_of_approvals_exceeds_a_limit(given_limits, made) -> None:
    config = w.with_limits(**given_limits)
    world = w.World(BASES, config=config)
    know(world, CORRELATED)
    orders: list[int] = []
    for step, base, flag, size in made:
        direction = "buy_home" if flag else "buy_away"
        trades = list(world.state.trades.values())
        if step == "enter":
            intent = world.entry(base, direction, Decimal(size) / 100)
            if isinstance(world.submit(intent), Approved):
                orders += [world.now_ms] * 2
                check_limits(world, config.limits, intent)
        elif step in ("fill", "fail") and trades:
            trade = trades[size % len(trades)]
            ends = w.filled if step == "fill" else w.expired
            world.report(trade.intent, ends(trade.intent.home), ends(trade.intent.away))
            world.conclude(trade.intent, done=trade.intent.kind == "exit")
        elif step == "leave" and world.state.positions:
            position = list(world.state.positions.values())[size % len(world.state.positions)]
            if position.pair not in world.state.busy:
                reply = world.submit(world.exit_of(position))
                # No limit holds it up. It waits only after an exit that achieved nothing.
                has_failed = (position.pair, "exit") in world.state.attempts
                assert isinstance(reply, Approved) or (has_failed and reply.reason is Refusal.EXIT_WAITS)
        elif step == "wait":
            world.now_ms += size * 20
    rate = config.limits.orders_per_s_max
    for index, since_ms in enumerate(orders):
        for until_ms in orders[index:]:
            count = sum(since_ms <= at_ms <= until_ms for at_ms in orders)
            assert count <= rate + (until_ms - since_ms) / 1000 * rate + 1e-6
