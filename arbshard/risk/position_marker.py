"""Values what is open at the books in shared memory, once a second: a few positions at each tick, never all at once.

A position that was just opened does not wait for its turn. A venue that is lost leaves the last good mark in place;
the time of its books shows how old it is. A book that is old while its connection is alive is used: nothing newer is
known.
"""

from collections import deque
from collections.abc import Sequence

from arbshard.errors import FrameError
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.market import Leg, Pair
from arbshard.model.universe import Universe
from arbshard.risk.gap_sampler import SampledSlots
from arbshard.risk.rest import next_due
from arbshard.risk.valuation import Valuation
from arbshard.venues.registry import get_venue

_POSITIONS_PER_TICK = 10
"""Number of positions per tick, which takes half a millisecond: risk must answer meanwhile."""
_ROUND_NS = 1_000_000_000


class PositionMarker:
    """Gives the positions of one ``Valuation`` their value at the newest books."""

    def __init__(self, slots: SampledSlots, universe: Universe, valuation: Valuation) -> None:
        self._slots = slots
        self._valuation = valuation
        self._queue: deque[tuple[str, str]] = deque()
        self._tried: set[tuple[str, str]] = set()
        """What was put into the queue since the last round began."""
        self._due_ns = 0
        self.bad_frames = 0
        self._fx: Leg
        self._pairs: dict[str, Pair]
        self.set_universe(universe)

    def set_universe(self, universe: Universe) -> None:
        """Value positions of these pairs from now on."""
        self._fx = universe.fx
        self._pairs = {pair.base: pair for pair in universe.pairs}

    def rest(self, ticks: Sequence[int]) -> None:
        """Continue as if ``mark`` had been called at each of ``ticks``, while nothing is open."""
        self._due_ns = next_due(ticks, self._due_ns, _ROUND_NS)
        self._queue.clear()

    def mark(self, now_ns: int, now_ms: int) -> bool:
        """Value the positions whose turn it is. Return whether this completed a round."""
        self._valuation.look_at_naked(now_ns)
        if not self._queue and now_ns >= self._due_ns:
            self._due_ns = now_ns + _ROUND_NS
            self._valuation.find_unpriced()
            self._queue.extend(self._valuation.open_ids())
            self._tried = set(self._queue)
        for one in self._valuation.not_valued():
            if one not in self._tried:  # what has no book is tried once a round
                self._tried.add(one)
                self._queue.appendleft(one)
        if not self._queue:
            return False
        fx = self._read(self._fx)
        if fx is None:
            self._queue.clear()
            return False
        rate = (fx[0].best_bid, fx[0].best_ask)
        for _ in range(min(_POSITIONS_PER_TICK, len(self._queue))):
            position_id, base = self._queue.popleft()
            pair = self._pairs.get(base)
            home = self._read(pair.home) if pair is not None else None
            away = self._read(pair.away) if pair is not None else None
            if pair is None or home is None or away is None:
                continue
            books_ms = now_ms - max(0, now_ns - min(home[1], away[1])) // 1_000_000
            self._valuation.mark(position_id, pair, (home[0], away[0]), rate, books_ms)
        return not self._queue

    def _read(self, leg: Leg) -> tuple[OrderBookSnapshot, int] | None:
        """Return a market's newest book and when it was received; None if its venue is lost or its frame is bad."""
        found = self._slots.read(leg.slot)
        if found is None or not found[2]:
            return None
        try:
            return get_venue(leg.market.venue).decode(found[3], found[1]), found[1]
        except FrameError:
            self.bad_frames += 1
            return None
