"""Judges the results of a sweep: ``judge`` makes the ``SweepReport``. It is pure.

A point is judged by the Sharpe ratio of the changes of its equity from minute to minute, over all parts that are in
sample. The last part is never in sample: no search learns from it, and no point is chosen by it.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Literal, NamedTuple

import msgspec

from arbshard.model.money import MONEY_CONTEXT, ZERO
from arbshard.report.model import Plot
from arbshard.sweep.parts import SweepPart
from arbshard.sweep.sharpe import DeflatedSharpe, Moments, deflated_sharpe, moments
from arbshard.sweep.space import Axis, GridPoint, SearchSpace
from arbshard.sweep.tasks import TaskResult

BASE: GridPoint = ()
"""The point that means the configuration without any change."""
_POINTS_SHOWN = 20
_FAILURES_SHOWN = 50


class Evaluations:
    """Holds the results of points by part, for one delay of frames."""

    def __init__(self) -> None:
        self._results: dict[GridPoint, dict[int, TaskResult]] = {}

    def add(self, point: GridPoint, result: TaskResult) -> None:
        """Add the result of a part."""
        self._results.setdefault(point, {})[result.part.number] = result

    def points(self) -> list[GridPoint]:
        """Return all points with a result, in the order in which they came."""
        return list(self._results)

    def of(self, point: GridPoint) -> list[TaskResult]:
        """Return the results of a point, failed parts too."""
        return list(self._results.get(point, {}).values())

    def whole(self, point: GridPoint, parts: Sequence[int]) -> list[TaskResult] | None:
        """Return the results of ``parts``; None when one is missing or has failed, or there is no part."""
        known = self._results.get(point, {})
        found = [known[number] for number in parts if number in known and not known[number].failure]
        return found if found and len(found) == len(parts) else None

    def moments(self, point: GridPoint, parts: Sequence[int]) -> Moments | None:
        """Return the moments of the changes from minute to minute over ``parts``; None if a part is missing."""
        found = self.whole(point, parts)
        return None if found is None else moments(changes_of(found))

    def sharpe(self, point: GridPoint, parts: Sequence[int]) -> float | None:
        """Return the Sharpe ratio over ``parts``; None if a part is missing."""
        found = self.moments(point, parts)
        return None if found is None else found.sharpe

    def pnl(self, point: GridPoint, parts: Sequence[int]) -> Decimal | None:
        """Return the PnL over ``parts``; None if a part is missing."""
        found = self.whole(point, parts)
        return None if found is None else _total(one.pnl for one in found)

    def best(self, points: Iterable[GridPoint], parts: Sequence[int]) -> GridPoint | None:
        """Return the point with the highest Sharpe ratio over ``parts``, the first of several; None when none has a
        ratio.
        """
        known = [(sharpe, point) for point in points if (sharpe := self.sharpe(point, parts)) is not None]
        return max(known, key=lambda one: one[0])[1] if known else None


def changes_of(results: Iterable[TaskResult]) -> "array[float]":
    """Return the changes of equity from minute to minute, within each part and not from one to the next."""
    changes = array("d")
    for result in results:
        changes.extend(later - earlier for earlier, later in pairwise(result.equity))
    return changes


def in_sample(parts: Sequence[SweepPart]) -> tuple[int, ...]:
    """Return the numbers of the parts by which points are chosen: all but the last one, or the only one."""
    return tuple(one.number for one in (parts[:-1] or parts))


def out_of_sample(parts: Sequence[SweepPart]) -> tuple[int, ...]:
    """Return the number of the last part, by which nothing is chosen; nothing when there is only one part."""
    return (parts[-1].number,) if len(parts) > 1 else ()


class PointReport(msgspec.Struct, frozen=True, kw_only=True):
    """Describes one point, in sample and out of it."""

    values: dict[str, str]
    in_sharpe: float | None
    in_pnl: Decimal | None
    out_sharpe: float | None
    out_pnl: Decimal | None
    entries: int
    """Entries in sample; exits, wins and fees are in sample too."""
    exits: int
    wins: int
    fees: Decimal


class FoldReport(msgspec.Struct, frozen=True, kw_only=True):
    """Describes a step of the walk forward: a point is chosen by one part and tried on the next."""

    train: int
    test: int
    values: dict[str, str] | None
    """None when no point has a result in the part."""
    in_sharpe: float | None = None
    in_pnl: Decimal | None = None
    out_sharpe: float | None = None
    out_pnl: Decimal | None = None
    entries: int = 0
    """Entries out of sample."""
    rank: int | None = None
    """Rank of the chosen point among all, by the Sharpe ratio out of sample."""
    ranked: int = 0
    """Number of points that have such a ratio."""
    is_seen: bool = False
    """Whether the search has learned from the part on which the point is tried."""


class NeighbourReport(msgspec.Struct, frozen=True):
    """Describes a neighbour of the best point."""

    value: str
    sharpe: float | None
    pnl: Decimal | None


class AxisReport(msgspec.Struct, frozen=True, kw_only=True):
    """Describes a varied key, as seen from the best point."""

    key: str
    values: tuple[str, ...]
    best: str
    neighbours: tuple[NeighbourReport, ...]
    """One value below and one above, all else as at the best point; in sample."""
    losing: int
    """Number of neighbours that lose in sample while the best point gains."""
    is_at_edge: bool
    """Whether the best value is the first or last of several."""
    has_no_effect: bool
    """Whether points that differ in this key alone made the same decisions."""


class LookAheadReport(msgspec.Struct, frozen=True, kw_only=True):
    """Compares the best point with itself when each frame is delayed by one frame of its market."""

    pnl: Decimal
    delayed_pnl: Decimal
    decisions: int
    delayed_decisions: int
    is_same: bool
    """Whether the delay has changed no decision, so that the check shows nothing."""

    @property
    def has_improved(self) -> bool:
        """Return whether older books led to more money."""
        return self.delayed_pnl > self.pnl


class FailureReport(msgspec.Struct, frozen=True):
    """Describes a task without a result."""

    values: dict[str, str]
    part: int
    delay_frames: int
    place: str
    reason: str


class SweepReport(msgspec.Struct, frozen=True, kw_only=True):
    """Holds everything that a sweep has found."""

    title: str
    tape: str
    version: str
    made_ms: int
    currency: str
    search: Literal["grid", "random", "optuna"]
    seed: int
    parts: tuple[SweepPart, ...]
    minutes: int
    """Number of changes of equity from minute to minute, in sample."""
    lattice: int
    """Number of points of the lattice."""
    tried: int
    """Number of different points that the search has tried."""
    earlier: int
    """Number of other configurations with results in the same folder, from earlier sweeps."""
    invalid: int
    """Number of points that are not a valid configuration."""
    invalid_reason: str
    """Why the first of them is not valid."""
    best: PointReport | None
    base: PointReport | None
    """The configuration without any change."""
    points: tuple[PointReport, ...]
    """The best points in sample, best first."""
    folds: tuple[FoldReport, ...]
    axes: tuple[AxisReport, ...]
    deflated: DeflatedSharpe | None
    look_ahead: LookAheadReport | None
    idle_parts: tuple[int, ...]
    """Parts in which no point entered anything."""
    failures: tuple[FailureReport, ...]
    """The first failures."""
    failed: int
    tasks: int
    cpu_s: float
    frames: int
    plots: tuple[Plot, ...]


class SweepFacts(NamedTuple):
    """Holds what ``judge`` needs beside results."""

    tape: str
    version: str
    made_ms: int
    search: Literal["grid", "random", "optuna"]
    seed: int
    parts: tuple[SweepPart, ...]
    invalid: Mapping[GridPoint, str]


def judge(
    space: SearchSpace,
    facts: SweepFacts,
    candidates: Sequence[GridPoint],
    found: Evaluations,
    delayed: Evaluations,
    stored: Iterable[TaskResult],
    plots: Sequence[Plot],
) -> SweepReport:
    """Judge the search's points ``candidates``; ``found`` holds more, such as neighbours of the best one.

    ``delayed`` has the results with frames delayed by one, ``stored`` every result in the folder, of earlier sweeps
    too.
    """
    parts = facts.parts
    inside = in_sample(parts)
    with localcontext(MONEY_CONTEXT):
        best = found.best(candidates, inside)
        ranked = sorted(
            (point for point in candidates if found.sharpe(point, inside) is not None),
            key=lambda point: -(found.sharpe(point, inside) or 0.0),
        )
        every = [result for point in found.points() for result in found.of(point)]
        every += [result for point in delayed.points() for result in delayed.of(point)]
        failures = [one for one in every if one.failure]
        sharpes, earlier = _trials(found, stored, inside)
        best_moments = found.moments(best, inside) if best is not None else None
        return SweepReport(
            title="Sweep of " + ", ".join(axis.key for axis in space.axes),
            tape=facts.tape,
            version=facts.version,
            made_ms=facts.made_ms,
            currency=space.base.reporting,
            search=facts.search,
            seed=facts.seed,
            parts=parts,
            minutes=best_moments.length if best_moments is not None else 0,
            lattice=space.size,
            tried=len(candidates),
            earlier=earlier,
            invalid=len(facts.invalid),
            invalid_reason=next(iter(facts.invalid.values()), ""),
            best=_point(space, found, best, parts) if best is not None else None,
            base=_point(space, found, BASE, parts) if found.whole(BASE, inside) else None,
            points=tuple(_point(space, found, point, parts) for point in ranked[:_POINTS_SHOWN]),
            folds=tuple(_folds(space, facts, candidates, found)),
            axes=tuple(_axes(space, candidates, found, best, inside)) if best is not None else (),
            deflated=deflated_sharpe(best_moments, sharpes) if best_moments is not None else None,
            look_ahead=_look_ahead(found, delayed, best, parts) if best is not None else None,
            idle_parts=tuple(_idle(parts, every)),
            failures=tuple(
                FailureReport(
                    msgspec.json.decode(one.values, type=dict[str, str]),
                    *(one.part.number, one.delay_frames, one.place, one.failure),
                )
                for one in failures[:_FAILURES_SHOWN]
            ),
            failed=len(failures),
            tasks=len(every),
            cpu_s=sum(one.cpu_s for one in every),
            frames=sum(one.frames for one in every),
            plots=tuple(plots),
        )


def _total(amounts: Iterable[Decimal]) -> Decimal:
    with localcontext(MONEY_CONTEXT):
        return sum(amounts, ZERO)


def _values(space: SearchSpace, point: GridPoint) -> dict[str, str]:
    return space.values(point) if point != BASE else {}


def _point(
    space: SearchSpace, found: Evaluations, point: GridPoint, parts: Sequence[SweepPart]
) -> PointReport:
    inside, outside = in_sample(parts), out_of_sample(parts)
    results = found.whole(point, inside) or []
    return PointReport(
        values=_values(space, point),
        in_sharpe=found.sharpe(point, inside),
        in_pnl=found.pnl(point, inside),
        out_sharpe=found.sharpe(point, outside),
        out_pnl=found.pnl(point, outside),
        entries=sum(one.entries for one in results),
        exits=sum(one.exits for one in results),
        wins=sum(one.wins for one in results),
        fees=_total(one.fees for one in results),
    )


def _folds(
    space: SearchSpace, facts: SweepFacts, candidates: Sequence[GridPoint], found: Evaluations
) -> Iterator[FoldReport]:
    learned = in_sample(facts.parts) if facts.search == "optuna" else ()
    for train, test in pairwise(one.number for one in facts.parts):
        best = found.best(candidates, (train,))
        if best is None:
            yield FoldReport(train=train, test=test, values=None)
            continue
        outside = sorted(
            (sharpe for point in candidates if (sharpe := found.sharpe(point, (test,))) is not None),
            reverse=True,
        )
        out_sharpe = found.sharpe(best, (test,))
        tested = found.whole(best, (test,)) or []
        yield FoldReport(
            train=train,
            test=test,
            values=_values(space, best),
            in_sharpe=found.sharpe(best, (train,)),
            in_pnl=found.pnl(best, (train,)),
            out_sharpe=out_sharpe,
            out_pnl=found.pnl(best, (test,)),
            entries=sum(one.entries for one in tested),
            rank=outside.index(out_sharpe) + 1 if out_sharpe is not None else None,
            ranked=len(outside),
            is_seen=test in learned,
        )


def _axes(
    space: SearchSpace,
    candidates: Sequence[GridPoint],
    found: Evaluations,
    best: GridPoint,
    inside: Sequence[int],
) -> Iterator[AxisReport]:
    around = space.around(best, 1)
    gains = (found.pnl(best, inside) or ZERO) > 0
    for number, axis in enumerate(space.axes):
        neighbours = []
        losing = 0
        for point in around:
            if point[number] != best[number]:
                pnl = found.pnl(point, inside)
                losing += gains and pnl is not None and pnl < 0
                neighbours.append(
                    NeighbourReport(axis.values[point[number]], found.sharpe(point, inside), pnl)
                )
        yield AxisReport(
            key=axis.key,
            values=axis.values,
            best=axis.values[best[number]],
            neighbours=tuple(neighbours),
            losing=losing,
            is_at_edge=axis.is_ordered and len(axis.values) > 2 and best[number] in (0, len(axis.values) - 1),
            has_no_effect=_has_no_effect(axis, number, (*candidates, *around), found),
        )


def _has_no_effect(axis: Axis, number: int, points: Iterable[GridPoint], found: Evaluations) -> bool:
    """Return whether all points that differ in this key alone decided the same, and there are such points."""
    decided: dict[tuple[GridPoint, int], set[str]] = {}
    compared: Counter[tuple[GridPoint, int]] = Counter()
    active: set[tuple[GridPoint, int]] = set()
    for point in dict.fromkeys(points):
        others = (*point[:number], *point[number + 1 :])
        for result in found.of(point):
            if not result.failure:
                key = (others, result.part.number)
                decided.setdefault(key, set()).add(result.decisions_hash)
                compared[key] += 1
                if result.decisions:
                    active.add(key)
    # Where nothing was decided at all, nothing can be said about a key.
    is_compared = len(axis.values) > 1 and any(compared[key] > 1 for key in active)
    return is_compared and all(len(hashes) == 1 for hashes in decided.values())


def _look_ahead(
    found: Evaluations, delayed: Evaluations, best: GridPoint, parts: Sequence[SweepPart]
) -> LookAheadReport | None:
    numbers = [one.number for one in parts]
    plain, late = found.whole(best, numbers), delayed.whole(best, numbers)
    if plain is None or late is None:
        return None
    return LookAheadReport(
        pnl=_total(one.pnl for one in plain),
        delayed_pnl=_total(one.pnl for one in late),
        decisions=sum(one.decisions for one in plain),
        delayed_decisions=sum(one.decisions for one in late),
        is_same=[one.decisions_hash for one in plain] == [one.decisions_hash for one in late],
    )


def _trials(
    found: Evaluations, stored: Iterable[TaskResult], inside: Sequence[int]
) -> tuple[list[float], int]:
    """Return the Sharpe ratios of all configurations that were tried in the folder, and how many are of earlier
    sweeps.
    """
    now: dict[str, float] = {}
    own = {result.config_hash for point in found.points() for result in found.of(point)}
    for point in found.points():
        if (results := found.whole(point, inside)) is not None:
            now[results[0].config_hash] = moments(changes_of(results)).sharpe
    others: dict[str, list[TaskResult]] = {}
    for result in stored:
        if result.config_hash not in own and not result.failure and not result.delay_frames:
            others.setdefault(result.config_hash, []).append(result)
    earlier = [moments(changes_of(results)).sharpe for results in others.values()]
    return [*now.values(), *earlier], len(earlier)


def _idle(parts: Sequence[SweepPart], every: Iterable[TaskResult]) -> Iterator[int]:
    entries: Counter[int] = Counter()
    for result in every:
        if not result.failure:
            entries[result.part.number] += result.entries
    for part in parts:
        if part.number in entries and not entries[part.number]:
            yield part.number
