"""Allows entries only with a gap that comes back: by what was learned of it, and by what became of it last time.
Pure.

``ReversionRule`` asks what ``engine.baseline`` has learned of the gap: that its excursions return, and soon enough.

``Rearming`` allows no second entry on a gap that has just been left before it had come back. A position that was
closed by ``max_hold`` or ``stop_loss`` shows that its gap does not come back, at least not now: the coin cannot be
moved, or its premium stays. Entered again at once, such a gap costs two fees and two spreads each time. So the same
direction of the pair waits, twice as long after each further such exit in a row, and it has to re-arm: the gap must
have been back near its level. How many exits were such is part of the portfolio (``portfolio.results``), so a
restart forgets none of it. Whether the gap has been back since is not stored: after a restart a direction begins as
not re-armed.

``not_reverting`` decides when the exits of a pair are reason to set it apart.
"""

from collections.abc import Callable

from arbshard.config import BaselineConfig, StrategyConfig
from arbshard.engine.baseline import Baselines
from arbshard.model.market import Direction, Pair
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.results import FailedReturns, Results
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.validation import Moment, Objection

_SAMPLES = 2
"""Number of samples in a row that must find the gap back: a single wrong frame re-arms nothing."""
_DOUBLINGS_MAX = 30
_DIRECTIONS: tuple[Direction, ...] = ("buy_home", "buy_away")


class ReversionRule:
    """Refuses with 211 and 212 pairs whose gap may not return soon enough. It is a ``guard.EntryRule``."""

    def __init__(self, settings: BaselineConfig, max_hold_s: float, baselines: Baselines) -> None:
        """Make the rule. ``baselines`` is what is known of the gaps now."""
        self._settings = settings
        self._max_hold_s = max_hold_s
        self._baselines = baselines

    def objection(self, pair: Pair, direction: Direction, moment: Moment) -> Objection | None:
        """Return why the pair's gap may not return soon enough, or None."""
        del direction, moment  # the level and its half-life are those of both directions
        settings = self._settings
        if not settings.is_required:
            return None
        known = self._baselines.known.get(pair.base)
        if known is None:
            series = self._baselines.series.get(pair.base)
            count = series.count if series is not None else 0
            what = f"the level of its gap rests on {settings.samples_min} samples, there are {count} yet"
            return Objection(Refusal.BASELINE_UNKNOWN, f"{pair.base}: {what}")
        if known.returns < settings.returns_min:
            what = (
                f"{known.returns} excursions of its gap beyond {settings.excursion_bps:g} bps have returned "
                f"within the last {known.samples} samples, {settings.returns_min} are needed"
            )
            return Objection(Refusal.BASELINE_UNKNOWN, f"{pair.base}: {what}")
        half_life_max_s = settings.half_life_share_max * self._max_hold_s
        if known.half_life_s is None or known.half_life_s > half_life_max_s:
            half_life = "more than it lasted" if known.half_life_s is None else f"{known.half_life_s:.1f} s"
            what = (
                f"half of an excursion takes {half_life} to return, at most {half_life_max_s:g} s are allowed"
            )
            return Objection(Refusal.REVERTS_TOO_SLOWLY, f"{pair.base}: {what}")
        if known.excursion_s > half_life_max_s:
            what = f"half of an excursion should return within {half_life_max_s:g} s, this one has lasted "
            return Objection(Refusal.REVERTS_TOO_SLOWLY, f"{pair.base}: {what}{known.excursion_s:.0f} s")
        return None


