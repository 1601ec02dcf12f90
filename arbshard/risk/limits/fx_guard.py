"""``FxGuard`` judges whether the FX book can be trusted. Pure; ``risk.gap_sampler`` feeds it, and ``guard`` asks it.

One book, KRW-USDT, prices every pair: when it alone moves by two percent, all pairs seem to have a gap of two
percent. So it is compared with the coins. Each coin is quoted in both currencies, and its home mid over its away mid
is a rate, too; the median of these rates moves only when most coins do. By how much it is above the FX book is the
premium of the coins. A premium may last for days, so its departure from its own level counts: the median of the last
``fx.level_window_s``. The premium itself has a limit too, and so has the movement of the FX book within a second.

While any of them is exceeded no pair is entered, and not before all have been back within half of it for
``fx.quiet_s``. When all coins of one venue move away from the other venue at once, the premium departs as well: if
this book is right and the coins are wrong, that is no better reason to enter.

The samples of the level are not stored. Until there are enough of them after a start, the baselines of the pairs
give the level.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

from arbshard.config import FxConfig
from arbshard.model.book import BookTop
from arbshard.model.intent import FxQuote
from arbshard.model.market import Direction, Pair
from arbshard.model.money import BPS
from arbshard.model.refusal import Refusal
from arbshard.risk.rest import RestSpan
from arbshard.risk.validation import Moment, Objection

_FRESH_NS = 3_000_000_000
"""A rate that is older than this, in ns, is not used. Risk samples the pairs in turn, each once a second."""
_JUMP_NS = 1_000_000_000
_LEVEL_EVERY_NS = 1_000_000_000
_LEVEL_SAMPLES_MIN = 60
_RECENT_MAX = 1000
"""Number of ticks that are kept of a span of rest, which is more than there are in a second."""
_SURE = 0.999
_LIFTED = 0.5
"""Share of a limit that must be kept to before the guard allows entries again."""
_UNIT = float(BPS)


class FxFigures(NamedTuple):
    """Holds the newest figures of the FX rate."""

    rate: float
    """Mid of the FX book."""
    implied: float | None
    """The median of the rates that the coins imply; None with fresh books of fewer pairs than ``fx.pairs_min``."""
    pairs: int
    """Pairs with fresh books."""
    level_bps: float | None
    """The usual premium of the coins over the FX book; None while it is not known."""

    def premium_bps(self, rate: float) -> float | None:
        """Return how far the coins' rate is above ``rate``, in basis points."""
        return (self.implied / rate - 1) * _UNIT if self.implied is not None else None


