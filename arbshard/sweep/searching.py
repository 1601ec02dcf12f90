"""Decides which points of the lattice are tried: all, some drawn at random, or those that optuna proposes.

A search returns points in generations and learns the score of each one before it returns the next generation. The
size of a generation depends on nothing outside, so a seed leads to the same points with any number of processes.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal, Protocol

from arbshard.errors import UsageError
from arbshard.sweep.space import GridPoint, SearchSpace

SearchKind = Literal["grid", "random", "optuna"]
GRID_MAX = 20_000
"""Largest number of points of a grid that is tried as a whole."""
GENERATION = 10
"""Number of points that optuna proposes before it learns their scores."""


class Search(Protocol):
    """Proposes points and learns from their scores."""

    @property
    def total(self) -> int:
        """Return how many points it proposes in all."""

    def ask(self) -> list[GridPoint]:
        """Return the next generation; it is empty when the search is over."""

    def learn(self, scores: Sequence[float | None]) -> None:
        """Learn the score of each point of the last generation; None is one that could not be tried."""


class FixedSearch:
    """Proposes points that are known from the beginning."""

    def __init__(self, points: Sequence[GridPoint]) -> None:
        self._points = list(points)
        self.total = len(points)

    def ask(self) -> list[GridPoint]:
        """Return all points at once."""
        points, self._points = self._points, []
        return points

    def learn(self, scores: Sequence[float | None]) -> None:
        """Ignore the scores."""


class OptunaSearch:
    """Proposes points by the Tree-structured Parzen Estimator of optuna, on the indexes of the values."""

    def __init__(self, space: SearchSpace, trials: int, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._axes = space.axes
        self.total = trials
        self._left = trials
        self._kinds: dict[str, Any] = {
            axis.key: optuna.distributions.IntDistribution(0, len(axis.values) - 1)
            if axis.is_ordered
            else optuna.distributions.CategoricalDistribution(range(len(axis.values)))
            for axis in space.axes
        }
        self._study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=2 * GENERATION),
        )
        self._asked: list[optuna.Trial] = []

    def ask(self) -> list[GridPoint]:
        """Return as many points as a generation has, fewer at the end."""
        self._asked = [self._study.ask(self._kinds) for _ in range(min(GENERATION, self._left))]
        self._left -= len(self._asked)
        return [tuple(int(trial.params[axis.key]) for axis in self._axes) for trial in self._asked]

    def learn(self, scores: Sequence[float | None]) -> None:
        """Report the scores in the order of the trials, whatever order they ended in."""
        import optuna

        for trial, score in zip(self._asked, scores, strict=True):
            if score is None:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(trial, score)


def search_of(
    kind: SearchKind,
    space: SearchSpace,
    trials: int,
    seed: int,
    is_valid: Callable[[GridPoint], bool],
) -> Search:
    """Return the search that was asked for. Raises ``UsageError`` for a grid that is too large."""
    if kind == "optuna":
        return OptunaSearch(space, trials, seed)
    if kind == "random":
        return FixedSearch(_drawn(space, trials, seed, is_valid))
    if space.size > GRID_MAX:
        raise UsageError(
            f"--search grid: the grid has {space.size:,} points, at most {GRID_MAX:,} are tried as a whole; "
            "--search random or optuna tries as many as --trials says"
        )
    return FixedSearch([space.point(number) for number in range(space.size)])


def _drawn(
    space: SearchSpace, trials: int, seed: int, is_valid: Callable[[GridPoint], bool]
) -> list[GridPoint]:
    """Return different valid points; fewer than ``trials`` when there are not so many."""
    random = Random(seed)
    if space.size <= GRID_MAX:
        numbers = random.sample(range(space.size), space.size)
    else:
        numbers = list(dict.fromkeys(random.randrange(space.size) for _ in range(20 * trials)))
    points: list[GridPoint] = []
    for number in numbers:
        if len(points) == trials:
            break
        if is_valid(point := space.point(number)):
            points.append(point)
    return points
