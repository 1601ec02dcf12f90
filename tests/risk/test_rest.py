"""What is done every so often goes on after a span of rest when it would have without one."""

from random import Random

import pytest

from arbshard.config.strategy import BaselineConfig, SeriesConfig
from arbshard.engine.baseline import Baselines
from arbshard.engine.series import SpreadSeries
from arbshard.risk.rest import next_due

TICK_NS = 100_000_000
NS = 1_000_000_000


@pytest.mark.parametrize("seed", range(20))
def test_what_is_due_is_due_as_if_each_tick_had_looked(seed):
    random = Random(seed)
    ticks = [number * TICK_NS + random.randint(0, 9) for number in range(100)]
    every_ns, due_ns = random.randint(1, 30) * TICK_NS // 3, random.randint(-NS, 12 * NS)
    expected = due_ns
    for now_ns in ticks:
        if now_ns >= expected:
            expected = now_ns + every_ns
    assert next_due(ticks, due_ns, every_ns) == expected


@pytest.mark.parametrize("pairs", [0, 1, 2, 7, 40, 101])
@pytest.mark.parametrize("ticks_before", [0, 1, 5, 33])
@pytest.mark.parametrize("ticks", [1, 2, 19, 57])
def test_rounds_over_baselines_go_on_as_if_each_tick_had_taken_its_turn(pairs, ticks_before, ticks):
    known, other = (Baselines(SeriesConfig(), BaselineConfig()) for _ in range(2))
    for one in (known, other):
        one.set_pairs([f"C{number}" for number in range(pairs)])
        for number in range(ticks_before):
            one.refresh(number * TICK_NS)
    times = [(ticks_before + number) * TICK_NS for number in range(ticks)]
    for now_ns in times:
        known.refresh(now_ns)
    other.rest(times)
    assert (other._queue, other._due_ns) == (known._queue, known._due_ns)


@pytest.mark.parametrize("seed", range(30))
def test_no_median_of_the_near_future_is_outside_of_its_bounds(seed):
    random = Random(seed)
    series = SpreadSeries(window=random.choice([50, 200]), sample_ms=1000.0)
    now_ns = 0
    for _ in range(random.randint(60, 300)):
        now_ns += NS
        if random.random() < 0.9:
            series.add(now_ns, random.gauss(0, 20))
    end_ns = now_ns + random.randint(0, 20) * NS
    bounds = series.median_until(end_ns)
    assert bounds is not None
    far = random.choice([-1e3, 1e3])
    while now_ns < end_ns:
        now_ns += NS
        if random.random() < 0.8:
            series.add(now_ns, far if random.random() < 0.9 else -far)
        assert bounds[0] <= series.median <= bounds[1]


def test_few_samples_have_no_bounds():
    series = SpreadSeries(window=50)
    assert series.median_until(NS) is None
    for number in range(10):
        series.add(number * NS, float(number))
    assert series.median_until(30 * NS) is None
    assert series.median_until(10 * NS) == (2.0, 7.0)
