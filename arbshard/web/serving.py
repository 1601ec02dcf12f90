"""``DeskServer``: serves the page, sends what has changed to all who look, and carries out what operators do.

The instances are read twice per second, once for all who look, and not at all while there is no viewer.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from importlib.resources import files as resources
from typing import TypeVar

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from arbshard.clock import Clock
from arbshard.errors import ArbshardError, ProtocolError, TransportError, UsageError
from arbshard.log import get_logger
from arbshard.status.inventory import propose, with_refusals
from arbshard.web.access import DeskAccess, DeskSession
from arbshard.web.actions import carry_out, decode_action, plan_of
from arbshard.web.reading import DeskReader
from arbshard.web.setup import DeskAddress
from arbshard.wire.inventory import Inventory, ShowInventory
from arbshard.wire.messages import Limits, ShowLimits
from arbshard.wire.operator_client import send_command

EVERY_S = 0.5
_VIEWERS_MAX = 16
_WATCHED_MAX = 120
_BODY_MAX = 65_536
_SEND_S = 5.0
_BODY_S = 10.0
"""A request whose body has not come whole by then is refused."""
_IDLE_NS = 20_000_000_000
"""A connection on which no whole header has come for so long is closed: aiohttp itself waits without end."""
_CONNECTIONS_MAX = 128
"""Beyond so many connections, those that have been idle for longest are closed."""
_CLOSING_S = 2.0
"""How long a browser may take to answer that its stream ends."""
_ASKED_AT_ONCE = 4
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PROOF = "X-Arbshard-Proof"
_PAGE = {
    "/": ("index.html", "text/html"),
    "/desk.css": ("desk.css", "text/css"),
    "/desk.js": ("desk.js", "text/javascript"),
}
_ICONS = {
    "simulated": "#3b6fb6", "paper": "#3b6fb6", "dry-run": "#c98a00", "live": "#c62828", "recording": "#5d646d",
    "old": "#8a8f96",
}  # fmt: skip
_encoder = msgspec.json.Encoder(decimal_format="string")
_Body = TypeVar("_Body", bound=msgspec.Struct)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str
    person: str = ""


class _Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a browser says that it shows."""

    watch: dict[str, tuple[str, ...]] = {}
    open: tuple[str, str] | None = None


class _Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    instance: str
    symbol: str = ""


class DeskCounts:
    """What the server has counted."""

    def __init__(self) -> None:
        self.viewers = self.actions = self.refused = self.failures = 0


class _Viewer:
    """Keeps what one browser has been sent, and what it shows."""

    def __init__(self, socket: web.WebSocketResponse, key: str | None) -> None:
        self.socket = socket
        self.key = key
        """The key of its session."""
        self.news = asyncio.Event()
        self.seen: dict[str, int] = {}
        self.wanted = _Wanted()


class _Connections:
    """Knows on which connections no request is being answered, and closes those that stay so."""

    def __init__(self) -> None:
        self._busy: set[web.RequestHandler] = set()
        self._idle_ns: dict[web.RequestHandler, int] = {}

    def begin(self, connection: web.RequestHandler) -> None:
        """Note that a request is being answered on it."""
        self._busy.add(connection)
        self._idle_ns.pop(connection, None)

    def end(self, connection: web.RequestHandler) -> None:
        """Note that the request is answered."""
        self._busy.discard(connection)

    def close_idle(self, connections: Collection[web.RequestHandler], now_ns: int) -> None:
        """Close those that have been idle for too long, and the longest idle ones of too many."""
        self._idle_ns = {one: self._idle_ns.get(one, now_ns) for one in connections if one not in self._busy}
        excess = len(connections) - _CONNECTIONS_MAX
        for number, one in enumerate(sorted(self._idle_ns, key=self._idle_ns.__getitem__)):
            if number < excess or now_ns - self._idle_ns[one] > _IDLE_NS:
                one.force_close()


