"""The regime ``band``: levels, bands and half-lives are found again in the series that it makes."""

import math
from itertools import pairwise
from statistics import correlation, fmean, median, pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbshard.config import SimConfig
from arbshard.exchanges.bands import BandGap, BandRules, FxPremium, Stress
from arbshard.exchanges.seeds import seeded
from arbshard.exchanges.world import FX_SYMBOL, SimWorld

RULES = BandRules()
QUIET = RULES._replace(stress_every_s=1e12, suspended_share=1e-9, flow_every_s=1e12, fx_jump_every_s=1e12)
"""Wandering alone."""


def gap_of(seed: int, rules: BandRules = QUIET) -> BandGap:
    return BandGap(seeded(seed, "BTC", "band"), rules)


def series_of(gap: BandGap, seconds: int, stress: Stress | None = None, dt_s: float = 1.0) -> list[float]:
    """The gap once a second; ``stress`` goes on by itself."""
    stress = stress or Stress(0, QUIET)
    found = []
    for _ in range(seconds):
        for _ in range(round(1 / dt_s)):
            stress.step(dt_s)
            gap.step(dt_s, stress)
        found.append(gap.bps)
    return found


def half_life_outside(values: list[float], level: float, half_width: float) -> float:
    """In steps, by least squares of the changes outside of the band on the distance from its edge."""
    products = squares = 0.0
    for before, after in pairwise(values):
        distance = before - level
        if abs(distance) > half_width:
            beyond = distance - math.copysign(half_width, distance)
            products += beyond * (after - before)
            squares += beyond * beyond
    return math.log(2.0) / -math.log(1.0 + products / squares)


def slope_inside(values: list[float], level: float, half_width: float) -> float:
    """By how much of its distance from the level the gap changes a second inside of the band: 0 for a random walk."""
    inside = [
        (before - level, after - before)
        for before, after in pairwise(values)
        if abs(before - level) < half_width * 0.9
    ]
    return sum(x * y for x, y in inside) / sum(x * x for x, _ in inside)


