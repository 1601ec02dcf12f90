"""Serves one client's WebSocket: carries out a session's actions, and limits what waits for a client that is slow.

Frames are written straight to the transport, complete and unmasked, the same bytes to every client. Every frame
passes ``ClientConnection.send`` or ``ClientConnection._act``. Faults that concern some connections (see
``faults.spells.Client``) cost the others nothing: a stalled client just leaves its streams for a while.
"""

import asyncio
from collections.abc import Callable, Iterable

from aiohttp import WSMsgType, web

from arbshard.clock import Clock
from arbshard.exchanges.counters import VenueCounters
from arbshard.exchanges.hub import Hub
from arbshard.exchanges.session import (
    ClientSession,
    CloseClient,
    Cut,
    ForewarningSession,
    PrivateSession,
    SendData,
    SendLater,
    SendPing,
    SessionAction,
    SharedStream,
)
from arbshard.exchanges.wsframe import WsFrame, close_frame, ping_frame, pong_frame

WRITE_BUFFER_MAX = 8 * 1024 * 1024
"""Bytes waiting for one client before it is dropped: about three seconds of all streams of 60 coins."""
CLOSE_WITHIN_S = 1.0
"""How long a client may take to disconnect after a close frame, in seconds."""
LATE_MAX = 10_000
"""Events that are held back for one client at most; any beyond these are sent at once."""


class ClientConnection:
    """Manages the connection of one client."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        session: ClientSession,
        hub: Hub,
        counters: VenueCounters,
        clock: Clock,
        write_buffer_max: int = WRITE_BUFFER_MAX,
        after_message: Callable[[], None] | None = None,
    ) -> None:
        """Serve ``session``; ``after_message`` is called after each answered message, which may have changed an
        account.
        """
        self._socket = socket
        self._transport = transport
        self._session = session
        self._hub = hub
        self._counters = counters
        self._clock = clock
        self._write_buffer_max = write_buffer_max
        self._after_message = after_message
        self._window_bits = socket.compress or 0
        self._streams: frozenset[SharedStream] = frozenset()
        self._traffic_ns = clock.monotonic_ns()
        self._leaving = False
        self._stalled = False
        self._late = 0
        self.is_private = isinstance(session, PrivateSession)
        """Whether it reports events of accounts."""

    async def run(self) -> None:
        """Serve the client until it disconnects or is disconnected."""
        self._counters.clients += 1
        self._counters.clients_seen += 1
        try:
            self._act(self._session.on_open(self._clock.wall_ms()))
            self._follow()
            async for message in self._socket:
                self._on_message(message.type, message.data)
        finally:
            self._leaving = True  # actions that are still planned for this client have no effect any more
            self._hub.change(self, self._streams, ())
            self._streams = frozenset()
            self._counters.clients -= 1

    def send(self, frame: WsFrame) -> None:
        """Write ``frame`` without waiting; drop the client when too much is waiting for it already."""
        if self._leaving or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > self._write_buffer_max:
            self._counters.dropped_slow += 1
            self._leave(close_frame(1008, "client too slow"))
            return
        data = frame.wire(self._window_bits)
        self._transport.write(data)
        self._traffic_ns = self._clock.monotonic_ns()
        self._counters.frames_sent += 1
        self._counters.bytes_sent += len(data)

    def carries(self, symbols: frozenset[str]) -> bool:
        """Return whether the client is subscribed to one of ``symbols``."""
        return any(stream.symbol in symbols for stream in self._streams)

    def on_time(self, now_ns: int) -> None:
        """Pass the time to the session."""
        self.act(self._session.on_time(now_ns, now_ns - self._traffic_ns))

    def act(self, actions: Iterable[SessionAction]) -> None:
        """Carry out the session's actions, unless the client is leaving."""
        if not self._leaving:
            self._act(actions)

    def act_later(self, wait_ms: float, action: SessionAction) -> None:
        """Carry out ``action`` after a while."""
        if self._late >= LATE_MAX:
            self.act((action,))
            return
        self._late += 1
        asyncio.get_running_loop().call_later(wait_ms / 1000, self._act_late, action)

    def cut(self, reason: str, *, clean: bool) -> None:
        """End the connection, with a close frame where ``clean``; ``reason`` is counted."""
        if clean and not self._leaving:
            self._count_closed(reason)
            self._leave(close_frame(1001, "going away"))
        else:
            self.act((Cut(reason),))

    def stall(self, *, on: bool) -> None:
        """Stop sending anything but answers to pings, or send again."""
        self._stalled = on
        self._follow()

    def announce_shutdown(self) -> None:
        """Announce that the exchange will shut down, where the protocol has a message for it."""
        if isinstance(self._session, ForewarningSession):
            self.act(self._session.on_shutdown(self._clock.wall_ms()))

    def go_away(self) -> None:
        """Disconnect the client because the exchange shuts down."""
        self._leave(close_frame(1001, "simulated exchange shuts down"))

    def _on_message(self, kind: WSMsgType, data: bytes | bytearray | str) -> None:
        if self._leaving:
            return
        now_ns = self._traffic_ns = self._clock.monotonic_ns()
        # Depending on its version, aiohttp passes the payload of a control frame as bytes or as a bytearray.
        if kind is WSMsgType.PING and not isinstance(data, str):
            self._transport.write(pong_frame(bytes(data)))
            self._act(self._session.on_ping(now_ns))
        elif kind is WSMsgType.PONG and not isinstance(data, str):
            self._act(self._session.on_pong(bytes(data), now_ns))
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY):
            text = data if isinstance(data, str) else data.decode(errors="replace")
            self._act(self._session.on_text(text, now_ns, self._clock.wall_ms()))
            self._follow()
            if self._after_message is not None:
                self._after_message()

    def _act(self, actions: Iterable[SessionAction]) -> None:
        for action in actions:
            match action:
                case SendData() if self._stalled:
                    self._counters.withheld += 1
                case SendData(payload):
                    self.send(WsFrame(payload, binary=self._hub.binary))
                case SendLater(wait_ms, payload):
                    self.act_later(wait_ms, SendData(payload))
                case SendPing(payload):
                    if not self._transport.is_closing():
                        self._transport.write(ping_frame(payload))
                case CloseClient(code, reason):
                    self._count_closed(reason)
                    self._leave(close_frame(code, reason))
                case Cut(reason):
                    self._count_closed(reason)
                    self._leaving = True
                    self._transport.abort()

    def _follow(self) -> None:
        """Subscribe to the session's streams as they are now."""
        wanted = frozenset() if self._leaving or self._stalled else self._session.streams
        if wanted != self._streams:
            # Sorted: what is sent first within an update must not depend on the hashes of this process.
            self._hub.change(self, self._streams - wanted, sorted(wanted - self._streams))
            self._streams = wanted

    def _act_late(self, action: SessionAction) -> None:
        self._late -= 1
        self.act((action,))

    def _leave(self, last: bytes) -> None:
        if self._leaving:
            return
        self._leaving = True
        self._follow()
        if not self._transport.is_closing():
            self._transport.write(last)
            asyncio.get_running_loop().call_later(CLOSE_WITHIN_S, self._transport.abort)

    def _count_closed(self, reason: str) -> None:
        self._counters.closed[reason] = self._counters.closed.get(reason, 0) + 1
