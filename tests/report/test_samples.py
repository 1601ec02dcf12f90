"""Samples and downsampled lines: bounded, and true to the extremes."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.report import samples
from arbshard.report.samples import Downsampler, Reservoir, quantile

series = st.lists(st.tuples(st.integers(0, 10**9), st.floats(-1e6, 1e6)), min_size=1, max_size=300)


@given(series, st.integers(1, 20))
def test_a_line_keeps_extremes_ends_and_order_in_bounded_room(points, buckets):
    points.sort(key=lambda point: point[0])
    line = Downsampler(buckets)
    for at_ms, value in points:
        line.add(at_ms, value)
    made = line.line("x")
    kept = list(zip(made.x, made.y, strict=True))
    assert len(kept) <= 3 * buckets
    assert set(kept) <= {(float(at), value) for at, value in points}
    assert list(made.x) == sorted(made.x)
    values = [value for _, value in points]
    assert (min(made.y), max(made.y)) == (min(values), max(values))
    assert kept[-1] == points[-1]


def test_the_last_of_several_values_of_one_moment_ends_the_line():
    line = Downsampler()
    for value in (5.0, 9.0, 1.0, 3.0):
        line.add(1000, value)
    assert line.line("x").y[-1] == 3.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200))
def test_figures_of_a_whole_sample_are_exact(values):
    reservoir = Reservoir()
    for value in values:
        reservoir.add(value)
    found = reservoir.spread()
    assert found.count == len(values)
    assert found.mean == pytest.approx(statistics.fmean(values), abs=1e-6)
    assert found.median == pytest.approx(statistics.median(values), abs=1e-6)
    assert (found.worst, found.best) == (min(values), max(values))
    assert found.worst <= found.p5 <= found.median <= found.p95 <= found.best
    assert found.tail <= found.p5 + 1e-6 or len(values) < 20


def test_the_tail_is_the_mean_of_the_worst_twentieth():
    reservoir = Reservoir()
    for value in range(100):
        reservoir.add(float(value))
    assert reservoir.spread().tail == 2.0
    assert quantile([0.0, 10.0], 0.25) == 2.5


def test_a_long_series_is_sampled_evenly(monkeypatch):
    monkeypatch.setattr(samples, "SAMPLE_MAX", 500)
    reservoir = Reservoir()
    for value in range(50_000):
        reservoir.add(float(value))
    found = reservoir.spread()
    assert len(reservoir.sample) == 500
    assert (found.count, found.worst, found.best, found.mean) == (50_000, 0.0, 49_999.0, 24_999.5)
    assert found.median == pytest.approx(25_000, rel=0.15)


def test_nothing_has_no_figures():
    assert Reservoir().spread().mean is None
    assert Downsampler().line("x").x == ()
