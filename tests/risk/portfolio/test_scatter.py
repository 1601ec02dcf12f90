"""How wide results scatter, lately against before."""

import random

from hypothesis import given
from hypothesis import strategies as st

from arbshard.risk.portfolio.results import Scatter


def after(values, scatter=None) -> Scatter:
    scatter = scatter or Scatter()
    for value in values:
        scatter = scatter.after(value)
    return scatter


def test_nothing_is_known_at_first() -> None:
    assert after([1.0, -1.0] * 14 + [1.0]).ratio is None
    assert after([1.0, -1.0] * 15).ratio is not None


def test_results_that_never_differ_have_no_scatter() -> None:
    assert after([5.0] * 100).ratio is None


def test_the_same_scatter_is_usual() -> None:
    rng = random.Random(1)
    ratios = []
    scatter = Scatter()
    for _ in range(500):
        scatter = scatter.after(rng.gauss(3, 10))
        ratios.append(scatter.ratio)
    assert all(ratio < 2 for ratio in ratios[30:])


def test_wilder_results_show_and_are_forgotten_again() -> None:
    rng = random.Random(2)
    calm = after([rng.gauss(3, 10) for _ in range(200)])
    wild = after([rng.gauss(3, 60) for _ in range(5)], calm)
    assert calm.ratio < 1.5
    assert wild.ratio > 2
    assert after([rng.gauss(3, 10) for _ in range(60)], wild).ratio < 1


def test_a_steady_gain_or_loss_is_no_scatter() -> None:
    rng = random.Random(3)
    values = [rng.gauss(0, 5) for _ in range(200)]
    assert abs(after([v + 100 for v in values]).ratio - after(values).ratio) < 1e-6


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=100))
def test_always_a_number(values) -> None:
    scatter = after(values)
    assert scatter.fast >= 0
    assert scatter.slow >= 0
    assert scatter.ratio is None or scatter.ratio >= 0
