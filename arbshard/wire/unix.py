"""Requests and replies over a Unix socket: what workers and risk use on one machine.

A message is its length and its frames. Where ZeroMQ hands a message from thread to thread on both sides, here one
system call sends it and one receives it: a question that comes after a pause is answered in a fifth of the time
(``perf``, stage "risk round trip"). Both ends are driven by the event loop; nothing here waits.

Whatever clients do, the answering side holds a bounded number of connections and bytes. Beyond the bounds it closes
the connection that deserves it most, and counts it as ``bad``: a client asks again under the same ids.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

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
"""What ``sockaddr_un`` holds."""
CONNECTIONS_MAX = 256
"""Connections of a server. Every process of a run has one, and every operator's command."""
HELD_BYTES_MAX = 8 * 1024 * 1024
"""What a server holds of all clients together: unfinished messages, and requests that wait to be taken."""
_READ_BYTES = 64 * 1024
_UNSENT_BYTES_MAX = 4 * 1024 * 1024
"""Replies kept for a client that does not read; it is dropped beyond."""
_UNSENT_BYTES_SUM_MAX = 4 * _UNSENT_BYTES_MAX
"""Replies kept for all clients together."""
_WAITING_MAX = 65536
"""Requests that wait to be taken."""
_BACKLOG = 256
_AGAIN_S = 0.01
"""Pause before a connection is tried again."""
_ACCEPTS = 32
"""Connections taken in one turn of the loop."""
_ACCEPT_AGAIN_S = 0.1
"""Pause after the system had no descriptor for a connection; it would say so again at once."""
_HEAD = struct.Struct("<IB")
"""Bytes that follow, bytes of the request id."""


def path_of(endpoint: str) -> str:
    """The socket's path. Raises ``TransportError`` for one that is too long."""
    path = endpoint.removeprefix(SCHEME)
    size = len(os.fsencode(path))
    if size > PATH_BYTES_MAX:
        raise TransportError(
            f"{endpoint}: the path is {size} bytes long, a socket's may have {PATH_BYTES_MAX}; "
            "choose a shorter run directory"
        )
    return path


def encode(request_id: bytes, payload: bytes) -> bytes:
    """A message on the wire."""
    version, *_ = pack(request_id, payload)
    return b"".join(
        (
            _HEAD.pack(1 + len(version) + len(request_id) + len(payload), len(request_id)),
            version,
            request_id,
            payload,
        )
    )


def new_buffer() -> memoryview:
    """What lines read into. It is kept: making one anew for each read costs 20 µs."""
    return memoryview(bytearray(_READ_BYTES))


class Messages:
    """Cuts a stream of bytes into messages of at most ``size_max`` bytes."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._waiting = bytearray()

    @property
    def unfinished(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._waiting)

    def feed(self, data: bytes | memoryview) -> list[tuple[bytes, bytes] | None]:
        """(request id, payload) of each message that is whole now; None for one of another version.

        Raises ``ValueError`` when these cannot be messages at all.
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


