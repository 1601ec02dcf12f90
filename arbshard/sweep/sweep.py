"""Carries out a sweep: ``Sweep`` asks a search for points, has them computed part by part, and judges them."""

import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time_ns
from types import FrameType
from typing import Protocol

from arbshard.errors import ConfigError
from arbshard.report.html import plotly_script
from arbshard.report.write import ReportPaths, write_forms
from arbshard.sweep.judging import BASE, Evaluations, SweepFacts, SweepReport, in_sample, judge
from arbshard.sweep.page import sweep_document
from arbshard.sweep.plots import plots_of
from arbshard.sweep.pools import TaskPool
from arbshard.sweep.searching import search_of
from arbshard.sweep.space import GridPoint, SearchSpace
from arbshard.sweep.store import SweepRequest, SweepStore
from arbshard.sweep.tasks import SweepTask, TaskResult, task_of
from arbshard.version import __version__

_WAIT_S = 0.5
_REACH = 2
"""Number of values to each side of the best one that are tried afterwards, to show the surface around it."""


class SweepStopped(Exception):
    """Is raised when a signal ended the sweep; the results so far are kept."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class ProgressView(Protocol):
    """Displays the progress of a sweep."""

    def show(self, done: int, total: int, failed: int, running: int) -> None:
        """Show the progress; ``total`` may grow, ``done`` includes results that existed before."""


class Sweep:
    """Carries out one sweep in one folder."""

    def __init__(
        self,
        request: SweepRequest,
        space: SearchSpace,
        store: SweepStore,
        pool: TaskPool,
        progress: ProgressView,
    ) -> None:
        """Prepare the search. Raises ``UsageError`` for a grid that is too large."""
        self._request = request
        self._space = space
        self._store = store
        self._pool = pool
        self._progress = progress
        self._tape = Path(request.tape)
        self._parts = request.parts
        self._invalid: dict[GridPoint, str] = {}
        self._search = search_of(request.search, space, request.trials, request.seed, self._is_valid)
        self._found, self._delayed = Evaluations(), Evaluations()
        self._stopped: int | None = None
        self._done = self._failed = 0
        self._total = (self._search.total + 1) * len(self._parts)
        self.computed = 0
        """Number of tasks whose results did not exist before."""

    def run(self) -> SweepReport:
        """Search, then try the points around the best one, and judge. Raises ``SweepStopped``, ``UsageError``."""
        plotly_script()  # raises now rather than after all the work, if the page cannot be made
        with self._signals():
            self._evaluate([BASE], self._found)
            candidates = self._searched()
            best = self._found.best(candidates, in_sample(self._parts))
            if best is not None:
                known = set(candidates)
                around = [
                    one
                    for one in self._space.around(best, _REACH)
                    if one not in known and self._is_valid(one)
                ]
                self._total = self._done + (len(around) + 1) * len(self._parts)
                self._evaluate(around, self._found)
                self._evaluate([best], self._delayed, delay_frames=1)
        self._progress.show(self._done, self._done, self._failed, 0)
        facts = SweepFacts(
            *(str(self._tape), __version__, time_ns() // 1_000_000, self._request.search, self._request.seed),
            *(self._parts, self._invalid),
        )
        plots = list(plots_of(self._space, self._parts, self._found, best)) if best is not None else []
        stored = self._store.results.values()
        return judge(self._space, facts, candidates, self._found, self._delayed, stored, plots)

    def _searched(self) -> list[GridPoint]:
        """Return all different points that the search has tried, in its order."""
        inside = in_sample(self._parts)
        candidates: dict[GridPoint, None] = {}
        while points := self._search.ask():
            valid = [one for one in points if self._is_valid(one)]
            # Points that are invalid or were tried before need no tasks.
            self._total -= (len(points) - len(set(valid) - candidates.keys())) * len(self._parts)
            self._evaluate([one for one in dict.fromkeys(valid) if one not in candidates], self._found)
            candidates.update(dict.fromkeys(valid))
            self._search.learn([self._found.sharpe(one, inside) for one in points])
        return list(candidates)

    def _is_valid(self, point: GridPoint) -> bool:
        """Return whether a point is a valid configuration; if not, remember why."""
        if point in self._invalid:
            return False
        try:
            self._space.config(point)
        except ConfigError as error:
            self._invalid[point] = error.problem
            return False
        return True

    def _evaluate(self, points: Sequence[GridPoint], into: Evaluations, delay_frames: int = 0) -> None:
        """Compute every part of ``points`` that has no result yet."""
        asked: dict[str, GridPoint] = {}
        missing: deque[SweepTask] = deque()
        for task, point in self._tasks(points, delay_frames):
            asked[task.key] = point
            known = self._store.results.get(task.key)
            if known is not None and not known.failure:
                self._keep(known, point, into)
            else:
                missing.append(task)
        running = 0
        while missing or running:
            while missing and self._pool.room() > 0:
                self._pool.submit(missing.popleft())
                running += 1
            self._progress.show(self._done, self._total, self._failed, running)
            for result in self._pool.wait(_WAIT_S):
                running -= 1
                self.computed += 1
                self._store.add(result)
                self._keep(result, asked[result.key], into)
            if self._stopped is not None:
                raise SweepStopped(self._stopped)
        self._store.flush()

    def _tasks(self, points: Iterable[GridPoint], delay_frames: int) -> Iterator[tuple[SweepTask, GridPoint]]:
        for point in points:
            values = self._space.values(point) if point != BASE else {}
            config = self._space.changed(values)
            for part in self._parts:
                yield task_of(self._tape, part, config, values, delay_frames), point

    def _keep(self, result: TaskResult, point: GridPoint, into: Evaluations) -> None:
        into.add(point, result)
        self._done += 1
        self._failed += bool(result.failure)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop the sweep in order at the first signal, and at once at a second one."""

        def stop(number: int, _: FrameType | None) -> None:
            if self._stopped is not None:
                raise KeyboardInterrupt
            self._stopped = number

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def write_page(report: SweepReport, folder: Path) -> ReportPaths:
    """Write the report as a page, as Markdown and as JSON. Raises ``UsageError``."""
    return write_forms(folder, sweep_document(report), report, plotly_script())
