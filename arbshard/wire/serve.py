"""The answering side of REQ/REP: takes all that waits and answers it as one batch.

Risk and the supervisor's control socket are such servers. ``ask`` is the command line's way to put one question.
"""

import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic, sleep
from types import TracebackType
from typing import Protocol, Self

import zmq

from arbshard.crashpoint import reach
from arbshard.errors import ProtocolError, RequestTimeout, TransportError
from arbshard.wire.envelope import REPLY_BYTES_MAX, pack, require_size, unpack
from arbshard.wire.replies import Asked, Handler, StoredReplies
from arbshard.wire.sockets import SocketReader, open_socket, receive
from arbshard.wire.unix import SCHEME, Messages, UnixListener, encode, path_of

_BATCH = 1024
_HIGH_WATER = 4096
_READ_BYTES = 64 * 1024
_PAUSE_S = 0.01
_PAUSE_MAX_S = 0.2
"""Between two tries to connect, growing."""


class Listener(Protocol):
    """Where requests come in."""

    bad: int
    """Messages that are not requests of this version, and connections closed because there was too much."""
    unsent: int
    """Replies whose asker had gone, or does not read."""

    def start(self, on_ready: Callable[[], None]) -> None:
        """Call ``on_ready`` in the running loop whenever requests wait."""
        ...

    def take(self, limit: int) -> Sequence[Asked]:
        """Up to ``limit`` waiting requests."""
        ...

    def close(self) -> None:
        """Close. May be called again."""
        ...


class ReplyServer:
    """Binds ``endpoint`` and those of ``also``; ``handler`` gets the payloads of all new requests that wait at once.

    A repeated request id gets its stored reply and ``handler`` never hears of it. Endpoints are ``unix://`` or
    ZeroMQ's own. Raises ``TransportError``.
    """

    def __init__(
        self, endpoint: str, handler: Handler, stored_replies: int = 65536, *, also: Sequence[str] = ()
    ) -> None:
        self._listeners: list[Listener] = []
        try:
            for each in (endpoint, *also):
                self._listeners.append(UnixListener(each) if each.startswith(SCHEME) else _ZmqListener(each))
        except TransportError:
            self.close()
            raise
        self.endpoint = endpoint
        self._handler = handler
        self._replies = StoredReplies(stored_replies)
        self._on_error: Callable[[Exception], None] | None = None
        self.requests = 0
        """Requests answered, repeated ones included."""
        self.batches = 0

    @property
    def repeated(self) -> int:
        """Requests answered from the store."""
        return self._replies.repeated

    @property
    def bad(self) -> int:
        """Messages that are not requests of this version, and connections closed because there was too much."""
        return sum(listener.bad for listener in self._listeners)

    @property
    def unsent(self) -> int:
        """Replies whose asker had gone, or does not read."""
        return sum(listener.unsent for listener in self._listeners)

    def start(self, on_error: Callable[[Exception], None]) -> None:
        """Answer in the running loop from now on.

        When the handler raises, the server stops for good and hands the exception to ``on_error``: nobody is
        answered wrongly, and the owner decides how its process ends.
        """
        assert self._on_error is None, "started already"
        self._on_error = on_error
        for listener in self._listeners:
            listener.start(self._serve)

    def _serve(self) -> None:
        assert self._on_error is not None
        try:
            self.step()
        except Exception as error:  # noqa: BLE001 -- handed to the owner, who ends the process
            self.close()
            self._on_error(error)

    def step(self) -> int:
        """Answer what waits now, at most 1024 requests; their number. Raises what the handler raises."""
        asked = [one for listener in self._listeners for one in listener.take(_BATCH)]
        if not asked:
            return 0
        batch = [(one.request_id, one.payload) for one in asked]
        replies = self._replies.answer(batch, self._handler)
        self.batches += 1
        self.requests += len(batch)
        for one, reply in zip(asked, replies, strict=True):
            one.reply(reply)
        reach("after_answer")
        return len(batch)

    def close(self) -> None:
        """Close the sockets. May be called again."""
        for listener in self._listeners:
            listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _ZmqListener:
    """Implements ``Listener`` by a ROUTER socket."""

    def __init__(self, endpoint: str) -> None:
        self.socket = open_socket(zmq.ROUTER, endpoint, bind=True, high_water=_HIGH_WATER)
        # Otherwise a reply that cannot be delivered would vanish uncounted.
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._reader: SocketReader | None = None
        self.bad = 0
        self.unsent = 0

    def start(self, on_ready: Callable[[], None]) -> None:
        self._reader = SocketReader(self.socket, on_ready)

    def take(self, limit: int) -> list[Asked]:
        taken: list[Asked] = []
        for _ in range(limit):
            frames = receive(self.socket)
            if frames is None:
                break
            # A REQ socket's message comes as its identity, an empty frame, and what was sent.
            request = unpack(frames[2:]) if len(frames) > 2 and frames[1] == b"" else None
            if request is None:
                self.bad += 1
                continue
            taken.append(Asked(*request, partial(self._reply, frames[0], request[0])))
        return taken

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self.socket.close()

    def _reply(self, route: bytes, request_id: bytes, payload: bytes) -> None:
        try:
            self.socket.send_multipart((route, b"", *pack(request_id, payload)), zmq.NOBLOCK)
        except zmq.ZMQError:  # it will ask again, and the reply is stored
            self.unsent += 1
        if self._reader is not None:
            self._reader.poke()


def ask(endpoint: str, payload: bytes, timeout_ms: int) -> bytes:
    """Put one question to a ``unix://`` endpoint and wait for its answer; for programs without a loop.

    Where nobody listens yet, it waits for a server as long as for an answer.

    Raises ``RequestTimeout`` (nobody answered; whether it was acted on is unknown), ``ProtocolError`` (not an
    answer to this question), ``TransportError``.
    """
    require_size(endpoint, payload)
    request_id = os.urandom(16)
    deadline_s = monotonic() + timeout_ms / 1000
    late = f"{endpoint}: no reply within {timeout_ms} ms"
    with _connected(path_of(endpoint), deadline_s, late) as line:
        messages = Messages(REPLY_BYTES_MAX)
        found: list[tuple[bytes, bytes] | None] = []
        try:
            line.sendall(encode(request_id, payload))
            while not found:
                line.settimeout(max(deadline_s - monotonic(), _PAUSE_S))
                data = line.recv(_READ_BYTES)
                if not data:
                    raise RequestTimeout(f"{endpoint}: the connection ended before the reply")
                found = messages.feed(data)
        except TimeoutError as error:
            raise RequestTimeout(late) from error
        except ValueError as error:
            raise ProtocolError(f"{endpoint}: the reply is not a message") from error
        except OSError as error:
            raise RequestTimeout(
                f"{endpoint}: the connection ended before the reply: {error.strerror}"
            ) from error
    reply = found[0]
    if reply is None or reply[0] != request_id:
        raise ProtocolError(f"{endpoint}: the reply is not one to this question")
    return reply[1]


def _connected(path: str, deadline_s: float, late: str) -> socket.socket:
    """Raises ``RequestTimeout`` with the words ``late`` if nobody listens until then."""
    pause_s = _PAUSE_S
    while True:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            line.settimeout(max(deadline_s - monotonic(), _PAUSE_S))
            line.connect(path)
        except OSError as error:  # not there yet, or its queue is full
            line.close()
            if monotonic() + pause_s >= deadline_s:
                raise RequestTimeout(late) from error
            sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)
        else:
            return line
