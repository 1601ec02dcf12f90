"""Computes the Sharpe ratio of a series, and what remains of it after the best of many results was chosen.

It is pure. Sources: D. H. Bailey and M. López de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk
15(2), 2012 (the probabilistic Sharpe ratio), and "The Deflated Sharpe Ratio: Correcting for Selection Bias, Backtest
Overfitting, and Non-Normality", Journal of Portfolio Management 40(5), 2014, pages 94-107.
"""

from collections.abc import Sequence
from math import e, fsum, sqrt
from statistics import NormalDist
from typing import NamedTuple

EULER_MASCHERONI = 0.5772156649015329
_NORMAL = NormalDist()


class Moments(NamedTuple):
    """Holds the moments of a series of changes that the deflated Sharpe ratio needs."""

    length: int
    sharpe: float
    """Mean divided by standard deviation, for one step of the series; 0 for a series that does not vary."""
    skewness: float
    kurtosis: float
    """Kurtosis, which is 3 for a normal distribution."""


class DeflatedSharpe(NamedTuple):
    """Holds what remains of the best Sharpe ratio of several trials."""

    sharpe: float
    expected_max: float
    """The Sharpe ratio that the best of so many trials without any skill is expected to show."""
    probability: float
    """Probability that the true Sharpe ratio is above 0, given that it is the best of so many."""
    trials: int
    variance: float
    """Variance of the Sharpe ratios of all trials."""
    moments: Moments


def moments(changes: Sequence[float]) -> Moments:
    """Return mean by deviation, skewness and kurtosis; fewer than two changes have a ratio of 0."""
    count = len(changes)
    if count < 2:
        return Moments(count, 0.0, 0.0, 3.0)
    mean = fsum(changes) / count
    second = fsum((one - mean) ** 2 for one in changes) / count
    # A constant series has a second moment that is only rounding.
    if second <= (1e-12 * max(1.0, abs(mean))) ** 2:
        return Moments(count, 0.0, 0.0, 3.0)
    deviation = sqrt(second)
    third = fsum(((one - mean) / deviation) ** 3 for one in changes) / count
    fourth = fsum(((one - mean) / deviation) ** 4 for one in changes) / count
    return Moments(count, mean / (deviation * sqrt(count / (count - 1))), third, fourth)


def expected_maximum(trials: int, variance: float) -> float:
    """Return the expected largest of ``trials`` Sharpe ratios around 0 with this variance.

    √V · ((1 - γ) · Φ⁻¹(1 - 1/N) + γ · Φ⁻¹(1 - 1/(N·e))), with γ the Euler-Mascheroni constant: equation 1 of the
    paper of 2014. One trial has chosen nothing, so its expectation is 0.
    """
    if trials < 2:
        return 0.0
    return sqrt(variance) * (
        (1 - EULER_MASCHERONI) * _NORMAL.inv_cdf(1 - 1 / trials)
        + EULER_MASCHERONI * _NORMAL.inv_cdf(1 - 1 / (trials * e))
    )


def probability_above(benchmark: float, found: Moments) -> float:
    """Return the probability that the true Sharpe ratio is above ``benchmark`` (the probabilistic Sharpe ratio).

    Φ((SR - SR₀) · √(T - 1) / √(1 - γ₃·SR + (γ₄ - 1)/4 · SR²)), with T changes of skewness γ₃ and kurtosis γ₄. Fewer
    than two changes show nothing: the result is 0.
    """
    if found.length < 2:
        return 0.0
    spread = 1 - found.skewness * found.sharpe + (found.kurtosis - 1) / 4 * found.sharpe**2
    # It is positive for every real series, as kurtosis >= skewness² + 1; rounding may take it to 0.
    return _NORMAL.cdf((found.sharpe - benchmark) * sqrt(found.length - 1) / sqrt(max(spread, 1e-12)))


def deflated_sharpe(best: Moments, sharpes: Sequence[float]) -> DeflatedSharpe:
    """Return the deflated Sharpe ratio of the best trial (equation 2 of the paper of 2014).

    ``sharpes`` are those of all trials, including the best, for the same step. Trials that resemble each other count
    as independent ones, which makes the result smaller than it would have to be.
    """
    count = len(sharpes)
    mean = fsum(sharpes) / count if count else 0.0
    variance = fsum((one - mean) ** 2 for one in sharpes) / (count - 1) if count > 1 else 0.0
    threshold = expected_maximum(count, variance)
    return DeflatedSharpe(best.sharpe, threshold, probability_above(threshold, best), count, variance, best)
