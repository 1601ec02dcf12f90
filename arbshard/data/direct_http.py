"""``DirectHttp`` sends orders over connections that are open already, in the very call that asks for it.

It has the ``send`` of ``HttpFetch`` and does less: no proxy, no compression, no cookies, no redirects. A request is
written before anything is waited for, in a fraction of the time that a general client needs (``perf``, "order
clients"). httptools parses the answers.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping
from functools import partial

from aiohappyeyeballs import start_connection
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from yarl import URL

from arbshard.data.trust import Trust
from arbshard.secret import Secret
from arbshard.venues.base.client import Answer, NoAnswer, Veto, Withheld, check

_CONNECTIONS_MAX = 32
_KEEPALIVE_S = 75.0
"""How long an unused connection is kept, in seconds: longer than the pause between two uses (``live.warm_every_s``).
"""
_NEXT_ADDRESS_S = 0.25
"""After how many seconds the next address of a host is tried besides, as RFC 8305 recommends."""
_CLOSE_TIMEOUT_S = 1.0
_HEADER_BYTES_MAX = 1 << 16
_NO_HEADERS: Mapping[str, Secret] = {}
_FIXED_HEADERS = "Accept: */*\r\nUser-Agent: arbshard\r\n"
_LENGTH_HEADERS = frozenset({"content-length", "transfer-encoding"})
_END = b"\r\n\r\n"
"""What follows the headers of a request without a body."""


class DirectHttp:
    """Makes calls to one host over connections of its own. Make and use it in one loop; ``close`` it at the end."""

    def __init__(self, trust: Trust, *, timeout_s: float, body_bytes_max: int) -> None:
        """Begin without a connection; calls open as many as they need at a time.

        ``timeout_s``: how long a call may last, with the opening of a connection.
        """
        self._trust = trust
        self._timeout_s = timeout_s
        self._body_bytes_max = body_bytes_max
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()

    def send(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, Secret] = _NO_HEADERS,
        body: bytes | None = None,
        proxy: str | None,
        is_secret: bool,
        on_sent: Callable[[], None] | None = None,
        objection: Veto | None = None,
    ) -> Coroutine[None, None, Answer]:
        """Return the answer to a call, whatever its status, as ``HttpFetch.send`` does. Raises ``NoAnswer``.

        Over a connection that is open the request is written in this call, before the answer is awaited, and there is
        no objection. Over a new one ``objection`` is asked once it is open.
        """
        assert proxy is None, "calls through a proxy are made with HttpFetch"
        assert is_secret, "failures are named by their kind alone"
        request, end = _request(method, url, headers, body), b"" if body else _END
        connection = self._take()
        if connection is None:
            return self._send_on_new(url, request, end, on_sent, objection)
        end_s = asyncio.get_running_loop().time() + self._timeout_s
        return self._answer_in_time(self._ask(connection, request, end, on_sent), end_s)

    async def close(self) -> None:
        """Close all connections. May be called again."""
        lost = [connection.lost for connection in self._open]
        for connection in tuple(self._open):
            connection.abort()
        self._idle.clear()
        if lost:  # the loop frees a socket in a later turn
            await asyncio.wait(lost, timeout=_CLOSE_TIMEOUT_S)

    async def _send_on_new(
        self,
        url: URL,
        request: Secret,
        end: bytes,
        on_sent: Callable[[], None] | None,
        objection: Veto | None,
    ) -> Answer:
        end_s = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with asyncio.timeout_at(end_s):
                connection = await self._connect(url)
            if not connection.is_usable:
                raise ConnectionResetError("closed by the venue before the request")
        except (OSError, TimeoutError, ValueError) as error:
            raise NoAnswer(type(error).__name__, sent=False) from None
        try:
            check(objection)
        except Withheld:
            self._idle.append(connection)  # it serves the next call
            raise
        return await self._answer_in_time(self._ask(connection, request, end, on_sent), end_s)

    def _ask(
        self, connection: "_Connection", request: Secret, end: bytes, on_sent: Callable[[], None] | None
    ) -> asyncio.Future[Answer]:
        answer = connection.ask(request, end)
        answer.add_done_callback(partial(self._give_back, connection))
        if on_sent is not None:
            on_sent()
        return answer

    async def _answer_in_time(self, answer: asyncio.Future[Answer], end_s: float) -> Answer:
        try:
            async with asyncio.timeout_at(end_s):
                return await answer
        except (OSError, TimeoutError, ValueError) as error:
            raise NoAnswer(type(error).__name__, sent=True) from None

    def _take(self) -> "_Connection | None":
        """Return an open connection that is not in use; the one that was used last is the most likely to be open."""
        oldest_s = asyncio.get_running_loop().time() - _KEEPALIVE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable and connection.used_s >= oldest_s:
                return connection
            connection.abort()
        return None

    def _give_back(self, connection: "_Connection", answer: asyncio.Future[Answer]) -> None:
        del answer
        if connection.is_usable:
            self._idle.append(connection)
        else:
            connection.abort()  # an answer that comes after all must not be taken for that of another call

    async def _connect(self, url: URL) -> "_Connection":
        if len(self._open) >= _CONNECTIONS_MAX:
            raise OSError("too many connections")
        connection = _Connection(self._body_bytes_max, self._open.discard)
        self._open.add(connection)
        loop, host, is_secure = asyncio.get_running_loop(), url.host or "", url.scheme == "https"
        opened: socket.socket | None = None
        try:
            found = await loop.getaddrinfo(host, url.port or 0, type=socket.SOCK_STREAM)
            # uvloop's create_connection would try one address after the other, each as long as the system waits.
            opened = await start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_S)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.create_connection(
                lambda: connection,
                sock=opened,
                ssl=self._trust.context() if is_secure else None,
                server_hostname=host if is_secure else None,
            )
        except BaseException:
            connection.abort()
            self._open.discard(connection)
            if opened is not None:
                opened.close()
            raise
        return connection


class _Connection(asyncio.Protocol):
    """Is one connection. It carries one call at a time."""

    def __init__(self, body_bytes_max: int, on_lost: "Callable[[_Connection], None]") -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Is done when the connection is closed, or could not be opened."""
        self.used_s = 0.0
        """When its last answer came or, before that, when it was opened, in seconds by the loop's clock."""
        self._body_bytes_max = body_bytes_max
        self._on_lost = on_lost
        self._transport: asyncio.WriteTransport | None = None
        self._parser: HttpResponseParser | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._ends_with_connection = False
        """Whether the headers of the answer have come and do not state where its body ends."""
        self._keeps_alive = True

    @property
    def is_usable(self) -> bool:
        """Return whether a call may be made on it."""
        return (
            self._transport is not None
            and not self._transport.is_closing()
            and self._answer is None
            and self._keeps_alive
        )

    def ask(self, request: Secret, end: bytes) -> asyncio.Future[Answer]:
        """Write a request and its ``end`` at once, and return its coming answer."""
        assert self._transport is not None
        assert self._answer is None, "one call at a time"
        self._headers, self._parts, self._size = {}, [], 0
        self._ends_with_connection = False
        self._parser = HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        request.use_encoded(self._transport.write)
        if end:
            self._transport.write(end)
        return self._answer

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()
        else:
            self._mark_lost()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport. uvloop's transports do not derive from asyncio's."""
        self._transport = transport  # type: ignore[assignment]
        self.used_s = asyncio.get_running_loop().time()

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self._parser is None or self._answer is None:
            self._fail(ValueError("bytes without a request"))
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(ValueError(str(error)))

    def eof_received(self) -> None:
        """Complete an answer whose length its headers do not state: it ends with the connection."""
        if self._ends_with_connection:
            self.on_message_complete()
            self._keeps_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        """End the call that waits."""
        self._on_lost(self)
        self._mark_lost()
        self._keeps_alive = False
        self._end(exc if isinstance(exc, OSError) else ConnectionResetError("closed by the venue"))

    # what the parser calls

    def on_message_begin(self) -> None:
        """Refuse what comes without a request: it must not become the answer to the next one."""
        if self._answer is None:
            self._fail(ValueError("an answer without a request"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._size += len(name) + len(value)
        if self._size > _HEADER_BYTES_MAX:
            self._fail(ValueError("an answer whose headers are too long"))
            return
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Begin to count the body."""
        self._size = 0
        self._ends_with_connection = _LENGTH_HEADERS.isdisjoint(self._headers)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._size += len(body)
        if self._size > self._body_bytes_max:
            self._fail(ValueError("an answer that is too long"))
            return
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        parser, answer = self._parser, self._answer
        if parser is None or answer is None:
            return
        status = parser.get_status_code()
        if status < 200:  # an interim answer: the answer is still to come
            self._headers = {}
            self._ends_with_connection = False
            return
        if self._headers.get("content-encoding", "identity") != "identity":
            self._fail(ValueError("an answer that is compressed"))
            return
        self._keeps_alive = parser.should_keep_alive()
        self.used_s = asyncio.get_running_loop().time()
        self._parser = self._answer = None
        if not answer.done():
            answer.set_result(Answer(status, b"".join(self._parts), self._headers))

    def _mark_lost(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def _fail(self, error: ValueError) -> None:
        """End the call, and the connection, whose further bytes mean nothing."""
        self._keeps_alive = False
        self._end(error)
        self.abort()

    def _end(self, error: Exception) -> None:
        answer, self._parser, self._answer = self._answer, None, None
        if answer is not None and not answer.done():
            answer.set_exception(error)


def _request(method: str, url: URL, headers: Mapping[str, Secret], body: bytes | None) -> Secret:
    """Return a request without the white space at its end, which a ``Secret`` does not keep."""
    parts: list[str | Secret] = [
        f"{method} {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"
    ]
    for name, value in headers.items():
        parts += (f"{name}: ", value, "\r\n")
    parts.append(_FIXED_HEADERS)
    if body:
        parts += (f"Content-Length: {len(body)}\r\n\r\n", body.decode())
    return Secret.join(*parts)
