"""Opens one WebSocket of a venue: every message is delivered in the very call that read it from the socket.

Nothing is queued and no task is woken in between, so that a message's receive time is the time at which its bytes
were read, and a burst costs little. Two client libraries have the same interface here: ``websockets``, and
``picows`` when it is installed. The supervisor's connections, ``data.websocket`` and the private streams use it.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from typing import Literal, NamedTuple, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State

from arbshard.config import VenueConfig
from arbshard.data.proxy import proxy_for
from arbshard.data.redirects import is_redirect, refusal
from arbshard.data.trust import Trust, system_trust, trust_of
from arbshard.errors import VenueUnavailable
from arbshard.venues.base.client import Answer

Receiver = Literal["auto", "websockets", "picows"]

OnMessage = Callable[[bytes, int], None]
"""Receives a whole message, and the time at which its bytes were read (monotonic ns)."""

OPEN_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 0.5
PONG_TIMEOUT_S = 20.0
MESSAGE_BYTES_MAX = 1 << 20
_DATA = frozenset((Opcode.TEXT, Opcode.BINARY, Opcode.CONT))


class HandshakeRefused(VenueUnavailable):
    """Is raised when a venue answered a handshake, and not with a connection. ``answer`` may name a block."""

    def __init__(self, why: str, answer: Answer) -> None:
        super().__init__(why)
        self.answer = answer


def refused_handshake(
    target: "Target", why: str, status: int, headers: Iterable[tuple[str, str]], body: bytes
) -> HandshakeRefused:
    """Return the error for a venue's answer to a handshake; ``why`` is the library's text, which names the status."""
    answer = Answer(status, body, {name.lower(): value for name, value in headers})
    if is_redirect(status):
        why = refusal(status, answer.headers.get("location", ""), target.address)
    return HandshakeRefused(why, answer)


class Target(NamedTuple):
    """Says where to connect and how: by which proxy, with which authorities, and how often to send a ping."""

    address: str
    ping_interval_s: float
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of the handshake. They may carry a token, so they are not shown."""
    trust: Trust | None = None
    """Trusted authorities for ``wss://``; None for the system's."""
    proxy: str | None = None
    """The proxy; None for a direct connection. It may hold a password, so it is not shown."""

    def __repr__(self) -> str:
        return f"Target({self.address!r})"

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context for a new connection; None for an address without TLS."""
        if not self.address.startswith("wss:"):
            return None
        return (self.trust or system_trust()).context()


def target_of(
    venue: str,
    settings: VenueConfig,
    address: str,
    ping_interval_s: float,
    headers: tuple[tuple[str, str], ...] = (),
) -> Target:
    """Return how ``address`` of ``venue`` is reached with these settings and this environment.

    Raises ``ConfigError`` for a ``ca_file`` and ``UsageError`` for a proxy that cannot be used.
    """
    return Target(address, ping_interval_s, headers, trust_of(venue, settings), proxy_for(address))


class Stream(Protocol):
    """Is an open connection."""

    async def send(self, text: str) -> None:
        """Send a text message. Raises ``VenueUnavailable`` when the connection is over."""
        ...

    def write(self, text: str) -> None:
        """Send a text message at once, whatever waits to be sent. Raises ``VenueUnavailable`` when the connection is
        over: then nothing was sent.
        """
        ...

    async def ping(self) -> None:
        """Send a ping; the answer is not waited for. Raises ``VenueUnavailable`` when the connection is over."""
        ...

    @property
    def ponged_ns(self) -> int:
        """Return when the venue last answered a ping (monotonic ns); 0 for never."""
        ...

    async def until_over(self) -> str:
        """Wait until the connection is over. Return why it ended. Raises what the receiver of messages raised."""
        ...

    def redirect(self, on_message: OnMessage) -> None:
        """Send messages to ``on_message`` from the next one on."""
        ...

    def abort(self) -> None:
        """Close the socket at once."""
        ...


class Opener(Protocol):
    """Opens a stream: ``open_stream``, or a substitute for it where there are no sockets."""

    def __call__(
        self, target: Target, on_message: OnMessage, now_ns: Callable[[], int], receiver: Receiver, /
    ) -> AbstractAsyncContextManager[Stream]:
        """Connect; messages are given to ``on_message``. Raises ``VenueUnavailable`` on entering, and as one of them
        ``HandshakeRefused`` when the venue answered otherwise.
        """
        ...


def is_installed() -> bool:
    """Return whether picows is installed."""
    return find_spec("picows") is not None


def open_stream(
    target: Target, on_message: OnMessage, now_ns: Callable[[], int], receiver: Receiver = "auto"
) -> AbstractAsyncContextManager[Stream]:
    """Connect, as an ``Opener`` does; messages are given to ``on_message`` from the first on."""
    if receiver == "picows" or (receiver == "auto" and is_installed()):
        from arbshard.data.fast_stream import open_fast_stream

        return open_fast_stream(target, on_message, now_ns)
    return _open(target, on_message, now_ns)


@asynccontextmanager
async def _open(target: Target, on_message: OnMessage, now_ns: Callable[[], int]) -> AsyncIterator[Stream]:
    try:
        socket = await _Connect(
            target.address,
            proxy=target.proxy,
            compression=None,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=target.ping_interval_s,
            ping_timeout=PONG_TIMEOUT_S,
            max_size=MESSAGE_BYTES_MAX,
            additional_headers=target.headers or None,
            ssl=target.context(),
            create_connection=_connection_type(on_message, now_ns),
        )
    except InvalidStatus as error:
        answer = error.response
        headers = answer.headers.raw_items()
        raise refused_handshake(
            target, str(error), answer.status_code, headers, bytes(answer.body)
        ) from error
    except (WebSocketException, OSError, TimeoutError, ValueError) as error:
        raise VenueUnavailable(str(error) or type(error).__name__) from error
    assert isinstance(socket, _Connection)
    try:
        yield _WebsocketsStream(socket)
    finally:
        await socket.close()


class _Connect(connect):
    """Is a ``connect`` without redirects: the handshake may carry a token, and another host is not the venue."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Connection(ClientConnection):
    """Delivers messages in place of queueing them."""

    take: OnMessage
    now_ns: Callable[[], int]
    received_ns = 0
    ponged_ns = 0
    parts: list[bytes] | None = None
    """The parts received of a message that comes in several frames."""
    defect: Exception | None = None
    """What ``take`` raised."""

    def data_received(self, data: bytes) -> None:
        self.received_ns = self.now_ns()
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        if type(event) is not Frame or event.opcode not in _DATA:
            if type(event) is Frame and event.opcode is Opcode.PONG:
                self.ponged_ns = self.received_ns
            super().process_event(event)
        elif event.fin and self.parts is None:
            self.hand_over(bytes(event.data))
        else:
            self.collect(event)

    def collect(self, frame: Frame) -> None:
        self.parts = [*(self.parts or ()), bytes(frame.data)]
        if frame.fin:
            message, self.parts = b"".join(self.parts), None
            self.hand_over(message)

    def hand_over(self, message: bytes) -> None:
        if self.defect is not None:
            return
        try:
            self.take(message, self.received_ns)
        except Exception as error:  # noqa: BLE001 - ``until_over`` raises it
            self.defect = error
            self.transport.abort()


