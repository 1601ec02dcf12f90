"""The asking side of REQ/REP, as a Lazy Pirate: time out, drop the connection, resend under the same request id.

A few questions are out at a time (over ZeroMQ one, as REQ wants it); what comes at once is one batch for the server.
The others wait in a bounded queue, lower priority number first, then in the order they came. Used by workers
towards risk.
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
from arbshard.wire.envelope import REPLY_BYTES_MAX, pack, require_size, unpack
from arbshard.wire.sockets import Socket, SocketReader, open_socket, receive
from arbshard.wire.unix import SCHEME, UnixChannel

_HIGH_WATER = 16


class Channel(Protocol):
    """Carries questions to the server. Made with a callable that is given what comes back.

    That is (request id, payload), or None for what is no reply of this version.
    """

    WINDOW: int
    """How many questions may be out at a time."""

    def send(self, request_id: bytes, payload: bytes) -> None:
        """Ask. Raises ``TransportError`` when that cannot be."""
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
    """When its try is over, by the loop's clock."""


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
        self._out: dict[bytes, _Question] = {}
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
        """Replies to no question that is out, or not replies at all; dropped."""
        self.refused = 0
        """Questions not taken because the queue was full."""

    async def request(self, payload: bytes, *, priority: int = 0, request_id: bytes | None = None) -> bytes:
        """The reply's payload.

        Raises ``RequestTimeout`` when no try was answered (the server may have acted all the same: ask again
        under the same ``request_id``), ``TransportError`` when the queue is full, the client is closed, or the server
        would not take so large a payload.
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
            same.answer = answer  # whoever asked before has given up, its reply is still to come
            return await answer
        question = _Question(priority, self._serial, request_id, payload, answer, self._tries)
        heapq.heappush(self._queue, question)
        self._next()
        return await answer

    def _next(self) -> None:
        """Send what may go out."""
        while len(self._out) < self._channel.WINDOW and self._queue:
            question = heapq.heappop(self._queue)
            if question.answer.done():  # cancelled while it waited
                continue
            if self._send(question):
                self.sent += 1

    def _send(self, question: _Question) -> bool:
        """Begin a try of ``question``; whether that could be."""
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

    def _heard(self, reply: tuple[bytes, bytes] | None) -> None:
        question = self._out.pop(reply[0], None) if reply is not None else None
        if question is None or reply is None:
            # One reply is heard per try: the right one can now only come on another.
            self.late += 1
            return
        if not question.answer.done():
            question.answer.set_result(reply[1])
        self._next()

    def _on_timer(self) -> None:
        """The first try may be over. Its connection is dropped, so whatever else is out goes out anew."""
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _ZmqChannel:
    """Implements ``Channel`` by a REQ socket, made anew whenever its reply did not come."""

    WINDOW = 1

    def __init__(self, endpoint: str, on_reply: Callable[[tuple[bytes, bytes] | None], None]) -> None:
        self._endpoint = endpoint
        self._on_reply = on_reply
        self._socket: Socket | None = None
        self._reader: SocketReader | None = None

    def send(self, request_id: bytes, payload: bytes) -> None:
        if self._socket is None:
            self._socket = open_socket(
                zmq.REQ, self._endpoint, bind=False, high_water=_HIGH_WATER, frame_max=REPLY_BYTES_MAX
            )
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
