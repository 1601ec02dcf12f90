"""Losses, drawdown and naked exposure at their three levels, and what a person accepts by resuming."""

from decimal import Decimal

import pytest

from arbshard.ledger.events import Halted, PairSetApart
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import Approved, Close, Halt, Refused, Resume, SetLimits
from support import world as w

DAY_MS = 86_400_000
FAR = {
    key: Decimal(10**12)
    for key in (
        "daily_loss_max", "weekly_loss_max", "lifetime_loss_max", "drawdown_max", "naked_notional_max",
        "halt_daily_loss", "halt_weekly_loss", "halt_lifetime_loss", "halt_drawdown", "halt_naked_notional",
        "stop_daily_loss", "stop_weekly_loss", "stop_lifetime_loss", "stop_drawdown", "stop_naked_notional",
        "symbol_daily_loss_max", "position_loss_bps_max",
    )
}  # fmt: skip
"""Limits that nothing reaches."""
TEN = tuple(f"C{number}" for number in range(10))
FALLEN = w.HOME_PRICE * Decimal("1.2")
"""Home price at which a position that sold half a coin at home has lost 100,000 KRW, and some fees."""
NAMES = {
    "daily_loss": ("daily_loss", Refusal.DAILY_LOSS),
    "weekly_loss": ("weekly_loss", Refusal.WEEKLY_LOSS),
    "lifetime_loss": ("lifetime_loss", Refusal.LIFETIME_LOSS),
    "drawdown": ("drawdown", Refusal.DRAWDOWN),
}


def world_with(*bases: str, **limits: object) -> w.World:
    made = w.World(bases or ("BTC", "ETH"), config=w.with_limits(**(FAR | limits)))
    made.tick()
    return made


def under_water(*bases: str, **limits: object) -> w.World:
    """One position, which stands at a loss of more than 100,000 KRW."""
    world = world_with(*bases, **limits)
    world.open_position()
    world.value(FALLEN)
    world.tick()
    return world


def refusal(world, base: str = "ETH") -> Refusal | None:
    reply = world.submit(world.entry(base))
    return reply.reason if isinstance(reply, Refused) else None


def halts(world) -> list[tuple[str, str]]:
    return [(event.cause, event.level) for event in world.events if isinstance(event, Halted)]


class TestWhatNoLimitSaw:
    def test_thirty_days_that_lose_four_million_nine_hundred_thousand_each(self) -> None:
        world = w.World()
        days = 0
        for _ in range(30):
            intent = world.entry()
            if isinstance(world.submit(intent), Refused):
                break
            world.report(intent, w.filled(intent.home), w.filled(intent.away))
            position = world.conclude(intent).position
            world.carry_out(world.exit_of(position, home_limit=Decimal(10_780_000)), done=True)
            days += 1
            world.tick(DAY_MS)
        assert days == 2
        assert -9_900_000 < world.state.realised < -9_700_000
        assert refusal(world) is Refusal.DRAWDOWN

    def test_who_resumes_every_morning_is_refused_by_the_ledgers_life(self) -> None:
        world = w.World()
        for _ in range(30):
            world.tell(Resume("another day"))
            intent = world.entry()
            if isinstance(world.submit(intent), Refused):
                world.tick(DAY_MS)
                continue
            world.report(intent, w.filled(intent.home), w.filled(intent.away))
            position = world.conclude(intent).position
            world.carry_out(world.exit_of(position, home_limit=Decimal(10_780_000)), done=True)
            world.tick(DAY_MS)
        assert -35_000_000 < world.state.realised < -30_000_000
        assert refusal(world) is Refusal.LIFETIME_LOSS

    def test_ten_positions_a_million_under_water(self) -> None:
        world = world_with(*TEN, daily_loss_max=Decimal(20_000), halt_daily_loss=Decimal(40_000))
        for base in TEN:
            world.open_position(base)
        world.value(w.HOME_PRICE)
        world.tick()
        assert halts(world) == []
        world.value(FALLEN)
        world.tick()
        assert -1_100_000 < world.core.valuation.unrealised < -1_000_000
        assert halts(world) == [("daily_loss", "reduce_only")]
        assert refusal(world, "C0") is Refusal.HALTED


