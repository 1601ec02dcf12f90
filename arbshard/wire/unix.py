"""Carries requests and replies over a Unix socket, which workers and risk use on one machine.

A message is its length and its frames. Where ZeroMQ hands a message from thread to thread on both sides, one system
call sends it here and one receives it: a question that comes after a pause is answered in a fifth of the time
(``perf``, stage "risk round trip"). The event loop's transports read, write and buffer; this file has the framing,
the client's reconnection, and the server's bounds.

Whatever clients do, the server holds a bounded number of connections and bytes. Beyond the bounds it closes the
connection that holds most, and counts it as ``bad``: its client asks again under the same ids.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from typing_extensions import override

from arbshard.errors import TransportError
from arbshard.wire.envelope import (
    ID_BYTES_MAX,
    REPLY_BYTES_MAX,
    REQUEST_BYTES_MAX,
    VERSION,
    pack,
    unpack,
)
from arbshard.wire.replies import Asked

SCHEME = "unix://"
PATH_BYTES_MAX = 107
"""Longest path in bytes that ``sockaddr_un`` holds."""
CONNECTIONS_MAX = 256
"""Largest number of connections of a server. Every process of a run has one, and every operator's command."""
HELD_BYTES_MAX = 8 * 1024 * 1024
"""Largest number of bytes that a server holds of all clients: unfinished messages, and requests that wait for the
handler.
"""
_UNSENT_BYTES_MAX = 4 * 1024 * 1024
"""Bytes of replies kept for a client that does not read; beyond that its connection is closed."""
_UNSENT_BYTES_SUM_MAX = 4 * _UNSENT_BYTES_MAX
"""Bytes of replies kept for all clients together."""
_WAITING_MAX = 65536
"""Largest number of requests that wait for the handler."""
_BACKLOG = 256
_ACCEPTS = 32
"""Number of connections accepted in one turn of the loop."""
_ACCEPT_AGAIN_S = 0.1
"""Pause in seconds after the system had no descriptor for a connection; without it the loop would try again at
once.
"""
_CONNECT_AGAIN_S = 0.01
_CONNECT_AGAIN_MAX_S = 0.1
"""Pause in seconds between two tries to connect: the first one, and the longest."""
_HEAD = struct.Struct("<IB")
"""Number of bytes that follow, and number of bytes of the request id."""


def path_of(endpoint: str) -> str:
    """Return the socket's path. Raises ``TransportError`` for one that is too long."""
    path = endpoint.removeprefix(SCHEME)
    size = len(os.fsencode(path))
    if size > PATH_BYTES_MAX:
        raise TransportError(
            f"{endpoint}: the path is {size} bytes long, a socket's may have {PATH_BYTES_MAX}; "
            "choose a shorter run directory"
        )
    return path


def encode(request_id: bytes, payload: bytes) -> bytes:
    """Return a message as its bytes on the socket."""
    version, *_ = pack(request_id, payload)
    size = 1 + len(version) + len(request_id) + len(payload)
    return b"".join((_HEAD.pack(size, len(request_id)), version, request_id, payload))