class Line:
    """One side of a connection. ``on_message`` gets what comes, ``on_end`` is called once when it is over."""

    def __init__(
        self,
        connection: socket.socket,
        size_max: int,
        buffer: memoryview,
        on_message: Callable[["Line", tuple[bytes, bytes] | None], None],
        on_end: Callable[["Line"], None],
        on_read: Callable[["Line"], None] | None = None,
    ) -> None:
        """``size_max``: of a message that comes. ``buffer``: to read into, lines of one loop may share it.

        ``on_read`` is called after each read whose messages were handed over, if the line is still open.
        """
        connection.setblocking(False)
        self._socket = connection
        self._on_message = on_message
        self._on_end = on_end
        self._on_read = on_read
        self._messages = Messages(size_max)
        self._buffer = buffer
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)
        self.is_open = True

    @property
    def unfinished(self) -> int:
        """Bytes of a message that is not whole yet."""
        return self._messages.unfinished

    @property
    def unsent(self) -> int:
        """Bytes that the other side has not read yet."""
        return len(self._unsent)

    def send(self, message: bytes) -> bool:
        """Send, at once or when the other side reads again; whether that can still be."""
        if not self.is_open:
            return False
        if self._unsent:
            self._unsent += message
        else:
            try:
                sent = self._socket.send(message)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.end()
                return False
            if sent < len(message):
                self._unsent += message[sent:]
                self._loop.add_writer(self._socket.fileno(), self._write)
        if len(self._unsent) > _UNSENT_BYTES_MAX:
            self.end()
        return self.is_open

    def end(self) -> None:
        """Close. May be called again."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._on_end(self)

    def _read(self) -> None:
        try:
            size = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            size = 0
        if not size:
            self.end()
            return
        try:
            found = self._messages.feed(self._buffer[:size])
        except ValueError:
            self._on_message(self, None)
            self.end()
            return
        for message in found:
            if self.is_open:
                self._on_message(self, message)
        if self.is_open and self._on_read is not None:
            self._on_read(self)

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.end()
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._socket.fileno())


class UnixChannel:
    """The asking side: implements ``request.Channel``. Connects, and again if need be, when there is a question."""

    WINDOW = 64

    def __init__(self, endpoint: str, on_reply: Callable[[tuple[bytes, bytes] | None], None]) -> None:
        self._path = path_of(endpoint)
        self._on_reply = on_reply
        self._line: Line | None = None
        self._questions: dict[bytes, bytes] = {}
        """Those without a reply, as they go over the wire."""
        self._again: asyncio.TimerHandle | None = None
        self._buffer = new_buffer()

    def send(self, request_id: bytes, payload: bytes) -> None:
        """Ask, as soon as somebody listens."""
        message = self._questions[request_id] = encode(request_id, payload)
        if self._line is not None:
            self._line.send(message)
        elif self._again is None:
            self._connect()

    def drop(self) -> None:
        """Forget the questions and the connection."""
        self._questions.clear()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._line is not None:
            self._line.end()

    def _connect(self) -> None:
        self._again = None
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(self._path)
        except OSError:  # not there yet, or its queue is full
            connection.close()
            self._retry()
            return
        self._line = line = Line(connection, REPLY_BYTES_MAX, self._buffer, self._heard, self._lost)
        for message in tuple(self._questions.values()):
            line.send(message)

    def _heard(self, _: Line, message: tuple[bytes, bytes] | None) -> None:
        if message is not None:
            self._questions.pop(message[0], None)
        self._on_reply(message)

    def _lost(self, _: Line) -> None:
        self._line = None
        if self._questions:  # ask whoever comes in its place: under their ids that is safe
            self._retry()

    def _retry(self) -> None:
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(_AGAIN_S, self._connect)


class _Client:
    """What the answering side knows of a connection."""

    def __init__(self, last_heard: int) -> None:
        self.last_heard = last_heard
        """When it was heard last, in messages and connections of all; of a new one, when it came."""
        self.has_asked = False
        self.unfinished = 0
        """Its unfinished bytes that are in the sum of all."""
        self.waiting = 0
        """Bytes of its requests that are not taken yet."""


class UnixListener:
    """The answering side: implements ``serve.Listener``."""

    def __init__(self, endpoint: str) -> None:
        path = path_of(endpoint)
        self._clients: dict[Line, _Client] = {}
        self._waiting: list[tuple[Line, bytes, bytes]] = []
        self._held = 0
        """Bytes of unfinished messages and of requests that are not taken yet."""
        self._order = 0
        self._buffer = new_buffer()
        self._on_ready: Callable[[], None] | None = None
        self._soon: asyncio.Handle | None = None
        self._accepting: asyncio.TimerHandle | None = None
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
        self._accept_from_now_on()

    def take(self, limit: int) -> list[Asked]:
        """Up to ``limit`` waiting requests."""
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        for line, request_id, payload in taken:
            size = len(request_id) + len(payload)
            self._held -= size
            client = self._clients.get(line)
            if client is not None:
                client.waiting -= size
        return [
            Asked(request_id, payload, partial(self._reply, line, request_id))
            for line, request_id, payload in taken
        ]

    def close(self) -> None:
        """Close all. May be called again."""
        if self._soon is not None:
            self._soon.cancel()
        if self._accepting is not None:
            self._accepting.cancel()
        if self._on_ready is not None and self._listener.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        for line in tuple(self._clients):
            line.end()

    def _reply(self, line: Line, request_id: bytes, payload: bytes) -> None:
        if not line.send(encode(request_id, payload)):  # it will ask again, and the reply is stored
            self.unsent += 1
        elif line.unsent and sum(one.unsent for one in self._clients) > _UNSENT_BYTES_SUM_MAX:
            self._drop(max(self._clients, key=lambda one: one.unsent))

    def _accept_from_now_on(self) -> None:
        self._accepting = None
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):  # no more, or gone again
                return
            except OSError:  # no descriptor is left
                self.bad += 1
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listener.fileno())
                self._accepting = loop.call_later(_ACCEPT_AGAIN_S, self._accept_from_now_on)
                return
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        if len(self._clients) >= CONNECTIONS_MAX:
            self._drop(min(self._clients, key=self._worth))
        self._order += 1
        line = Line(connection, REQUEST_BYTES_MAX, self._buffer, self._heard, self._ended, self._account)
        self._clients[line] = _Client(self._order)

    def _worth(self, line: Line) -> tuple[bool, int]:
        """Who has never asked goes first, then who was not heard for the longest time: a worker is neither."""
        client = self._clients[line]
        return client.has_asked, client.last_heard

    def _heard(self, line: Line, message: tuple[bytes, bytes] | None) -> None:
        if message is None:
            self.bad += 1
            return
        if len(self._waiting) >= _WAITING_MAX:  # whoever asks without waiting for replies
            self._drop(line)
            return
        size = len(message[0]) + len(message[1])
        client = self._clients[line]
        client.has_asked = True
        client.waiting += size
        self._order += 1
        client.last_heard = self._order
        self._held += size
        self._waiting.append((line, *message))
        if self._soon is None:  # all that came in this turn is one batch
            self._soon = asyncio.get_running_loop().call_soon(self._ready)

    def _account(self, line: Line) -> None:
        """Add up what is held after a read; where it is too much, whoever holds most has to go, with its requests."""
        client = self._clients[line]
        self._held += line.unfinished - client.unfinished
        client.unfinished = line.unfinished
        while self._held > HELD_BYTES_MAX and self._clients:
            largest = max(self._clients, key=lambda one: self._held_of(self._clients[one]))
            if not self._held_of(self._clients[largest]):
                return  # requests of clients that have gone: they are about to be taken
            self._forget_requests(largest)
            self._drop(largest)

    @staticmethod
    def _held_of(client: _Client) -> int:
        return client.unfinished + client.waiting

    def _forget_requests(self, line: Line) -> None:
        self._waiting = [one for one in self._waiting if one[0] is not line]
        client = self._clients[line]
        self._held -= client.waiting
        client.waiting = 0

    def _drop(self, line: Line) -> None:
        self.bad += 1
        line.end()

    def _ended(self, line: Line) -> None:
        """Its requests are answered all the same: they may be the last words of a worker."""
        self._held -= self._clients.pop(line).unfinished

    def _ready(self) -> None:
        self._soon = None
        assert self._on_ready is not None
        self._on_ready()
        if self._waiting:
            self._soon = asyncio.get_running_loop().call_soon(self._ready)
