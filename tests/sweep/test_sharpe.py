"""The deflated Sharpe ratio against the figures of the paper, and against what simulation finds."""

import random
import statistics

import pytest

from arbshard.sweep.sharpe import (
    Moments,
    deflated_sharpe,
    expected_maximum,
    moments,
    probability_above,
)

YEAR = 250
"""Days of a year in the paper."""


def test_the_example_of_the_paper():
    """Bailey and López de Prado 2014, "A numerical example": 100 trials, five years of days, 2.5 a year."""
    threshold = expected_maximum(100, 0.5 / YEAR)
    assert threshold == pytest.approx(0.1132, abs=5e-5)
    found = Moments(5 * YEAR, 2.5 / YEAR**0.5, -3.0, 10.0)
    assert probability_above(threshold, found) == pytest.approx(0.9004, abs=5e-5)
    # "Should the strategist have made his discovery after running only N = 46 independent trials".
    assert probability_above(expected_maximum(46, 0.5 / YEAR), found) == pytest.approx(0.9505, abs=5e-4)
    # With normal returns 88 trials give the same confidence.
    normal = Moments(5 * YEAR, 2.5 / YEAR**0.5, 0.0, 3.0)
    assert probability_above(expected_maximum(88, 0.5 / YEAR), normal) == pytest.approx(0.9505, abs=5e-4)


@pytest.mark.parametrize("trials", [10, 100, 1000])
def test_the_expected_maximum_is_that_of_draws(trials):
    rng = random.Random(7)
    drawn = statistics.fmean(max(rng.gauss(0, 0.3) for _ in range(trials)) for _ in range(3000))
    assert expected_maximum(trials, 0.09) == pytest.approx(drawn, rel=0.05)


def test_moments_of_a_series():
    changes = [1.0, 2.0, 3.0, 4.0, 10.0]
    found = moments(changes)
    assert found.length == 5
    assert found.sharpe == pytest.approx(statistics.mean(changes) / statistics.stdev(changes))
    # From scipy.stats.skew and kurtosis(fisher=False), which divide by the length.
    assert found.skewness == pytest.approx(1.13841996, abs=1e-8)
    assert found.kurtosis == pytest.approx(2.788, abs=1e-3)


@pytest.mark.parametrize("changes", [[], [5.0], [0.0, 0.0, 0.0], [3.1, 3.1, 3.1, 3.1]])
def test_a_series_that_does_not_vary_has_no_ratio(changes):
    assert moments(changes).sharpe == 0.0


def test_more_trials_leave_less():
    best = Moments(1000, 0.1, 0.0, 3.0)
    rng = random.Random(1)
    found = [
        deflated_sharpe(best, [rng.gauss(0, 0.03) for _ in range(count)]) for count in (1, 10, 100, 1000)
    ]
    assert [one.trials for one in found] == [1, 10, 100, 1000]
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)
    assert found[0].expected_max == 0.0
    assert found[0].probability > 0.99
    assert found[-1].probability < 0.6


def test_of_trials_without_skill_few_look_good():
    """The best of 50 random walks is above the usual level in about one of twenty cases, not in half of them."""
    rng = random.Random(3)
    fooled = naive = 0
    for _ in range(200):
        every = [moments([rng.gauss(0, 1) for _ in range(120)]) for _ in range(50)]
        best = max(every, key=lambda one: one.sharpe)
        fooled += deflated_sharpe(best, [one.sharpe for one in every]).probability > 0.95
        naive += probability_above(0.0, best) > 0.95
    assert naive > 150
    assert fooled < 20
