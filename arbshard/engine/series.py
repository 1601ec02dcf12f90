"""Keeps the gap of one pair over time, and computes its statistics. It is pure and bounded, without numpy.

``SpreadSeries`` is fed at a fixed pace by whatever evaluates the pair, and read by rules and status. Sums are
updated as samples come and go, so that feeding and reading cost the same however long the window is. Subtracting
what leaves the window accumulates rounding errors, so a reading that they could distort computes the sums anew
first.
"""

from array import array
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import fsum, log, log1p, nan, sqrt

GAP_BPS_MAX = 1e12
"""A gap beyond this is an error; squares of smaller ones are far from overflow."""

_LOST_DIGITS_MAX = 1e-3
"""How far a sum of squares may shrink before it is computed anew: it has then lost three of its sixteen digits."""


class SpreadSeries:
    """Keeps the first sample of every interval of ``sample_ms`` milliseconds, over the newest ``window`` intervals.

    Samples are gaps in basis points. Intervals are counted on the clock's own grid, so the series of two pairs share
    their sample times. An interval without a sample stays empty and is never filled in.
    """

    __slots__ = (
        "_age",
        "_anchor",
        "_due_ns",
        "_last",
        "_newest",
        "_pair_anchor",
        "_pair_d",
        "_pair_peak",
        "_pair_u",
        "_pair_ud",
        "_pair_uu",
        "_pairs",
        "_peak",
        "_sample_ns",
        "_sorted",
        "_sum",
        "_sum_squares",
        "_values",
        "count",
        "refused",
        "samples_min",
        "window",
    )

    def __init__(self, window: int = 300, sample_ms: float = 1000.0, samples_min: int = 30) -> None:
        """Keep ``window`` intervals. Z-score, half-life and correlation need ``samples_min`` samples.

        Raises ``ValueError`` for a window below 2, a pace below 1 µs, or ``samples_min`` outside of 2 to ``window``.
        """
        if window < 2 or sample_ms < 0.001 or not 2 <= samples_min <= window:
            raise ValueError(f"window {window}, sample_ms {sample_ms}, samples_min {samples_min}")
        self.window = window
        self.samples_min = samples_min
        self._sample_ns = round(sample_ms * 1_000_000)
        self._values = array("d", [nan]) * window
        """Interval n is at index n modulo ``window``; NaN where there was no sample."""
        self._sorted: list[float] = []
        """The samples in the window, the smallest first."""
        self._newest = -1
        """Number of the newest interval with a sample."""
        self._due_ns = 0
        self._last = nan
        self.refused = 0
        """Number of samples that were not a number, or beyond ``GAP_BPS_MAX``."""
        self.count = 0
        """Number of samples in the window."""
        self._pairs = 0
        self._age = 0
        """Number of samples since the sums were last computed anew."""
        self._begin(0.0)
        self._begin_pairs(0.0)

    def _begin(self, anchor: float) -> None:
        """Start the sums of x - anchor. The anchor is close to the data, because a large offset's square would lose
        digits.
        """
        self._anchor = anchor
        self._sum = self._sum_squares = self._peak = 0.0

    def _begin_pairs(self, anchor: float) -> None:
        """Start the regression of d on u, with u = x - anchor and d = next x - x, for neighbouring samples."""
        self._pair_anchor = anchor
        self._pair_u = self._pair_uu = self._pair_d = self._pair_ud = self._pair_peak = 0.0

    def add(self, now_ns: int, gap_bps: float) -> bool:
        """Store a gap if its interval has no sample yet; return whether it was stored. ``now_ns`` is monotonic.

        A gap that is not finite, or beyond ``GAP_BPS_MAX``, is counted in ``refused`` and not stored.
        """
        if now_ns < self._due_ns:
            return False
        if not -GAP_BPS_MAX <= gap_bps <= GAP_BPS_MAX:  # false for NaN
            self.refused += 1
            return False
        window, values = self.window, self._values
        interval = now_ns // self._sample_ns
        self._due_ns = (interval + 1) * self._sample_ns
        if interval - self._newest > window:
            if self.count:
                values[:] = array("d", [nan]) * window
                self._sorted.clear()
            self.count = self._pairs = 0
        else:
            for passed in range(self._newest + 1, interval + 1):
                self._drop(passed % window)
        if not self.count:
            self._begin(gap_bps)
        before = values[(interval - 1) % window]
        values[interval % window] = gap_bps
        insort(self._sorted, gap_bps)
        self._newest, self._last = interval, gap_bps
        self._age += 1
        self.count += 1
        x = gap_bps - self._anchor
        self._sum += x
        self._sum_squares += x * x
        self._peak = max(self._peak, self._sum_squares)
        if before == before:  # noqa: PLR0124 - false for NaN, and three times faster than isnan()
            if not self._pairs:
                self._begin_pairs(before)
            u, d = before - self._pair_anchor, gap_bps - before
            self._pairs += 1
            self._pair_u += u
            self._pair_uu += u * u
            self._pair_d += d
            self._pair_ud += u * d
            self._pair_peak = max(self._pair_peak, self._pair_uu)
        return True

    def _drop(self, slot: int) -> None:
        """Empty the slot of the oldest interval."""
        value = self._values[slot]
        if value != value:  # noqa: PLR0124 - NaN: the slot is empty
            return
        self._values[slot] = nan
        del self._sorted[bisect_left(self._sorted, value)]
        self.count -= 1
        x = value - self._anchor
        self._sum -= x
        self._sum_squares -= x * x
        after = self._values[slot + 1 - self.window]  # a negative index wraps round
        if after == after:  # noqa: PLR0124 - not NaN
            u, d = value - self._pair_anchor, after - value
            self._pairs -= 1
            self._pair_u -= u
            self._pair_uu -= u * u
            self._pair_d -= d
            self._pair_ud -= u * d

    @property
    def due_ns(self) -> int:
        """Return the monotonic time in nanoseconds before which a sample would be skipped."""
        return self._due_ns

    @property
    def newest(self) -> int:
        """Return the number of the newest interval with a sample; -1 before the first. It changes with
        every sample.
        """
        return self._newest

    @property
    def sample_ms(self) -> float:
        """Return the length of an interval in milliseconds."""
        return self._sample_ns / 1_000_000

    @property
    def last(self) -> float | None:
        """Return the newest sample in basis points; None before the first."""
        return self._last if self.count else None

    @property
    def mean(self) -> float | None:
        """Return the mean of the window in basis points; None when it is empty."""
        if not self.count:
            return None
        self._refresh()
        return self._anchor + self._sum / self.count

    @property
    def deviation(self) -> float | None:
        """Return the standard deviation of the window (n - 1) in basis points; None for fewer than two samples."""
        if self.count < 2:
            return None
        self._refresh()
        squares = self._sum_squares - self._sum * self._sum / self.count
        return sqrt(max(squares, 0.0) / (self.count - 1))

    @property
    def median(self) -> float | None:
        """Return the median of the window in basis points; None when it is empty."""
        return _middle_of(self._sorted.__getitem__, self.count) if self.count else None

    def distance_from(self, level: float) -> tuple[float, float]:
        """Return the median and the greatest of the distances of all samples from ``level``, in basis points.

        The window must not be empty. Both sides of ``level`` are sorted by their distance already, so that a few
        of them are looked at, however long the window is.
        """
        samples, count = self._sorted, self.count
        below = bisect_left(samples, level)
        above = count - below

        def distance(rank: int) -> float:
            """Return the distance that ``rank`` others do not exceed."""
            low, high = max(0, rank + 1 - above), min(rank + 1, below)
            while low < high:  # how many of the nearest ``rank`` + 1 are below the level
                middle = (low + high) // 2
                if abs(samples[below - 1 - middle] - level) < abs(samples[below + rank - middle] - level):
                    low = middle + 1
                else:
                    high = middle
            nearest = [abs(samples[below - low] - level)] if low else []
            if low <= rank:
                nearest.append(abs(samples[below + rank - low] - level))
            return max(nearest)

        return _middle_of(distance, count), max(abs(samples[0] - level), abs(samples[-1] - level))

    @property
    def z_score(self) -> float | None:
        """Return how many deviations the newest sample is off the mean.

        It is None for fewer than ``samples_min`` samples, and when all are equal.
        """
        if self.count < self.samples_min:
            return None
        deviation = self.deviation
        if not deviation:
            return None
        return (self._last - self._anchor - self._sum / self.count) / deviation

    @property
    def half_life_s(self) -> float | None:
        """Return in how many seconds a gap loses half its distance to the mean, as far as the window shows.

        Ornstein-Uhlenbeck, sampled: the regression of the next change on x has slope b = exp(-theta dt) - 1, and the
        half-life is ln 2 / theta = -ln 2 dt / ln(1 + b) (E. Chan, Algorithmic Trading, 2013, chapter 2, in its exact
        form). Only neighbouring samples count. It is None for fewer than ``samples_min`` of them, when x does not
        revert (b >= 0), and when it overshoots the mean within one interval (b <= -1). A half-life near the window's
        own length can hardly be distinguished from a random walk.
        """
        pairs = self._pairs
        if pairs < self.samples_min - 1:
            return None
        self._refresh()
        spread = pairs * self._pair_uu - self._pair_u * self._pair_u
        if spread <= 0:
            return None
        slope = (pairs * self._pair_ud - self._pair_u * self._pair_d) / spread
        if not -1 < slope < 0:
            return None
        return -log(2) / log1p(slope) * self._sample_ns / 1e9

    def median_until(self, now_ns: int) -> tuple[float, float] | None:
        """Return the least and the greatest median that the window may have up to ``now_ns``, whatever samples come;
        None where they may outweigh those in the window.

        Each interval that begins adds one value at most and removes one at most. So after k of them, of the present
        values that do not exceed the one of rank n / 2 + k + 1, at least n / 2 + 2 are left beyond the half of those
        removed, which are more than half of all: the median does not exceed it either. The same holds below.
        """
        intervals = max(now_ns // self._sample_ns - self._newest, 0)
        low, high = (self.count - 1) // 2 - intervals - 1, self.count // 2 + intervals + 1
        if low < 0 or high >= self.count:
            return None
        return self._sorted[low], self._sorted[high]

    @property
    def extremes(self) -> tuple[float, float] | None:
        """Return the least and the greatest sample in the window; None when it is empty."""
        return (self._sorted[0], self._sorted[-1]) if self.count else None

    @property
    def sample_ns(self) -> int:
        """Return the length of an interval in ns."""
        return self._sample_ns

    def intervals(self) -> tuple[int, list[float]]:
        """Return the number of the window's oldest interval, and its values from there; NaN where there is no
        sample.
        """
        start = (self._newest + 1) % self.window
        return self._newest + 1 - self.window, self._values[start:].tolist() + self._values[:start].tolist()

    def _refresh(self) -> None:
        """Compute the sums anew where subtracting may have cost too many digits."""
        if self._age > self.window or not (
            _is_sound(self.count, self._sum, self._sum_squares, self._peak)
            and _is_sound(self._pairs, self._pair_u, self._pair_uu, self._pair_peak)
        ):
            self._recompute()

    def _recompute(self) -> None:
        _, values = self.intervals()
        present = [value for value in values if value == value]  # noqa: PLR0124 - not NaN
        self._anchor = anchor = _centre(present)
        self._sum = fsum(x - anchor for x in present)
        self._sum_squares = self._peak = fsum((x - anchor) ** 2 for x in present)
        pairs = [(x, y) for x, y in pairwise(values) if x == x and y == y]  # noqa: PLR0124 - not NaN
        self._pair_anchor = anchor = _centre([x for x, _ in pairs])
        self._pair_u = fsum(x - anchor for x, _ in pairs)
        self._pair_uu = self._pair_peak = fsum((x - anchor) ** 2 for x, _ in pairs)
        self._pair_d = fsum(y - x for x, y in pairs)
        self._pair_ud = fsum((x - anchor) * (y - x) for x, y in pairs)
        self._age = 0


def _middle_of(value: Callable[[int], float], count: int) -> float:
    """Return the median of ``count`` values by their rank, as ``statistics.median`` does."""
    upper = value(count // 2)
    return upper if count % 2 else (value(count // 2 - 1) + upper) / 2


def _centre(values: Sequence[float]) -> float:
    """Return the mean, or the common value when all are equal, so that their deviation is exactly 0."""
    if not values:
        return 0.0
    return values[0] if min(values) == max(values) else fsum(values) / len(values)


def _is_sound(count: int, total: float, squares: float, peak: float) -> bool:
    """Return whether what is left outweighs what was subtracted, and the anchor's distance from the mean."""
    if not count:
        return True
    return (
        squares >= peak * _LOST_DIGITS_MAX and squares - total * total / count >= squares * _LOST_DIGITS_MAX
    )
