"""The FX book beside what the coins imply: figures, refusals, and what lifts them again."""

from decimal import Decimal
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.config import FxConfig
from arbshard.model.book import BookTop
from arbshard.model.entry_terms import Baseline
from arbshard.model.intent import FxQuote
from arbshard.model.refusal import Refusal
from arbshard.risk.limits.fx_guard import FxGuard, RunningMedian
from arbshard.risk.validation import Moment
from arbshard.wire.messages import Approved, Refused
from support import world as w
from support.effort import effort

RATE = 1400.0
TICK_NS = 100_000_000
START_MS = 1_795_000_000_000


class Desk:
    """A guard that is shown FX ten times a second and ten coins once a second."""

    def __init__(self, coins: int = 10, level=lambda: None, **fx: object) -> None:
        self.guard = FxGuard(replace(FxConfig(), **fx), baseline_level=level)
        self.coins = coins
        self.now_ns = 0
        self.changes: list[tuple[float, bool]] = []

    @property
    def moment(self) -> Moment:
        return Moment(START_MS + self.now_ns // 1_000_000, self.now_ns, 1)

    def play(self, seconds: float, rate: float = RATE, implied: float = RATE, strays: int = 0) -> None:
        """``strays``: of the coins, how many have a gap of ten percent of their own."""
        for _ in range(round(seconds * 10)):
            if self.now_ns % 1_000_000_000 == 0:
                for number in range(self.coins):
                    one = implied * 1.1 if number < strays else implied
                    self.guard.set_implied(f"C{number}", one, self.now_ns)
            self.guard.set_rate(BookTop(rate - 0.5, 1.0, rate + 0.5, 1.0, self.now_ns), self.now_ns)
            if self.guard.judge(self.moment):
                self.changes.append((self.now_ns / 1e9, bool(self.guard.doubt)))
            self.now_ns += TICK_NS


def off(bps: float) -> float:
    return RATE * (1 + bps / 1e4)


class TestDeparture:
    def test_a_quiet_market_is_never_doubted(self) -> None:
        desk = Desk()
        for second in range(600):
            desk.play(1, off(second % 7 * 5), off(second % 5 * 5))
        assert desk.changes == []

    def test_fx_alone_two_percent_off_is_noticed_at_the_next_tick_with_both_figures(self) -> None:
        desk = Desk()
        desk.play(100)
        desk.play(0.1, off(200))
        assert desk.changes == [(100.0, True)]
        objection = desk.guard.objection(w.make_pair("BTC", 1), "buy_home", desk.moment)
        assert objection.reason is Refusal.FX_DEPARTS
        assert objection.detail == (
            "the FX book is at 1428, and by the median of 10 coins the rate is 1400 "
            "(-196 bps, usually +0 bps; 50 bps from there are allowed)"
        )
        assert desk.guard.since_ms == START_MS + 100_000

    @pytest.mark.parametrize("bps", [-200.0, 200.0])
    def test_it_lifts_after_thirty_quiet_seconds_and_says_how_many_are_left(self, bps) -> None:
        desk = Desk()
        desk.play(100)
        desk.play(1, off(bps))
        desk.play(21)
        assert desk.guard.objection(w.make_pair("BTC", 1), "buy_home", desk.moment).detail.endswith(
            "it has to be quiet for 10 s more"
        )
        desk.play(60)
        assert [is_on for _, is_on in desk.changes] == [True, False]
        assert desk.changes[1][0] == pytest.approx(132.0, abs=0.2)  # the jump back counts as noise, too

    def test_an_entry_decided_at_another_rate_than_risk_sees_is_refused_without_any_coin(self) -> None:
        """With fewer pairs than ``fx.pairs_min`` nothing but the movement of the book itself shows it."""
        desk = Desk(coins=0)
        near = FxQuote(Decimal("1399.5"), Decimal("1400.5"))
        assert desk.guard.objection_to(near) is None  # before the first book there is nothing to compare
        desk.play(10)
        assert desk.guard.objection_to(near) is None
        far = FxQuote(Decimal("1427.5"), Decimal("1428.5"))
        objection = desk.guard.objection_to(far)
        assert objection.reason is Refusal.FX_DEPARTS
        assert objection.detail == "the entry was decided at 1428, and the FX book is at 1400 (+200 bps)"

    def test_between_half_of_the_limit_and_the_limit_it_stays_as_it_is(self) -> None:
        desk = Desk()
        desk.play(100)
        desk.play(20, off(40))
        assert desk.changes == []
        desk.play(1, off(100))
        desk.play(60, off(40))
        assert [is_on for _, is_on in desk.changes] == [True]
        desk.play(40, off(20))
        assert [is_on for _, is_on in desk.changes] == [True, False]

    def test_coins_that_move_together_away_from_fx_count_like_fx(self) -> None:
        desk = Desk()
        desk.play(100)
        desk.play(1.1, RATE, off(-80))
        assert "1388.8" in desk.guard.doubt

    def test_a_few_coins_with_gaps_of_their_own_do_not(self) -> None:
        desk = Desk()
        desk.play(200, strays=4)
        assert desk.changes == []
        assert desk.guard.figures.implied == RATE


class TestLevel:
    def test_a_standing_premium_is_no_departure(self) -> None:
        desk = Desk()
        desk.play(120, RATE, off(300))
        assert desk.changes == []
        assert desk.guard.figures.level_bps == pytest.approx(300)
        desk.play(0.1, off(-60), off(300))
        assert "(+362 bps, usually +300 bps" in desk.guard.doubt

    def test_the_premium_has_a_limit_of_its_own(self) -> None:
        desk = Desk()
        desk.play(2, RATE, off(510))
        assert desk.guard.doubt.endswith("500 bps are allowed)")

    def test_a_lasting_new_premium_becomes_the_usual_one_after_half_of_the_window(self) -> None:
        desk = Desk(level_window_s=200.0)
        desk.play(200)
        desk.play(300, RATE, off(100))
        (_, began), (lifted_s, ended) = desk.changes
        assert (began, ended) == (True, False)
        assert 290 < lifted_s < 335

    def test_after_a_start_the_baselines_say_what_is_usual(self) -> None:
        desk = Desk(level=lambda: 0.0)
        desk.play(2, off(200))
        assert desk.guard.doubt.endswith("50 bps from there are allowed)")
        nothing_known = Desk()
        nothing_known.play(2, off(200))
        assert nothing_known.guard.doubt == ""


class TestJump:
    def test_a_jump_is_noticed_when_the_coins_follow_and_with_too_few_coins(self) -> None:
        for coins in (10, 2):
            desk = Desk(coins)
            desk.play(100)
            desk.play(0.1, off(60), off(60))
            assert desk.guard.doubt == "the FX book has gone from 1400 to 1408.4 within a second (+60 bps)"
            desk.play(40, off(60), off(60))
            assert [is_on for _, is_on in desk.changes] == [True, False]

    def test_the_same_way_over_ten_seconds_is_no_jump(self) -> None:
        desk = Desk()
        desk.play(100)
        for step in range(1, 101):
            desk.play(0.1, off(step), off(step))
        assert desk.changes == []


class TestWithoutEnough:
    def test_two_coins_are_no_comparison(self) -> None:
        desk = Desk(coins=2)
        desk.play(100, RATE, off(400))
        assert desk.guard.figures.implied is None
        assert desk.guard.figures.pairs == 2

    def test_who_can_no_longer_compare_does_not_lift(self) -> None:
        desk = Desk()
        desk.play(100)
        desk.play(1, off(200))
        desk.coins = 0
        desk.play(120)
        assert desk.guard.figures.implied is None
        assert desk.guard.doubt
        desk.coins = 10
        desk.play(40)
        assert not desk.guard.doubt

    def test_without_an_fx_book_it_stays_as_it_is(self) -> None:
        desk = Desk()
        desk.play(100)
        desk.play(1, off(200))
        for _ in range(1000):
            desk.now_ns += TICK_NS
            assert not desk.guard.judge(desk.moment)
        assert desk.guard.doubt


class TestTheEntrysOwnRate:
    """A worker may have decided on an FX frame that risk has not sampled yet."""

    @pytest.mark.parametrize(
        ("bps", "is_refused"), [(0, False), (40, False), (60, True), (-60, True), (200, True)]
    )
    def test_it_is_compared_as_well(self, bps, is_refused) -> None:
        world = w.World()
        fx = world.core.guard.fx
        for number in range(100):
            now_ns = world.now_ms * 1_000_000
            for coin in range(5):
                world.core.note_gap(f"C{coin}", 0.0, RATE, now_ns)
            fx.set_rate(BookTop(RATE, 1.0, RATE, 1.0, now_ns), now_ns)
            world.tick(1000 if number < 99 else 1)
        rate = Decimal(str(off(bps)))
        intent = replace(world.entry(), fx=FxQuote(rate, rate))
        reply = world.submit(intent)
        assert isinstance(reply, Refused if is_refused else Approved)
        if is_refused:
            assert reply.reason is Refusal.FX_DEPARTS

    def test_while_fx_is_doubted_entries_of_all_pairs_are_refused_and_exits_are_not(self) -> None:
        world = w.World()
        position = world.open_position("ETH")
        world.core.guard.fx.doubt = "the FX book is wrong"
        for base in ("BTC", "ETH"):
            assert world.submit(world.entry(base)).reason is Refusal.FX_DEPARTS
        assert isinstance(world.submit(world.exit_of(position)), Approved)


def test_the_core_gives_the_median_of_the_baselines_as_the_level() -> None:
    world = w.World()
    world.core.guard.baselines = {f"C{n}": Baseline(10.0 * n, 1.0, 2.0, 300, 5) for n in range(5)}
    assert world.core._baseline_level() == 20.0
    world.core.guard.baselines = {"C1": Baseline(10.0, 1.0, 2.0, 300, 5)}
    assert world.core._baseline_level() is None


def test_the_levels_of_a_few_of_many_pairs_say_nothing_of_the_level_of_all() -> None:
    """Of thirty pairs three were known after a minute, at -64 bps: FX was in doubt though nothing had moved."""
    bases = tuple(f"C{number}" for number in range(30))
    world = w.World(bases)
    known = {base: Baseline(-64.0, 1.0, 2.0, 300, 5) for base in bases}
    for count, level in ((3, None), (14, None), (15, -64.0)):
        world.core.guard.baselines = dict(list(known.items())[:count])
        assert world.core._baseline_level() == level


@settings(max_examples=effort(30, 300))
@given(st.lists(st.tuples(st.integers(-300, 300), st.integers(-300, 300), st.integers(1, 40)), max_size=12))
def test_no_entry_passes_while_the_figures_are_beyond_their_limits(weather) -> None:
    """And once a doubt is lifted, everything has been well within them for the whole of ``quiet_s``."""
    desk = Desk(quiet_s=5.0)
    desk.play(70)
    calm_since = 0.0
    rates: list[float] = []
    for rate_bps, implied_bps, tenths in weather:
        for _ in range(tenths):
            desk.play(0.1, off(rate_bps), off(implied_bps))
            rates.append(off(rate_bps))
            figures = desk.guard.figures
            departure = abs(figures.premium_bps(figures.rate) - figures.level_bps)
            recent = rates[-11:]
            moved = max(
                abs(rates[-1] / one - 1) * 1e4 for one in [*recent, RATE][: len(recent) + (len(rates) < 11)]
            )
            at_s = desk.now_ns / 1e9
            if departure > 50 or moved > 50:
                assert desk.guard.doubt
            if departure > 25 or moved > 25:
                calm_since = at_s
            if not desk.guard.doubt and len(desk.changes) % 2 == 0 and desk.changes:
                lifted_s = desk.changes[-1][0]
                assert lifted_s <= calm_since or lifted_s - calm_since >= 5.0 - 0.11 or calm_since > lifted_s


@given(st.lists(st.floats(-500.0, 500.0), min_size=1, max_size=60), st.integers(2, 20))
def test_the_running_median_is_that_of_the_newest_numbers(numbers, most) -> None:
    running = RunningMedian(most)
    for count, number in enumerate(numbers, 1):
        running.add(number)
        newest = numbers[max(0, count - most) : count]
        assert running.value == median(newest)
        assert len(running) == len(newest)