def _connection_type(on_message: OnMessage, clock_ns: Callable[[], int]) -> type[_Connection]:
    """Return a connection class with these functions: ``connect`` wants a class, and makes the object itself."""

    class Bound(_Connection):
        take = staticmethod(on_message)
        now_ns = staticmethod(clock_ns)

    return Bound


class _WebsocketsStream:
    """Is a ``Stream`` on ``websockets``."""

    def __init__(self, socket: _Connection) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed as error:
            raise VenueUnavailable(str(error)) from error

    def write(self, text: str) -> None:
        if self._socket.protocol.state is not State.OPEN or self._socket.transport.is_closing():
            raise VenueUnavailable("the connection is over")
        self._socket.protocol.send_text(text.encode())
        self._socket.send_data()

    async def ping(self) -> None:
        try:
            await self._socket.ping()
        except ConnectionClosed as error:
            raise VenueUnavailable(str(error)) from error

    @property
    def ponged_ns(self) -> int:
        return self._socket.ponged_ns

    async def until_over(self) -> str:
        await self._socket.wait_closed()
        if self._socket.defect is not None:
            raise self._socket.defect
        said = self._socket.close_reason
        return f"closed with code {self._socket.close_code}{f': {said}' if said else ''}"

    def redirect(self, on_message: OnMessage) -> None:
        self._socket.take = on_message

    def abort(self) -> None:
        self._socket.transport.abort()
