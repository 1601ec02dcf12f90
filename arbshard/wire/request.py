"""The asking side of REQ/REP, as a Lazy Pirate: time out, drop the connection, resend under the same request id.

One question is out at a time. The others wait in a bounded queue, lower priority number first, then in the
order they came. Used by workers towards risk.
"""

import asyncio
import heapq
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import zmq

from arbshard.errors import RequestTimeout, TransportError
from arbshard.wire.envelope import pack, unpack
from arbshard.wire.sockets import Socket, SocketReader, open_socket, receive
from arbshard.wire.unix import SCHEME, UnixChannel

_HIGH_WATER = 16


class Channel(Protocol):
    """Carries one question at a time to the server. Made with a callable that is given what comes back.

    That is (request id, payload), or None for what is no reply of this version.
    """

    def send(self, request_id: bytes, payload: bytes) -> None:
        """Ask. Raises ``TransportError`` when that cannot be."""
        ...

    def drop(self) -> None:
        """Forget the question that is out: its reply must not be taken for the next one's."""
        ...


@dataclass(order=True)
class _Question:
    priority: int
    serial: int
    request_id: bytes = field(compare=False)
    payload: bytes = field(compare=False)
    answer: asyncio.Future[bytes] = field(compare=False)
    tries_left: int = field(compare=False)


class RequestClient:
    """Asks the server at ``endpoint`` (``unix://`` or ZeroMQ's own), there or not yet. For use in a running loop.

    A question waits ``timeout_ms`` for its reply on each of ``tries`` tries; time spent in the queue is not
    counted. At most ``queue_limit`` questions wait.
    """

    def __init__(self, endpoint: str, timeout_ms: float, tries: int, *, queue_limit: int = 1024) -> None:
        assert timeout_ms > 0, timeout_ms
        assert tries > 0, tries
        self.endpoint = endpoint
        self._timeout_s = timeout_ms / 1000
        self._tries = tries
        self._queue_limit = queue_limit
        self._queue: list[_Question] = []
        self._out: _Question | None = None
        is_unix = endpoint.startswith(SCHEME)
        self._channel: Channel = (UnixChannel if is_unix else _ZmqChannel)(endpoint, self._heard)
        self._timer: asyncio.TimerHandle | None = None
        self._id_prefix = os.urandom(8)
        self._serial = 0
        self._closed = False
        self.sent = 0
        """Questions sent, resends not counted."""
        self.retried = 0
        """Resends."""
        self.timed_out = 0
        """Questions given up."""
        self.late = 0
        """Replies to another question than the one that is out, or not replies at all; dropped."""
        self.refused = 0
        """Questions not taken because the queue was full."""

    async def request(self, payload: bytes, *, priority: int = 0, request_id: bytes | None = None) -> bytes:
        """The reply's payload.

        Raises ``RequestTimeout`` when no try was answered (the server may have acted all the same: ask again
        under the same ``request_id``), ``TransportError`` when the queue is full or the client is closed.
        """
        if self._closed:
            raise TransportError(f"{self.endpoint}: the client is closed")
        if len(self._queue) >= self._queue_limit:
            self.refused += 1
            raise TransportError("request queue full")
        self._serial += 1
        if request_id is None:
            request_id = self._id_prefix + self._serial.to_bytes(8, "little")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        question = _Question(priority, self._serial, request_id, payload, answer, self._tries)
        heapq.heappush(self._queue, question)
        self._next()
        return await answer

    def _next(self) -> None:
        """Send the next question, if none is out."""
        while self._out is None and self._queue:
            question = heapq.heappop(self._queue)
            if question.answer.done():  # cancelled while it waited
                continue
            self._out = question
            try:
                self._send(question)
            except TransportError as error:
                self._out = None
                question.answer.set_exception(error)
            else:
                self.sent += 1

    def _send(self, question: _Question) -> None:
        question.tries_left -= 1
        self._channel.send(question.request_id, question.payload)
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._on_timeout)

    def _heard(self, reply: tuple[bytes, bytes] | None) -> None:
        question = self._out
        if question is None or reply is None or reply[0] != question.request_id:
            # One reply is heard per question: the right one can now only come on another try.
            self.late += 1
            return
        self._finish()
        if not question.answer.done():
            question.answer.set_result(reply[1])
        self._next()

    def _on_timeout(self) -> None:
        question = self._out
        assert question is not None
        self._channel.drop()
        if question.tries_left > 0 and not question.answer.done():
            self.retried += 1
            try:
                self._send(question)
            except TransportError as error:
                self._fail(question, error)
            return
        self.timed_out += 1
        self._fail(
            question,
            RequestTimeout(f"{self.endpoint}: no reply to {self._tries} tries of {self._timeout_s} s"),
        )

    def _fail(self, question: _Question, error: TransportError) -> None:
        self._finish()
        if not question.answer.done():
            question.answer.set_exception(error)
        self._next()

    def _finish(self) -> None:
        self._out = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Close the socket; every question without a reply raises ``TransportError``. May be called again."""
        self._closed = True
        waiting = [self._out, *self._queue] if self._out is not None else list(self._queue)
        self._queue.clear()
        self._finish()
        self._channel.drop()
        for question in waiting:
            if not question.answer.done():
                question.answer.set_exception(TransportError(f"{self.endpoint}: the client was closed"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _ZmqChannel:
    """Implements ``Channel`` by a REQ socket, made anew whenever its reply did not come."""

    def __init__(self, endpoint: str, on_reply: Callable[[tuple[bytes, bytes] | None], None]) -> None:
        self._endpoint = endpoint
        self._on_reply = on_reply
        self._socket: Socket | None = None
        self._reader: SocketReader | None = None

    def send(self, request_id: bytes, payload: bytes) -> None:
        if self._socket is None:
            self._socket = open_socket(zmq.REQ, self._endpoint, bind=False, high_water=_HIGH_WATER)
            self._reader = SocketReader(self._socket, self._drain)
        try:
            self._socket.send_multipart(pack(request_id, payload), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            self.drop()
            raise TransportError(f"{self._endpoint}: cannot send: {error.strerror}") from error
        assert self._reader is not None
        self._reader.poke()

    def drop(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _drain(self) -> None:
        assert self._socket is not None
        frames = receive(self._socket)
        if frames is not None:
            self._on_reply(unpack(frames))
