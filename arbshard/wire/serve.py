"""The answering side of REQ/REP: a ROUTER that takes all that waits and answers it as one batch.

Risk and the supervisor's control socket are such servers. ``ask`` is the command line's way to put one question.
"""

import os
from collections.abc import Callable
from types import TracebackType
from typing import Self

import zmq

from arbshard.errors import ProtocolError, RequestTimeout, TransportError
from arbshard.wire.envelope import pack, unpack
from arbshard.wire.replies import Handler, StoredReplies
from arbshard.wire.sockets import SocketReader, open_socket, receive

_BATCH = 1024
_HIGH_WATER = 4096


class ReplyServer:
    """Binds ``endpoint`` and answers with ``handler``, called once per batch with the payloads of new requests.

    A repeated request id gets its stored reply and ``handler`` never hears of it. Raises ``TransportError``.
    """

    def __init__(self, endpoint: str, handler: Handler, stored_replies: int = 65536) -> None:
        self._socket = open_socket(zmq.ROUTER, endpoint, bind=True, high_water=_HIGH_WATER)
        # Otherwise a reply that cannot be delivered would vanish uncounted.
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.endpoint = endpoint
        self._handler = handler
        self._replies = StoredReplies(stored_replies)
        self._reader: SocketReader | None = None
        self._on_error: Callable[[Exception], None] | None = None
        self.requests = 0
        """Requests answered, repeated ones included."""
        self.batches = 0
        self.bad = 0
        """Messages that are not requests of this version; dropped."""
        self.unsent = 0
        """Replies whose asker had gone, or does not read."""

    @property
    def repeated(self) -> int:
        """Requests answered from the store."""
        return self._replies.repeated

    def start(self, on_error: Callable[[Exception], None]) -> None:
        """Answer in the running loop from now on.

        When the handler raises, the server stops for good and hands the exception to ``on_error``: nobody is
        answered wrongly, and the owner decides how its process ends.
        """
        assert self._reader is None, "started already"
        self._on_error = on_error
        self._reader = SocketReader(self._socket, self._serve)

    def _serve(self) -> None:
        assert self._reader is not None
        assert self._on_error is not None
        try:
            self.step()
        except Exception as error:  # noqa: BLE001 -- handed to the owner, who ends the process
            self._reader.close()
            self._on_error(error)

    def step(self) -> int:
        """Answer what waits now, at most 1024 requests; their number. Raises what the handler raises."""
        routes: list[bytes] = []
        batch: list[tuple[bytes, bytes]] = []
        for _ in range(_BATCH):
            frames = receive(self._socket)
            if frames is None:
                break
            # A REQ socket's message comes as its identity, an empty frame, and what was sent.
            request = unpack(frames[2:]) if len(frames) > 2 and frames[1] == b"" else None
            if request is None:
                self.bad += 1
                continue
            routes.append(frames[0])
            batch.append(request)
        if not batch:
            return 0
        replies = self._replies.answer(batch, self._handler)
        self.batches += 1
        self.requests += len(batch)
        for route, (request_id, _), reply in zip(routes, batch, replies, strict=True):
            try:
                self._socket.send_multipart((route, b"", *pack(request_id, reply)), zmq.NOBLOCK)
            except zmq.ZMQError:  # it will ask again, and the reply is stored
                self.unsent += 1
        return len(batch)

    def close(self) -> None:
        """Close the socket. May be called again."""
        if self._reader is not None:
            self._reader.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def ask(endpoint: str, payload: bytes, timeout_ms: int) -> bytes:
    """Put one question and wait for its answer; for programs without a loop.

    Raises ``RequestTimeout`` (nobody answered; whether it was acted on is unknown), ``ProtocolError`` (not an
    answer to this question), ``TransportError``.
    """
    request_id = os.urandom(16)
    socket = open_socket(zmq.REQ, endpoint, bind=False, high_water=1)
    try:
        socket.send_multipart(pack(request_id, payload), zmq.NOBLOCK)
        if not socket.poll(timeout_ms, zmq.POLLIN):
            raise RequestTimeout(f"{endpoint}: no reply within {timeout_ms} ms")
        reply = unpack(socket.recv_multipart(zmq.NOBLOCK))
    except zmq.ZMQError as error:
        raise TransportError(f"{endpoint}: {error.strerror}") from error
    finally:
        socket.close()
    if reply is None or reply[0] != request_id:
        raise ProtocolError(f"{endpoint}: the reply is not one to this question")
    return reply[1]
