"""Requests and replies over a Unix socket: what workers and risk use on one machine.

A message is its length and its frames. Where ZeroMQ hands a message from thread to thread on both sides, here one
system call sends it and one receives it: a question that comes after a pause is answered in a fifth of the time
(``perf``, stage "risk round trip"). Both ends are driven by the event loop; nothing here waits.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from arbshard.errors import TransportError
from arbshard.wire.envelope import ID_BYTES_MAX, VERSION, pack, unpack
from arbshard.wire.replies import Asked

SCHEME = "unix://"
PATH_BYTES_MAX = 107
"""What ``sockaddr_un`` holds."""
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_READ_BYTES = 64 * 1024
_UNSENT_BYTES_MAX = 4 * 1024 * 1024
"""Replies kept for a client that does not read; it is dropped beyond."""
_WAITING_MAX = 65536
"""Requests that wait to be taken."""
_BACKLOG = 256
_AGAIN_S = 0.01
"""Pause before a connection is tried again."""
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


class Messages:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes | memoryview) -> list[tuple[bytes, bytes] | None]:
        """(request id, payload) of each message that is whole now; None for one of another version.

        Raises ``ValueError`` when these cannot be messages at all.
        """
        self._waiting += data
        found: list[tuple[bytes, bytes] | None] = []
        while len(self._waiting) >= _HEAD.size:
            size, id_size = _HEAD.unpack_from(self._waiting)
            if not 1 <= size <= MESSAGE_BYTES_MAX or id_size > min(ID_BYTES_MAX, size):
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
        on_message: Callable[["Line", tuple[bytes, bytes] | None], None],
        on_end: Callable[["Line"], None],
    ) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._on_message = on_message
        self._on_end = on_end
        self._messages = Messages()
        self._buffer = memoryview(bytearray(_READ_BYTES))  # kept: making one anew for each read costs 20 µs
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)
        self.is_open = True

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
            self._on_message(self, message)

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
        self._line = line = Line(connection, self._heard, self._lost)
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


class UnixListener:
    """The answering side: implements ``serve.Listener``."""

    def __init__(self, endpoint: str) -> None:
        path = path_of(endpoint)
        self._lines: set[Line] = set()
        self._waiting: list[tuple[Line, bytes, bytes]] = []
        self._on_ready: Callable[[], None] | None = None
        self._soon: asyncio.Handle | None = None
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
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def take(self, limit: int) -> list[Asked]:
        """Up to ``limit`` waiting requests."""
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        return [
            Asked(request_id, payload, partial(self._reply, line, request_id))
            for line, request_id, payload in taken
        ]

    def close(self) -> None:
        """Close all. May be called again."""
        if self._soon is not None:
            self._soon.cancel()
        if self._on_ready is not None and self._listener.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        for line in tuple(self._lines):
            line.end()

    def _reply(self, line: Line, request_id: bytes, payload: bytes) -> None:
        if not line.send(encode(request_id, payload)):  # it will ask again, and the reply is stored
            self.unsent += 1

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # gone again
            return
        self._lines.add(Line(connection, self._heard, self._lines.discard))

    def _heard(self, line: Line, message: tuple[bytes, bytes] | None) -> None:
        if message is None:
            self.bad += 1
            return
        if len(self._waiting) >= _WAITING_MAX:  # whoever asks without waiting for replies
            self.bad += 1
            line.end()
            return
        self._waiting.append((line, *message))
        if self._soon is None:  # all that came in this turn is one batch
            self._soon = asyncio.get_running_loop().call_soon(self._ready)

    def _ready(self) -> None:
        self._soon = None
        assert self._on_ready is not None
        self._on_ready()
        if self._waiting:
            self._soon = asyncio.get_running_loop().call_soon(self._ready)
