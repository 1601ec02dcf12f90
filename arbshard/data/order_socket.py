"""``SocketVenueClient`` makes calls about orders over a venue's WebSocket, and all other calls over HTTP.

While the WebSocket is down every call is made over HTTP. A call that was sent and whose answer was lost with the
connection raises ``NoAnswer``, as over HTTP, and is never made a second time: its order is asked about. When the
venue ends the logon of a connection, the next one logs on again, and until then each call is signed, over HTTP.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import NamedTuple

from arbshard.clock import Clock
from arbshard.data.clients import HttpVenueClient
from arbshard.data.reconnect import Backoff
from arbshard.data.stream import Opener, Receiver, Stream, Target, open_stream
from arbshard.errors import FrameError, VenueUnavailable
from arbshard.log import get_logger
from arbshard.secret import Secret
from arbshard.venues.base.client import Answer, LogonLost, NoAnswer, PreparedCall, Veto
from arbshard.venues.base.order_socket import OrderSocket, SocketAnswer, SocketLeaving, SocketLogonLost
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.keys import Keys

_DETAIL_MAX = 200
_WAITING_MAX = 256
"""Calls that may wait for their answers on one connection; any further call is made over HTTP."""


class _Logon(NamedTuple):
    """Is the message that makes a connection known."""

    message_id: str
    message: Secret


class SocketVenueClient:
    """Is a ``VenueClient`` with a WebSocket for orders beside an ``HttpVenueClient``."""

    def __init__(
        self,
        venue: str,
        socket: OrderSocket,
        target: Target,
        keys: Keys,
        http: HttpVenueClient,
        clock: Clock,
        timeout_s: float,
        receiver: Receiver = "auto",
        opener: Opener = open_stream,
        name: str = "",
    ) -> None:
        """Begin without a connection: ``keep_open`` opens it. ``timeout_s``: how long an answer is waited for.

        ``name`` seeds the random part of its pauses, so that processes do not all connect at the same moments.
        """
        self.venue = venue
        self._socket = socket
        self._target = target
        self._keys = keys
        self._http = http
        self._clock = clock
        self._timeout_s = timeout_s
        self._receiver: Receiver = receiver
        self._open = opener
        self._name = name
        self._line: _OrderLine | None = None
        """The newest connection that was usable."""

    @property
    def is_up(self) -> bool:
        """Return whether calls about orders are made over the WebSocket."""
        return self._line is not None and self._line.has_room

    def call(
        self,
        request: VenueRequest,
        on_sent: Callable[[], None] | None = None,
        prepared: PreparedCall | None = None,
        objection: Veto | None = None,
    ) -> Coroutine[None, None, Answer]:
        """Make a call, as ``VenueClient`` does."""
        line = self._line_for(request)
        if line is None:
            return self._http.call(request, on_sent, prepared, objection)
        if (
            prepared is None
            or not isinstance(prepared.signed, Secret)
            or not self._http.is_recent(prepared.moment)
        ):
            prepared = self._sign(request)
        assert isinstance(prepared.signed, Secret)
        try:
            return line.ask(prepared.moment.nonce, prepared.signed, on_sent)
        except VenueUnavailable:  # it has just ended, and nothing was sent over it
            return self._http.call(request, on_sent, None, objection)

    def prepare(self, request: VenueRequest) -> PreparedCall | None:
        """Sign a call, as ``VenueClient`` does."""
        return self._http.prepare(request) if self._line_for(request) is None else self._sign(request)

    async def keep_open(self) -> None:
        """Keep the WebSocket open, as ``VenueClient`` does. A new connection is open before an old one is left."""
        backoff = Backoff(Random(f"{self.venue}:orders:{self._name}"))
        async with asyncio.TaskGroup() as lines:
            while True:
                line = _OrderLine(self.venue, self._socket, self._timeout_s)
                lines.create_task(line.run(self._opener_for(line), self._logon()))
                held_ns = 0
                if await line.opened:
                    opened_ns = self._clock.monotonic_ns()
                    if self._line is not None:
                        self._line.retire()
                    self._line = line
                    get_logger().info("order socket on", venue=self.venue)
                    await line.until_successor_is_wanted(self._socket.life_s)
                    held_ns = self._clock.monotonic_ns() - opened_ns
                pause_s = backoff.after_loss(held_ns)
                get_logger().warning(
                    "order socket", venue=self.venue, why=line.why, again_in_s=round(pause_s, 2)
                )
                await asyncio.sleep(pause_s)

    def set_clock(self, ahead_ms: int) -> None:
        """Sign with the venue's time, as ``VenueClient`` does."""
        self._http.set_clock(ahead_ms)

    async def close(self) -> None:
        """Close the connections over HTTP, as ``VenueClient`` does; cancelling ``keep_open`` closes the WebSocket."""
        await self._http.close()

    def _line_for(self, request: VenueRequest) -> "_OrderLine | None":
        """Return the connection over which the call is to be made; None for HTTP."""
        line = self._line
        return line if line is not None and line.has_room and self._socket.carries(request) else None

    def _sign(self, request: VenueRequest) -> PreparedCall:
        moment = self._http.moment()
        return PreparedCall(request, moment, self._socket.encode(request, self._keys, moment))

    def _logon(self) -> _Logon | None:
        moment = self._http.moment()
        message = self._socket.logon(self._keys, moment)
        return _Logon(moment.nonce, message) if message is not None else None

    def _opener_for(self, line: "_OrderLine") -> AbstractAsyncContextManager[Stream]:
        return self._open(self._target, line.on_message, self._clock.monotonic_ns, self._receiver)


