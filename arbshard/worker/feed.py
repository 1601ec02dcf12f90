"""Gives one shard its view of the feed: which markets changed, and their newest books.

Of each version only the top is read at once; the whole book is decoded when it is needed. ``changed`` and ``read``
are the worker's hot path: doorbell → ring → slot → codec → engine.
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
    """Is where frames are read from: ``shm.books.BooksReader``."""

    def read(self, slot: int) -> tuple[int, int, bool, bytes] | None:
        """Return (sequence, received_ns, live, frame) of the slot; None before the first frame."""
        ...

    def sequence(self, slot: int) -> int:
        """Return a number that is larger after every change of the slot."""
        ...

    def confirmed_ns(self, slot: int) -> int:
        """Return when the slot's book was last confirmed (monotonic nanoseconds); 0 for never."""
        ...

    def late_after_ns(self, slot: int) -> int:
        """Return above which difference of receipt and sending (nanoseconds) a frame is late; 0 if unknown."""
        ...


class SlotChanges(Protocol):
    """Reports which slots have changed: ``shm.doorbell.ShardWaiter``."""

    def drain(self) -> list[int] | None:
        """Return the slots changed since the last call; None for all."""
        ...


class Codec(Protocol):
    """Decodes frames into books: ``venues.base.market.Venue``."""

    def top_of_book(self, frame: bytes, received_ns: int) -> BookTop:
        """Return the top of the book. Raises ``FrameError`` for an invalid frame."""
        ...

    def decode(self, frame: bytes, received_ns: int) -> OrderBookSnapshot:
        """Return the whole book. Raises ``FrameError`` for an invalid frame."""
        ...


class ShardFeed:
    """Holds the newest valid book of every market of a shard."""

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
        """Number of frames that were replaced by newer ones before they were read."""
        self.bad: dict[str, int] = dict.fromkeys(codecs, 0)
        """Number of invalid frames, by venue."""
        self.bad_reasons: dict[str, int] = {}
        self.frames = 0

    def add(self, legs: Iterable[Leg]) -> None:
        """Watch these markets too. The frames in their slots count as new when they are next read."""
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
        """Return when the book of our view was last confirmed (monotonic nanoseconds).

        It is 0 if the book was never confirmed, or if the slot has a newer one.
        """
        confirmed_ns = self._slots.confirmed_ns(slot)
        # Read in this order: if a frame comes in between, the sequence differs, whatever confirmation was read.
        return confirmed_ns if self._slots.sequence(slot) == self._sequences[slot] else 0

    def late_after_ns(self, slot: int) -> int:
        """Return above which difference of receipt and sending (nanoseconds) a book is late; 0 if unknown."""
        return self._slots.late_after_ns(slot)

    def changed(self) -> Iterable[int]:
        """Return the slots to read now."""
        slots = self._changes.drain()
        return tuple(self._codecs) if slots is None else slots

    def read(self, slot: int) -> View | None:
        """Return the slot's new view; None if it has not changed since it was last read, or is not of this shard."""
        found = self._slots.read(slot)
        if found is None:
            return None
        sequence, received_ns, live, frame = found
        try:
            before = self._sequences[slot]
        except KeyError:  # the ring was written just before its pair was added, or after it was removed
            return None
        skipped = sequence - before
        if skipped == 0:
            return None
        # The writer adds two for each write; what was written before our start is no loss.
        if before and skipped > 2:
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
    """Implements ``execution.ports.BookPort`` over the shard's feed."""

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
        """Return the newest live book; None if it was last known to be current over ``max_book_age_ms`` ago."""
        newer = self._feed.read(leg.slot)  # the loop may not have read it yet
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
        """Return the FX rate; None if it was last known to hold over ``max_fx_age_ms`` ago, or is not live."""
        is_young = self._fx_age_ns() <= self._fx_age_ns_max
        return self.fx() if is_young and self._feed.views[self._fx.slot].live else None

    def fx(self) -> FxQuote | None:
        """Return the newest FX rate whatever its age; None if there is none."""
        top = self._feed.views[self._fx.slot].top
        if top is None:
            return None
        return FxQuote(exact(top.best_bid), exact(top.best_ask), self._fx_age_ns() // 1_000_000)

    def _fx_age_ns(self) -> int:
        """Return how many nanoseconds ago the rate was last known to hold; without one, since monotonic time 0."""
        slot = self._fx.slot
        top = self._feed.views[slot].top
        known_ns = max(top.received_ns, self._feed.confirmed_ns(slot)) if top is not None else 0
        return max(self._clock.monotonic_ns() - known_ns, 0)
