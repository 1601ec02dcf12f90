"""Reduces long series: a sample of values, and the extremes of every pixel of a plot. It is bounded and pure."""

from random import Random

from arbshard.report.model import PlotLine, Spread

SAMPLE_MAX = 10_000
"""Number of values up to which quantiles are exact; of more values, so many are drawn (algorithm R of
Vitter, 1985).
"""
BUCKETS_MAX = 800
"""Approximate width of a plot in pixels."""
_WIDTH_MS = 1000


class Reservoir:
    """Keeps count, mean and extremes of all values, and a sample of them for quantiles."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0.0
        self._sample: list[float] = []
        self._random = Random(0)
        self._worst = self._best = 0.0

    def add(self, value: float) -> None:
        """Add one value."""
        if not self._count:
            self._worst = self._best = value
        self._count += 1
        self._sum += value
        self._worst = min(self._worst, value)
        self._best = max(self._best, value)
        if len(self._sample) < SAMPLE_MAX:
            self._sample.append(value)
        elif (place := self._random.randrange(self._count)) < SAMPLE_MAX:
            self._sample[place] = value

    @property
    def sample(self) -> list[float]:
        """Return the values, or a sample of them, in no order."""
        return self._sample

    def spread(self) -> Spread:
        """Return the distribution of the values."""
        if not self._count:
            return Spread()
        ordered = sorted(self._sample)
        worst = ordered[: max(1, len(ordered) // 20)]
        return Spread(
            count=self._count,
            mean=self._sum / self._count,
            p5=quantile(ordered, 0.05),
            median=quantile(ordered, 0.5),
            p95=quantile(ordered, 0.95),
            worst=self._worst,
            best=self._best,
            tail=sum(worst) / len(worst),
        )


def quantile(ordered: list[float], share: float) -> float:
    """Return the value below which ``share`` of the ``ordered`` values are, interpolated between two of them."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


class Downsampler:
    """Keeps the lowest, the highest and the last value of each of at most ``buckets_max`` spans of time.

    The spans double when there are too many, so that a series of any length needs no second pass, and no spike
    between two pixels is lost.
    """

    def __init__(self, buckets_max: int = BUCKETS_MAX) -> None:
        self._buckets_max = buckets_max
        self._width_ms = _WIDTH_MS
        self._buckets: dict[int, tuple[tuple[int, float], tuple[int, float], tuple[int, float]]] = {}

    def add(self, at_ms: int, value: float) -> None:
        """Add one value."""
        point = at_ms, value
        self._merge(self._buckets, at_ms // self._width_ms, (point, point, point))
        while len(self._buckets) > self._buckets_max:
            self._width_ms *= 2
            halved: dict[int, tuple[tuple[int, float], tuple[int, float], tuple[int, float]]] = {}
            for number, bucket in self._buckets.items():
                self._merge(halved, number // 2, bucket)
            self._buckets = halved

    def line(self, name: str) -> PlotLine:
        """Return the points that are left, by time."""
        points: list[tuple[int, float]] = []
        for _, (low, high, last) in sorted(self._buckets.items()):
            extremes = {point for point in (low, high) if point[0] < last[0]}
            points += [*sorted(extremes), *{low, high} - extremes - {last}, last]
        return PlotLine(name, tuple(float(at) for at, _ in points), tuple(value for _, value in points))

    @staticmethod
    def _merge(
        buckets: dict[int, tuple[tuple[int, float], tuple[int, float], tuple[int, float]]],
        number: int,
        new: tuple[tuple[int, float], tuple[int, float], tuple[int, float]],
    ) -> None:
        old = buckets.get(number)
        if old is not None:
            low, high, last = new
            newest = last if last[0] >= old[2][0] else old[2]
            new = (min(old[0], low, key=_value), max(old[1], high, key=_value), newest)
        buckets[number] = new


def _value(point: tuple[int, float]) -> float:
    return point[1]
