"""Limits tightened by rule, loosened again, and what they then allow."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.ledger.events import LimitsScaled
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.results import Scatter
from arbshard.wire.messages import Approved, SetLimits, ShowLimits
from support import world as w

NOTIONAL = Decimal(350) * 1401
GAIN = Decimal(980_000)


def scaled(world) -> list[tuple[str, Decimal]]:
    return [(event.symbol, event.factor) for event in world.events if isinstance(event, LimitsScaled)]


def lost() -> Decimal:
    return -w.World().round_trip().pnl


class TestByDrawdown:
    def test_at_its_share_of_the_limit(self) -> None:
        for limit, factors in (
            (lost() * 2 + 2, []),
            (lost() * 2, [("", Decimal("0.5"))]),
        ):
            world = w.World(config=w.with_limits(drawdown_max=limit, tighten_at=0.5, tighten_factor=0.5))
            world.round_trip()
            assert scaled(world) == factors

    def test_order_and_exposure_limits_are_scaled(self) -> None:
        changes = {"drawdown_max": lost() * 2, "order_notional_max": NOTIONAL * 2 - 1}
        world = w.World(config=w.with_limits(**changes))
        world.round_trip()
        assert world.submit(world.entry("ETH")).reason is Refusal.ORDER_NOTIONAL
        half = world.entry("ETH", quantity=Decimal("0.25"))
        assert isinstance(world.submit(half), Approved)

    @pytest.mark.parametrize(
        ("key", "reason"),
        [
            ("symbol_notional_max", Refusal.SYMBOL_NOTIONAL),
            ("portfolio_notional_max", Refusal.PORTFOLIO_NOTIONAL),
            ("venue_notional_max", Refusal.VENUE_NOTIONAL),
        ],
    )
    def test_each_of_them(self, key, reason) -> None:
        world = w.World(config=w.with_limits(drawdown_max=lost() * 2, **{key: NOTIONAL * 2 - 1}))
        world.round_trip()
        assert world.submit(world.entry("ETH")).reason is reason

    def test_until_it_is_made_up_for(self) -> None:
        world = w.World(config=w.with_limits(drawdown_max=lost() * 2))
        world.round_trip()
        world.round_trip(home_out=GAIN)
        assert scaled(world) == [("", Decimal("0.5")), ("", Decimal(1))]
        assert world.state.standing.scales == {}

    def test_not_to_and_fro_at_the_edge(self) -> None:
        """Between half of it and all of it nothing changes."""
        world = w.World(config=w.with_limits(drawdown_max=lost() * 2))
        world.round_trip()
        world.tell(SetLimits((("drawdown_max", str(lost() * 3)),)))  # at a third of it, tightened at half
        world.tick()
        assert len(scaled(world)) == 1
        world.tell(SetLimits((("drawdown_max", str(lost() * 5)),)))
        world.tick()
        assert len(scaled(world)) == 2

    def test_the_next_day_begins_as_tight(self) -> None:
        world = w.World(config=w.with_limits(drawdown_max=lost() * 2))
        world.round_trip()
        world.tick(86_400_000)
        assert scaled(world) == [("", Decimal("0.5"))]

    def test_a_factor_of_one_turns_it_off(self) -> None:
        world = w.World(config=w.with_limits(drawdown_max=lost() * 2, tighten_factor=1.0))
        world.round_trip()
        world.tick()
        assert scaled(world) == []

    def test_it_is_shown_and_outlives_a_restart(self) -> None:
        world = w.World(config=w.with_limits(drawdown_max=lost() * 2))
        world.round_trip()
        shown = world.restart().tell(ShowLimits())
        assert [line.factor for line in shown.lines if line.key == "order_notional_max"] == ["0.5"]
        assert [line.factor for line in shown.lines if line.key == "daily_loss_max"] == ["1"]
        ((whose, factor, cause),) = shown.tightened
        assert (whose, factor) == ("", "0.5")
        assert cause.startswith("drawdown 14")


class TestByScatter:
    def wild(self, world, symbol="BTC", fast=100.0) -> None:
        """The symbol has scattered ten times as wide as usual lately."""
        world.state.results.scatter[symbol] = Scatter(count=100, mean=-30.0, fast=fast * 100, slow=100.0)

    def test_the_symbol_alone_with_its_next_result(self) -> None:
        world = w.World()
        self.wild(world)
        world.tick()
        assert scaled(world) == []
        world.round_trip("BTC")
        assert scaled(world) == [("BTC", Decimal("0.5"))]
        assert world.core.guard.get_symbol_limits("BTC").max_order_notional == 3_000_000
        world.tell(SetLimits((("order_notional_max", "600000"),)))
        assert world.submit(world.entry("BTC")).reason is Refusal.ORDER_NOTIONAL
        assert isinstance(world.submit(world.entry("ETH")), Approved)

    def test_until_it_is_quiet_again(self) -> None:
        world = w.World()
        self.wild(world)
        world.round_trip("BTC")
        self.wild(world, fast=1.0)
        world.round_trip("BTC")
        assert scaled(world) == [("BTC", Decimal("0.5")), ("BTC", Decimal(1))]

    def test_between_the_two_it_stays(self) -> None:
        world = w.World()
        self.wild(world)
        world.round_trip("BTC")
        self.wild(world, fast=3.4)  # 1.8 times: tightened at 2, loosened below 1.5
        world.round_trip("BTC")
        assert len(scaled(world)) == 1

    def test_too_few_results_say_nothing(self) -> None:
        world = w.World()
        world.state.results.scatter["BTC"] = Scatter(count=5, mean=0.0, fast=1e6, slow=1.0)
        world.round_trip("BTC")
        assert scaled(world) == []

    def test_it_ends_when_nothing_is_closed_any_more(self) -> None:
        world = w.World(config=w.with_limits(tighten_lapse_s=100.0))
        self.wild(world)
        world.round_trip("BTC")
        world.tick(99_000)
        assert len(scaled(world)) == 1
        world.tick(1000)
        assert scaled(world)[-1] == ("BTC", Decimal(1))

    @pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000])
    def test_it_does_not_follow_a_wall_clock_that_is_set(self, step_ms) -> None:
        world = w.World(config=w.with_limits(tighten_lapse_s=100.0))
        self.wild(world)
        world.round_trip("BTC")
        world.tick(50_000)
        world.wall_off_ms = step_ms
        world.tick(49_000)
        assert len(scaled(world)) == 1
        world.tick(1000)
        assert scaled(world)[-1] == ("BTC", Decimal(1))


def test_replayed_it_is_the_same() -> None:
    from arbshard.risk.portfolio.state import PortfolioState

    world = w.World(config=w.with_limits(drawdown_max=lost() * 2, halt_daily_loss=lost()))
    world.round_trip()
    world.tell(SetLimits((("order_notional_max", "5"),), "ETH"))
    again = PortfolioState()
    for event in world.events:
        again.apply(event)
    again.commit()
    assert again.standing.scales
    assert again.standing.halt is not None
    assert again.state_hash() == world.state.state_hash()
    assert replace(again.standing.halt, reason="") != again.standing.halt


def test_the_tighter_factor_counts() -> None:
    world = w.World()
    standing, limits = world.state.standing, world.core.guard.limits
    assert limits.factor("BTC") == 1
    standing.apply(LimitsScaled(at_ms=1, symbol="", factor=Decimal("0.5"), cause="x"))
    standing.apply(LimitsScaled(at_ms=2, symbol="BTC", factor=Decimal("0.25"), cause="y"))
    assert (limits.factor("BTC"), limits.factor("ETH"), limits.factor("")) == (
        Decimal("0.25"),
        Decimal("0.5"),
        Decimal("0.5"),
    )
    standing.apply(LimitsScaled(at_ms=3, symbol="", factor=Decimal(1), cause="z"))
    assert (limits.factor("BTC"), limits.factor("ETH")) == (Decimal("0.25"), 1)
