"""Asks by REQ/REP, as a Lazy Pirate: time out, drop the connection, resend under the same request id.

A few questions are out at a time (over ZeroMQ one, as REQ wants it); what arrives at once is one batch for the
server. The others wait in a bounded queue, lower priority number first, then in the order they came. Workers ask
risk with it.
"""

import asyncio
import heapq
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Protocol

from arbshard.closable import Closable
from arbshard.errors import ProtocolError, RequestTimeout, TransportError
from arbshard.wire.envelope import REPLY_BYTES_MAX, require_size
from arbshard.wire.unix import SCHEME, Messages, UnixChannel, encode, path_of

_READ_BYTES = 64 * 1024
_CONNECT_AGAIN_S = 0.01
_CONNECT_AGAIN_MAX_S = 0.2
"""Pause of ``ask`` between two tries to connect, in seconds: the first one, and the longest."""


class Channel(Protocol):
    """Carries questions to the server. It is made with a callable that receives each reply.

    The callable's argument is (request id, payload), or None for an invalid reply or one of another version.
    """

    WINDOW: int
    """How many questions may be out at a time."""

    def send(self, request_id: bytes, payload: bytes) -> None:
        """Send the question. Raises ``TransportError`` when that is not possible."""
        ...

    def drop(self) -> None:
        """Forget the questions that are out, and the connection: no late reply must come over it."""
        ...


@dataclass(order=True)
class _Question:
    priority: int
    serial: int
    request_id: bytes = field(compare=False)
    payload: bytes = field(compare=False)
    answer: asyncio.Future[bytes] = field(compare=False)
    tries_left: int = field(compare=False)
    due_s: float = field(compare=False, default=0.0)
    """Time at which its try is over, in seconds by the loop's clock."""


class RequestClient(Closable):
    """Asks the server at ``endpoint`` (``unix://`` or ZeroMQ's own), even before it listens. For use in a running
    loop.

    A question waits ``timeout_ms`` for its reply on each of ``tries`` tries; time spent in the queue is not counted.
    At most ``queue_limit`` questions wait.
    """

    def __init__(self, endpoint: str, timeout_ms: float, tries: int, *, queue_limit: int = 1024) -> None:
        assert timeout_ms > 0, timeout_ms
        assert tries > 0, tries
        self.endpoint = endpoint
        self._timeout_s = timeout_ms / 1000
        self._tries = tries
        self._queue_limit = queue_limit
        self._queue: list[_Question] = []
        self._out: dict[bytes, _Question] = {}
        self._channel = _channel_to(endpoint, self._on_reply)
        self._timer: asyncio.TimerHandle | None = None
        self._id_prefix = os.urandom(8)
        self._serial = 0
        self._closed = False
        self.sent = 0
        """Number of questions sent, resends not counted."""
        self.retried = 0
        """Number of resends."""
        self.timed_out = 0
        """Number of questions given up."""
        self.late = 0
        """Number of replies to no question that is out, and of invalid replies; all were dropped."""
        self.refused = 0
        """Number of questions refused because the queue was full."""

    def request(
        self, payload: bytes, *, priority: int = 0, request_id: bytes | None = None
    ) -> asyncio.Future[bytes]:
        """Ask, in this very call if no question waits, and return the reply's coming payload.

        Raises ``TransportError`` when the queue is full, the client is closed, or the server would not accept so
        large a payload; and through what is returned ``RequestTimeout`` when no try was answered (the server may have
        acted all the same: ask again under the same ``request_id``).
        """
        if self._closed:
            raise TransportError(f"{self.endpoint}: the client is closed")
        require_size(self.endpoint, payload)
        if len(self._queue) >= self._queue_limit:
            self.refused += 1
            raise TransportError("request queue full")
        self._serial += 1
        if request_id is None:
            request_id = self._id_prefix + self._serial.to_bytes(8, "little")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        same = self._out.get(request_id)
        if same is not None:
            if not same.answer.done():
                raise TransportError(f"{request_id!r} is asked already")
            same.answer = answer  # the earlier caller has given up, and the reply is still to come
            return answer
        question = _Question(priority, self._serial, request_id, payload, answer, self._tries)
        heapq.heappush(self._queue, question)
        self._next()
        return answer

    def _next(self) -> None:
        """Send the questions that may be sent now."""
        while len(self._out) < self._channel.WINDOW and self._queue:
            question = heapq.heappop(self._queue)
            if question.answer.done():  # cancelled while it waited
                continue
            if self._send(question):
                self.sent += 1

    def _send(self, question: _Question) -> bool:
        """Begin a try of ``question``. Return whether that was possible."""
        loop = asyncio.get_running_loop()
        question.tries_left -= 1
        question.due_s = loop.time() + self._timeout_s
        self._out[question.request_id] = question
        if self._timer is None:
            self._timer = loop.call_at(question.due_s, self._on_timer)
        return self._carry(question)

    def _carry(self, question: _Question) -> bool:
        try:
            self._channel.send(question.request_id, question.payload)
        except TransportError as error:
            self._finish(question, error)
            return False
        return True

    def _on_reply(self, reply: tuple[bytes, bytes] | None) -> None:
        question = self._out.pop(reply[0], None) if reply is not None else None
        if question is None or reply is None:
            # The channel reads one reply per try, so the right one can now only come on another try.
            self.late += 1
            return
        if not question.answer.done():
            question.answer.set_result(reply[1])
        self._next()

    def _on_timer(self) -> None:
        """Repeat the questions whose try is over. The connection is dropped, so all others that are out are sent
        anew.
        """
        self._timer = None
        now_s = asyncio.get_running_loop().time()
        if any(question.due_s <= now_s for question in self._out.values()):
            self._channel.drop()
            for question in tuple(self._out.values()):
                self._again(question, now_s)
            self._next()
        if self._out and self._timer is None:
            first_s = min(question.due_s for question in self._out.values())
            self._timer = asyncio.get_running_loop().call_at(first_s, self._on_timer)

    def _again(self, question: _Question, now_s: float) -> None:
        if question.due_s > now_s:
            # Its try is not over: it is sent again only because its connection was dropped.
            self._carry(question)
        elif question.tries_left > 0 and not question.answer.done():
            self.retried += 1
            self._send(question)
        else:
            self.timed_out += 1
            reason = f"{self.endpoint}: no reply to {self._tries} tries of {self._timeout_s} s"
            self._finish(question, RequestTimeout(reason))

    def _finish(self, question: _Question, error: TransportError) -> None:
        del self._out[question.request_id]
        if not question.answer.done():
            question.answer.set_exception(error)

    def close(self) -> None:
        """Close the socket; every question without a reply raises ``TransportError``. May be called again."""
        self._closed = True
        waiting = [*self._out.values(), *self._queue]
        self._queue.clear()
        self._out.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._channel.drop()
        for question in waiting:
            if not question.answer.done():
                question.answer.set_exception(TransportError(f"{self.endpoint}: the client was closed"))
                question.answer.exception()  # at the end of a process perhaps no caller waits for it any more


