"""One shard's view of the feed: which markets changed, decoded once per version.

``drain`` is the worker's hot path: doorbell → ring → slot → codec → engine.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from arbshard.engine.quality import View
from arbshard.errors import FrameError
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.market import Leg


class Slots(Protocol):
    """Where frames are read from: ``shm.books.BooksReader``."""

    def read(self, slot: int) -> tuple[int, int, bool, bytes] | None:
        """(sequence, received_ns, live, frame) or None."""
        ...


class Changes(Protocol):
    """Who says what changed: ``shm.doorbell.ShardWaiter``."""

    def drain(self) -> list[int] | None:
        """Slots changed since the last call, None for all."""
        ...


Decode = Callable[[bytes, int], OrderBookSnapshot]


class ShardFeed:
    """The newest good book of every market of a shard."""

    def __init__(
        self, slots: Slots, changes: Changes, legs: Iterable[Leg], decoders: dict[str, Decode]
    ) -> None:
        self._slots = slots
        self._changes = changes
        self._decoders: dict[int, Decode] = {}
        self._sequences: dict[int, int] = {}
        self._venues: dict[int, str] = {}
        self.views: dict[int, View] = {}
        for leg in legs:
            self._decoders[leg.slot] = decoders[leg.market.venue]
            self._sequences[leg.slot] = 0
            self._venues[leg.slot] = leg.market.venue
            self.views[leg.slot] = View(None, live=False, bad=False)
        self.conflated = 0
        """Frames that were replaced by newer ones before they were looked at."""
        self.bad: dict[str, int] = dict.fromkeys(decoders, 0)
        """Frames not to be trusted, by venue."""
        self.bad_reasons: dict[str, int] = {}
        self.frames = 0

    def changed(self) -> Iterable[int]:
        """Slots to look at now."""
        slots = self._changes.drain()
        return self._decoders if slots is None else slots

    def look(self, slot: int) -> View | None:
        """The slot's new view, or None when it has not changed since the last look."""
        found = self._slots.read(slot)
        if found is None:
            return None
        sequence, received_ns, live, frame = found
        before = self._sequences[slot]
        skipped = sequence - before
        if skipped == 0:
            return None
        if before and skipped > 2:  # the writer adds two for each write; what was before our time is no loss
            self.conflated += skipped // 2 - 1
        self._sequences[slot] = sequence
        self.frames += 1
        try:
            view = View(self._decoders[slot](frame, received_ns), live, bad=False)
        except FrameError as error:
            self.bad[self._venues[slot]] += 1
            self.bad_reasons[error.reason] = self.bad_reasons.get(error.reason, 0) + 1
            view = View(None, live, bad=True)
        self.views[slot] = view
        return view
