"""The series against a naive calculation from the window, and the correlation of two."""

import math
import random
import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.engine.correlation import CorrelationMatrix, correlation
from arbshard.engine.series import GAP_BPS_MAX, SpreadSeries

S = 1_000_000_000


class Naive:
    """Keeps everything and computes from it when asked."""

    def __init__(self, window):
        self.window = window
        self.samples: dict[int, float] = {}

    def add(self, interval, value):
        self.samples.setdefault(interval, value)
        newest = max(self.samples)
        self.samples = {n: x for n, x in self.samples.items() if n > newest - self.window}

    @property
    def values(self):
        return [x for _, x in sorted(self.samples.items())]

    def slope(self):
        """Of the next change on x, over neighbours, exactly; None where it is not defined."""
        pairs = [
            (Fraction(x), Fraction(self.samples[n + 1]))
            for n, x in self.samples.items()
            if n + 1 in self.samples
        ]
        if not pairs:
            return None
        us, ds = [x for x, _ in pairs], [y - x for x, y in pairs]
        u_mean, d_mean = sum(us) / len(us), sum(ds) / len(ds)
        spread = sum((u - u_mean) ** 2 for u in us)
        if not spread:
            return None
        return sum((u - u_mean) * (d - d_mean) for u, d in zip(us, ds, strict=True)) / spread


def fed(values, window=300, samples_min=2, start=1000):
    series = SpreadSeries(window, 1000.0, samples_min)
    for n, value in enumerate(values, start=start):
        assert series.add(n * S, value)
    return series


def agrees(series, naive):
    values = naive.values
    scale = max(map(abs, values))
    assert series.count == len(values)
    assert series.last == values[-1]
    assert series.mean == pytest.approx(statistics.fmean(values), rel=1e-12, abs=1e-12 * scale)
    if len(values) > 1:
        exact = statistics.stdev(values)
        # A deviation far below the numbers themselves is only as good as the numbers.
        assert series.deviation == pytest.approx(exact, rel=1e-6, abs=1e-13 * scale)


gaps = st.floats(-1e4, 1e4).map(lambda x: round(x, 6))


@given(
    window=st.integers(2, 12),
    steps=st.lists(st.tuples(st.integers(1, 15), gaps), min_size=1, max_size=120),
    offset=st.sampled_from([0.0, 1e6, -1e9]),
)
def test_windowed_statistics_are_those_of_the_window(window, steps, offset):
    series, naive = SpreadSeries(window, 1000.0, 2), Naive(window)
    interval = 5
    for gap, value in steps:
        interval += gap if gap > 3 else 1
        assert series.add(interval * S + 17, value + offset)
        naive.add(interval, value + offset)
        agrees(series, naive)


@given(
    window=st.integers(3, 20),
    steps=st.lists(st.tuples(st.integers(1, 4), st.integers(-50, 50)), min_size=3, max_size=80),
)
def test_half_life_is_that_of_the_regression_over_neighbours(window, steps):
    series, naive = SpreadSeries(window, 1000.0, 2), Naive(window)
    interval = 0
    for gap, value in steps:
        interval += 1 if gap < 4 else 2
        series.add(interval * S, value / 4)
        naive.add(interval, value / 4)
    slope = naive.slope()
    border = Fraction(1, 10**9)
    if slope is None or slope > border or slope < -1 - border:
        assert series.half_life_s is None
    elif -1 + border < slope < -border:
        assert series.half_life_s == pytest.approx(-math.log(2) / math.log(1 + slope), rel=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9])
def test_a_long_run_does_not_drift(offset):
    rng = random.Random(5)
    series, naive = SpreadSeries(50, 1000.0, 2), Naive(50)
    for n in range(30_000):
        spike = 1e7 if n % 997 == 0 else 0.0
        value = offset + rng.gauss(0, 1.5) + spike
        series.add(n * S, value)
        naive.add(n, value)
        if n % 199 == 0:
            agrees(series, naive)
    agrees(series, naive)


