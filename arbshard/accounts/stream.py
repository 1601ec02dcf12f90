"""Follows one venue's private stream: connect, subscribe, read every frame, and begin again when it is lost.

``watch`` has one per venue. What is read is passed to a ``StreamListener`` in the very call that read it.
"""

import asyncio
from random import Random
from typing import Protocol
from uuid import uuid4

from arbshard.clock import Clock
from arbshard.config import VenueConfig
from arbshard.data.reconnect import Backoff
from arbshard.data.stream import Opener, Receiver, Stream, Target, open_stream, target_of
from arbshard.errors import FrameError, VenueUnavailable
from arbshard.log import get_logger
from arbshard.venues.base.account import (
    AccountVenue,
    Leaving,
    Proceed,
    ReportedBalances,
    ReportedOrder,
    Subscribed,
    SubscriptionEnded,
)
from arbshard.venues.keys import Keys

SUBSCRIBE_TIMEOUT_S = 10.0


class StreamListener(Protocol):
    """Receives what a private stream reports."""

    def on_up(self) -> None:
        """Handle that the stream is on; until now it could report nothing."""
        ...

    def on_order(self, report: ReportedOrder) -> None:
        """Handle a changed order."""
        ...

    def on_balances(self, report: ReportedBalances) -> None:
        """Handle changed balances."""
        ...


class Counting(Protocol):
    """Adds to counters and sets gauges: ``meter.VenueMeter``."""

    def count(self, name: str) -> None:
        """Add one to the counter ``name``."""
        ...

    def set(self, name: str, value: int) -> None:
        """Set the gauge ``name``."""
        ...


class PrivateStream:
    """Keeps the stream on while ``run`` is not cancelled."""

    def __init__(
        self,
        venue: AccountVenue,
        config: VenueConfig,
        keys: Keys,
        listener: StreamListener,
        meter: Counting,
        clock: Clock,
        window_ms: int,
        receiver: Receiver = "auto",
        opener: Opener = open_stream,
    ) -> None:
        """Begin without a connection. ``window_ms``: for how long the venue may accept what we sign.

        Raises ``UsageError`` for invalid settings.
        """
        self._venue = venue
        address = venue.address(config)
        assert address is not None, "a venue without a private stream"
        self._reach = target_of(venue.name, config, address, venue.ping_interval_s)
        self._keys = keys
        self._listener = listener
        self._meter = meter
        self._clock = clock
        self._window_ms = window_ms
        self._receiver = receiver
        self._open = opener
        self._backoff = Backoff(Random(f"{venue.name}:private"))
        self._stream: Stream | None = None
        self._turned = ""
        self._bad = ""
        """What was wrong with the last frame that could not be read."""
        self._next: asyncio.Queue[str] = asyncio.Queue(maxsize=4)
        self._subscribed = asyncio.Event()
        self.ahead_ms = 0
        """How far the venue's clock is ahead of ours, in milliseconds."""
        self.why = ""
        """Why it was lost, or could not be opened."""
        self.tried = asyncio.Event()
        """Set once it has been on, or could not be opened."""
        self.lost_ms = clock.wall_ms()
        """Wall time in ms at which it was last found to be lost; at first, when it was made."""

    @property
    def is_up(self) -> bool:
        """Return whether everything that happens is reported."""
        return self._subscribed.is_set()

    async def run(self) -> None:
        """Keep the stream on until cancelled."""
        while True:
            opened_ns = 0
            why = ""
            try:
                async with self._open(
                    self._target(), self._take, self._clock.monotonic_ns, self._receiver
                ) as stream:
                    opened_ns = self._clock.monotonic_ns()
                    self._stream = stream
                    over = asyncio.ensure_future(stream.until_over())
                    try:
                        await self._subscribe(stream, over)
                        self._meter.set("stream_up", 1)
                        get_logger().info("private stream on", venue=self._venue.name)
                        self.tried.set()
                        self._listener.on_up()
                        why = await over
                    finally:
                        over.cancel()
            except VenueUnavailable as error:
                why = str(error)
            finally:
                self._stream = None
                if self.is_up:
                    self.lost_ms = self._clock.wall_ms()
                self._subscribed.clear()
                self._meter.set("stream_up", 0)
            self.why = self._turned or why
            self.tried.set()
            held_ns = self._clock.monotonic_ns() - opened_ns if opened_ns else 0
            pause_s = self._backoff.after_loss(held_ns)
            self._meter.count("reconnects")
            get_logger().warning(
                "private stream lost",
                venue=self._venue.name,
                why=self.why,
                again_in_s=round(pause_s, 2),
            )
            await asyncio.sleep(pause_s)

    def _target(self) -> Target:
        """Return the target with a new token, because a token is valid for one handshake."""
        return self._reach._replace(headers=self._venue.headers(self._keys, str(uuid4())))

    async def _subscribe(self, stream: Stream, over: asyncio.Future[str]) -> None:
        """Send the subscription. Raises ``VenueUnavailable`` when the venue refuses, stays silent or closes."""
        self._turned = ""
        while not self._next.empty():
            self._next.get_nowait()
        now_ms = self._clock.wall_ms() + self.ahead_ms
        for message in self._venue.opening(self._keys, uuid4().hex, now_ms, self._window_ms):
            await message.use(stream.send)
        while step := await self._next_step(over):
            await stream.send(step)
        if self._turned:
            raise VenueUnavailable(self._turned)

    async def _next_step(self, over: asyncio.Future[str]) -> str:
        step = asyncio.ensure_future(self._next.get())
        try:
            await asyncio.wait((step, over), timeout=SUBSCRIBE_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if step.done():
                return step.result()
            if over.done():
                raise VenueUnavailable(over.result())
            raise VenueUnavailable("the subscription was not answered")
        finally:
            step.cancel()

    def _take(self, frame: bytes, received_ns: int) -> None:
        del received_ns
        try:
            report = self._venue.read(frame)
        except FrameError as error:
            self._meter.count("bad_frames")
            if str(error) != self._bad:  # one line for a series of equal problems
                self._bad = str(error)
                get_logger().warning("private frame", venue=self._venue.name, why=self._bad)
            return
        match report:
            case ReportedOrder():
                self._listener.on_order(report)
            case ReportedBalances():
                self._listener.on_balances(report)
            case Subscribed():
                self._subscribed.set()
                self._answer("")
            case Proceed(message):
                self._answer(message)
            case SubscriptionEnded(why):
                self._turned = why
                self._answer("")
                self._drop()
            case Leaving():
                get_logger().info("the venue announced the end of the private stream", venue=self._venue.name)
                self._drop()
            case _:
                pass

    def _answer(self, message: str) -> None:
        """Give ``_subscribe`` what to send next; empty when there is nothing more to wait for."""
        if not self._next.full():  # otherwise ``_subscribe`` no longer waits for it
            self._next.put_nowait(message)

    def _drop(self) -> None:
        if self._stream is not None and self._subscribed.is_set():
            self._stream.abort()
