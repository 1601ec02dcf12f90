"""All connections of one venue: a pool that shares its symbols out, and what is known of its state."""

import asyncio
from collections.abc import Sequence

from arbshard.clock import Clock
from arbshard.config import VenueConfig
from arbshard.data.stream import Receiver
from arbshard.errors import FeedFailed
from arbshard.log import get_logger
from arbshard.model.notes import FeedState, VenueNote
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksWriter
from arbshard.shm.doorbell import ShardNotifier
from arbshard.venues.base import ControlFrame, FrameKind, Venue
from arbshard.wire.bus import Publisher
from supervisor.connection import Connection, ConnectionState
from supervisor.fanout import VenueFanout, targets_of

STALE_NS = 5_000_000_000
"""Connected, but nothing heard for this long."""


class VenueFeed:
    """One venue's connections, from ``start`` to ``stop``."""

    def __init__(
        self,
        venue: Venue,
        config: VenueConfig,
        universe: Universe,
        books: BooksWriter,
        notifiers: Sequence[ShardNotifier],
        bus: Publisher,
        clock: Clock,
        receiver: Receiver = "auto",
    ) -> None:
        self.name = venue.name
        self._clock = clock
        self._bus = bus
        targets = targets_of(universe, venue.name)
        self._fanout = VenueFanout(venue, targets, books, notifiers, bus, self._on_control)
        most = min(config.symbols_per_connection, venue.connection_rules.symbols_max)
        symbols = sorted(targets, key=lambda symbol: targets[symbol][0])
        count = -(-len(symbols) // most)
        self._connections = [
            Connection(venue, config, symbols[n::count], self._fanout, self._fanout.lose, clock, receiver)
            for n in range(count)
        ]
        self._symbols = len(symbols)
        self._tasks: list[asyncio.Task[None]] = []
        connects = venue.connection_rules.connects
        # Half of what the venue allows may go at once; the other half is kept for reconnections.
        self._gap_s = connects.window_s / connects.count if count > connects.count // 2 else 0.0
        self._garbage = 0
        self._errors = 0
        self._counted = (clock.monotonic_ns(), 0)
        self._rate = 0.0
        self._heard_ns = clock.monotonic_ns()
        self._state: FeedState = "connecting"

    async def start(self) -> None:
        """Open all connections, no faster than the venue allows."""
        for number, connection in enumerate(self._connections):
            if number:
                await asyncio.sleep(self._gap_s)
            self._tasks.append(asyncio.create_task(connection.run(), name=f"{self.name}-{number}"))

    async def stop(self) -> None:
        """Close all connections."""
        for task in self._tasks:
            task.cancel()
        for end in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(end, Exception):
                get_logger().error("a connection ended in a defect", venue=self.name, exc_info=end)

    def check(self) -> None:
        """Raises ``FeedFailed`` when a connection has ended in a defect; losses are its own to mend."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                raise FeedFailed(f"{self.name}: a connection ended in a defect: {task.exception()!r}")

    def report(self) -> VenueNote:
        """State and rates; call about once a second, the rate is counted since the last call."""
        now_ns = self._clock.monotonic_ns()
        then_ns, then_frames = self._counted
        frames = self._fanout.frames
        if now_ns - then_ns > 200_000_000:
            self._rate = (frames - then_frames) * 1e9 / (now_ns - then_ns)
            self._counted = (now_ns, frames)
        if frames != then_frames:
            self._heard_ns = now_ns
        state = self._judge(now_ns)
        if state != self._state:
            self._state = state
            self._bus.publish(f"venue.{self.name}".encode(), (state.encode(),))
            get_logger().info("venue", venue=self.name, state=state)
        return VenueNote(
            name=self.name,
            state=state,
            connections=sum(one.state is ConnectionState.CONNECTED for one in self._connections),
            symbols=self._symbols,
            frames=frames,
            msg_s=round(self._rate, 1),
            reconnects=sum(one.reconnects for one in self._connections),
            bad_frames=self._garbage + self._fanout.refused,
            last_error=next((one.last_error for one in self._connections if one.last_error), ""),
        )

    def _judge(self, now_ns: int) -> FeedState:
        up = sum(one.state is ConnectionState.CONNECTED for one in self._connections)
        if up == 0:
            return "connecting" if self._fanout.frames == 0 else "down"
        if now_ns - self._heard_ns > STALE_NS:
            return "stale"
        return "connected" if up == len(self._connections) else "partly"

    def _on_control(self, control: ControlFrame) -> None:
        if control.kind is FrameKind.GARBAGE:
            self._garbage += 1
        elif control.kind is FrameKind.ERROR:
            self._errors += 1
            get_logger().error("the venue refused a request", venue=self.name, said=control.detail)
        elif control.kind is FrameKind.SHUTDOWN:
            get_logger().warning("the venue announced a shutdown: reconnecting", venue=self.name)
            for connection in self._connections:
                connection.drop()
