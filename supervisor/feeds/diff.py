"""Keeps books from their changes: ``DiffBooks`` is between a venue's differential streams and the fan-out.

Each event is decoded here, so a frame costs the supervisor some thirty times as much as a partial book that is only
passed on. After a gap only that market's book is not live, until a snapshot over REST has closed the gap. Snapshots
are asked for one at a time. Streams of two connections feed one book, because an event that it contains is ignored.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from random import Random

from arbshard.clock import Clock
from arbshard.data.reconnect import Backoff
from arbshard.errors import FrameError, VenueUnavailable
from arbshard.log import get_logger
from arbshard.venues.base.client import Fetch
from arbshard.venues.base.diff import DiffBook, DiffOutcome, DiffVenue
from supervisor.feeds.fanout import Lane, OnControl, VenueFanout
from supervisor.feeds.pacing import Spacing
from supervisor.feeds.recording import RecordTopic

_WAIT_S = 3600.0
_LOST = (DiffOutcome.GAP, DiffOutcome.CROSSED, DiffOutcome.FULL)


class _Kept:
    """Holds one market's book."""

    def __init__(self) -> None:
        self.book = DiffBook()
        self.received_ns = 0
        """When the newest event was received (monotonic nanoseconds)."""
        self.lanes: set[DiffLane] = set()
        self.was_whole = False


class DiffBooks:
    """Holds all books of a venue that are kept here. ``run`` fetches snapshots until it is cancelled."""

    def __init__(
        self,
        venue: DiffVenue,
        fanout: VenueFanout,
        rest_url: str,
        fetch: Fetch,
        clock: Clock,
        record: RecordTopic | None = None,
    ) -> None:
        self._fanout = fanout
        self._rest_url = rest_url
        self._fetch = fetch
        self._clock = clock
        self._record = record
        self._venue = venue
        self._out: Lane = fanout.lane(lambda _: None)
        self._kept: dict[str, _Kept] = {}
        self._waiting: dict[str, None] = {}
        self._wake = asyncio.Event()
        self.resyncs = 0
        """Number of books that had to be made anew."""
        self.bad = 0
        """Number of events that could not be read."""
        self.duplicates = 0
        """Number of events that a book contained already."""
        self.last_error = ""

    @property
    def waiting(self) -> int:
        """Return the number of books without a snapshot."""
        return len(self._waiting)

    def lane(self, on_control: OnControl) -> "DiffLane":
        """Make the lane of one stream."""
        return DiffLane(self, on_control, self._venue)

    def attach(self, lane: "DiffLane", symbols: Iterable[str]) -> None:
        """Expect the changes of ``symbols`` from ``lane``."""
        for symbol in symbols:
            kept = self._kept.setdefault(symbol, _Kept())
            if not kept.lanes:
                self._out.attach([symbol])
            kept.lanes.add(lane)

    def detach(self, lane: "DiffLane", symbols: Iterable[str]) -> None:
        """Expect no more changes of ``symbols`` from ``lane``."""
        for symbol in symbols:
            kept = self._kept.get(symbol)
            if kept is not None and lane in kept.lanes:
                kept.lanes.discard(lane)
                if not kept.lanes:
                    self._forget(symbol)

    def remove(self, symbols: Iterable[str]) -> None:
        """Carry these markets no longer."""
        for symbol in symbols:
            if symbol in self._kept:
                self._forget(symbol)

    def apply_event(self, symbol: str, frame: bytes, received_ns: int) -> None:
        """Apply one event to the book of its market. An event that cannot be read is counted."""
        kept = self._kept.get(symbol)
        if kept is None:
            return
        try:
            event = self._venue.update_of(frame)
            outcome = kept.book.apply_event(event)
        except FrameError as error:  # the gap that it leaves is found with the next event
            self.bad += 1
            self.last_error = f"{symbol}: {error}"
            return
        if outcome is DiffOutcome.IGNORED:
            self.duplicates += 1
            return
        kept.received_ns = received_ns
        self._follow(symbol, kept, outcome, received_ns, event.event_ms)

    async def run(self) -> None:
        """Fetch the snapshots that are needed, one at a time, no faster than the venue allows."""
        spacing = Spacing(self._venue.snapshot_every_s)
        backoff = Backoff(Random(self._fanout.venue.name))
        while True:
            if not self._waiting:
                self._wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_WAIT_S):
                        await self._wake.wait()
                continue
            await asyncio.sleep(spacing.reserve(self._clock.monotonic_ns()) / 1e9)
            symbol = next(iter(self._waiting), None)
            if symbol is None:
                continue
            pause_s = await self._sync(symbol)
            if pause_s is None:
                backoff.succeeded()
                continue
            if symbol in self._waiting:  # it goes to the end, so that the others do not wait for it
                self._waiting[symbol] = self._waiting.pop(symbol)
            await asyncio.sleep(max(pause_s, backoff.after_loss(0)))

    def close(self) -> None:
        """Pass no more books on."""
        self._out.close()

    async def _sync(self, symbol: str) -> float | None:
        """Fetch one snapshot; None if it was applied, else how many seconds to pause at least."""
        asked_ns = self._clock.monotonic_ns()
        try:
            answer = await self._fetch(self._rest_url + self._venue.snapshot_path(symbol))
            if answer.status != 200:
                self._failed(symbol, f"HTTP {answer.status}")
                return answer.pause_s
            kept = self._kept.get(symbol)
            if kept is None:
                return None
            outcome = kept.book.apply_snapshot(self._venue.snapshot_of(answer.body))
        except (VenueUnavailable, FrameError) as error:
            self._failed(symbol, str(error))
            return 0.0
        if outcome is DiffOutcome.STALE:
            return 0.0
        self._follow(symbol, kept, outcome, max(asked_ns, kept.received_ns), None)
        return None

    def _follow(
        self, symbol: str, kept: _Kept, outcome: DiffOutcome, received_ns: int, sent_ms: int | None
    ) -> None:
        """Pass a complete book on, or have a snapshot fetched for one that is incomplete."""
        last_id = kept.book.last_id
        if last_id is None:
            if outcome in _LOST and kept.was_whole:
                kept.was_whole = False
                self.resyncs += 1
                get_logger().warning("book lost", symbol=symbol, why=outcome.value)
                if self._record is not None:
                    self._record.publish("gap", symbol=symbol, detail=outcome.value)
            self._out.mark_stale([symbol])
            self._waiting[symbol] = None
            self._wake.set()
            return
        kept.was_whole = True
        self._waiting.pop(symbol, None)
        bids, asks = kept.book.top(self._venue.levels)
        if bids and asks:
            self._out(self._venue.book_frame(symbol, last_id, bids, asks, sent_ms), received_ns)
        else:
            self._out.mark_stale([symbol])

    def _forget(self, symbol: str) -> None:
        del self._kept[symbol]
        self._waiting.pop(symbol, None)
        self._out.detach([symbol])

    def _failed(self, symbol: str, why: str) -> None:
        self.last_error = f"no snapshot of {symbol}: {why}"
        get_logger().warning("no snapshot", symbol=symbol, why=why)


