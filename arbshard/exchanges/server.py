"""Serves one simulated venue on its own ports, plain and TLS, as an aiohttp application for REST and WebSocket.

``exchanges`` makes one per venue. ``upbit`` and ``binance`` decide what is answered, and ``faults`` what goes wrong;
here it only gets to the socket. Beside the venue's own interface each port answers:

- ``GET /sim/stats``: the counters of all venues, including those of faults (``counters``).
- ``GET /sim/accounts``: ``{key: {"opening": {currency: amount}, "balances": {currency: {"free", "locked"}}, "orders":
  [...], "orders_dropped", "events_lost"}}``: the venue's own books, exact, to be compared with a customer's. Orders
  are oldest first, with their fills; amounts are text (``accounts.state``).
- ``GET`` and ``POST /sim/faults``: what goes wrong on this venue (``faults.control``).

Faults do not concern these. ``guard`` says what a request for the last two needs, and which requests are refused.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from email.utils import formatdate

import msgspec
from aiohttp import web

from arbshard.clock import Clock
from arbshard.exchanges.accounts.account import Accounts
from arbshard.exchanges.accounts.state import audit
from arbshard.exchanges.connection import WRITE_BUFFER_MAX, ClientConnection
from arbshard.exchanges.counters import Counters
from arbshard.exchanges.faults.requests import Fate
from arbshard.exchanges.faults.venue import VenueFaults
from arbshard.exchanges.guard import Guard
from arbshard.exchanges.hub import Hub
from arbshard.exchanges.session import ClientSession, PrivateSession, Query, Rest, RestReply, SessionAction

SERVER = "arbshard simulated exchange"
MESSAGE_MAX = 256 * 1024
"""Largest message or request body of a client, in bytes: 1,000 codes fit ten times."""
_SHUTDOWN_S = 0.3

SessionOpener = Callable[[Query], ClientSession | RestReply | None]
"""Returns the session for a WebSocket handshake, the answer that refuses it, or None when the path is unknown."""


class VenueServer:
    """Serves one venue."""

    def __init__(
        self,
        name: str,
        hub: Hub,
        rest: Rest,
        opener: SessionOpener,
        counters: Counters,
        clock: Clock,
        accounts: Accounts,
        write_buffer_max: int = WRITE_BUFFER_MAX,
        faults: VenueFaults | None = None,
        guard: Guard | None = None,
    ) -> None:
        """Prepare the application; without ``faults`` nothing goes wrong, without ``guard`` no request is refused."""
        self._guard = guard
        self._name = name
        self._hub = hub
        self._rest = rest
        self._opener = opener
        self._all_counters = counters
        self._counters = counters.venues[name]
        self._clock = clock
        self._write_buffer_max = write_buffer_max
        self._accounts = accounts
        self._faults = faults
        self._connections: dict[ClientConnection, None] = {}
        """Connections in the order in which they were opened."""
        self._private: dict[ClientConnection, PrivateSession] = {}
        application = web.Application(client_max_size=MESSAGE_MAX)
        application.router.add_route("*", "/{path:.*}", self._serve)
        application.on_response_prepare.append(_sign)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_S)

    async def start(
        self, listener: socket.socket, tls: tuple[socket.socket, ssl.SSLContext] | None = None
    ) -> None:
        """Serve on ``listener``, which is bound already, and with TLS on another socket."""
        await self._runner.setup()
        await web.SockSite(self._runner, listener, backlog=1024).start()
        if tls is not None:
            await web.SockSite(self._runner, tls[0], ssl_context=tls[1], backlog=1024).start()

    async def stop(self) -> None:
        """Disconnect every client and close the ports."""
        for connection in self._connections:
            connection.go_away()
        await asyncio.sleep(0.05)  # let the close frames leave
        await self._runner.cleanup()

    def on_time(self, now_ns: int) -> None:
        """Pass the time to every session, and begin and end faults."""
        for connection in tuple(self._connections):
            connection.on_time(now_ns)
        if self._faults is not None:
            self._faults.spells.on_time(now_ns, tuple(self._connections))
            self.deliver()  # events of what the accounts' owner did by hand

    def cut(self, symbols: frozenset[str], reason: str, *, clean: bool) -> None:
        """End the connections that carry one of ``symbols``; ``reason`` is counted."""
        for connection in tuple(self._connections):
            if connection.carries(symbols):
                connection.cut(reason, clean=clean)

    def deliver(self) -> None:
        """Send private clients the events of the accounts. This is called after everything that may change an
        account.
        """
        for account in self._accounts:
            events = account.take_events()
            if events:
                now_ms = self._clock.wall_ms()
                for connection, session in tuple(self._private.items()):
                    self._send_events(connection, session.on_events(account, events, now_ms))

    def _send_events(self, connection: ClientConnection, events: Sequence[SessionAction]) -> None:
        if self._faults is None or not self._faults.events.on:
            connection.act(events)
            return
        dealt = self._faults.events.deal(events)
        connection.act(dealt.now)
        for wait_ms, event in dealt.later:
            connection.act_later(wait_ms, event)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self._guard is not None:
            refused = self._guard.refusal(request.method, request.path, request.headers, _port_of(request))
            if refused is not None:
                return _response(refused)
        try:
            return await self._dispatch(request)
        except ConnectionResetError:  # the client did not wait for its answer
            return web.Response()  # aiohttp wants a response; nothing receives it

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            query = await self._query(request)
            refusal = None if self._faults is None else self._faults.refusal(query)
            if refusal is not None:
                return _response(refusal)
            session = self._opener(query)
            if session is None:
                return web.Response(status=404, text="no such socket on this simulated exchange")
            if isinstance(session, RestReply):
                return _response(session)
            return await self._serve_socket(request, session)
        if request.path == "/":
            return web.Response(
                text=f"arbshard: simulated {self._name}. Not the real exchange; all prices and trades are made up.\n"
            )
        if request.path == "/sim/stats":
            body = msgspec.json.encode(self._all_counters.to_builtins())
            return web.Response(body=body, content_type="application/json")
        if request.path == "/sim/accounts":
            body = msgspec.json.encode({account.key: audit(account) for account in self._accounts})
            return web.Response(body=body, content_type="application/json")
        if request.path == "/sim/faults" and self._faults is not None:
            reply = self._faults.control(await self._query(request), tuple(self._connections))
            self.deliver()
            return _response(reply)
        return await self._serve_rest(request)

    async def _serve_rest(self, request: web.Request) -> web.Response:
        """Answer, and then report what the call did; when a fault delays the answer, events are sent first."""
        self._counters.rest_requests += 1
        fate = self._fate(await self._query(request))
        if fate.answer is None:
            self.deliver()
            return _cut(request)
        if fate.wait_ms:
            self.deliver()
            await asyncio.sleep(fate.wait_ms / 1000)
        response = _response(fate.answer)
        response.headers["Date"] = formatdate(self._clock.wall_ms() / 1000, usegmt=True)
        try:
            await response.prepare(request)
            await response.write_eof()
        finally:
            self.deliver()
        return response

    def _fate(self, query: Query) -> Fate:
        faults = self._faults
        if faults is None:
            return Fate(self._rest.answer(query))
        fate = faults.requests.before(query)
        return faults.requests.after(query, self._rest.answer(query)) if fate is None else fate

    async def _query(self, request: web.Request) -> Query:
        body = await request.read() if request.body_exists else b""
        return Query(
            request.method,
            request.path,
            tuple(request.query.items()),
            request.remote or "",
            self._clock.monotonic_ns(),
            self._clock.wall_ms(),
            request.raw_path.partition("#")[0].partition("?")[2],
            body,
            {name.lower(): value for name, value in request.headers.items()},
        )

    async def _serve_socket(self, request: web.Request, session: ClientSession) -> web.StreamResponse:
        # autoping is off because the session counts pings and checks pongs.
        response = web.WebSocketResponse(autoping=False, compress=True, max_msg_size=MESSAGE_MAX)
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            return response  # the client has disconnected already
        connection = ClientConnection(
            response,
            transport,
            session,
            self._hub,
            self._counters,
            self._clock,
            self._write_buffer_max,
            self.deliver if isinstance(session, PrivateSession) else None,
        )
        self._connections[connection] = None
        if isinstance(session, PrivateSession):
            self._private[connection] = session
        try:
            await connection.run()
        finally:
            self._connections.pop(connection, None)
            self._private.pop(connection, None)
        return response


def _response(answer: RestReply) -> web.Response:
    headers = {**answer.headers, "Content-Type": answer.content_type}
    return web.Response(status=answer.status, headers=headers, body=answer.body)


def _port_of(request: web.Request) -> int:
    """Return the port on which the request came in; 0 when the client is gone."""
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return int(name[1]) if name else 0


def _cut(request: web.Request) -> web.Response:
    """Drop the connection without a close frame."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # aiohttp wants a response; nothing receives it


async def _sign(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER
    response.headers.setdefault("Date", formatdate(usegmt=True))
