"""Answers requests: takes all requests that wait and answers them as one batch.

Risk and the supervisor's control socket are such servers.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

from typing_extensions import override

from arbshard.closable import Closable
from arbshard.crashpoint import reach
from arbshard.errors import TransportError
from arbshard.wire.replies import Asked, Handler, StoredReplies
from arbshard.wire.unix import SCHEME, UnixListener

_BATCH = 1024
HELD_MAX = 8192
HELD_BYTES_MAX = 32 * 1024 * 1024
"""Number of replies that are held at a time, and their bytes."""


class Listener(Protocol):
    """Receives requests."""

    bad: int
    """Number of messages that are not requests of this version, and of connections closed because there was too
    much.
    """
    unsent: int
    """Number of replies that could not be sent, because the client had gone or does not read."""

    def start(self, on_ready: Callable[[], None]) -> None:
        """Call ``on_ready`` in the running loop whenever requests wait."""
        ...

    def receive(self, limit: int) -> Sequence[Asked]:
        """Return up to ``limit`` waiting requests."""
        ...

    def close(self) -> None:
        """Close. May be called again."""
        ...


class ReplyServer(Closable):
    """Binds ``endpoint`` and those of ``also``; ``handler`` gets the payloads of all new requests that wait at once.

    A repeated request id gets its stored reply without a call of ``handler``. Endpoints are ``unix://`` or ZeroMQ's
    own; ``listeners`` are further ones, which it closes. Raises ``TransportError``.
    """

    def __init__(
        self,
        endpoint: str,
        handler: Handler,
        stored_replies: int = 65536,
        *,
        also: Sequence[str] = (),
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._listeners: list[Listener] = [*listeners]
        try:
            for each in (endpoint, *also):
                self._listeners.append(_listener_at(each))
        except TransportError:
            self.close()
            raise
        self.endpoint = endpoint
        self._handler = handler
        self._replies = StoredReplies(stored_replies)
        self._on_error: Callable[[Exception], None] | None = None
        self.requests = 0
        """Number of requests answered, repeated ones included."""
        self.batches = 0

    @property
    def repeated(self) -> int:
        """Return the number of requests answered from the store."""
        return self._replies.repeated

    @property
    def bad(self) -> int:
        """Return the number of messages that are not requests of this version, and of connections closed for too
        much data.
        """
        return sum(listener.bad for listener in self._listeners)

    @property
    def unsent(self) -> int:
        """Return the number of replies that could not be sent, because the client had gone or does not read."""
        return sum(listener.unsent for listener in self._listeners)

    def start(self, on_error: Callable[[Exception], None]) -> None:
        """Answer in the running loop from now on.

        When the handler raises, the server stops and gives the exception to ``on_error``: no client gets a wrong
        answer, and the owner decides how its process ends.
        """
        assert self._on_error is None, "started already"
        self._on_error = on_error
        for listener in self._listeners:
            listener.start(self.serve)

    def serve(self) -> None:
        """Answer what waits now, as the loop does in its next turn. An exception goes to ``on_error``."""
        assert self._on_error is not None
        try:
            self.step()
        except Exception as error:  # noqa: BLE001 -- handed to the owner, who ends the process
            self.close()
            self._on_error(error)

    def step(self) -> int:
        """Answer what waits now, at most 1024 requests. Return their number. Raises what the handler raises."""
        asked = [one for listener in self._listeners for one in listener.receive(_BATCH)]
        return self._answer(asked) if asked else 0

    def _answer(self, asked: Sequence[Asked]) -> int:
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


class HoldingReplyServer(ReplyServer):
    """Answers as ``ReplyServer`` does, but holds each reply until what it rests on is safe.

    A request that is repeated meanwhile is not handled again; its reply goes to the newest asker. What is asked
    beyond the bounds is not answered at all, so its client asks again. A reply to another host leaves earlier when
    that host makes it safe by storing what it rests on: it holds the reply until then.
    """

    def __init__(
        self,
        endpoint: str,
        handler: Handler,
        stored_replies: int = 65536,
        *,
        also: Sequence[str] = (),
        listeners: Sequence[Listener] = (),
    ) -> None:
        """Make a server that holds everything until ``rests_on`` and ``safe`` are set."""
        super().__init__(endpoint, handler, stored_replies, also=also, listeners=listeners)
        self.rests_on: Callable[[], int] = _nothing_is_safe
        """Returns the number of the last event, on which a reply that is made now rests."""
        self.safe: Callable[[], int] = _nothing_is_safe
        """Returns the number of the last event that is safe."""
        self.is_safe_with: Callable[[str, int], bool] = _with_nobody
        """Returns whether this event is safe as soon as this host has stored it, which it is about to do."""
        self._held: OrderedDict[bytes, tuple[int, Asked, bytes]] = OrderedDict()
        """By request id, in the order of the events that the replies rest on."""
        self._held_bytes = 0
        self.unanswered = 0
        """Number of requests that were not handled because too many replies were held."""

    @property
    def held(self) -> int:
        """Return the number of replies that wait."""
        return len(self._held)

    @override
    def _answer(self, asked: Sequence[Asked]) -> int:
        new: list[Asked] = []
        for one in asked:
            known = self._held.get(one.request_id)
            if known is not None:
                self._held[one.request_id] = known[0], one, known[2]
            elif len(self._held) + len(new) < HELD_MAX and self._held_bytes < HELD_BYTES_MAX:
                new.append(one)
            else:
                self.unanswered += 1
        if not new:
            return 0
        replies = self._replies.answer([(one.request_id, one.payload) for one in new], self._handler)
        self.batches += 1
        self.requests += len(new)
        seq, safe = self.rests_on(), self.safe()
        for one, reply in zip(new, replies, strict=True):
            if seq > safe and one.hand_over is not None and self.is_safe_with(one.host, seq):
                one.hand_over(reply, seq)
                continue
            if one.request_id not in self._held:
                self._held_bytes += len(reply)
            self._held[one.request_id] = seq, one, reply
        self.release()
        return len(new)

    def release(self) -> None:
        """Send the replies whose events are safe by now."""
        if not self._held:
            return
        safe = self.safe()
        while self._held:
            request_id, (seq, one, reply) = next(iter(self._held.items()))
            if seq > safe:
                return
            del self._held[request_id]
            self._held_bytes -= len(reply)
            one.reply(reply)

    @override
    def close(self) -> None:
        super().close()
        self._held.clear()
        self._held_bytes = 0


def _nothing_is_safe() -> int:
    return -1


def _with_nobody(_host: str, _seq: int) -> bool:
    return False


def _listener_at(endpoint: str) -> Listener:
    if endpoint.startswith(SCHEME):
        return UnixListener(endpoint)
    # ZeroMQ takes time to import, and most processes do not use it.
    from arbshard.wire.router import RouterListener

    return RouterListener(endpoint)