def test_unread_for_a_long_time_it_is_still_right():
    rng = random.Random(6)
    values = [1e8 * (n < 2000) + rng.gauss(0, 1) for n in range(20_000)]
    series = fed(values, window=100)
    assert series.deviation == pytest.approx(statistics.stdev(values[-100:]), rel=1e-9)
    assert series.mean == pytest.approx(statistics.fmean(values[-100:]), rel=1e-9)


@given(value=st.floats(-1e9, 1e9), count=st.integers(2, 40))
def test_what_stands_still_has_no_deviation_and_no_score(value, count):
    series = fed([1e6, -7.0, *[value] * (count + 3)], window=count)
    assert series.deviation == 0.0
    assert series.z_score is None
    assert series.half_life_s is None
    assert series.mean == value


def test_one_sample_per_interval_the_first():
    series = SpreadSeries(10, 500.0, 2)
    assert series.add(1_000_000_000, 1.0)
    assert series.due_ns == 1_500_000_000
    assert not series.add(1_000_000_000, 2.0)
    assert not series.add(1_499_999_999, 3.0)
    assert not series.add(500_000_000, 4.0)  # the past is over
    assert series.add(1_500_000_000, 5.0)
    assert (series.count, series.last, series.mean) == (2, 5.0, 3.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, GAP_BPS_MAX * 2])
def test_what_is_no_gap_is_refused_and_counted_and_does_not_take_the_interval(value):
    series = SpreadSeries(10, 1000.0, 2)
    assert not series.add(S, value)
    assert series.refused == 1
    assert series.add(S + 1, 4.0)
    assert (series.count, series.mean, series.refused) == (1, 4.0, 1)


def test_nothing_is_said_before_there_is_enough():
    series = SpreadSeries(10, 1000.0, 4)
    assert (series.count, series.last, series.mean, series.deviation) == (0, None, None, None)
    for n, value in enumerate([1.0, 2.0, 4.0]):
        series.add(n * S, value)
    assert (series.z_score, series.half_life_s) == (None, None)
    assert series.deviation == pytest.approx(statistics.stdev([1, 2, 4]))
    series.add(3 * S, 3.0)
    assert series.z_score == pytest.approx((3 - 2.5) / statistics.stdev([1, 2, 4, 3]))


def test_silence_empties_the_window():
    series = fed([1.0, 2.0, 3.0, 4.0], window=4)
    assert series.add(1006 * S, 9.0)  # two intervals missing: 3.0 and 4.0 have 1002 and 1003
    assert (series.count, series.mean) == (2, 6.5)
    assert series.add(5000 * S, 1.0)
    assert (series.count, series.mean, series.deviation) == (1, 1.0, None)


def test_a_mean_reverting_gap_has_its_half_life_and_a_trend_has_none():
    rng = random.Random(3)
    half_life_s = 8.0
    keep = math.exp(-math.log(2) / half_life_s)
    x, values = 0.0, []
    for _ in range(20_000):
        x = keep * x + rng.gauss(0, 2)
        values.append(25.0 + x)
    assert fed(values, window=20_000).half_life_s == pytest.approx(half_life_s, rel=0.1)
    explosive = [1.01**n for n in range(200)]
    assert fed(explosive).half_life_s is None
    assert fed([(-1) ** n * 5.0 for n in range(200)]).half_life_s is None  # overshoots within one sample


@pytest.mark.parametrize(
    ("window", "sample_ms", "least"), [(1, 1000, 2), (10, 0, 2), (10, 1000, 1), (10, 1000, 11)]
)
def test_settings_that_make_no_sense_are_refused(window, sample_ms, least):
    with pytest.raises(ValueError, match="window"):
        SpreadSeries(window, sample_ms, least)


# --- correlation ---------------------------------------------------------------------------------------------------


