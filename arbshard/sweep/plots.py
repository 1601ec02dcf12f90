"""Draws the diagrams of a sweep: heat maps over two keys, lines through the best point, and its equity.
It is pure.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from statistics import fmean

from arbshard.report.model import Plot, PlotLine
from arbshard.sweep.judging import BASE, Evaluations, in_sample, out_of_sample
from arbshard.sweep.parts import SweepPart
from arbshard.sweep.space import GridPoint, SearchSpace

MAPS_MAX = 12
"""Largest number of heat maps of each kind."""
_UNIT = "Sharpe ratio of a minute"


def plots_of(
    space: SearchSpace, parts: Sequence[SweepPart], found: Evaluations, best: GridPoint
) -> Iterator[Plot]:
    """Yield all diagrams; ``best`` is marked in them."""
    inside = in_sample(parts)
    known = {
        point: sharpe
        for point in found.points()
        if point != BASE and (sharpe := found.sharpe(point, inside)) is not None
    }
    yield from _equity(space, parts, found, best)
    yield from _lines(space, parts, found, best)
    pairs = [pair for pair in combinations(range(len(space.axes)), 2) if _is_map(space, pair)][:MAPS_MAX]
    for pair in pairs:
        yield _map(space, known, best, pair, is_slice=False)
    if len(space.axes) > 2:
        for pair in pairs:
            if (plot := _map(space, known, best, pair, is_slice=True)) and _filled(plot) > 3:
                yield plot


def _is_map(space: SearchSpace, pair: tuple[int, int]) -> bool:
    return all(len(space.axes[number].values) > 1 for number in pair)


def _map(
    space: SearchSpace,
    known: dict[GridPoint, float],
    best: GridPoint,
    pair: tuple[int, int],
    *,
    is_slice: bool,
) -> Plot:
    """Return a heat map over two keys: the mean over all others, or a slice through the best point."""
    across, up = pair
    cells: dict[tuple[int, int], list[float]] = {}
    for point, sharpe in known.items():
        if not is_slice or all(point[n] == best[n] for n in range(len(best)) if n not in pair):
            cells.setdefault((point[across], point[up]), []).append(sharpe)
    columns, rows = space.axes[across], space.axes[up]
    lines = tuple(
        PlotLine(
            label,
            columns.values,
            tuple(
                fmean(cells[column, row]) if (column, row) in cells else None
                for column in range(len(columns.values))
            ),
        )
        for row, label in enumerate(rows.values)
    )
    others = len(space.axes) > 2
    what = "through the best point" if is_slice else "mean over all other keys" if others else "in sample"
    return Plot(
        name=f"{'slice' if is_slice else 'map'}_{across}_{up}",
        title=f"{columns.key} and {rows.key}: {what}",
        unit=_UNIT,
        kind="heat",
        lines=lines,
        section="maps" if not is_slice else "slices",
        x_title=columns.key,
        y_title=rows.key,
        mark=(columns.values[best[across]], rows.values[best[up]]),
    )


def _filled(plot: Plot) -> int:
    return sum(value is not None for line in plot.lines for value in line.y)


def _lines(
    space: SearchSpace, parts: Sequence[SweepPart], found: Evaluations, best: GridPoint
) -> Iterator[Plot]:
    """Draw lines along each key through the best point, in sample and out of it."""
    for number, axis in enumerate(space.axes):
        points = [(*best[:number], place, *best[number + 1 :]) for place in range(len(axis.values))]
        lines = []
        for name, numbers in (("in sample", in_sample(parts)), ("out of sample", out_of_sample(parts))):
            tried = [
                (axis.values[point[number]], sharpe)
                for point in points
                if (sharpe := found.sharpe(point, numbers)) is not None
            ]
            if tried:
                lines.append(PlotLine(name, tuple(x for x, _ in tried), tuple(y for _, y in tried)))
        if lines and len(lines[0].x) > 1:
            yield Plot(
                name=f"along_{number}",
                title=f"Along {axis.key}, all else as at the best point ({axis.values[best[number]]})",
                unit=_UNIT,
                kind="lines",
                lines=tuple(lines),
                section="around",
                x_title=axis.key,
                mark=(axis.values[best[number]],),
            )


def _equity(
    space: SearchSpace, parts: Sequence[SweepPart], found: Evaluations, best: GridPoint
) -> Iterator[Plot]:
    """Draw the equity of the best point: what each part added, one after the other."""
    inside = in_sample(parts)
    lines = []
    reached = 0.0
    for part in parts:
        (result,) = found.whole(best, (part.number,)) or (None,)
        if result is None or not result.equity:
            continue
        first = result.equity[0]
        name = f"part {part.number}, {'in' if part.number in inside else 'out of'} sample"
        lines.append(
            PlotLine(
                name,
                tuple(at / 1e6 for at in result.equity_ns),
                tuple(reached + value - first for value in result.equity),
            )
        )
        reached += result.equity[-1] - first
    if lines:
        currency = space.base.reporting
        yield Plot(
            "equity", "What the best point earned, part by part", currency, "steps", tuple(lines), "equity"
        )