class DiffLane:
    """Is one stream of changes. Implements ``link.Intake``."""

    def __init__(self, books: DiffBooks, on_control: OnControl, venue: DiffVenue) -> None:
        self._books = books
        self._on_control = on_control
        self._venue = venue
        self._tally: dict[str, int] = {}
        self._closed = False
        self.frames = 0

    def __call__(self, frame: bytes, received_ns: int) -> None:
        """Receive one event."""
        if self._closed:
            return
        self.frames += 1
        symbol = self._venue.route(frame)
        if symbol is None:
            self._on_control(self._venue.classify(frame))
        elif symbol in self._tally:
            self._tally[symbol] += 1
            self._books.apply_event(symbol, frame, received_ns)

    def attach(self, symbols: Iterable[str]) -> None:
        """Expect events of ``symbols``."""
        new = [symbol for symbol in symbols if symbol not in self._tally]
        self._tally.update(dict.fromkeys(new, 0))
        self._books.attach(self, new)

    def detach(self, symbols: Iterable[str]) -> None:
        """Expect no more events of ``symbols``."""
        gone = [symbol for symbol in symbols if self._tally.pop(symbol, None) is not None]
        self._books.detach(self, gone)

    def frames_received(self, symbol: str) -> int:
        """Return the number of a market's events on this stream."""
        return self._tally.get(symbol, 0)

    def close(self) -> None:
        """Ignore all further frames."""
        self._closed = True
        self.detach(tuple(self._tally))
