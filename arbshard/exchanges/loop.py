"""Drives the world by its schedule, and publishes what has changed.

``main`` runs one ``run_world`` per process.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType

from arbshard.clock import Clock
from arbshard.exchanges.counters import Counters
from arbshard.exchanges.hub import Hub
from arbshard.exchanges.session import SECOND_NS, Feed
from arbshard.exchanges.world import MarketWorld
from arbshard.repeat import repeat

_WAIT_S_MIN = 0.002
"""Shortest wait between two turns, in seconds; updates that become due meanwhile are sent together."""
_WRONG_S = 0.005
"""How long a wrong frame stays the newest one, in seconds."""
_BATCH = 32
"""Updates that are made before sockets get a turn."""

OnStep = Callable[[str, int], None]
"""Is called with the symbol whose market moved and the wall time in milliseconds."""


def _send_wrong_frame(hub: Hub, feed: Feed, now_ms: int) -> None:
    """Send a frame with wrong prices, and the right one after it. Orders are matched against the right book
    throughout.
    """
    market = feed.market
    market.show_wrong()
    feed.on_step()
    _publish_all(hub, feed, now_ms)
    market.show_right()
    feed.on_step()
    asyncio.get_running_loop().call_later(_WRONG_S, _publish_all, hub, feed, now_ms)


def _publish_all(hub: Hub, feed: Feed, now_ms: int) -> None:
    """Send what goes with a step and what goes at intervals."""
    feed.choose("all")
    hub.publish(feed, now_ms)


class _LateFrames:
    """Holds back the frames of a fault. Each is sent when it is due; when the fault ends, all are sent at once."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[asyncio.TimerHandle, Callable[[], None]]]] = {}

    def is_waiting(self, symbol: str) -> bool:
        """Return whether frames of a market are held back."""
        return bool(self._waiting.get(symbol))

    def put(self, symbol: str, late_ms: int, send: Callable[[], None]) -> None:
        """Hold a frame back for ``late_ms``; their number is bounded by what a market makes in that time."""
        timer = asyncio.get_running_loop().call_later(late_ms / 1000, self._send_next, symbol)
        self._waiting.setdefault(symbol, deque()).append((timer, send))

    def send_all(self, symbol: str) -> None:
        """Send all frames of a market that are held back."""
        while self.is_waiting(symbol):
            self._waiting[symbol][0][0].cancel()
            self._send_next(symbol)

    def close(self) -> None:
        """Cancel all frames that are held back."""
        for waiting in self._waiting.values():
            for timer, _ in waiting:
                timer.cancel()
            waiting.clear()

    def _send_next(self, symbol: str) -> None:
        self._waiting[symbol].popleft()[1]()


class _Outbox:
    """Sends what is due of each market: at once, at its interval, or later if a fault holds it back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._late = _LateFrames()
        self._waiting: dict[tuple[Hub, str], asyncio.TimerHandle] = {}
        """Timers of the markets whose streams of a fixed interval are due; one for each market at most."""

    def send(self, feed: Feed, hub: Hub, now_ms: int) -> None:
        """Send what goes with a step, and schedule what goes at intervals."""
        self._send(feed, hub, now_ms)
        wait_ms = feed.wait_ms(now_ms)
        key = hub, feed.market.symbol
        if wait_ms and key not in self._waiting:
            later = asyncio.get_running_loop().call_later
            self._waiting[key] = later(wait_ms / 1000, self._send_interval, key, feed, hub)

    def close(self) -> None:
        """Stop sending."""
        self._late.close()
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()

    def _send_interval(self, key: tuple[Hub, str], feed: Feed, hub: Hub) -> None:
        del self._waiting[key]
        feed.choose("interval")
        self._send(feed, hub, self._clock.wall_ms())

    def _send(self, feed: Feed, hub: Hub, now_ms: int) -> None:
        market = feed.market
        if market.late_ms:
            self._late.put(market.symbol, market.late_ms, hub.prepare(feed, now_ms - market.lag_ms))
        else:
            self._late.send_all(market.symbol)
            hub.publish(feed, now_ms - market.lag_ms)


async def run_world(
    world: MarketWorld,
    feeds: Mapping[str, Mapping[str, Feed]],
    hubs: Mapping[str, Hub],
    clock: Clock,
    counters: Counters,
    desks: Mapping[str, OnStep] = MappingProxyType({}),
) -> None:
    """Step and publish until cancelled. ``feeds`` are by venue and symbol, ``hubs`` and ``desks`` by venue.

    A venue's desk fills its customers' resting orders. This is done before the step is published, because fills take
    quantity out of the book.
    """
    schedule = world.schedule(clock.monotonic_ns())
    outlets = [(desks.get(venue), feeds[venue][market.symbol], hubs[venue]) for venue, market in world.places]

    outbox = _Outbox(clock)

    def turn() -> float:
        now_ns = clock.monotonic_ns()
        if schedule.jumped(now_ns):
            counters.time_jumps += 1
        now_ms = clock.wall_ms()
        for _ in range(_BATCH):
            taken = schedule.next_due(now_ns)
            if taken is None:
                break
            place, in_time = taken
            desk, feed, hub = outlets[place]
            market = world.step(place).market
            counters.steps += 1
            if not market.moved:
                continue
            market.record(now_ms)
            if desk is not None:
                desk(market.symbol, now_ms)
            feed.on_step()
            if not in_time:
                counters.skipped_sends += 1
                continue
            outbox.send(feed, hub, now_ms)
            if market.wrong_bps and not market.late_ms:
                _send_wrong_frame(hub, feed, now_ms)
        wait_s = (schedule.due_ns - clock.monotonic_ns()) / SECOND_NS
        return max(_WAIT_S_MIN, wait_s) if wait_s > 0 else 0.0

    try:
        await repeat(turn)
    finally:
        outbox.close()