@given(
    steps=st.lists(st.tuples(gaps, gaps, st.integers(0, 5)), min_size=2, max_size=60),
    offset=st.sampled_from([0.0, 1e8]),
)
def test_correlation_is_pearsons_over_common_samples(steps, offset):
    a, b = SpreadSeries(40, 1000.0, 2), SpreadSeries(30, 1000.0, 2)
    common = {}
    for n, (x, y, which) in enumerate(steps):
        if which != 1:
            a.add(n * S, x + offset)
        if which != 2:
            b.add(n * S + 300_000_000, y)
        if which not in (1, 2):
            common[n] = (x + offset, y)
    a_newest = a.intervals()[0] + 39
    b_newest = b.intervals()[0] + 29
    pairs = [pair for n, pair in common.items() if n > a_newest - 40 and n > b_newest - 30]
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    found = correlation(a, b)
    if len(pairs) < 2 or min(xs) == max(xs) or min(ys) == max(ys):
        assert found is None
    elif max(xs) - min(xs) > 1e-2 and max(ys) - min(ys) > 1e-6:
        assert found == pytest.approx(statistics.correlation(xs, ys), abs=1e-6)
        assert found == correlation(b, a)


def test_correlation_needs_the_same_pace_and_something_in_common():
    a, b = fed([1.0, 2.0, 3.0], start=0), fed([1.0, 2.0, 3.0], start=500)
    assert correlation(a, b) is None
    assert correlation(a, a) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="sampled every"):
        correlation(a, SpreadSeries(10, 500.0, 2))


def test_the_matrix_goes_round_a_few_cells_at_a_time():
    rng = random.Random(1)
    common = [rng.gauss(0, 5) for _ in range(100)]
    series = {
        "A": fed(common),
        "B": fed([2 * x + 7 for x in common]),
        "C": fed([-x + rng.gauss(0, 1) for x in common]),
        "D": fed([3.0] * 100),
        "E": fed(common),
    }
    matrix = CorrelationMatrix(series, pairs_max=4, cells_max=4)
    assert matrix.symbols == ("A", "B", "C", "D")
    assert matrix.update(5 * S) == 4
    assert matrix.update(5 * S + 1) == 0  # not at this pace
    assert matrix.get("A", "B") == pytest.approx(1.0)
    assert matrix.get("B", "C") is not None
    assert matrix.update(7 * S) == 4
    assert (
        matrix.get("C", "A") == matrix.get("A", "C") == pytest.approx(correlation(series["A"], series["C"]))
    )
    assert matrix.get("C", "A") < -0.9
    assert matrix.get("A", "D") is None  # D stands still
    assert (matrix.get("A", "A"), matrix.get("A", "E"), matrix.get("E", "E")) == (1.0, None, None)


def test_a_cell_that_is_no_longer_defined_is_forgotten():
    a, b = fed([1.0, 2.0, 4.0], window=3), fed([2.0, 1.0, 5.0], window=3)
    matrix = CorrelationMatrix({"A": a, "B": b})
    matrix.update(0)
    assert matrix.get("A", "B") is not None
    a.add(9000 * S, 1.0)
    matrix.update(10 * S)
    assert matrix.get("A", "B") is None


def test_a_matrix_of_nothing_does_nothing():
    assert CorrelationMatrix({}).update(1) == 0
    with pytest.raises(ValueError, match="pairs_max"):
        CorrelationMatrix({}, pairs_max=1)


@given(
    window=st.sampled_from([2, 3, 7, 30]),
    steps=st.lists(
        st.tuples(
            st.sampled_from([1, 1, 1, 2, 9, 40]),
            st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6), st.just(-0.0)),
        ),
        min_size=1,
        max_size=60,
    ),
    level=st.one_of(st.integers(-4, 4).map(float), st.floats(-1e6, 1e6)),
)
def test_medians_are_those_of_the_samples_in_the_window(window, steps, level):
    series, now_ns = SpreadSeries(window, 1000.0, 2), 10**12
    assert series.median is None
    for step, gap in steps:
        now_ns += step * 1_000_000_000
        series.add(now_ns, gap)
        samples = [value for value in series.intervals()[1] if not math.isnan(value)]
        distances = [abs(value - level) for value in samples]
        assert series.median == statistics.median(samples)
        assert series.distance_from(level) == (statistics.median(distances), max(distances))
