"""Publishes one venue's books and state on the bus, each only while a process subscribes to it.

The path of a frame (``fanout``) does not depend on this. While a market's topic has a subscriber, the market has an
observer beside the shards' rings. Without a subscriber its frames cost what they would cost without a bus.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from arbshard.clock import Clock
from arbshard.model.notes import VenueNote
from arbshard.wire import topics
from arbshard.wire.bus import Prefixes, Publisher
from supervisor.feeds.fanout import VenueFanout

_AT_ONCE = 32
"""Most books published in one turn of the loop for a new subscriber, so that frames do not wait for all of them."""

ReadSlot = Callable[[int], tuple[int, int, bool, bytes] | None]
"""(sequence, received_ns, live, frame) of a slot; None before the first frame."""


class VenueTopics:
    """Publishes for one venue. ``VenueFeed`` makes it."""

    def __init__(
        self, name: str, fanout: VenueFanout, read_slot: ReadSlot, bus: Publisher, clock: Clock
    ) -> None:
        self._name = name
        self._fanout = fanout
        self._read_slot = read_slot
        self._bus = bus
        self._clock = clock
        self._venue_topic = topics.venue_topic(name).encode()
        self._published_state = ""
        self._due: deque[str] = deque()
        """Markets whose newest book is to be published for a new subscriber."""
        self._soon: asyncio.Handle | None = None
        self._is_closed = False
        bus.on_subscriptions(self._subscriptions_changed)

    def follow(self, symbols: Iterable[str]) -> None:
        """Have the fanout pass on the frames of those of ``symbols`` that have a subscriber."""
        for symbol in symbols:
            topic = self._book_topic(symbol)
            is_wanted = self._bus.wanted(topic)
            if is_wanted != self._fanout.is_observed(symbol):
                publish = partial(self._publish_book, symbol, topic)
                self._fanout.observe(symbol, publish if is_wanted else None)

    def report(self, note: VenueNote) -> None:
        """Publish the state of the feed if it has changed, or if a new subscriber waits for it."""
        if note.state != self._published_state and self._bus.wanted(self._venue_topic):
            self._published_state = note.state
            update = topics.VenueUpdate(self._clock.wall_ms(), note)
            self._bus.publish(self._venue_topic, topics.encode(update))

    def close(self) -> None:
        """Publish nothing any more."""
        self._is_closed = True
        for symbol in self._fanout.symbols:
            self._fanout.observe(symbol, None)
        self._due.clear()
        if self._soon is not None:
            self._soon.cancel()

    def _subscriptions_changed(self, new: Prefixes) -> None:
        if self._is_closed:
            return
        symbols = self._fanout.symbols
        self.follow(symbols)
        if new.match(self._venue_topic):
            self._published_state = ""
        self._due.extend(symbol for symbol in symbols if new.match(self._book_topic(symbol)))
        if self._due and self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._publish_due)

    def _publish_due(self) -> None:
        self._soon = None
        for _ in range(min(_AT_ONCE, len(self._due))):
            symbol = self._due.popleft()
            if symbol in self._fanout.symbols:
                self._publish_book(symbol, self._book_topic(symbol), self._fanout.slot_of(symbol))
        if self._due:
            self._soon = asyncio.get_running_loop().call_soon(self._publish_due)

    def _publish_book(self, symbol: str, topic: bytes, slot: int) -> None:
        found = self._read_slot(slot)
        if found is not None:
            sequence, received_ns, live, frame = found
            update = topics.BookUpdate(self._name, symbol, sequence, received_ns, live, frame)
            self._bus.publish(topic, topics.encode(update))

    def _book_topic(self, symbol: str) -> bytes:
        return topics.book_topic(self._name, symbol).encode()
