"""Computes how the gaps of different pairs move together.

It is pure, and is fed and read at the pace of samples, never on the tick path.
"""

from collections.abc import Mapping
from itertools import combinations
from math import fsum, isnan, sqrt
from operator import mul

from arbshard.engine.series import SpreadSeries


def correlation(a: SpreadSeries, b: SpreadSeries) -> float | None:
    """Return Pearson's coefficient, from -1 to 1, over the intervals in which both series have a sample.

    None when fewer samples are common than either series' ``samples_min``, and when either does not move. Raises
    ``ValueError`` for series of different pace, which have no common sample times.
    """
    if a.sample_ms != b.sample_ms:
        raise ValueError(f"sampled every {a.sample_ms} ms and every {b.sample_ms} ms")
    samples_min = max(a.samples_min, b.samples_min)
    if min(a.count, b.count) < samples_min:
        return None
    xs, ys = _common_samples(a, b)
    if len(xs) < samples_min:
        return None
    if min(xs) == max(xs) or min(ys) == max(ys):
        return None
    # Means first: the one-pass formula loses everything to a large offset.
    x_mean, y_mean = fsum(xs) / len(xs), fsum(ys) / len(ys)
    xs, ys = [x - x_mean for x in xs], [y - y_mean for y in ys]
    spread = sqrt(sum(map(mul, xs, xs))) * sqrt(sum(map(mul, ys, ys)))
    if spread == 0.0:
        return None
    together: float = sum(map(mul, xs, ys))
    return max(-1.0, min(1.0, together / spread))


def _common_samples(a: SpreadSeries, b: SpreadSeries) -> tuple[list[float], list[float]]:
    """Return the samples of the intervals in which both series have one."""
    a_start, a_values = a.intervals()
    b_start, b_values = b.intervals()
    if a_start == b_start and len(a_values) == len(b_values):
        # Series that are sampled together usually have no hole: the newest samples are then all that is common. A sum
        # finds a hole faster than a look at each value.
        count = min(a.count, b.count)
        xs, ys = a_values[-count:], b_values[-count:]
        if not isnan(sum(xs)) and not isnan(sum(ys)):
            return xs, ys
    start = max(a_start, b_start)
    common = [
        (x, y)
        for x, y in zip(a_values[start - a_start :], b_values[start - b_start :], strict=False)
        if x == x and y == y  # noqa: PLR0124 - not NaN
    ]
    return [x for x, _ in common], [y for _, y in common]


class CorrelationMatrix:
    """Holds the correlations of every two of up to ``pairs_max`` series, of which ``update`` computes a few at a
    time.

    Computing a whole matrix at once would block the event loop; ``update`` does a bounded share in turn.
    """

    def __init__(
        self,
        series: Mapping[str, SpreadSeries],
        *,
        pairs_max: int = 32,
        cells_max: int = 8,
        known: Mapping[tuple[str, str], float] | None = None,
    ) -> None:
        """Keep the first ``pairs_max`` of ``series``, by base. One ``update`` computes ``cells_max`` cells at most.

        ``known`` are cells of another matrix to begin with; those of other bases are ignored. Raises ``ValueError``
        for fewer than two pairs or no cell.
        """
        if pairs_max < 2 or cells_max < 1:
            raise ValueError(f"pairs_max {pairs_max}, cells_max {cells_max}")
        self._series = dict(list(series.items())[:pairs_max])
        self._cells_max = cells_max
        self._order = list(combinations(sorted(self._series), 2))
        self._next = 0
        self._cells: dict[tuple[str, str], float] = {
            cell: value
            for cell, value in (known or {}).items()
            if cell[0] in self._series and cell[1] in self._series
        }
        self._due_ns = 0
        self._sample_ns = int(min((one.sample_ms for one in self._series.values()), default=1000.0) * 1e6)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the bases of its series, sorted."""
        return tuple(sorted(self._series))

    @property
    def cells(self) -> Mapping[tuple[str, str], float]:
        """Return the cells that are known now, by (base, base) in the order of the names."""
        return self._cells

    def update(self, now_ns: int) -> int:
        """Compute the next cells, at most once per sample interval; return how many were computed."""
        if now_ns < self._due_ns or not self._order:
            return 0
        self._due_ns = now_ns + self._sample_ns
        count = min(self._cells_max, len(self._order))
        for _ in range(count):
            a, b = cell = self._order[self._next]
            self._next = (self._next + 1) % len(self._order)
            value = correlation(self._series[a], self._series[b])
            if value is None:
                self._cells.pop(cell, None)
            else:
                self._cells[cell] = value
        return count

    def get(self, a: str, b: str) -> float | None:
        """Return the correlation of two pairs as last computed, from -1 to 1, in any order of their names.

        None when it is undefined (a gap does not move), a name is unknown, or it is not computed yet.
        """
        if a == b:
            return 1.0 if a in self._series else None
        return self._cells.get((a, b) if a < b else (b, a))