class DeskServer:
    """Serves one desk over several instances."""

    def __init__(self, readers: Sequence[DeskReader], address: DeskAddress, clock: Clock) -> None:
        self.counts = DeskCounts()
        self._readers = {reader.name: reader for reader in readers}
        self._address = address
        self._access: DeskAccess = address.access
        self._clock = clock
        self._viewers: set[_Viewer] = set()
        self._connections = _Connections()
        self._asking = asyncio.Semaphore(_ASKED_AT_ONCE)
        folder = resources("arbshard.web").joinpath("page")
        self._page = {
            path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in _PAGE.items()
        }
        for name, colour in _ICONS.items():
            self._page[f"/icon-{name}.svg"] = _icon(colour), "image/svg+xml"

    async def serve(self, is_over: Callable[[], bool]) -> None:
        """Serve until ``is_over`` says so; it is asked twice per second."""
        application = web.Application(middlewares=[self._guard], client_max_size=_BODY_MAX)
        application.add_routes(
            [
                *(web.get(path, self._send_file) for path in self._page),
                web.get("/api/session", self._show_session),
                web.post("/api/session", self._sign_in),
                web.delete("/api/session", self._sign_out),
                web.get("/api/stream", self._stream),
                web.post("/api/plan", self._plan),
                web.post("/api/act", self._act),
                web.post("/api/limits", self._show_limits),
                web.post("/api/inventory", self._show_inventory),
            ]
        )
        runner = web.AppRunner(application, access_log=None, keepalive_timeout=30.0, shutdown_timeout=2.0)
        await runner.setup()
        try:
            await web.SockSite(runner, self._address.listener, ssl_context=self._address.tls).start()
            while not is_over():
                if runner.server is not None:
                    self._connections.close_idle(runner.server.connections, self._clock.monotonic_ns())
                if self._viewers:
                    await asyncio.to_thread(self._read_all)
                    for viewer in self._viewers:
                        viewer.news.set()
                await asyncio.sleep(EVERY_S)
        finally:
            await asyncio.gather(*(one.socket.close(code=WSCloseCode.GOING_AWAY) for one in self._viewers))
            await runner.cleanup()

    def _read_all(self) -> None:
        wanted = [viewer.wanted for viewer in tuple(self._viewers)]
        for name, reader in self._readers.items():
            reader.watched = frozenset(base for one in wanted for base in one.watch.get(name, ()))
            reader.opened = frozenset(one.open[1] for one in wanted if one.open and one.open[0] == name)
            reader.read()

    # what every request goes through

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        self._connections.begin(request.protocol)
        try:
            response = await self._answer(request, handler)
        except web.HTTPException as error:
            response = _refusal(error.status, error.reason)
        except (ProtocolError, UsageError) as error:
            response = _refusal(409 if isinstance(error, UsageError) else 400, str(error))
        except TransportError as error:
            response = _refusal(
                504,
                f"it is not known whether this was carried out: {error}; look at the desk before you repeat it",
            )
        except ArbshardError as error:
            response = _refusal(500, str(error))
        except Exception as error:  # noqa: BLE001 - one defect must not end the desk; it is counted and logged
            self.counts.failures += 1
            get_logger().error("the desk could not answer", path=request.path, exc_info=error)
            response = _refusal(500, "a defect of the desk; its log says more")
        finally:
            self._connections.end(request.protocol)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    async def _answer(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not self._access.is_own_host(request.headers.get("Host")):
            self.counts.refused += 1
            return _refusal(421, "this desk is not known by that name")
        changes = request.method not in ("GET", "HEAD")
        is_foreign = request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")
        needs_origin = changes or request.path == "/api/stream"
        if (needs_origin and not self._access.is_own_origin(request.headers.get("Origin"))) or (
            is_foreign and request.path.startswith("/api/")
        ):
            self.counts.refused += 1
            return _refusal(403, "this request does not come from the desk's own page")
        return await handler(request)

    def _session(self, request: web.Request) -> DeskSession:
        return self._session_of(request.cookies.get(self._access.cookie))

    def _session_of(self, key: str | None) -> DeskSession:
        return self._access.session(key, self._clock.monotonic_ns())

    def _operator(self, request: web.Request) -> DeskSession:
        """Return the session of an operator. Raises ``HTTPForbidden``."""
        session = self._session(request)
        if not self._access.may_act(session, request.headers.get(_PROOF)):
            self.counts.refused += 1
            raise web.HTTPForbidden(
                reason="this needs the right of an operator: sign in with the operator's token"
            )
        return session

    # the page and its session

    async def _send_file(self, request: web.Request) -> web.Response:
        body, kind = self._page[request.path]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def _show_session(self, request: web.Request) -> web.Response:
        session = self._session(request)
        return _json(
            {
                "right": session.right,
                "proof": session.proof,
                "person": session.person,
                "instances": tuple(self._readers) if session.has("viewer") else (),
                "token_file": str(self._address.token_file) if session.has("viewer") else "",
            }
        )

    async def _sign_in(self, request: web.Request) -> web.Response:
        body = await _body_of(request)
        # Only after the body: many requests that wait for theirs must not all pass before the first wrong token.
        now_ns = self._clock.monotonic_ns()
        if pause_s := self._access.pause_s(now_ns):
            self.counts.refused += 1
            return _refusal(429, f"too many wrong tokens: try again in {pause_s:.0f} s")
        given = _decoded(body, _SignIn)
        key, proof = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        person = "".join(one for one in given.person if one.isprintable()).strip()[:40]
        session = self._access.sign_in(given.token, person, now_ns, key, proof)
        if session is None:
            self.counts.refused += 1
            get_logger().warning("a wrong token", remote=request.remote)
            return _refusal(403, "this token is not right")
        get_logger().info("signed in", right=session.right, person=person, remote=request.remote)
        response = _json({"right": session.right})
        response.set_cookie(
            self._access.cookie,
            key,
            httponly=True,
            samesite="Strict",
            secure=self._address.tls is not None,
            path="/",
        )
        return response

    async def _sign_out(self, request: web.Request) -> web.Response:
        self._access.sign_out(request.cookies.get(self._access.cookie))
        response = _json({"right": "none"})
        response.del_cookie(self._access.cookie, path="/")
        return response

    # what is shown

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if not self._session(request).has("viewer"):
            self.counts.refused += 1
            raise web.HTTPForbidden(reason="looking needs a token: sign in")
        if len(self._viewers) >= _VIEWERS_MAX:
            raise web.HTTPServiceUnavailable(reason=f"{_VIEWERS_MAX} browsers look already")
        socket = web.WebSocketResponse(
            timeout=_CLOSING_S, heartbeat=10.0, max_msg_size=_BODY_MAX, compress=False
        )
        await socket.prepare(request)
        viewer = _Viewer(socket, request.cookies.get(self._access.cookie))
        self._viewers.add(viewer)
        self.counts.viewers = len(self._viewers)
        sender = asyncio.create_task(self._send_news(viewer))
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                await self._note_wanted(viewer, message.data)
        finally:
            sender.cancel()
            self._viewers.discard(viewer)
            self.counts.viewers = len(self._viewers)
        return socket

    async def _send_news(self, viewer: _Viewer) -> None:
        try:
            while True:
                await viewer.news.wait()
                viewer.news.clear()
                if not self._session_of(viewer.key).has("viewer"):
                    await viewer.socket.close(code=WSCloseCode.POLICY_VIOLATION)  # signed out, or too old
                    return
                await asyncio.wait_for(viewer.socket.send_str(self._news(viewer)), _SEND_S)
        except (TimeoutError, ConnectionError):
            await viewer.socket.close()  # it takes nothing any more; the page connects again

    def _news(self, viewer: _Viewer) -> str:
        parts = []
        for name, reader in self._readers.items():
            changes = reader.board.changes(viewer.seen.get(name, 0))
            viewer.seen[name] = reader.board.version
            if changes is not None:
                parts.append(_encoder.encode(name) + b":" + changes)
        return (b'{"at":%d,"instances":{%b}}' % (self._clock.wall_ms(), b",".join(parts))).decode()

    async def _note_wanted(self, viewer: _Viewer, text: str) -> None:
        before = viewer.wanted.open
        try:
            wanted = msgspec.json.decode(text, type=_Wanted)
        except msgspec.MsgspecError:
            self.counts.refused += 1
            await viewer.socket.close(code=WSCloseCode.POLICY_VIOLATION)
            return
        watch = {name: bases[:_WATCHED_MAX] for name, bases in wanted.watch.items() if name in self._readers}
        viewer.wanted = _Wanted(watch, wanted.open)
        if wanted.open is not None and wanted.open != before:
            name, base = wanted.open
            reader = self._readers.get(name)
            gaps = reader.gaps_of(base) if reader is not None else []
            message = _encoder.encode({"gaps": {"instance": name, "base": base, "points": gaps}})
            await viewer.socket.send_str(message.decode())

    # what operators do

    async def _plan(self, request: web.Request) -> web.Response:
        self._operator(request)
        action = decode_action(await _body_of(request))
        reader = self._reader(action.instance)
        universe, head = reader.universe, reader.status
        if universe is None or head is None:
            raise UsageError(f"{action.instance} is not running")
        text = plan_of(action, reader.note, reader.config, universe.pairs, universe.owners())
        return _json({"text": text})

    async def _act(self, request: web.Request) -> web.Response:
        session = self._operator(request)
        action = decode_action(await _body_of(request))
        files = self._reader(action.instance).files
        by = f"{session.person or 'operator'}, desk at {request.remote}"
        async with self._asking:
            text = await asyncio.to_thread(carry_out, files, action, by)
        self.counts.actions += 1
        kind = type(action).__name__.removeprefix("Desk").lower()
        get_logger().warning("action", kind=kind, instance=action.instance, by=by, answer=text)
        return _json({"text": text})

    async def _show_limits(self, request: web.Request) -> web.Response:
        self._operator(request)
        question = _decoded(await _body_of(request), _Question)
        files = self._reader(question.instance).files
        async with self._asking:
            shown = await asyncio.to_thread(send_command, files, ShowLimits(question.symbol), "")
        assert isinstance(shown, Limits), shown
        return _json(shown)

    async def _show_inventory(self, request: web.Request) -> web.Response:
        self._operator(request)
        question = _decoded(await _body_of(request), _Question)
        reader = self._reader(question.instance)
        async with self._asking:
            shown = await asyncio.to_thread(send_command, reader.files, ShowInventory(), "")
        assert isinstance(shown, Inventory), shown
        shown = with_refusals(shown, reader.status.missing if reader.status is not None else {})
        return _json({"inventory": shown, "proposals": propose(shown)})

    def _reader(self, name: str) -> DeskReader:
        """Raises ``UsageError``."""
        reader = self._readers.get(name)
        if reader is None:
            raise UsageError(f"this desk does not show an instance named '{name}'")
        return reader


async def _body_of(request: web.Request) -> bytes:
    """Return the body. Raises ``HTTPRequestTimeout`` when it does not come whole in time."""
    try:
        async with asyncio.timeout(_BODY_S):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason="the body of the request did not come in time") from None


def _decoded(body: bytes, kind: type[_Body]) -> _Body:
    """Raises ``ProtocolError``."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"the desk does not understand this request: {error}") from error


def _json(value: Mapping[str, object] | msgspec.Struct) -> web.Response:
    return web.Response(body=_encoder.encode(value), content_type="application/json")


def _refusal(status: int, why: str) -> web.Response:
    return web.Response(status=status, body=_encoder.encode({"error": why}), content_type="application/json")


def _icon(colour: str) -> bytes:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
        f'<rect width="32" height="32" rx="7" fill="{colour}"/>'
        '<path d="M6 21 12 11l6 8 8-12" fill="none" stroke="#fff" stroke-width="3.4" stroke-linecap="round" '
        'stroke-linejoin="round"/></svg>'
    ).encode()
