"""Entries need a gap that is known to come back: the rule over what ``engine.baseline`` has learned. Pure."""

from arbshard.config import BaselineConfig
from arbshard.engine.baseline import Baselines
from arbshard.model.market import Direction, Pair
from arbshard.model.refusal import Refusal
from arbshard.risk.validation import Moment, Objection


class ReversionRule:
    """Refuses with 211 and 212 pairs whose gap may not return soon enough. Implements ``guard.EntryRule``."""

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