class TestThresholdAutoregression:
    @pytest.mark.parametrize("half_life_s", [20.0, 400.0, 7200.0])
    def test_half_life_is_found_outside_and_none_inside(self, half_life_s: float) -> None:
        step_s = half_life_s / 20
        for seed in (1, 2):
            gap = gap_of(seed, QUIET._replace(half_life_s=(half_life_s, half_life_s)))
            stress = Stress(0, QUIET)
            values = []
            for _ in range(80_000):
                gap.step(step_s, stress)
                values.append(gap.bps)
            found = half_life_outside(values, gap.level_bps, gap.half_width_bps) * step_s
            assert found == pytest.approx(half_life_s, rel=0.2)
            inside = slope_inside(values, gap.level_bps, gap.half_width_bps) / step_s
            assert abs(inside) < 0.15 * math.log(2.0) / half_life_s

    def test_level_and_band_are_found(self) -> None:
        """Inside of the band every place is equally likely: the middle half of the gaps is half a band wide."""
        gap = gap_of(5, QUIET._replace(half_life_s=(60.0, 60.0)))
        values = sorted(series_of(gap, 200_000))
        assert median(values) == pytest.approx(gap.level_bps, abs=0.2 * gap.half_width_bps)
        middle = values[len(values) * 3 // 4] - values[len(values) // 4]
        assert gap.half_width_bps * 0.8 < middle < gap.half_width_bps * 1.5

    @settings(max_examples=30, deadline=None)
    @given(seed=st.integers(0, 2**31))
    def test_every_pair_has_a_level_a_band_and_a_half_life_of_its_own(self, seed: int) -> None:
        gap = gap_of(seed)
        assert RULES.level_bps[0] <= abs(gap.level_bps) <= RULES.level_bps[1]
        assert RULES.half_width_bps[0] <= gap.half_width_bps <= RULES.half_width_bps[1]
        assert RULES.half_life_s[0] <= gap.half_life_s <= RULES.half_life_s[1] * 1.000001
        assert abs(gap.bps - gap.level_bps) <= gap.half_width_bps
        values = series_of(gap, 900)
        assert (
            max(abs(value - gap.level_bps) for value in values)
            < gap.half_width_bps + 8 * RULES.outside_bps[1]
        )

    @pytest.mark.parametrize("dt_s", [0.1, 0.5])
    def test_the_length_of_a_step_changes_nothing(self, dt_s: float) -> None:
        rules = QUIET._replace(half_life_s=(30.0, 30.0))
        spread = [pstdev(series_of(gap_of(3, rules), 30_000, dt_s=step)) for step in (1.0, dt_s)]
        assert spread[0] == pytest.approx(spread[1], rel=0.25)

    def test_half_lives_reach_from_tens_of_seconds_to_hours(self) -> None:
        found = sorted(gap_of(seed).half_life_s for seed in range(300))
        assert found[30] < 60
        assert found[270] > 3600

    def test_large_orders_move_the_gap_at_once(self) -> None:
        gap = gap_of(4, RULES._replace(stress_every_s=1e12, suspended_share=1e-9))
        values = series_of(gap, 100_000)
        moves = sum(abs(after - before) > 14 for before, after in pairwise(values))
        expected = 100_000 / max(RULES.flow_every_s, RULES.flow_every_half_lives * gap.half_life_s)
        assert expected * 0.6 < moves < expected * 1.5


class TestStress:
    RULES = RULES._replace(stress_every_s=3600.0, suspended_share=1e-9, flow_every_s=1e12)

    def test_widens_all_gaps_together(self) -> None:
        stress = Stress(3, self.RULES)
        gaps = [gap_of(seed, self.RULES) for seed in range(12)]
        series: list[list[float]] = [[] for _ in gaps]
        heights = []
        for _ in range(40_000):
            stress.step(1.0)
            heights.append(stress.bps)
            for gap, values in zip(gaps, series, strict=True):
                gap.step(1.0, stress)
                values.append(gap.bps)
        assert max(map(abs, heights)) > RULES.stress_bps[0] * 0.8
        common = [fmean(at) for at in zip(*series, strict=True)]
        assert correlation(common, heights) > 0.9

    def test_is_at_rest_at_first_and_comes_and_goes(self) -> None:
        stress = Stress(3, self.RULES)
        assert (stress.bps, stress.volatility) == (0.0, 1.0)
        heights = []
        for _ in range(100_000):
            stress.step(1.0)
            heights.append(abs(stress.bps))
            assert 1.0 <= stress.volatility <= RULES.stress_volatility
        assert max(heights) <= RULES.stress_bps[1] * 2
        assert sum(height < 10 for height in heights) > 0.3 * len(heights)


class TestSuspension:
    def test_gap_stands_until_transfers_resume(self) -> None:
        rules = QUIET._replace(suspended_share=0.5, suspended_s=5_000.0, half_life_s=(30.0, 30.0))
        gap = gap_of(2, rules)
        stress = Stress(0, QUIET)
        held, free = [], []
        since = 0
        was_suspended = gap.is_suspended
        for _ in range(120_000):
            gap.step(1.0, stress)
            since = since + 1 if gap.is_suspended == was_suspended else 0
            was_suspended = gap.is_suspended
            if since > 600:
                (held if gap.is_suspended else free).append(abs(gap.bps - gap.level_bps))
        assert median(held) > rules.suspended_bps[0]
        assert median(free) < gap.half_width_bps

    def test_a_share_of_the_coins_is_suspended(self) -> None:
        gaps = [gap_of(seed, RULES) for seed in range(1000)]
        assert 40 < sum(gap.is_suspended for gap in gaps) < 110

    def test_upbit_says_so(self) -> None:
        world = SimWorld(SimConfig(seed=7, coins=60, regime="band", updates_per_s=1.0))
        for place in range(len(world.places)):
            world.step(place)
        suspended = {f"KRW-{process.base}" for process in world.processes if process.is_suspended}
        assert 1 <= len(suspended) <= 12
        assert {name for name, market in world.upbit.items() if market.wallet == "paused"} == suspended
        cautioned = {name for name, one in world.upbit.items() if one.caution == "GLOBAL_PRICE_DIFFERENCES"}
        assert cautioned == suspended


class TestFxPremium:
    def test_wanders_and_jumps(self) -> None:
        premium = FxPremium(7, RULES)
        values = []
        for _ in range(200_000):
            premium.step(1.0)
            values.append(premium.bps)
        jumps = [abs(after - before) for before, after in pairwise(values)]
        assert 25 < sum(jump > 20 for jump in jumps) < 90  # one an hour, in 55 hours
        assert max(jumps) <= RULES.fx_jump_bps[1] + 5
        assert abs(median(values)) < RULES.fx_bps
        assert pstdev(values) > RULES.fx_bps * 0.7

    def test_moves_the_fx_market_and_not_the_coins(self) -> None:
        world = SimWorld(SimConfig(seed=5, coins=1, regime="band", updates_per_s=1.0))
        off = []
        for _ in range(3000):
            for place in range(len(world.places)):
                world.step(place)
            fx = world.upbit[FX_SYMBOL]
            shown = (fx.best_bid + fx.best_ask) / 2e8
            off.append((shown / world.fx_rate - 1) * 10_000)
        assert max(off) - min(off) > 10


def test_same_seed_same_series_other_seed_another() -> None:
    def path(seed: int) -> list[tuple[float, ...]]:
        world = SimWorld(SimConfig(seed=seed, coins=3, regime="band"))
        found = []
        for _ in range(100):
            for place in range(len(world.places)):
                world.step(place)
            found.append((world.fx_rate, *(process.gap_bps for process in world.processes)))
        return found

    assert path(4) == path(4)
    assert path(4) != path(5)


def test_other_regimes_are_as_they_were() -> None:
    """A regime without a band draws none of its numbers: its prices are those of every version before."""
    world = SimWorld(SimConfig(seed=4, coins=1, regime="mixed"))
    assert world.processes[0].band is None
    assert not world.processes[0].is_suspended
