"""Estimates the baseline of a pair: the level that its gap returns to, and how fast it returns.

It is pure, and runs at the pace of samples, never on a tick. The gap of two venues is no white noise around zero.
Fees, FX and closed wallets leave a band in which no arbitrage pays and the gap wanders; it is driven back only from
outside of that band, and to a level of the pair's own (threshold cointegration: N. Balke and T. Fomby, International
Economic Review 38, 1997). One regression over all samples mixes both, and takes noise between two samples for a fast
return. So the level is the median of a window, which a minority of excursions cannot move. The half-life is measured
on the excursions alone: the time that each took until half of its height was lost. One that has not lost it yet
counts as lasting at least that long (the estimator of E. Kaplan and P. Meier, 1958), because otherwise a gap that
never returns would not count at all.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from math import nan
from typing import NamedTuple

from arbshard.config import BaselineConfig, SeriesConfig
from arbshard.engine.series import SpreadSeries
from arbshard.model.entry_terms import Baseline

_MAD_TO_DEVIATION = 1.4826
_EXCURSION_BANDS = 2.0
"""A gap that is nearer to the level than so many bands is not an excursion."""
_UNSEEN_MAX = 5
"""After so many intervals without a sample, an excursion counts as ended without a return."""
_GONE_MAX = 100
"""Number of pairs whose series are kept after they have left."""
_REFRESHED_PER_CALL = 2
"""Estimates per call: one takes about 0.3 ms with a window of 900."""


class _Excursion(NamedTuple):
    intervals: int
    """How long it lasted, or has lasted so far."""
    has_returned: bool
    """Whether it has lost half of its height."""


def baseline_of(series: SpreadSeries, settings: BaselineConfig) -> Baseline | None:
    """Return the baseline by the samples of ``series``; None when there are fewer than ``settings.samples_min``."""
    if series.count < settings.samples_min:
        return None
    level = series.median
    assert level is not None, series.count
    usual, greatest = series.distance_from(level)
    band = _MAD_TO_DEVIATION * usual
    threshold = max(settings.excursion_bps, _EXCURSION_BANDS * band)
    # Most pairs have none, and to look at all samples one by one costs more than all else here.
    has_excursions = greatest >= threshold
    excursions, under_way = (
        _excursions(series.intervals()[1], level, threshold) if has_excursions else ([], 0)
    )
    returns = sum(one.has_returned for one in excursions)
    half_life = _median_duration(excursions) if returns >= settings.returns_min else None
    interval_s = series.sample_ms / 1000
    return Baseline(
        level_bps=level,
        band_bps=band,
        half_life_s=half_life * interval_s if half_life is not None else None,
        samples=series.count,
        returns=returns,
        excursion_s=under_way * interval_s,
    )


def _excursions(values: Sequence[float], level: float, threshold: float) -> tuple[list[_Excursion], int]:
    """Return the excursions beyond ``threshold`` around ``level``, and how many intervals the last one has lasted so
    far.

    A single sample is not an excursion: it may be one wrong frame, whose quick return would be no evidence.
    """
    found: list[_Excursion] = []
    side = peak = 0.0
    began = unseen = 0
    before = nan
    for number, value in enumerate(values):
        if value != value:  # noqa: PLR0124 - NaN: no sample
            unseen += 1
            if side and unseen > _UNSEEN_MAX:
                found.append(_Excursion(number - unseen + 1 - began, has_returned=False))
                side = 0.0
            before = nan
            continue
        unseen = 0
        distance = value - level
        if side:
            height = distance * side
            if height <= peak / 2:
                found.append(_Excursion(number - began, has_returned=True))
                side = 0.0
            elif height > peak:
                peak = height
        # An excursion begins with two samples in a row beyond the threshold, on the same side; NaN fails the test.
        if not side and abs(distance) >= threshold and before * distance >= threshold * threshold:
            side = 1.0 if distance > 0 else -1.0
            peak, began = max(abs(distance), abs(before)), number - 1
        before = distance
    if not side:
        return found, 0
    lasted = len(values) - unseen - began
    found.append(_Excursion(lasted, has_returned=False))
    return found, lasted


def _median_duration(excursions: Sequence[_Excursion]) -> float | None:
    """Return the duration by which half of the excursions have returned, by Kaplan and Meier; None if fewer than
    half do.
    """
    survival = 1.0
    at_risk = len(excursions)
    durations = sorted({one.intervals for one in excursions if one.has_returned})
    for duration in durations:
        at_risk = sum(one.intervals >= duration for one in excursions)
        returned = sum(one.has_returned and one.intervals == duration for one in excursions)
        survival *= 1 - returned / at_risk
        if survival <= 0.5 + 1e-12:
            return float(duration)
    return None


class Baselines:
    """Holds the gaps of all pairs over time, and the baseline of each.

    Samples are added to ``series``, and ``refresh`` estimates.
    """

    def __init__(
        self,
        series: SeriesConfig,
        settings: BaselineConfig,
        on_new: Callable[[str, SpreadSeries], None] = lambda *_: None,
    ) -> None:
        """Begin without pairs; ``on_new`` is called with each new pair and its empty series, to fill in earlier
        samples.
        """
        self._pace = series
        self.on_new = on_new
        self._settings = settings
        self.series: dict[str, SpreadSeries] = {}
        """Series by base."""
        self.known: dict[str, Baseline] = {}
        """The newest estimate of each pair that has enough samples, by base; changed in place."""
        self._gone: dict[str, SpreadSeries] = {}
        """Series of pairs that have left, by base, the last one that left at the end."""
        self._queue: list[str] = []
        self._due_ns = 0

    def set_pairs(self, bases: Sequence[str]) -> None:
        """Keep these pairs from now on. Pairs that stay keep their series and estimates, and one that comes back
        continues its series: what has left the window meanwhile is dropped with its next sample.
        """
        before, self.series = self._gone | self.series, {}
        for base in bases:
            series = before.pop(base, None)
            if series is None:
                series = SpreadSeries(self._pace.window, self._pace.sample_ms)
                self.on_new(base, series)
            self.series[base] = series
        self._gone = dict(list(before.items())[-_GONE_MAX:])
        for base in self.known.keys() - self.series.keys():
            del self.known[base]

    def round_ns(self, tick_ns: int) -> int:
        """Return how long it takes at most until each pair has been estimated anew, with a call every ``tick_ns``."""
        calls = -(-len(self.series) // _REFRESHED_PER_CALL)
        return max(int(2e6 * self._pace.sample_ms), calls * tick_ns) + 2 * tick_ns

    def rest(self, ticks: Sequence[int]) -> None:
        """Go on as if ``refresh`` had been called at each of ``ticks``, but leave the estimates of the rounds out.

        A round takes the pairs from the end of a list, whose order is that of ``series``. The estimates are right
        again once a round has gone by.
        """
        place = -(-len(self._queue) // _REFRESHED_PER_CALL)
        if place > len(ticks):
            del self._queue[-_REFRESHED_PER_CALL * len(ticks) :]
            return
        self._queue = []
        per_round = -(-len(self.series) // _REFRESHED_PER_CALL)
        while (place := bisect_left(ticks, self._due_ns, min(place, len(ticks)))) < len(ticks):
            self._due_ns = ticks[place] + int(2e6 * self._pace.sample_ms)
            left = len(self.series) - _REFRESHED_PER_CALL * (len(ticks) - place)
            if left > 0:
                self._queue = list(self.series)[:left]
            place += max(per_round, 1)

    def refresh(self, now_ns: int) -> None:
        """Estimate a few pairs anew, each at most once in two sample intervals."""
        if not self._queue:
            if now_ns < self._due_ns:
                return
            self._due_ns = now_ns + int(2e6 * self._pace.sample_ms)
            self._queue = list(self.series)
        for _ in range(min(_REFRESHED_PER_CALL, len(self._queue))):
            base = self._queue.pop()
            series = self.series.get(base)
            found = baseline_of(series, self._settings) if series is not None else None
            if found is not None:
                self.known[base] = found
            else:
                self.known.pop(base, None)
