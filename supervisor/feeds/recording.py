"""Publishes for a recorder what one venue's connections receive and what happens to them, by ``RecordTopic``.

While no process subscribes, a stream passes its messages straight to its intake, and nothing here is called for a
frame. With the first subscriber every open stream is redirected through ``StreamLink``, and with the last one back.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection

from yarl import URL

from arbshard.clock import Clock
from arbshard.errors import VenueUnavailable
from arbshard.venues.base.client import Answer, Fetch
from arbshard.wire.bus import Prefixes, Publisher
from arbshard.wire.recording import FeedRecord, FeedRecordKind, FeedRecords, encode, raw_topic

_AT_ONCE = 32
"""Most known frames published in one turn of the loop for a new subscriber, so that others do not wait long."""

_GATHER_S = 0.05
"""Records that come within this time are sent in one message."""
_GATHERED_MAX = 512
_GATHERED_BYTES_MAX = 60_000
"""Above 64 KB pyzmq keeps a message until its thread has sent it, which costs more than a copy does."""

FollowRecording = Callable[[bool], None]
"""Called when recording begins (True) and ends (False)."""


class RecordTopic:
    """Publishes for one venue. ``VenueFeed`` makes it, and its streams use it."""

    def __init__(
        self,
        venue: str,
        bus: Publisher,
        clock: Clock,
        symbols: Callable[[], Collection[str]],
        read_market: Callable[[str], tuple[int, bytes] | None],
    ) -> None:
        """Subscribe to the changes of subscriptions.

        ``read_market`` returns when the newest frame of a market was received, and the frame; None if there is
        none.
        """
        self._topic = raw_topic(venue).encode()
        self._bus = bus
        self._clock = clock
        self._symbols = symbols
        self._read_market = read_market
        self._followers: set[FollowRecording] = set()
        self._due: deque[str] = deque()
        """Markets whose newest frame is to be published for a new subscriber."""
        self._soon: asyncio.Handle | None = None
        self._gathered: list[FeedRecord] = []
        self._gathered_bytes = 0
        self._later: asyncio.Handle | None = None
        self._next = 1
        """Number of the next record."""
        self.is_wanted = bus.wanted(self._topic)
        self._is_closed = False
        bus.on_subscriptions(self._subscriptions_changed)

    def join(self, follower: FollowRecording) -> None:
        """Call ``follower`` whenever recording begins or ends."""
        self._followers.add(follower)

    def leave(self, follower: FollowRecording) -> None:
        """Call ``follower`` no longer."""
        self._followers.discard(follower)

    def publish(
        self,
        kind: FeedRecordKind,
        connection: str = "",
        *,
        at_ns: int = 0,
        began_ns: int = 0,
        symbol: str = "",
        detail: str = "",
        data: bytes = b"",
    ) -> None:
        """Publish one record soon if a process subscribes. ``at_ns`` (monotonic) is now unless it is given."""
        if self.is_wanted:
            at_ns = at_ns or self._clock.monotonic_ns()
            self._gathered.append(FeedRecord(kind, connection, at_ns, began_ns, symbol, detail, data))
            self._gathered_bytes += len(data)
            if len(self._gathered) >= _GATHERED_MAX or self._gathered_bytes >= _GATHERED_BYTES_MAX:
                self._flush()
            elif self._later is None:
                self._later = asyncio.get_running_loop().call_later(_GATHER_S, self._flush)

    def recorded(self, fetch: Fetch) -> Fetch:
        """Return ``fetch`` extended so that each answer is also published."""

        async def fetch_and_publish(address: str) -> Answer:
            asked_ns = self._clock.monotonic_ns()
            try:
                answer = await fetch(address)
            except VenueUnavailable as error:
                self._publish_answer(address, str(error), b"", asked_ns)
                raise
            self._publish_answer(address, f"HTTP {answer.status}", answer.body, asked_ns)
            return answer

        return fetch_and_publish

    def close(self) -> None:
        """Publish what was gathered, and nothing after that."""
        self._flush()
        self._is_closed = True
        self.is_wanted = False
        self._followers.clear()
        self._due.clear()
        if self._soon is not None:
            self._soon.cancel()

    def _flush(self) -> None:
        """Send what was gathered."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        records, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if records:
            self._bus.publish(self._topic, encode(FeedRecords(self._next, records)))
            self._next += len(records)

    def _publish_answer(self, address: str, outcome: str, body: bytes, asked_ns: int) -> None:
        if self.is_wanted:  # the host, and a password that may precede it, are left out
            detail = f"{URL(address).path_qs} {outcome}"
            self.publish("rest", began_ns=asked_ns, detail=detail, data=body)

    def _subscriptions_changed(self, new: Prefixes) -> None:
        if self._is_closed:
            return
        before, self.is_wanted = self.is_wanted, self._bus.wanted(self._topic)
        if self.is_wanted != before:
            for follower in tuple(self._followers):
                follower(self.is_wanted)
        if new.match(self._topic):
            self._due = deque(self._symbols())
            if self._due and self._soon is None:
                self._soon = asyncio.get_running_loop().call_soon(self._publish_due)

    def _publish_due(self) -> None:
        self._soon = None
        for _ in range(min(_AT_ONCE, len(self._due))):
            symbol = self._due.popleft()
            found = self._read_market(symbol)
            if found is not None:
                received_ns, frame = found
                self.publish("known", at_ns=received_ns, symbol=symbol, data=frame)
        if self._due:
            self._soon = asyncio.get_running_loop().call_soon(self._publish_due)
