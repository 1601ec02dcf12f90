"""Takes samples of the gap of every pair as risk sees it for itself, and of the FX book at each tick.

The limit of correlated exposure, re-arming and the FX guard use these samples. The valuation of the account uses the
prices that were read for them. The books that it read are kept as risk's own view: entries are compared with it, and
ways out are valued at it.

Everything is read from the feed in shared memory, so that no worker has to report it. It reads a few pairs at each
tick, never all at once.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from arbshard.config import BaselineConfig, SeriesConfig
from arbshard.engine.baseline import Baselines
from arbshard.engine.closing import gap_bps
from arbshard.engine.series import SpreadSeries
from arbshard.errors import FrameError
from arbshard.model.book import BookTop, PairView
from arbshard.model.market import Leg, Pair
from arbshard.model.universe import Universe
from arbshard.risk.rest import RestSpan
from arbshard.venues.registry import get_venue

_PAIRS_PER_TICK = 40
"""Number of pairs per tick, which takes a quarter of a millisecond: risk must answer meanwhile."""


class SampledSlots(Protocol):
    """Provides frames: ``shm.books.BooksReader``."""

    def read(self, slot: int) -> tuple[int, int, bool, bytes] | None:
        """Return (sequence, received_ns, live, frame), or None for an empty slot."""
        ...


def _nothing(*_: object) -> None:
    """Do nothing: the default of the sampler's callbacks."""


class GapWatch:
    """Samples the gaps of all pairs, and the FX rate; it is called several times a second."""

    def __init__(
        self,
        slots: SampledSlots,
        universe: Universe,
        series: SeriesConfig,
        age_ns_max: int,
        baseline: BaselineConfig | None = None,
        on_new: Callable[[str, SpreadSeries], None] = _nothing,
    ) -> None:
        """Make a sampler. A book older than ``age_ns_max`` is not sampled. ``on_new``: see ``Baselines``."""
        self._slots = slots
        self._universe = universe
        self._age_ns_max = age_ns_max
        self._next = 0
        self._tops: dict[int, tuple[int, BookTop]] = {}
        """By slot: the sequence number of the frame that was read last, and its best prices."""
        self.baselines = Baselines(series, baseline if baseline is not None else BaselineConfig(), on_new)
        self.set_universe(universe)
        self.bad_frames = 0
        self.views: dict[str, PairView] = {}
        """The books of each pair, by base, when it was sampled last; changed in place."""
        self.on_rate: Callable[[BookTop, int], None] = _nothing
        """Called at each tick with the best of the FX book and the time."""
        self.on_gap: Callable[[str, float, float, int], None] = _nothing
        """Called for each pair sampled with its base, gap in basis points, home mid over away mid, and the time."""
        self.on_fx: Callable[[Leg, float], None] = _nothing
        """Called at each sample with the FX market and its best bid."""
        self.on_prices: Callable[[Pair, tuple[float, float], float], None] = _nothing
        """Called for each pair sampled with its best bids (home, away) and that of the FX market."""

    def set_universe(self, universe: Universe) -> None:
        """Sample these pairs from now on, and keep the series of those that stay."""
        self._universe = universe
        self._next = self._due_ns = 0
        self._tops.clear()  # a slot may have been given to another market
        self.baselines.set_pairs([pair.base for pair in universe.pairs])

    @property
    def series(self) -> Mapping[str, SpreadSeries]:
        """Return the gap of each pair, by base."""
        return self.baselines.series

    @property
    def pairs_per_tick(self) -> int:
        """Return how many pairs are looked at in one tick."""
        return min(_PAIRS_PER_TICK, len(self._universe.pairs))

    @property
    def next(self) -> int:
        """Return the position of the pair that is looked at first in the next tick."""
        return self._next

    def rest(self, span: RestSpan) -> None:
        """Continue as if ``sample`` had been called at each tick of a span of rest, except for ``views``
        (``set_views``), and for the estimates of the baselines.
        """
        pairs = self._universe.pairs
        for base, samples in span.gaps.items():
            add = self.series[base].add
            for now_ns, gap in samples:
                add(now_ns, gap)
        for pair in pairs:
            newest = span.newest.get(pair.base)
            if newest is not None:
                home_bid, away_bid, rate_bid, _, _ = newest
                self.on_fx(self._universe.fx, rate_bid)
                self.on_prices(pair, (home_bid, away_bid), rate_bid)
        self._due_ns = 0  # whose turn it is follows from the series alone
        if pairs:
            self._next = (self._next + self.pairs_per_tick * len(span.ticks)) % len(pairs)
        self.baselines.rest(span.ticks)

    def set_views(self, views: Mapping[str, PairView]) -> None:
        """Replace the books of pairs by those that were sampled in a span of rest."""
        self.views.update(views)

    def sample(self, now_ns: int) -> None:
        """Sample FX, and the pairs whose turn it is."""
        rate = self._top(self._universe.fx, now_ns)
        if rate is not None:  # without one the pairs are sampled when there is one again
            self.on_rate(rate, now_ns)
            if now_ns >= self._due_ns:
                self._sample_some(rate, now_ns)
        self.baselines.refresh(now_ns)

    def _sample_some(self, rate: BookTop, now_ns: int) -> None:
        pairs = self._universe.pairs
        self.on_fx(self._universe.fx, rate.best_bid)
        if len(pairs) <= _PAIRS_PER_TICK:  # nothing is to be done before the first pair is due
            self._due_ns = min((self.series[pair.base].due_ns for pair in pairs), default=now_ns)
        for _ in range(min(_PAIRS_PER_TICK, len(pairs))):
            pair = pairs[self._next]
            series = self.series[pair.base]
            if now_ns >= series.due_ns:
                home, away = self._top(pair.home, now_ns), self._top(pair.away, now_ns)
                if home is not None and away is not None:
                    self.views[pair.base] = PairView(home, away, now_ns)
                    gap = gap_bps(home, away, (rate.best_bid, rate.best_ask))
                    series.add(now_ns, gap)
                    self.on_gap(pair.base, gap, home.mid / away.mid, now_ns)
                    self.on_prices(pair, (home.best_bid, away.best_bid), rate.best_bid)
            self._next = (self._next + 1) % len(pairs)

    def _top(self, leg: Leg, now_ns: int) -> BookTop | None:
        found = self._slots.read(leg.slot)
        if found is None or not found[2] or now_ns - found[1] > self._age_ns_max:
            return None
        known = self._tops.get(leg.slot)
        if known is not None and known[0] == found[0] and known[1].received_ns == found[1]:
            return known[1]
        try:
            top = get_venue(leg.market.venue).top_of_book(found[3], found[1])
        except FrameError:
            self.bad_frames += 1
            return None
        self._tops[leg.slot] = found[0], top
        return top
