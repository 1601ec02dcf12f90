"""One WebSocket to one venue: connect, subscribe, hand every frame on, and begin again when it is lost."""

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from arbshard.clock import Clock
from arbshard.config import VenueConfig
from arbshard.data.reconnect import Backoff
from arbshard.log import get_logger
from arbshard.venues.base import Venue

_OPEN_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 0.5
_QUEUE_FRAMES = 4096
"""Frames the client holds before it stops reading; its default of 16 pauses in every burst."""
_FRAME_BYTES_MAX = 1 << 20


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
        on_frame: Callable[[bytes, int], None],
        on_loss: Callable[[Sequence[str]], None],
        clock: Clock,
    ) -> None:
        self._venue = venue
        self._config = config
        self.symbols = tuple(symbols)
        self._on_frame = on_frame
        self._on_loss = on_loss
        self._clock = clock
        self._backoff = Backoff(Random(f"{venue.name}:{self.symbols[0]}"))
        self._socket: ClientConnection | None = None
        self.state = ConnectionState.CONNECTING
        self.reconnects = 0
        self.last_error = ""

    async def run(self) -> None:
        """Keep the connection up."""
        while True:
            opened_ns = 0
            try:
                async with connect(
                    self._venue.ws_address(self._config.ws_url),
                    compression=None,
                    open_timeout=_OPEN_TIMEOUT_S,
                    close_timeout=_CLOSE_TIMEOUT_S,
                    ping_interval=self._venue.connection_rules.ping_interval_s,
                    max_queue=_QUEUE_FRAMES,
                    max_size=_FRAME_BYTES_MAX,
                ) as socket:
                    opened_ns = self._clock.monotonic_ns()
                    self._socket = socket
                    await self._subscribe(socket)
                    self.state = ConnectionState.CONNECTED
                    await self._read(socket)
            except (ConnectionClosed, InvalidHandshake, InvalidURI, OSError, TimeoutError) as error:
                self.last_error = str(error) or type(error).__name__
            finally:
                self._socket = None
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
        if self._socket is not None:
            self._socket.transport.abort()

    async def _subscribe(self, socket: ClientConnection) -> None:
        gap_s = self._venue.connection_rules.message_gap_s
        messages = self._venue.subscribe_messages(self.symbols, self._config.depth, uuid4().hex)
        for number, message in enumerate(messages):
            if number:
                await asyncio.sleep(gap_s)
            await socket.send(message)

    async def _read(self, socket: ClientConnection) -> None:
        now_ns = self._clock.monotonic_ns
        on_frame = self._on_frame
        receive = socket.recv
        while True:
            on_frame(await receive(decode=False), now_ns())
