"""Serves one replayed venue on its own port: the embedded exchanges' sessions and connections, and few REST
calls.

``generator`` makes one server per venue. It does less than the embedded exchanges' server on purpose: there
are no accounts and no limits, so nothing is between the frames and the socket.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping

from aiohttp import web

from arbshard.clock import Clock
from arbshard.exchanges.connection import ClientConnection
from arbshard.exchanges.counters import VenueCounters
from arbshard.exchanges.session import ClientSession
from perf.replay import ReplayHub
from perf.rest import Answer

Opener = Callable[[web.Request], ClientSession | None]
"""Returns the session of a WebSocket request; None where the venue has no socket at the path."""
_MESSAGE_BYTES_MAX = 1 << 20
_SHUTDOWN_S = 0.3


class ReplayServer:
    """Is a venue that listens on a port."""

    def __init__(self, hub: ReplayHub, calls: Mapping[str, Answer], opener: Opener, clock: Clock) -> None:
        self._hub = hub
        self._calls = calls
        self._opener = opener
        self._clock = clock
        self._connections: set[ClientConnection] = set()
        self.counters = VenueCounters()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_S)

    async def start(self, listener: socket.socket) -> None:
        """Serve on ``listener``, which is bound already."""
        await self._runner.setup()
        await web.SockSite(self._runner, listener, backlog=1024).start()

    async def stop(self) -> None:
        """Close the connections of all clients, and the port."""
        for connection in self._connections:
            connection.go_away()
        await asyncio.sleep(0.05)  # let the close frames leave
        await self._runner.cleanup()

    def on_time(self) -> None:
        """Pass the current time to every session, for pings and idle clients."""
        now_ns = self._clock.monotonic_ns()
        for connection in tuple(self._connections):
            connection.on_time(now_ns)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            session = self._opener(request)
            if session is None:
                return web.Response(status=404)
            return await self._serve_socket(request, session)
        call = self._calls.get(request.path)
        body = call(request.query) if call is not None else None
        if body is None:
            return web.Response(status=404, body=b'{"code":-1121,"msg":"not here"}')
        return web.Response(body=body, content_type="application/json")

    async def _serve_socket(self, request: web.Request, session: ClientSession) -> web.StreamResponse:
        response = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=_MESSAGE_BYTES_MAX)
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            return response  # the client has already disconnected
        connection = ClientConnection(response, transport, session, self._hub, self.counters, self._clock)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
        return response