class TestLevels:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_limit_refuses_entries_and_lifts_by_itself(self, name) -> None:
        world = under_water(**{f"{name}_max": Decimal(100_000)})
        assert refusal(world) is NAMES[name][1]
        assert halts(world) == []
        world.value()
        world.tick()
        assert refusal(world) is None

    @pytest.mark.parametrize("name", NAMES)
    def test_just_below_the_limit_nothing_happens(self, name) -> None:
        lost = -under_water().core.valuation.unrealised
        keys = f"{name}_max", f"halt_{name}", f"stop_{name}"
        world = under_water(**dict.fromkeys(keys, lost + Decimal("0.01")))
        assert (refusal(world), halts(world)) == (None, [])
        assert halts(under_water(**dict.fromkeys(keys, lost))) == [(NAMES[name][0], "stopped")]

    @pytest.mark.parametrize("name", NAMES)
    def test_a_halt_stays_until_a_person_resumes_and_exits_go_on(self, name) -> None:
        world = under_water(**{f"halt_{name}": Decimal(100_000)})
        assert halts(world) == [(NAMES[name][0], "reduce_only")]
        world.value()
        world.tick()
        assert refusal(world) is Refusal.HALTED
        (position,) = world.state.positions.values()
        assert isinstance(world.submit(world.exit_of(position)), Approved)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_stop_stops_exits_too_but_not_by_hand(self, name) -> None:
        world = under_water(**{f"stop_{name}": Decimal(100_000)})
        assert halts(world) == [(NAMES[name][0], "stopped")]
        (position,) = world.state.positions.values()
        for reason in ("take_profit", "stop_loss", "max_hold", "shutdown"):
            reply = world.submit(world.exit_of(position, reason=reason))
            assert reply.reason is Refusal.STOPPED, reason
        assert isinstance(world.submit(world.exit_of(position, reason="manual")), Approved)

    def test_a_halt_is_raised_to_a_stop_and_never_lowered(self) -> None:
        limits = {"halt_daily_loss": Decimal(100_000), "stop_daily_loss": Decimal(200_000)}
        world = under_water(**limits)
        world.value(w.HOME_PRICE * Decimal("1.5"))
        world.tick()
        world.value()
        world.tick()
        assert halts(world) == [("daily_loss", "reduce_only"), ("daily_loss", "stopped")]
        assert world.state.standing.is_stopped
        assert world.restart().state.standing.is_stopped

    def test_by_hand(self) -> None:
        world = w.World()
        position = world.open_position()
        world.tell(Halt("lunch", flatten=False))
        said = world.tell(Halt("fire", flatten=False, level="stopped")).text
        assert said.startswith("stopped: no entries and no exits")
        assert world.submit(world.exit_of(position)).reason is Refusal.STOPPED
        assert world.tell(Close(("BTC",))).pairs == ("BTC",)
        assert isinstance(world.submit(world.exit_of(position, reason="manual")), Approved)
        assert halts(world) == [("operator", "reduce_only"), ("operator", "stopped")]
        assert "halted already" in world.tell(Halt("", flatten=False)).text
        assert world.state.standing.is_stopped

    def test_naked_exposure(self) -> None:
        world = world_with(
            naked_notional_max=Decimal(400_000),
            halt_naked_notional=Decimal(400_000),
            stop_naked_notional=Decimal(600_000),
        )
        intent = world.entry()
        world.submit(intent)
        world.report(intent, w.filled(intent.home))
        for second in (1, 2):
            assert halts(world) == []
            world.core.valuation.look_at_naked(second * 1_000_000_000)
            world.tick()
        assert halts(world) == [("naked_exposure", "reduce_only")]
        world.tell(Resume("seen"))
        world.tick()
        assert len(halts(world)) == 1
        assert refusal(world) is Refusal.NAKED_EXPOSURE
        world.report(intent, w.filled(intent.away))
        world.core.valuation.look_at_naked(3_000_000_000)
        world.tick()
        assert refusal(world) is None