def _channel_to(endpoint: str, on_reply: Callable[[tuple[bytes, bytes] | None], None]) -> Channel:
    if endpoint.startswith(SCHEME):
        return UnixChannel(endpoint, on_reply)
    # ZeroMQ takes time to import, and most processes do not use it.
    from arbshard.wire.router import RouterChannel

    return RouterChannel(endpoint, on_reply)


def ask(endpoint: str, payload: bytes, timeout_ms: int) -> bytes:
    """Send one question to a ``unix://`` endpoint and return its answer; for programs without a loop.

    Where no server listens yet, it waits for one as long as for an answer. Raises ``RequestTimeout`` (no answer
    came; whether the server acted is unknown), ``ProtocolError`` (not an answer to this question) or
    ``TransportError``.
    """
    require_size(endpoint, payload)
    request_id = os.urandom(16)
    deadline_s = monotonic() + timeout_ms / 1000
    late = f"{endpoint}: no reply within {timeout_ms} ms"
    with _connected(path_of(endpoint), deadline_s, late) as connection:
        messages = Messages(REPLY_BYTES_MAX)
        found: list[tuple[bytes, bytes] | None] = []
        try:
            connection.sendall(encode(request_id, payload))
            while not found:
                connection.settimeout(max(deadline_s - monotonic(), _CONNECT_AGAIN_S))
                data = connection.recv(_READ_BYTES)
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
    """Return a connected socket. Raises ``RequestTimeout`` with the text ``late`` if no server listens until then."""
    pause_s = _CONNECT_AGAIN_S
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(deadline_s - monotonic(), _CONNECT_AGAIN_S))
            connection.connect(path)
        except OSError as error:  # no server listens yet, or its queue is full
            connection.close()
            if monotonic() + pause_s >= deadline_s:
                raise RequestTimeout(late) from error
            sleep(pause_s)
            pause_s = min(2 * pause_s, _CONNECT_AGAIN_MAX_S)
        else:
            return connection
