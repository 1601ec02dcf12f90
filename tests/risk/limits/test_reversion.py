"""A gap that did not come back is not entered again before it has, and not at once."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.ledger.events import PairSetApart
from arbshard.model.entry_terms import Baseline
from arbshard.model.refusal import Refusal
from arbshard.risk.limits.reversion import Rearming
from arbshard.wire.messages import Approved, Refused, Resume, Submit
from support import world as w
from support.effort import effort

BAD = ("max_hold", "stop_loss")
PAUSE_MS = 60_000
RATE = 1400.0


def config(**strategy: object):
    return replace(w.BOTH_WAYS, strategy=replace(w.BOTH_WAYS.strategy, **strategy))


def world_with(**strategy: object) -> w.World:
    return w.World(config=config(**{"no_reversion_exits": 20, "no_reversion_window": 20} | strategy))


def leave(world: w.World, reason: str, direction: str = "buy_away") -> None:
    """Open a position and close it for ``reason``."""
    intent = world.entry(direction=direction)
    world.carry_out(intent)
    (position,) = world.state.get_symbol_positions("BTC")
    world.carry_out(world.exit_of(position, reason=reason), done=True)
    assert not world.state.positions


def sample(world: w.World, gap: float, times: int = 2) -> None:
    for _ in range(times):
        world.core.note_gap("BTC", gap, RATE, world.now_ms * 1_000_000)


def refusal(world: w.World, direction: str = "buy_away") -> Refused | None:
    reply = world.submit(world.entry(direction=direction))
    if isinstance(reply, Approved):
        (intent_id,) = world.state.trades
        intent = world.state.trades[intent_id].intent
        world.report(intent, w.expired(intent.home), w.expired(intent.away))
        world.conclude(intent)
        return None
    return reply


def rearm(world: w.World, direction: str = "buy_away") -> None:
    """Let the gap come back, and time enough pass."""
    sample(world, 0.0)
    world.tick(3_600_001)
    assert refusal(world, direction) is None


@pytest.mark.parametrize("reason", BAD)
class TestAfterABadExit:
    def test_the_same_direction_is_refused_and_says_what_is_awaited(self, reason) -> None:
        world = world_with()
        leave(world, reason)
        refused = refusal(world)
        assert refused.reason is Refusal.NOT_REARMED
        assert refused.detail == (
            "BTC buy_away was left once before its gap had come back: its gap has to be below 10.0 bps (level 0.0) "
            "and its pause of 60 s has to pass"
        )

    def test_the_other_direction_is_not(self, reason) -> None:
        world = world_with()
        leave(world, reason)
        assert refusal(world, "buy_home") is None

    def test_time_alone_does_not_rearm(self, reason) -> None:
        world = world_with()
        leave(world, reason)
        sample(world, 60.0)
        world.tick(PAUSE_MS * 1000)
        assert "its gap has to be below" in refusal(world).detail
        assert "pause" not in refusal(world).detail

    def test_the_gap_alone_does_not_end_the_pause(self, reason) -> None:
        world = world_with()
        leave(world, reason)
        sample(world, 10.0)
        world.tick(PAUSE_MS - 100)
        assert refusal(world).detail.endswith("come back: its pause of 60 s has to pass")
        world.tick(100)
        assert refusal(world) is None

    def test_one_sample_is_not_enough(self, reason) -> None:
        world = world_with()
        leave(world, reason)
        world.tick(PAUSE_MS)
        for gap in (9.0, 70.0, 9.0):
            sample(world, gap, times=1)
            assert refusal(world) is not None, gap
        sample(world, -40.0, times=1)
        assert refusal(world) is None

    def test_a_restart_forgets_no_pause_and_begins_as_not_rearmed(self, reason) -> None:
        world = world_with()
        leave(world, reason)
        sample(world, 0.0)
        world.tick(PAUSE_MS - 1000)
        again = world.restart()
        again.ask(again.hello())
        assert "its gap has to be" in refusal(again).detail
        sample(again, 0.0)
        assert refusal(again).reason is Refusal.NOT_REARMED
        again.tick(1000)
        assert refusal(again) is None


def test_the_gap_is_measured_against_the_level_of_the_pair() -> None:
    world = world_with()
    world.core.guard.baselines = {"BTC": Baseline(80.0, 5.0, 3.0, 300, 5)}
    leave(world, "max_hold")
    world.tick(PAUSE_MS)
    sample(world, 91.0)
    assert "below 90.0 bps (level 80.0)" in refusal(world).detail
    sample(world, 90.0)
    assert refusal(world) is None


def test_a_direction_that_buys_at_home_needs_the_gap_to_rise() -> None:
    world = world_with()
    leave(world, "max_hold", "buy_home")
    world.tick(PAUSE_MS)
    sample(world, -11.0)
    assert "above -10.0 bps" in refusal(world, "buy_home").detail
    sample(world, -10.0)
    assert refusal(world, "buy_home") is None


class TestPauses:
    def test_each_further_bad_exit_doubles_the_pause_up_to_its_limit(self) -> None:
        world = world_with(rearm_pause_max_s=240.0)
        for seconds in (60, 120, 240, 240):
            leave(world, "max_hold")
            sample(world, 0.0)
            world.tick(seconds * 1000 - 100)
            assert refusal(world).reason is Refusal.NOT_REARMED, seconds
            world.tick(100)
            assert refusal(world) is None

    @pytest.mark.parametrize("good", ["take_profit", "spread_reversal"])
    def test_a_good_exit_forgets_them(self, good) -> None:
        world = world_with()
        for reason in ("max_hold", "max_hold", good):
            leave(world, reason)
            if reason != good:
                rearm(world)
        assert refusal(world) is None
        leave(world, "stop_loss")
        assert "left once" in refusal(world).detail

    @pytest.mark.parametrize("other", ["manual", "shutdown", "kill_switch"])
    def test_what_a_person_closes_says_nothing(self, other) -> None:
        world = world_with()
        leave(world, other)
        assert refusal(world) is None
        leave(world, "max_hold")
        rearm(world)
        leave(world, other)
        assert not world.state.results.returns["BTC"][-1]
        assert len(world.state.results.returns["BTC"]) == 1

    def test_a_clock_that_is_set_back_lengthens_no_pause(self) -> None:
        world = world_with()
        leave(world, "max_hold")
        sample(world, 0.0)
        now_ns = world.now_ms * 1_000_000
        assert (
            refusal(world).reason is Refusal.NOT_REARMED
        )  # its pause is measured from here in monotonic time
        intent = world.entry()
        reply, _ = world.core.handle(
            Submit(0, 1, intent), world.now_ms - 3_600_000, world.phase, now_ns + 61_000_000_000
        )
        assert isinstance(reply, Approved)


class TestNoReversion:
    def test_five_bad_exits_set_the_pair_apart_and_a_person_releases_it(self) -> None:
        world = world_with(no_reversion_exits=5, no_reversion_window=10)
        for number in range(5):
            assert not world.state.standing.apart, number
            leave(world, BAD[number % 2])
            if number < 4:
                rearm(world)
        (event,) = [one for one in world.events if isinstance(one, PairSetApart)]
        assert (event.pair, event.cause) == ("BTC", "no_reversion")
        assert event.reason == "of its last 5 positions 5 were closed before the gap had come back"
        assert refusal(world).reason is Refusal.PAIR_SET_APART
        again = world.restart()
        assert again.state.standing.apart["BTC"].cause == "no_reversion"
        assert not again.state.standing.apart["BTC"].is_closed_by_hand
        world.tell(Resume("looked at it", ("BTC",)))
        assert refusal(world) is None
        leave(world, "max_hold")
        assert not world.state.standing.apart

    def test_good_exits_between_do_not_hide_it(self) -> None:
        world = world_with(no_reversion_exits=5, no_reversion_window=10)
        for reason in ("max_hold", "take_profit") * 4:
            leave(world, reason)
            rearm(world)
        assert not world.state.standing.apart
        leave(world, "max_hold")
        assert world.state.standing.apart["BTC"].reason.startswith("of its last 9 positions 5 were closed")

    def test_fewer_than_half_do_not(self) -> None:
        world = world_with(no_reversion_exits=5, no_reversion_window=10)
        for _ in range(6):
            for reason in ("max_hold", "take_profit", "spread_reversal"):
                leave(world, reason)
                rearm(world)
        assert not world.state.standing.apart


steps = st.lists(
    st.tuples(
        st.sampled_from(["enter", "good", "bad", "gap", "wait", "restart"]),
        st.sampled_from(["buy_home", "buy_away"]),
        st.integers(0, 100),
    ),
    max_size=40,
)


@settings(max_examples=effort(60, 600))
@given(steps)
def test_no_entry_is_approved_before_its_gap_was_back_and_its_pause_over(made) -> None:
    world = world_with()
    bad: dict[str, tuple[int, int]] = {}
    """By direction: how many bad exits in a row, and when the last was."""
    back: dict[str, int] = dict.fromkeys(("buy_home", "buy_away"), 0)
    for step, direction, size in made:
        positions = world.state.get_symbol_positions("BTC")
        if step == "enter" and not positions and "BTC" not in world.state.busy:
            intent = world.entry(direction=direction)
            is_free = True
            if direction in bad:
                times, closed_ms = bad[direction]
                pause_ms = min(PAUSE_MS * 2 ** (times - 1), 3_600_000)
                is_free = back[direction] >= 2 and world.now_ms + 1 >= closed_ms + pause_ms
            reply = world.submit(intent)
            assert isinstance(reply, Approved) is is_free, reply
            if is_free:
                world.report(intent, w.filled(intent.home), w.filled(intent.away))
                world.conclude(intent)
        elif step in ("good", "bad") and positions:
            reason = "take_profit" if step == "good" else "max_hold"
            world.carry_out(world.exit_of(positions[0], reason=reason), done=True)
            left = positions[0].direction
            if step == "good":
                bad.pop(left, None)
            else:
                bad[left] = bad.get(left, (0, 0))[0] + 1, world.now_ms
            back[left] = 0
        elif step == "gap":
            gap = float(size - 50)
            sample(world, gap, times=1)
            for one, distance in (("buy_home", -gap), ("buy_away", gap)):
                if back[one] < 2:
                    back[one] = back[one] + 1 if distance <= 10.0 else 0
        elif step == "wait":
            world.tick(size * 2_000)
        elif step == "restart":
            world = world.restart()
            world.ask(world.hello())
            back = dict.fromkeys(back, 0)


def test_a_gap_that_has_been_back_may_go_away_again() -> None:
    """That it goes away is what the next entry waits for."""
    world = world_with()
    leave(world, BAD[0])
    assert not world.core.rearming.is_settled
    sample(world, 0.0)
    sample(world, 200.0)
    world.tick(3_600_001)
    assert refusal(world) is None
    assert world.core.rearming.is_settled  # nothing more is awaited


def test_zero_switches_either_rule_off() -> None:
    world = world_with(rearm_pause_max_s=0.0, no_reversion_exits=0)
    for _ in range(19):
        leave(world, "max_hold")
        assert refusal(world) is None
    assert not world.state.standing.apart


def test_what_is_forgotten_takes_no_room() -> None:
    world = world_with()
    rule: Rearming = world.core.rearming
    leave(world, "max_hold")
    rearm(world)
    leave(world, "take_profit")
    sample(world, 0.0)
    assert refusal(world) is None
    assert not rule._back
    assert not rule._waits
    assert Decimal(0) == world.state.exposure