class _OrderLine:
    """Is one connection, from its opening to its end."""

    def __init__(self, venue: str, socket: OrderSocket, timeout_s: float) -> None:
        self.opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """Becomes True when it takes calls, and False when it has ended before that."""
        self.why = ""
        """Why another connection is wanted."""
        self._venue = venue
        self._socket = socket
        self._timeout_s = timeout_s
        self._is_usable = False
        self._is_logged_on = False
        """Whether the connection is logged on, so that its calls need no signatures."""
        self._stream: Stream | None = None
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        """The calls without an answer, by the ids of their messages."""
        self._successor_wanted = asyncio.Event()
        self._retired = asyncio.Event()
        self._unreadable = ""
        """What was wrong with the last frame that could not be read."""

    @property
    def has_room(self) -> bool:
        """Return whether it takes a further call."""
        return self._is_usable and len(self._waiting) < _WAITING_MAX

    async def run(self, opening: AbstractAsyncContextManager[Stream], logon: _Logon | None) -> None:
        """Open it and serve calls, until it is lost or retired."""
        over: asyncio.Future[str] | None = None
        try:
            async with opening as self._stream:
                over = asyncio.ensure_future(self._stream.until_over())
                await self._serve(over, logon)
        except VenueUnavailable as error:
            self.why = self.why or str(error)
        finally:
            if (
                over is not None
            ):  # it is cancelled only now, because picows would then not wait for the end of the socket
                over.cancel()
            self._is_usable = False
            self._stream = None
            for answer in tuple(self._waiting.values()):
                if not answer.done():
                    answer.set_exception(NoAnswer(f"{self._venue}: the connection has ended", sent=True))
            self._successor_wanted.set()
            if not self.opened.done():
                self.opened.set_result(False)

    def ask(
        self, message_id: str, message: Secret, on_sent: Callable[[], None] | None
    ) -> Coroutine[None, None, Answer]:
        """Send a message at once; what is returned waits for its answer and raises ``NoAnswer``.

        Raises ``VenueUnavailable`` when the connection is over, so that nothing was sent.
        """
        stream = self._stream
        assert stream is not None, self._venue
        try:
            message.use(stream.write)
        except VenueUnavailable:
            self._is_usable = False
            raise
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[message_id] = answer
        answer.add_done_callback(lambda _: self._waiting.pop(message_id))
        if on_sent is not None:
            on_sent()
        return self._answer_in_time(answer)

    async def _answer_in_time(self, answer: asyncio.Future[Answer]) -> Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError:
            # A connection over which nothing comes back gets no further call.
            self._want_successor("a call was not answered in time")
            self.retire()
            raise NoAnswer(f"{self._venue}: TimeoutError", sent=True) from None

    def retire(self) -> None:
        """Close it as soon as no call waits for an answer. No further call is made over it."""
        self._is_usable = False
        self._retired.set()

    async def until_successor_is_wanted(self, life_s: float) -> None:
        """Wait until another connection is needed: it was lost, or will be."""
        try:
            async with asyncio.timeout(life_s):
                await self._successor_wanted.wait()
        except TimeoutError:
            self._want_successor("the connection is replaced before the venue ends it")

    def on_message(self, frame: bytes, received_ns: int) -> None:
        """Hand an answer to the call that waits for it."""
        del received_ns
        try:
            message = self._socket.read(frame)
        except FrameError as error:
            if str(error) != self._unreadable:  # one line for a series of equal problems
                self._unreadable = str(error)
                get_logger().error("unreadable answer", venue=self._venue, error=self._unreadable)
            return
        match message:
            case SocketAnswer(message_id, answer):
                self._take(message_id, answer)
            case SocketLeaving():
                self._want_successor("the venue announced the end of the connection")
            case SocketLogonLost(detail):
                self._lose_logon(detail)
                for waiting in tuple(self._waiting.values()):  # which of them it ended is not known
                    if not waiting.done():
                        waiting.set_exception(LogonLost(f"{self._venue}: {self.why}", sent=True))
            case None:
                pass

    def _take(self, message_id: str, answer: Answer) -> None:
        waiting = self._waiting.get(message_id)
        if waiting is None or waiting.done():
            get_logger().warning("an answer to no call", venue=self._venue, status=answer.status)
            return
        if self._is_logged_on and self._socket.needs_logon(answer):
            self._lose_logon("a call was refused for lack of a signature")
            waiting.set_exception(LogonLost(f"{self._venue}: {self.why}", sent=False))
            return
        if self._is_logged_on and self._socket.refuses_key(answer):
            self._lose_logon("the key was refused")
        waiting.set_result(answer)

    def _lose_logon(self, why: str) -> None:
        """Make no further call over a connection that the venue does not regard as logged on.

        It is closed without a successor, which perhaps cannot log on for hours.
        """
        self._want_successor(f"the logon has ended: {why}")
        self.retire()

    def _want_successor(self, why: str) -> None:
        self.why = self.why or why
        self._successor_wanted.set()

    async def _serve(self, over: asyncio.Future[str], logon: _Logon | None) -> None:
        steps = [asyncio.ensure_future(self._log_on(logon)), asyncio.ensure_future(self._until_idle())]
        try:
            for step in steps:
                await asyncio.wait((step, over), return_when=asyncio.FIRST_COMPLETED)
                if over.done():
                    self.why = self.why or over.result()
                    return
                await step
        finally:
            for step in steps:
                step.cancel()
            await asyncio.gather(*steps, return_exceptions=True)

    async def _log_on(self, logon: _Logon | None) -> None:
        if logon is not None:
            answer = await self.ask(logon.message_id, logon.message, None)
            if answer.status != 200:
                said = answer.body[:_DETAIL_MAX].decode(errors="replace")
                raise VenueUnavailable(f"the logon was refused: {said}")
            self._is_logged_on = True
        self._is_usable = True
        self.opened.set_result(True)

    async def _until_idle(self) -> None:
        await self._retired.wait()
        while waiting := [answer for answer in self._waiting.values() if not answer.done()]:
            await asyncio.wait(waiting)