class Rearming:
    """Knows which directions of which pairs wait for their gap. An entry rule of ``guard``."""

    def __init__(
        self, settings: StrategyConfig, state: PortfolioState, level_of: Callable[[str], float]
    ) -> None:
        """Make the rule. ``level_of`` returns the level of a pair's gap in basis points; 0 where it is not known."""
        self._settings = settings
        self._state = state
        self._level_of = level_of
        self._back: dict[tuple[str, Direction], tuple[FailedReturns, int]] = {}
        """Samples in a row that found the gap back, since which exit; no more are counted than are needed."""
        self._waits: dict[tuple[str, Direction], tuple[FailedReturns, int]] = {}
        """Until when the direction waits (monotonic ns), since which exit."""

    def note_gap(self, base: str, gap: float) -> None:
        """Use a sample of the pair's gap, in basis points: positive when home is dearer."""
        for direction in _DIRECTIONS:
            key = base, direction
            failed = self._state.results.failed_returns.get(key)
            if failed is None:
                self._back.pop(key, None)
                continue
            samples = self._samples_back(key, failed)
            if samples < _SAMPLES:
                is_back = self._distance(base, direction, gap) <= self._settings.rearm_bps
                self._back[key] = failed, samples + 1 if is_back else 0

    @property
    def is_settled(self) -> bool:
        """Return whether further samples change nothing: each direction that was left has been back long enough, and
        its pause has begun.
        """
        return all(
            self._samples_back(key, failed) >= _SAMPLES
            and key in self._waits
            and self._waits[key][0] == failed
            for key, failed in self._state.results.failed_returns.items()
        )

    def objection(self, pair: Pair, direction: Direction, moment: Moment) -> Objection | None:
        """Refuse with 615 a direction that still waits for its gap; None when it does not."""
        key = pair.base, direction
        failed = self._state.results.failed_returns.get(key)
        if failed is None or not self._settings.rearm_pause_max_s:
            self._waits.pop(key, None)
            return None
        until_ns = self._until_ns(key, failed, moment)
        awaited = []
        if self._samples_back(key, failed) < _SAMPLES:
            level, within = self._level_of(pair.base), self._settings.rearm_bps
            edge, side = (level - within, "above") if direction == "buy_home" else (level + within, "below")
            awaited.append(f"its gap has to be {side} {edge:.1f} bps (level {level:.1f})")
        if moment.now_ns < until_ns:
            awaited.append(f"its pause of {self.pause_s(failed.exits):g} s has to pass")
        if not awaited:
            return None
        times = "once" if failed.exits == 1 else f"{failed.exits} times in a row"
        left = f"{pair.base} {direction} was left {times} before its gap had come back"
        return Objection(Refusal.NOT_REARMED, f"{left}: {' and '.join(awaited)}")

    def pause_s(self, exits: int) -> float:
        """Return how long, in seconds, a direction waits after so many such exits in a row."""
        doubled = self._settings.rearm_pause_s * (1 << min(exits - 1, _DOUBLINGS_MAX))
        return min(doubled, self._settings.rearm_pause_max_s)

    def _samples_back(self, key: tuple[str, Direction], failed: FailedReturns) -> int:
        known = self._back.get(key)
        return known[1] if known is not None and known[0] == failed else 0

    def _until_ns(self, key: tuple[str, Direction], failed: FailedReturns, moment: Moment) -> int:
        """Return the end of a pause. The wall clock says once how much is left; from then on monotonic time does."""
        known = self._waits.get(key)
        if known is None or known[0] != failed:
            pause_ms = int(self.pause_s(failed.exits) * 1000)
            left_ms = min(max(failed.last_ms + pause_ms - moment.now_ms, 0), pause_ms)
            known = self._waits[key] = failed, moment.now_ns + left_ms * 1_000_000
        return known[1]

    def _distance(self, base: str, direction: Direction, gap: float) -> float:
        """Return how far the gap is from its level on the side of the direction's entries; negative beyond it."""
        distance = gap - self._level_of(base)
        return -distance if direction == "buy_home" else distance


def not_reverting(symbol: str, results: Results, settings: StrategyConfig) -> str | None:
    """Return why the exits of a symbol show that its gap does not return; None when they do not."""
    last = results.returns.get(symbol, ())[-settings.no_reversion_window :]
    failed = last.count(False)
    if not settings.no_reversion_exits or failed < settings.no_reversion_exits:
        return None
    return f"of its last {len(last)} positions {failed} were closed before the gap had come back"
