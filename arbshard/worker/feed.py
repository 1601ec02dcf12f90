"""One shard's view of the feed: which markets changed. Each version is glanced at once, and decoded if need be.

``drain`` is the worker's hot path: doorbell → ring → slot → codec → engine.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

from arbshard.clock import Clock
from arbshard.config import DataConfig
from arbshard.engine.engine import ArbitrageEngine
from arbshard.engine.quality import View
from arbshard.errors import FrameError
from arbshard.model.book import BookTop, OrderBookSnapshot
from arbshard.model.intent import FxQuote
from arbshard.model.market import Leg
from arbshard.model.money import exact


class ReadableSlots(Protocol):
    """Where frames are read from: ``shm.books.BooksReader``."""

    def read(self, slot: int) -> tuple[int, int, bool, bytes] | None:
        """(sequence, received_ns, live, frame) or None."""
        ...

    def sequence(self, slot: int) -> int:
        """Larger after every change of the slot."""
        ...

    def confirmed_ns(self, slot: int) -> int:
        """When the slot's book was last confirmed; 0 for never."""
        ...

    def late_after_ns(self, slot: int) -> int:
        """Above which difference of receipt and sending a frame of the slot came late; 0 while that is not known."""
        ...


class SlotChanges(Protocol):
    """Who says what changed: ``shm.doorbell.ShardWaiter``."""

    def drain(self) -> list[int] | None:
        """Slots changed since the last call, None for all."""
        ...


class Codec(Protocol):
    """What makes books of frames: ``venues.base.market.Venue``."""

    def top_of_book(self, frame: bytes, received_ns: int) -> BookTop:
        """The top of the book. Raises ``FrameError``."""
        ...

    def decode(self, frame: bytes, received_ns: int) -> OrderBookSnapshot:
        """All of it. Raises ``FrameError``."""
        ...


class ShardFeed:
    """The newest good book of every market of a shard."""

    def __init__(
        self, slots: ReadableSlots, changes: SlotChanges, legs: Iterable[Leg], codecs: Mapping[str, Codec]
    ) -> None:
        self._slots = slots
        self._changes = changes
        self._codecs: dict[int, Codec] = {}
        self._glances: dict[int, Callable[[bytes, int], BookTop]] = {}
        self._sequences: dict[int, int] = {}
        self._venues: dict[int, str] = {}
        self.views: dict[int, View] = {}
        self._known_codecs = codecs
        self.add(legs)
        self.conflated = 0
        """Frames that were replaced by newer ones before they were looked at."""
        self.bad: dict[str, int] = dict.fromkeys(codecs, 0)
        """Frames not to be trusted, by venue."""
        self.bad_reasons: dict[str, int] = {}
        self.frames = 0

    def add(self, legs: Iterable[Leg]) -> None:
        """Watch these markets too. What stands in their slots is new at the next look."""
        for leg in legs:
            self._codecs[leg.slot] = self._known_codecs[leg.market.venue]
            self._glances[leg.slot] = self._known_codecs[leg.market.venue].top_of_book
            self._sequences[leg.slot] = 0
            self._venues[leg.slot] = leg.market.venue
            self.views[leg.slot] = View(None, live=False, bad=False)

    def remove(self, legs: Iterable[Leg]) -> None:
        """Watch these markets no longer. Raises ``KeyError`` for one that is not watched."""
        for leg in legs:
            for table in (self._codecs, self._glances, self._sequences, self._venues, self.views):
                del table[leg.slot]

    def confirmed_ns(self, slot: int) -> int:
        """When the book of our view was last confirmed (monotonic); 0 for never, or when the slot has a newer one."""
        confirmed_ns = self._slots.confirmed_ns(slot)
        # In this order: a frame that came in between has another sequence, whatever was confirmed of it.
        return confirmed_ns if self._slots.sequence(slot) == self._sequences[slot] else 0

    def late_after_ns(self, slot: int) -> int:
        """Above which difference of receipt and sending a book of this slot came late; 0 while that is not known."""
        return self._slots.late_after_ns(slot)

    def changed(self) -> Iterable[int]:
        """Slots to look at now."""
        slots = self._changes.drain()
        return tuple(self._codecs) if slots is None else slots

    def read(self, slot: int) -> View | None:
        """The slot's new view, or None when it has not changed since the last look, or is none of ours (any more)."""
        found = self._slots.read(slot)
        if found is None:
            return None
        sequence, received_ns, live, frame = found
        try:
            before = self._sequences[slot]
        except KeyError:  # rung for just before its pair came, or after it went
            return None
        skipped = sequence - before
        if skipped == 0:
            return None
        if before and skipped > 2:  # the writer adds two for each write; what was before our time is no loss
            self.conflated += skipped // 2 - 1
        self._sequences[slot] = sequence
        self.frames += 1
        try:
            top = self._glances[slot](frame, received_ns)
        except FrameError as error:
            self._refuse(slot, error)
            view = View(None, live, bad=True)
        else:
            view = View.glanced(top, live, partial(self._decode, slot, frame, received_ns))
        self.views[slot] = view
        return view

    def _decode(self, slot: int, frame: bytes, received_ns: int) -> OrderBookSnapshot | None:
        try:
            return self._codecs[slot].decode(frame, received_ns)
        except FrameError as error:
            self._refuse(slot, error)
            return None

    def _refuse(self, slot: int, error: FrameError) -> None:
        self.bad[self._venues[slot]] += 1
        self.bad_reasons[error.reason] = self.bad_reasons.get(error.reason, 0) + 1


class BookView:
    """``execution.ports.BookPort`` over the shard's feed."""

    def __init__(
        self, feed: ShardFeed, engine: ArbitrageEngine, fx: Leg, quality: DataConfig, clock: Clock
    ) -> None:
        self._feed = feed
        self._engine = engine
        self._fx = fx
        self._age_ns_max = int(quality.max_book_age_ms * 1e6)
        self._fx_age_ns_max = int(quality.max_fx_age_ms * 1e6)
        self._clock = clock

    def tradable(self, leg: Leg) -> OrderBookSnapshot | None:
        """Implements ``BookPort``. A book is none when it was last known to be the newest ``max_book_age_ms`` ago."""
        newer = self._feed.read(leg.slot)  # also when the loop has not come to it yet
        if newer is not None:
            self._engine.observe(leg.slot, newer)
        view = self._feed.views[leg.slot]
        book = view.book if view.live else None
        if book is None:
            return None
        oldest_ns = self._clock.monotonic_ns() - self._age_ns_max
        is_young = book.received_ns >= oldest_ns or self._feed.confirmed_ns(leg.slot) >= oldest_ns
        return book if is_young else None

    def tradable_fx(self) -> FxQuote | None:
        """Implements ``BookPort``. A rate is none when it was last known to hold ``max_fx_age_ms`` ago."""
        is_young = self._fx_age_ns() <= self._fx_age_ns_max
        return self.fx() if is_young and self._feed.views[self._fx.slot].live else None

    def fx(self) -> FxQuote | None:
        """Implements ``BookPort``."""
        top = self._feed.views[self._fx.slot].top
        if top is None:
            return None
        return FxQuote(exact(top.best_bid), exact(top.best_ask), self._fx_age_ns() // 1_000_000)

    def _fx_age_ns(self) -> int:
        """How long ago the rate was last known to hold; without a rate, since monotonic time began."""
        slot = self._fx.slot
        top = self._feed.views[slot].top
        known_ns = max(top.received_ns, self._feed.confirmed_ns(slot)) if top is not None else 0
        return max(self._clock.monotonic_ns() - known_ns, 0)
