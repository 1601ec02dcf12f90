"""The baseline of a pair: level, band, and the half-life of its excursions."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.config import BaselineConfig, SeriesConfig
from arbshard.engine.baseline import Baselines, baseline_of
from arbshard.engine.series import SpreadSeries

SETTINGS = BaselineConfig(samples_min=30, excursion_bps=20.0, returns_min=2)
SECOND = 1_000_000_000


def series_of(values, window=900):
    series = SpreadSeries(window, 1000.0)
    for second, value in enumerate(values):
        if value is not None:
            series.add(second * SECOND, value)
    return series


def known(values, **settings):
    merged = {name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__} | settings
    return baseline_of(series_of(values), BaselineConfig(**merged))


def calm(count, level=0.0, seed=1):
    draw = random.Random(seed)
    return [level + draw.gauss(0.0, 2.0) for _ in range(count)]


def excursion(height, seconds, level=0.0):
    """Up at once, at full height for so long, then back at once."""
    return [level + height] * seconds


def test_too_few_samples_say_nothing():
    assert known(calm(29)) is None
    assert known(calm(30)) is not None


def test_the_level_is_where_the_gap_usually_is():
    values = calm(200, level=-75.0) + excursion(60.0, 40, level=-75.0) + calm(200, level=-75.0, seed=2)
    found = known(values)
    assert found.level_bps == pytest.approx(-75.0, abs=1.0)
    assert found.band_bps == pytest.approx(2.0, rel=0.5)


def test_the_half_life_is_the_median_time_until_half_of_the_height_is_lost():
    values = []
    for seconds in (4, 6, 20):
        values += calm(50, seed=seconds) + excursion(60.0, seconds)
    found = known(values + calm(50))
    assert (found.returns, found.half_life_s, found.excursion_s) == (3, 6.0, 0.0)


@pytest.mark.parametrize("sign", [-1, 1])
def test_both_sides_count(sign):
    values = calm(50) + excursion(sign * 60.0, 5) + calm(50) + excursion(-sign * 60.0, 5) + calm(50)
    assert known(values).returns == 2


def test_an_excursion_that_does_not_return_counts_as_lasting_so_long():
    values = calm(100) + excursion(60.0, 3) + calm(100) + excursion(60.0, 3) + calm(100)
    assert known(values).half_life_s == 3.0
    standing = known(values + excursion(60.0, 90))
    assert standing.excursion_s == 90.0
    assert standing.half_life_s == 3.0  # two of three came back at once
    # Of four, two never came back: half of the excursions are known to return in time.
    cut = [*values, *excursion(60.0, 30), *[None] * 10, *calm(20), *excursion(60.0, 30)]
    assert known(cut).half_life_s == 3.0
    # Of five, three never came back: fewer than half return at all.
    cut += [*[None] * 10, *calm(20), *excursion(60.0, 30)]
    assert known(cut).half_life_s is None


def test_too_few_returns_leave_the_half_life_unknown():
    values = calm(100) + excursion(60.0, 5) + calm(100)
    assert (known(values).returns, known(values).half_life_s) == (1, None)
    assert known(values, returns_min=1).half_life_s == 5.0


def test_one_sample_is_no_excursion():
    """It may be one wrong frame."""
    values = (calm(50) + excursion(1000.0, 1)) * 5 + calm(50)
    assert (known(values).returns, known(values).half_life_s) == (0, None)


def test_a_gap_that_stands_still_has_no_excursion():
    found = known([-75.0] * 300)
    assert (found.level_bps, found.band_bps, found.returns, found.excursion_s) == (-75.0, 0.0, 0, 0.0)


def test_a_wide_band_raises_what_counts_as_an_excursion():
    draw = random.Random(5)
    wandering = [40.0 * math.sin(second / 40.0) + draw.gauss(0.0, 3.0) for second in range(800)]
    found = known(wandering)
    assert found.band_bps > 30.0
    assert found.returns == 0


@given(
    half_life_s=st.floats(3.0, 30.0),
    level=st.floats(-100.0, 100.0),
    seed=st.integers(0, 1000),
)
def test_recovers_the_half_life_of_shocks_that_decay(half_life_s, level, seed):
    """Shocks of 80 bps, each of which decays exponentially; the calm between them is long enough."""
    draw, values = random.Random(seed), []
    for _ in range(6):
        values += [level + draw.gauss(0.0, 1.0) for _ in range(30)]
        sign = draw.choice((-1, 1))
        values += [
            level + sign * 80.0 * 0.5 ** (second / half_life_s) + draw.gauss(0.0, 1.0)
            for second in range(int(4 * half_life_s))
        ]
    found = baseline_of(series_of(values, window=len(values)), SETTINGS)
    assert found.level_bps == pytest.approx(level, abs=25.0)
    assert found.half_life_s == pytest.approx(half_life_s, rel=0.35, abs=2.0)


@given(st.lists(st.none() | st.floats(-500.0, 500.0), min_size=30, max_size=200))
def test_whatever_the_samples_are_the_figures_make_sense(values):
    found = known(values, samples_min=30)
    if found is None:
        return
    assert found.band_bps >= 0
    assert (
        min(v for v in values if v is not None) <= found.level_bps <= max(v for v in values if v is not None)
    )
    assert 0 <= found.excursion_s <= len(values)
    if found.half_life_s is not None:
        assert found.returns >= SETTINGS.returns_min
        assert 1.0 <= found.half_life_s <= len(values)


def test_all_pairs_are_estimated_in_turn_and_each_once_in_two_intervals():
    baselines = Baselines(SeriesConfig(), SETTINGS)
    bases = [f"C{number}" for number in range(5)]
    baselines.set_pairs(bases)
    for second in range(40):
        for base in bases:
            baselines.series[base].add(second * SECOND, 1.0)
    for call in range(3):
        baselines.refresh(40 * SECOND + call)
    assert baselines.known.keys() == set(bases)
    baselines.known.clear()
    baselines.refresh(41 * SECOND)
    assert not baselines.known
    baselines.refresh(42 * SECOND)
    assert len(baselines.known) == 2


def test_a_pair_that_goes_is_forgotten_and_one_that_stays_is_not():
    baselines = Baselines(SeriesConfig(), SETTINGS)
    baselines.set_pairs(["A", "B"])
    for second in range(40):
        for base in ("A", "B"):
            baselines.series[base].add(second * SECOND, 1.0)
    baselines.refresh(40 * SECOND)
    baselines.set_pairs(["B", "C"])
    assert baselines.known.keys() == {"B"}
    assert baselines.series.keys() == {"B", "C"}
    assert baselines.series["B"].count == 40


def gone_for(seconds):
    """A pair with forty samples that left and came back, and has one more sample since."""
    new = []
    baselines = Baselines(SeriesConfig(window=60), SETTINGS, lambda base, _: new.append(base))
    baselines.set_pairs(["A", "B"])
    for second in range(40):
        baselines.series["A"].add(second * SECOND, 1.0)
    baselines.set_pairs(["B"])
    baselines.set_pairs(["B", "A"])
    assert new == ["A", "B"]
    baselines.series["A"].add((39 + seconds) * SECOND, 1.0)
    baselines.refresh((39 + seconds) * SECOND)
    return baselines


def test_a_pair_that_comes_back_goes_on_with_what_is_within_its_window():
    assert gone_for(10).series["A"].count == 41
    assert gone_for(10).known.keys() == {"A"}
    assert gone_for(50).series["A"].count == 11
    assert not gone_for(50).known
    assert gone_for(100).series["A"].count == 1


def test_few_pairs_that_have_left_are_remembered():
    new = []
    baselines = Baselines(SeriesConfig(), SETTINGS, lambda base, _: new.append(base))
    for number in range(102):
        baselines.set_pairs([f"C{number}"])
    new.clear()
    baselines.set_pairs(["C0", "C1", "C2"])
    assert new == ["C0"]