class RunningMedian:
    """Is the median of the newest numbers. They are kept in order, so that a new one costs a search and no sort."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._newest: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def copy(self) -> "RunningMedian":
        """Return another one with the same numbers."""
        other = RunningMedian(self._most)
        other._newest, other._sorted = self._newest.copy(), self._sorted.copy()
        return other

    def add(self, number: float) -> None:
        """Add a number; the oldest one goes when there are too many."""
        if len(self._newest) == self._most:
            del self._sorted[bisect_left(self._sorted, self._newest.popleft())]
        self._newest.append(number)
        insort(self._sorted, number)

    @property
    def value(self) -> float:
        """Return the median, of at least one number."""
        ordered = self._sorted
        middle = len(ordered) // 2
        return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class _AfterRest(NamedTuple):
    """Holds what is known after a span of rest."""

    span: RestSpan
    premiums: RunningMedian
    level: float | None
    level_due_ns: int


class FxGuard:
    """Refuses the entries of all pairs while the FX rate is in doubt. An entry rule of ``RiskGuard``."""

    def __init__(
        self,
        settings: FxConfig,
        sample_ms: float = 1000.0,
        baseline_level: Callable[[], float | None] = lambda: None,
    ) -> None:
        """Begin without a rate. ``sample_ms``: how often each pair is sampled.

        ``baseline_level`` returns the median of the levels of the pairs' gaps, in basis points; None while too few
        are known.
        """
        self._settings = settings
        self._fresh_ns = max(_FRESH_NS, int(3e6 * sample_ms))
        self._baseline_level = baseline_level
        self._implied: dict[str, tuple[float, int]] = {}
        self._rate = 0.0
        self._rate_ns = 0
        self._recent: deque[tuple[int, float]] = deque()
        """(monotonic ns, rate) of the last second, oldest first."""
        self._premiums_max = max(2, int(settings.level_window_s))
        self._premiums = RunningMedian(self._premiums_max)
        """Premiums in basis points, one a second."""
        self._level_due_ns = 0
        self._level: float | None = None
        self.figures: FxFigures | None = None
        """The newest figures; None before the first FX book."""
        self.doubt = ""
        """Why entries are refused, as the end of a sentence; empty while they are not."""
        self.since_ms = 0
        """Wall time in ms since when; 0 for never."""
        self._calm_since_ns: int | None = None
        self._left_ns = 0
        self._calm: _AfterRest | None = None
        """What ``is_calm`` has found of the span about which it was asked last."""

    def set_implied(self, base: str, rate: float, now_ns: int) -> None:
        """Use the FX rate that a coin's two fresh books imply: its home mid over its away mid."""
        self._implied[base] = rate, now_ns

    def set_rate(self, top: BookTop, now_ns: int) -> None:
        """Use the best bid and ask of the FX book as of now."""
        self._rate, self._rate_ns = top.mid, now_ns
        self._recent.append((now_ns, top.mid))

    @property
    def implied(self) -> Mapping[str, tuple[float, int]]:
        """Return the FX rate that each pair has implied last, by base, and when it did (monotonic ns)."""
        return self._implied

    @property
    def is_level_known(self) -> bool:
        """Return whether the level is that of enough samples of the premium, so that no baseline matters to it."""
        return self._has_enough(self._premiums)

    def is_calm(self, span: RestSpan) -> bool:
        """Return whether the guard, which has no doubt, raises none in a span of rest. No baseline is known in the
        span, or ``is_level_known``.
        """
        self._calm = None
        rates = [*span.rates, *(rate for _, rate in self._recent)]
        # No movement within a second is larger than the one between the extremes of the whole span.
        if (max(rates) / min(rates) - 1) * _UNIT > self._settings.jump_bps_max * _SURE:
            return False
        self._calm = self._after(span)
        return self._calm is not None

    def rest(self, span: RestSpan) -> None:
        """Continue as if the guard had judged at each tick of a span of rest for which it ``is_calm``."""
        if self._calm is None or self._calm.span is not span:
            self.is_calm(span)
        assert self._calm is not None, span.ticks[0]
        _, self._premiums, self._level, self._level_due_ns = self._calm
        self._calm = None
        for base, (_, _, _, rate, now_ns) in span.newest.items():
            self.set_implied(base, rate, now_ns)
        self._rate, self._rate_ns = span.rates[-1], span.ticks[-1]
        self._recent.extend(zip(span.ticks[-_RECENT_MAX:], span.rates[-_RECENT_MAX:], strict=True))
        self._jumps(1.0)  # it forgets what is older than a second
        self.figures = FxFigures(self._rate, *span.implied[-1], self._level)

    def _after(self, span: RestSpan) -> "_AfterRest | None":
        """Return what is known after a span; None if the premium departs from its level within."""
        level, due_ns, premiums = self._level, self._level_due_ns, self._premiums.copy()
        for now_ns, rate, (implied, _) in zip(span.ticks, span.rates, span.implied, strict=True):
            if implied is None:
                continue
            premium = (implied / rate - 1) * _UNIT
            if now_ns >= due_ns:
                due_ns = now_ns + _LEVEL_EVERY_NS
                premiums.add(premium)
                level = premiums.value if self._has_enough(premiums) else None
            if self._is_apart(premium, level, 1.0):
                return None
        return _AfterRest(span, premiums, level, due_ns)

    def _has_enough(self, premiums: RunningMedian) -> bool:
        """Return whether there are enough samples of the premium for its level."""
        return len(premiums) >= min(_LEVEL_SAMPLES_MIN, self._premiums_max)

    def judge(self, moment: Moment) -> bool:
        """Compare the newest rates. Return whether the guard has begun or ceased to refuse entries."""
        now_ns = moment.now_ns
        if not self._rate or now_ns - self._rate_ns > self._fresh_ns:
            return False  # there is nothing to judge, and workers refuse a rate that is missing or old
        figures = self.figures = self._figures(now_ns)
        reason = self._departs(figures, figures.rate, 1.0) or self._jumps(1.0)
        was_on = bool(self.doubt)
        if reason:
            if not was_on:
                self.since_ms = moment.now_ms
            self.doubt, self._calm_since_ns = reason, None
        elif was_on:
            self._lift(figures, now_ns)
        return bool(self.doubt) is not was_on

    def objection(self, pair: Pair, direction: Direction, moment: Moment) -> Objection | None:
        """Refuse entries of all pairs with 215 while the FX rate is in doubt; None when it is not."""
        del pair, direction, moment  # the rate prices all pairs
        if not self.doubt:
            return None
        wait = f"; it has to be quiet for {self._left_ns / 1e9:.0f} s more" if self._left_ns else ""
        return Objection(Refusal.FX_DEPARTS, self.doubt + wait)

    def objection_to(self, quote: FxQuote) -> Objection | None:
        """Refuse with 215 an entry whose own FX rate, maybe newer than the last sample, is not plausible."""
        figures = self.figures
        if figures is None:
            return None
        rate = float(quote.bid + quote.ask) / 2
        moved = (rate / figures.rate - 1) * _UNIT
        reason = self._departs(figures, rate, 1.0)
        if not reason and abs(moved) > self._settings.jump_bps_max:
            seen = f"the FX book is at {figures.rate:.8g}"
            reason = f"the entry was decided at {rate:.8g}, and {seen} ({moved:+.0f} bps)"
        return Objection(Refusal.FX_DEPARTS, reason) if reason else None

    def _figures(self, now_ns: int) -> FxFigures:
        oldest_ns = now_ns - self._fresh_ns
        fresh = [rate for rate, seen_ns in self._implied.values() if seen_ns >= oldest_ns]
        if len(fresh) < len(self._implied):
            self._implied = {base: one for base, one in self._implied.items() if one[1] >= oldest_ns}
        implied = median(fresh) if len(fresh) >= self._settings.pairs_min else None
        if implied is not None and now_ns >= self._level_due_ns:
            self._level_due_ns = now_ns + _LEVEL_EVERY_NS
            self._premiums.add((implied / self._rate - 1) * _UNIT)
            is_known = self._has_enough(self._premiums)
            self._level = self._premiums.value if is_known else self._baseline_level()
        return FxFigures(self._rate, implied, len(fresh), self._level)

    def _departs(self, figures: FxFigures, rate: float, share: float) -> str:
        """Return why ``rate`` and the coins do not agree within ``share`` of the limits; empty when they do."""
        premium, settings = figures.premium_bps(rate), self._settings
        if premium is None or figures.implied is None:
            return ""
        if not self._is_apart(premium, figures.level_bps, share):
            return ""
        is_far = abs(premium) > self._premium_max(share)
        usual = f", usually {figures.level_bps:+.0f} bps" if figures.level_bps is not None else ""
        limit = (
            f"{settings.premium_bps_max:g} bps are allowed"
            if is_far
            else f"{settings.departure_bps_max:g} bps from there are allowed"
        )
        return (
            f"the FX book is at {rate:.8g}, and by the median of {figures.pairs} coins the rate is "
            f"{figures.implied:.8g} ({premium:+.0f} bps{usual}; {limit})"
        )

    def _is_apart(self, premium: float, level: float | None, share: float) -> bool:
        """Return whether a premium is beyond ``share`` of its limit, or of that of its departure from the level."""
        if abs(premium) > self._premium_max(share):
            return True
        return level is not None and abs(premium - level) > self._settings.departure_bps_max * share

    def _premium_max(self, share: float) -> float:
        return self._settings.premium_bps_max - (1 - share) * self._settings.departure_bps_max

    def _jumps(self, share: float) -> str:
        """Return why the FX book has moved too far within a second; empty when it has not."""
        oldest_ns = self._rate_ns - _JUMP_NS
        while self._recent[0][0] < oldest_ns:
            self._recent.popleft()
        rates = [rate for _, rate in self._recent]
        low, high = min(rates), max(rates)
        if low == high:  # the usual case, many times a second: the rate is one of them
            return ""
        before = max(rates, key=lambda rate: abs(self._rate / rate - 1))
        moved = (self._rate / before - 1) * _UNIT
        if abs(moved) <= self._settings.jump_bps_max * share:
            return ""
        return (
            f"the FX book has gone from {before:.8g} to {self._rate:.8g} within a second ({moved:+.0f} bps)"
        )

    def _lift(self, figures: FxFigures, now_ns: int) -> None:
        """End the refusals once everything has been well within the limits for long enough."""
        if figures.implied is None and len(self._premiums):
            is_calm = False  # it was compared before, and without figures to compare nothing new is known
        else:
            is_calm = not (self._departs(figures, figures.rate, _LIFTED) or self._jumps(_LIFTED))
        if not is_calm:
            self._calm_since_ns = None
        elif self._calm_since_ns is None:
            self._calm_since_ns = now_ns
        quiet_ns = int(self._settings.quiet_s * 1e9)
        since_ns = self._calm_since_ns if self._calm_since_ns is not None else now_ns
        self._left_ns = since_ns + quiet_ns - now_ns
        if is_calm and self._left_ns <= 0:
            self.doubt, self._calm_since_ns, self._left_ns = "", None, 0
