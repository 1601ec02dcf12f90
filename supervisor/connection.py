"""One WebSocket to one venue: connect, subscribe, hand every frame on, and begin again when it is lost."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from uuid import uuid4

from arbshard.clock import Clock
from arbshard.config import VenueConfig
from arbshard.data.reconnect import Backoff
from arbshard.data.stream import OnMessage, Receiver, Stream, Target, open_stream
from arbshard.errors import VenueUnavailable
from arbshard.log import get_logger
from arbshard.venues.base import Venue


class ConnectionState(Enum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DOWN = "down"


class Connection:
    """A share of a venue's symbols on a connection of their own. ``run`` until it is cancelled."""

    def __init__(
        self,
        venue: Venue,
        config: VenueConfig,
        symbols: Sequence[str],
        on_frame: OnMessage,
        on_loss: Callable[[Sequence[str]], None],
        clock: Clock,
        receiver: Receiver = "auto",
    ) -> None:
        self._venue = venue
        self._config = config
        self.symbols = tuple(symbols)
        self._on_frame = on_frame
        self._on_loss = on_loss
        self._clock = clock
        self._target = Target(
            venue.ws_address(config.ws_url),
            venue.connection_rules.ping_interval_s,
            tls=ssl.create_default_context(cafile=config.ca_file) if config.ca_file else None,
        )
        self._backoff = Backoff(Random(f"{venue.name}:{self.symbols[0]}"))
        self._receiver = receiver
        self._stream: Stream | None = None
        self.state = ConnectionState.CONNECTING
        self.reconnects = 0
        self.last_error = ""

    async def run(self) -> None:
        """Keep the connection up."""
        while True:
            opened_ns = 0
            try:
                async with open_stream(
                    self._target, self._on_frame, self._clock.monotonic_ns, self._receiver
                ) as stream:
                    opened_ns = self._clock.monotonic_ns()
                    self._stream = stream
                    await self._subscribe(stream)
                    self.state = ConnectionState.CONNECTED
                    self.last_error = await stream.until_over()
            except VenueUnavailable as error:
                self.last_error = str(error)
            finally:
                self._stream = None
                self.state = ConnectionState.DOWN
                if opened_ns:
                    self._on_loss(self.symbols)
            held_ns = self._clock.monotonic_ns() - opened_ns if opened_ns else 0
            pause_s = self._backoff.after_loss(held_ns)
            self.reconnects += 1
            get_logger().warning(
                "connection lost", venue=self._venue.name, why=self.last_error, again_in_s=round(pause_s, 2)
            )
            await asyncio.sleep(pause_s)
            self.state = ConnectionState.CONNECTING

    def drop(self) -> None:
        """Let go of the socket: the venue announced its end. ``run`` connects anew."""
        if self._stream is not None:
            self._stream.abort()

    async def _subscribe(self, stream: Stream) -> None:
        gap_s = self._venue.connection_rules.message_gap_s
        messages = self._venue.subscribe_messages(self.symbols, self._config.depth, uuid4().hex)
        for number, message in enumerate(messages):
            if number:
                await asyncio.sleep(gap_s)
            await stream.send(message)
