"""The gap of every pair as risk sees it for itself, once per sample: what the correlated-exposure limit rests on.
Whoever values the account is given the prices that were read for it.

The books that it read are kept as risk's own view: entries are compared with it, and ways out are valued at it.

Read from the feed in shared memory, so that no worker has to tell. A few pairs at each tick, never all at once.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from arbshard.config import BaselineConfig, SeriesConfig
from arbshard.engine.baseline import Baselines
from arbshard.engine.closing import gap_bps
from arbshard.engine.correlation import CorrelationMatrix
from arbshard.engine.series import SpreadSeries
from arbshard.errors import FrameError
from arbshard.model.book import BookTop, PairView
from arbshard.model.market import Leg, Pair
from arbshard.model.universe import Universe
from arbshard.venues.registry import get_venue

_PAIRS_PER_TICK = 40
"""A quarter of a millisecond: risk must answer meanwhile."""
_CORRELATED_PAIRS_MAX = 64
_CELLS_PER_UPDATE = 3


class SampledSlots(Protocol):
    """Where frames are read from: ``shm.books.BooksReader``."""

    def read(self, slot: int) -> tuple[int, int, bool, bytes] | None:
        """(sequence, received_ns, live, frame) or None."""
        ...


def _nothing(*_: object) -> None:
    """Do nothing: the default of the sampler's callbacks."""


class GapWatch:
    """Samples gaps and keeps their correlations."""

    def __init__(
        self,
        slots: SampledSlots,
        universe: Universe,
        series: SeriesConfig,
        age_ns_max: int,
        baseline: BaselineConfig | None = None,
        on_new: Callable[[str, SpreadSeries], None] = _nothing,
    ) -> None:
        """``age_ns_max``: an older book tells nothing about now. ``on_new``: see ``Baselines``."""
        self._slots = slots
        self._universe = universe
        self._age_ns_max = age_ns_max
        self._next = 0
        self.baselines = Baselines(series, baseline if baseline is not None else BaselineConfig(), on_new)
        self._matrix = CorrelationMatrix({})
        self.set_universe(universe)
        self.bad_frames = 0
        self.views: dict[str, PairView] = {}
        """The books of each pair, by base, when it was sampled last; changed in place."""
        self.on_fx: Callable[[Leg, float], None] = _nothing
        """Called at each sample with the FX market and its best bid."""
        self.on_prices: Callable[[Pair, tuple[float, float], float], None] = _nothing
        """Called for each pair sampled with its best bids (home, away) and that of the FX market."""

    def set_universe(self, universe: Universe) -> None:
        """Sample these pairs from now on; of those that stay, what is known stays."""
        self._universe = universe
        self._next = self._due_ns = 0
        self.baselines.set_pairs([pair.base for pair in universe.pairs])
        self._matrix = CorrelationMatrix(
            self.series,
            pairs_max=_CORRELATED_PAIRS_MAX,
            cells_max=_CELLS_PER_UPDATE,
            known=self._matrix.cells,
        )

    @property
    def series(self) -> Mapping[str, SpreadSeries]:
        """The gap of each pair, by base."""
        return self.baselines.series

    def sample(self, now_ns: int) -> Mapping[tuple[str, str], float]:
        """Sample the pairs whose turn it is; the correlations known now, by (base, base) in order of name."""
        if now_ns >= self._due_ns:
            self._sample_some(now_ns)
        self.baselines.refresh(now_ns)
        self._matrix.update(now_ns)
        return self._matrix.cells

    def _sample_some(self, now_ns: int) -> None:
        pairs = self._universe.pairs
        rate: BookTop | None = None
        if len(pairs) <= _PAIRS_PER_TICK:  # nothing is to be done before the first of all is due
            self._due_ns = min((self.series[pair.base].due_ns for pair in pairs), default=now_ns)
        for _ in range(min(_PAIRS_PER_TICK, len(pairs))):
            pair = pairs[self._next]
            series = self.series[pair.base]
            if now_ns >= series.due_ns:
                if rate is None:  # read only when a pair is due
                    rate = self._top(self._universe.fx, now_ns)
                    if rate is None:
                        break  # this pair is sampled first when there is a rate again
                    self.on_fx(self._universe.fx, rate.best_bid)
                home, away = self._top(pair.home, now_ns), self._top(pair.away, now_ns)
                if home is not None and away is not None:
                    self.views[pair.base] = PairView(home, away, now_ns)
                    series.add(now_ns, gap_bps(home, away, (rate.best_bid, rate.best_ask)))
                    self.on_prices(pair, (home.best_bid, away.best_bid), rate.best_bid)
            self._next = (self._next + 1) % len(pairs)

    def _top(self, leg: Leg, now_ns: int) -> BookTop | None:
        found = self._slots.read(leg.slot)
        if found is None or not found[2] or now_ns - found[1] > self._age_ns_max:
            return None
        try:
            return get_venue(leg.market.venue).top_of_book(found[3], found[1])
        except FrameError:
            self.bad_frames += 1
            return None