class TestResume:
    @pytest.mark.parametrize("level", ["halt", "stop"])
    @pytest.mark.parametrize("name", NAMES)
    def test_what_was_accepted_does_not_halt_again(self, name, level) -> None:
        world = under_water(**{f"{level}_{name}": Decimal(100_000)})
        world.tell(Resume("seen"))
        for _ in range(3):
            world.value(FALLEN + 1)
            world.tick()
        assert len(halts(world)) == 1
        again = world.restart()
        again.tick()
        assert len(halts(again)) == 1
        assert refusal(again) is None

    def test_after_a_drawdown_as_much_again_halts_again(self) -> None:
        world = under_water(halt_drawdown=Decimal(100_000), drawdown_max=Decimal(100_000))
        said = world.tell(Resume("seen")).text
        assert "is accepted: the high-water mark is -10" in said
        assert "still refused" not in said
        assert world.core.valuation.drawdown == 0
        world.value(w.HOME_PRICE * Decimal("1.41"))
        world.tick()
        assert halts(world) == [("drawdown", "reduce_only")] * 2

    def test_a_drawdown_that_only_refuses_is_accepted_without_a_halt(self) -> None:
        world = under_water(drawdown_max=Decimal(100_000))
        assert refusal(world) is Refusal.DRAWDOWN
        assert "is accepted" in world.tell(Resume("seen")).text
        assert refusal(world) is None
        assert world.restart().core.valuation.drawdown == 0
        assert world.tell(Resume("")).text == "nothing is halted"

    def test_a_halt_for_another_reason_leaves_the_high_water_mark(self) -> None:
        world = under_water()
        world.tell(Halt("lunch", flatten=False))
        drawdown = world.core.valuation.drawdown
        world.tell(Resume("back"))
        assert world.core.valuation.drawdown == drawdown > 100_000

    def test_of_a_lifetime_as_much_again_halts_again(self) -> None:
        world = under_water(halt_lifetime_loss=Decimal(100_000))
        world.tell(Resume("seen"))
        world.value(w.HOME_PRICE * Decimal("1.38"))
        world.tick()
        assert len(halts(world)) == 1
        world.value(w.HOME_PRICE * Decimal("1.41"))
        world.tick()
        assert len(halts(world)) == 2

    def test_the_answer_names_what_still_refuses(self) -> None:
        world = under_water(halt_daily_loss=Decimal(100_000), daily_loss_max=Decimal(50_000))
        said = world.tell(Resume("seen")).text
        assert "entries are still refused: 10" in said
        assert "lost today, the limit is 50000" in said

    def test_a_changed_limit_is_in_force_at_once(self) -> None:
        world = under_water()
        assert refusal(world) is None
        world.tell(SetLimits((("daily_loss_max", "100000"),)))
        assert refusal(world) is Refusal.DAILY_LOSS


class TestPosition:
    def test_a_position_that_lost_too_much_has_its_pair_set_apart_and_no_other(self) -> None:
        world = world_with(position_loss_bps_max=Decimal(300))
        world.open_position("BTC")
        world.open_position("ETH")
        world.value(FALLEN, bases=("BTC",))
        world.value(bases=("ETH",))
        world.tick()
        (event,) = [event for event in world.events if isinstance(event, PairSetApart)]
        assert (event.pair, event.cause) == ("BTC", "position_loss")
        assert "bps, the limit is 300" in event.reason
        position = world.state.get_symbol_positions("BTC")[0]
        assert world.submit(world.exit_of(position)).reason is Refusal.PAIR_SET_APART
        assert isinstance(world.submit(world.exit_of(position, reason="manual")), Approved)

    def test_one_wrong_frame_sets_nothing_apart(self) -> None:
        world = world_with(position_loss_bps_max=Decimal(300))
        world.open_position()
        for price in (FALLEN, w.HOME_PRICE, FALLEN, w.HOME_PRICE):
            world.value(price, times=1)
            world.tick()
        assert world.state.standing.apart == {}

    def test_who_releases_it_allows_as_much_again(self) -> None:
        world = world_with(position_loss_bps_max=Decimal(1500))
        world.open_position()
        world.value(FALLEN)
        world.tick()
        assert list(world.state.standing.apart) == ["BTC"]
        world.tell(Resume("seen", ("BTC",)))
        for again in (world, world.restart()):
            again.value(FALLEN)
            again.tick()
            assert again.state.standing.apart == {}
        world.value(w.HOME_PRICE * Decimal("1.35"))
        world.tick()
        assert list(world.state.standing.apart) == ["BTC"]