class Messages:
    """Divides a stream of bytes into messages of at most ``size_max`` bytes."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._waiting = bytearray()

    @property
    def unfinished(self) -> int:
        """Return the number of bytes kept of a message that has not arrived whole."""
        return len(self._waiting)

    def feed(self, data: bytes) -> list[tuple[bytes, bytes] | None]:
        """Return (request id, payload) of each message that is complete now; None for one of another version.

        Raises ``ValueError`` when the bytes cannot be a message at all.
        """
        self._waiting += data
        found: list[tuple[bytes, bytes] | None] = []
        while len(self._waiting) >= _HEAD.size:
            size, id_size = _HEAD.unpack_from(self._waiting)
            if not 1 <= size <= self._size_max or id_size > min(ID_BYTES_MAX, size):
                raise ValueError("not a message")
            end = 4 + size
            if len(self._waiting) < end:
                break
            begin = _HEAD.size + len(VERSION)
            version = bytes(self._waiting[_HEAD.size : begin])
            request_id = bytes(self._waiting[begin : begin + id_size])
            payload = bytes(self._waiting[begin + id_size : end])
            found.append(unpack((version, request_id, payload)))
            del self._waiting[:end]
        return found


def _ignore(_: "Connection") -> None:
    """Do nothing after a read."""


class Connection(asyncio.Protocol):
    """Is one side of a connection. The loop's transport reads, writes and buffers."""

    def __init__(
        self,
        size_max: int,
        on_open: Callable[["Connection"], None],
        on_message: Callable[["Connection", tuple[bytes, bytes] | None], None],
        on_end: Callable[["Connection"], None],
        on_read: Callable[["Connection"], None] = _ignore,
    ) -> None:
        """Begin without a transport. ``size_max``: bytes of the longest message that may arrive.

        ``on_message`` gets None for a message of another version and for invalid bytes; ``on_read`` is called after
        all messages of a read, if the connection is still open; ``on_end`` is called once.
        """
        self._on_open = on_open
        self._on_message = on_message
        self._on_end = on_end
        self._on_read = on_read
        self._messages = Messages(size_max)
        self._transport: asyncio.Transport | None = None

    @property
    def unfinished(self) -> int:
        """Return the number of bytes kept of a message that has not arrived whole."""
        return self._messages.unfinished

    @property
    def unsent(self) -> int:
        """Return the number of bytes that the other side has not read yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it
        # With 0 uvloop writes at once, as asyncio does; otherwise only at the end of the loop's turn.
        self._transport.set_write_buffer_limits(high=0)
        self._on_open(self)

    @override
    def data_received(self, data: bytes) -> None:
        try:
            found = self._messages.feed(data)
        except ValueError:
            self._on_message(self, None)
            self.end()
            return
        for message in found:
            if self._transport is not None:
                self._on_message(self, message)
        if self._transport is not None:
            self._on_read(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # whether the other side closed or died makes no difference
        self.end()

    def send(self, message: bytes) -> bool:
        """Send now, or when the other side reads again. Return whether that is still possible."""
        if self._transport is None:
            return False
        if self._transport.is_closing():  # the loop has not said so yet, and uvloop refuses to write
            self.end()
            return False
        self._transport.write(message)
        if self._transport.is_closing() or self.unsent > _UNSENT_BYTES_MAX:
            self.end()
        return self._transport is not None

    def end(self) -> None:
        """Close at once, without what was not sent. May be called again."""
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()
            self._on_end(self)


class UnixChannel:
    """Sends requests: a ``request.Channel``. It connects, and connects again, while there is a question."""

    WINDOW = 64

    def __init__(self, endpoint: str, on_reply: Callable[[tuple[bytes, bytes] | None], None]) -> None:
        self._path = path_of(endpoint)
        self._on_reply = on_reply
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._questions: dict[bytes, bytes] = {}
        """Questions without a reply, as they are sent over the socket."""

    def send(self, request_id: bytes, payload: bytes) -> None:
        """Send the question as soon as a server listens."""
        message = self._questions[request_id] = encode(request_id, payload)
        if self._connection is not None:
            self._connection.send(message)
        elif self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect(0.0))

    def drop(self) -> None:
        """Forget the questions and the connection."""
        self._questions.clear()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._connection is not None:
            self._connection.end()

    async def _connect(self, pause_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if pause_s:
                await asyncio.sleep(pause_s)
            try:
                await loop.create_unix_connection(self._new_connection, self._path)
            except OSError:  # no server listens there yet, or its queue is full
                pause_s = min(max(2 * pause_s, _CONNECT_AGAIN_S), _CONNECT_AGAIN_MAX_S)
            else:
                return

    def _new_connection(self) -> Connection:
        return Connection(REPLY_BYTES_MAX, self._connected, self._received, self._ended)

    def _connected(self, connection: Connection) -> None:
        if self._connecting is None:  # the channel was dropped while it connected
            connection.end()
            return
        self._connecting = None
        self._connection = connection
        for message in tuple(self._questions.values()):
            connection.send(message)

    def _received(self, _: Connection, message: tuple[bytes, bytes] | None) -> None:
        if message is not None:
            self._questions.pop(message[0], None)
        self._on_reply(message)

    def _ended(self, connection: Connection) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        # The server's successor is asked, which is safe because the questions keep their ids.
        if self._questions:
            self._connecting = asyncio.ensure_future(self._connect(_CONNECT_AGAIN_S))


@dataclass
class _Client:
    """Holds what the server knows of a connection."""

    last_asked: int
    """When it last asked, counted in requests and connections of all clients; for a new one, when it connected."""
    has_asked: bool = False
    unfinished: int = 0
    """Number of its unfinished bytes that are in the sum of all."""
    waiting: int = 0
    """Number of bytes of its requests that wait for the handler."""

    @property
    def held(self) -> int:
        """Return the number of bytes that the server holds for it."""
        return self.unfinished + self.waiting


class UnixListener:
    """Receives requests: a ``serve.Listener``."""

    def __init__(self, endpoint: str) -> None:
        path = path_of(endpoint)
        self._clients: dict[Connection, _Client] = {}
        self._waiting: list[tuple[Connection, bytes, bytes]] = []
        self._held = 0
        """Number of bytes of unfinished messages and of requests that wait for the handler."""
        self._order = 0
        self._on_ready: Callable[[], None] | None = None
        self._soon: asyncio.Handle | None = None
        self._accept_again: asyncio.TimerHandle | None = None
        self._admissions: set[asyncio.Task[object]] = set()
        self.bad = 0
        self.unsent = 0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        try:
            Path(path).unlink(missing_ok=True)
            self._listener.bind(path)
            self._listener.listen(_BACKLOG)
        except OSError as error:
            self._listener.close()
            raise TransportError(f"{endpoint}: cannot bind: {error.strerror}") from error

    def start(self, on_ready: Callable[[], None]) -> None:
        """Call ``on_ready`` in the running loop whenever requests wait."""
        self._on_ready = on_ready
        self._watch_listener()

    def receive(self, limit: int) -> list[Asked]:
        """Return up to ``limit`` waiting requests."""
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        for connection, request_id, payload in taken:
            size = len(request_id) + len(payload)
            self._held -= size
            client = self._clients.get(connection)
            if client is not None:
                client.waiting -= size
        return [
            Asked(request_id, payload, partial(self._reply, connection, request_id))
            for connection, request_id, payload in taken
        ]

    def close(self) -> None:
        """Close all connections. May be called again."""
        for handle in (self._soon, self._accept_again):
            if handle is not None:
                handle.cancel()
        for admission in self._admissions:
            admission.cancel()
        if self._on_ready is not None and self._listener.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        for connection in tuple(self._clients):
            connection.end()

    def _reply(self, connection: Connection, request_id: bytes, payload: bytes) -> None:
        if not connection.send(encode(request_id, payload)):  # it will ask again, and the reply is stored
            self.unsent += 1
        elif connection.unsent and sum(one.unsent for one in self._clients) > _UNSENT_BYTES_SUM_MAX:
            self._drop(max(self._clients, key=lambda one: one.unsent))

    # The loops' own servers accept too, but uvloop's closes connections uncounted when descriptors run out.

    def _watch_listener(self) -> None:
        self._accept_again = None
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTS):
            try:
                accepted, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):  # no more, or it is closed again
                return
            except OSError:  # no descriptor is left
                self.bad += 1
                loop.remove_reader(self._listener.fileno())
                self._accept_again = loop.call_later(_ACCEPT_AGAIN_S, self._watch_listener)
                return
            admission = loop.create_task(loop.connect_accepted_socket(self._new_connection, accepted))
            self._admissions.add(admission)
            admission.add_done_callback(partial(self._admitted, accepted))

    def _admitted(self, accepted: socket.socket, admission: asyncio.Task[object]) -> None:
        self._admissions.discard(admission)
        if admission.cancelled():
            accepted.close()
        elif admission.exception() is not None:
            self.bad += 1
            accepted.close()

    def _new_connection(self) -> Connection:
        return Connection(REQUEST_BYTES_MAX, self._connected, self._received, self._ended, self._read)

    def _connected(self, connection: Connection) -> None:
        """Admit a connection. Where there are too many, the least useful one is closed."""
        if len(self._clients) >= CONNECTIONS_MAX:
            self._drop(min(self._clients, key=self._usefulness))
        self._order += 1
        self._clients[connection] = _Client(self._order)

    def _usefulness(self, connection: Connection) -> tuple[bool, int]:
        """Return what to compare: first closed is a client that has never asked, then one that has not asked for
        longest.

        A worker is neither.
        """
        client = self._clients[connection]
        return client.has_asked, client.last_asked

    def _received(self, connection: Connection, message: tuple[bytes, bytes] | None) -> None:
        """Let the request wait for the handler; those of one turn are one batch."""
        if message is None:
            self.bad += 1
            return
        if len(self._waiting) >= _WAITING_MAX:  # a client that asks without waiting for replies
            self._drop(connection)
            return
        size = len(message[0]) + len(message[1])
        client = self._clients[connection]
        client.has_asked = True
        client.waiting += size
        self._order += 1
        client.last_asked = self._order
        self._held += size
        self._waiting.append((connection, *message))
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._ready)

    def _read(self, connection: Connection) -> None:
        """Account for a read. Where too much is held, the client that holds most is closed."""
        client = self._clients[connection]
        self._held += connection.unfinished - client.unfinished
        client.unfinished = connection.unfinished
        while self._held > HELD_BYTES_MAX and self._clients:
            largest = max(self._clients, key=lambda one: self._clients[one].held)
            if not self._clients[largest].held:
                return  # what is held are requests of closed connections: they are about to be taken
            self._forget_requests(largest)
            self._drop(largest)

    def _ended(self, connection: Connection) -> None:
        """Forget a connection. Its requests stay: they may be the last reports of a worker."""
        self._held -= self._clients.pop(connection).unfinished

    def _forget_requests(self, connection: Connection) -> None:
        self._waiting = [one for one in self._waiting if one[0] is not connection]
        client = self._clients[connection]
        self._held -= client.waiting
        client.waiting = 0

    def _drop(self, connection: Connection) -> None:
        self.bad += 1
        connection.end()

    def _ready(self) -> None:
        self._soon = None
        assert self._on_ready is not None
        self._on_ready()
        if self._waiting:
            self._soon = asyncio.get_running_loop().call_soon(self._ready)
