"""Carries requests and replies over ZeroMQ: a REQ socket asks, a ROUTER socket answers. Same two classes as
``unix``.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import zmq

from arbshard.errors import TransportError
from arbshard.wire.envelope import REPLY_BYTES_MAX, pack, unpack
from arbshard.wire.replies import Asked
from arbshard.wire.sockets import Socket, SocketReader, open_socket, receive

_CHANNEL_HIGH_WATER = 16
_LISTENER_HIGH_WATER = 4096


class RouterChannel:
    """Sends requests by a REQ socket, which is replaced when a reply is missing: a ``request.Channel``."""

    WINDOW = 1
    """A REQ socket sends a question only after the reply to the one before."""

    def __init__(self, endpoint: str, on_reply: Callable[[tuple[bytes, bytes] | None], None]) -> None:
        self._endpoint = endpoint
        self._on_reply = on_reply
        self._socket: Socket | None = None
        self._reader: SocketReader | None = None

    def send(self, request_id: bytes, payload: bytes) -> None:
        """Send the question. Raises ``TransportError`` when the socket cannot be opened or does not accept it."""
        if self._socket is None:
            self._socket = open_socket(
                zmq.REQ, self._endpoint, bind=False, high_water=_CHANNEL_HIGH_WATER, frame_max=REPLY_BYTES_MAX
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
        """Forget the question and the connection."""
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


class OpenServer(Protocol):
    """Opens a ROUTER socket."""

    def __call__(self, endpoint: str, *, high_water: int) -> Socket:
        """Return a socket bound to ``endpoint``. Raises ``TransportError``."""
        ...


def _open_server(endpoint: str, *, high_water: int) -> Socket:
    return open_socket(zmq.ROUTER, endpoint, bind=True, high_water=high_water)


class RouterListener:
    """Receives requests by a ROUTER socket: a ``serve.Listener``."""

    def __init__(self, endpoint: str, open_server: OpenServer = _open_server) -> None:
        """Bind ``endpoint`` by ``open_server``; that of ``links.HostLinks`` serves other hosts."""
        self.socket = open_server(endpoint, high_water=_LISTENER_HIGH_WATER)
        # Without this a reply that cannot be delivered would vanish uncounted.
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._reader: SocketReader | None = None
        self.bad = 0
        self.unsent = 0

    def start(self, on_ready: Callable[[], None]) -> None:
        """Call ``on_ready`` in the running loop whenever requests wait."""
        self._reader = SocketReader(self.socket, on_ready)

    def receive(self, limit: int) -> list[Asked]:
        """Return up to ``limit`` waiting requests."""
        taken: list[Asked] = []
        for _ in range(limit):
            frames = receive(self.socket)
            if frames is None:
                break
            # A REQ socket puts an empty frame before what it was given.
            request = unpack(frames[2:]) if frames[1:2] == [b""] else None
            if request is None:
                self.bad += 1
                continue
            taken.append(Asked(*request, partial(self._reply, frames[0], request[0])))
        return taken

    def close(self) -> None:
        """Close the socket. May be called again."""
        if self._reader is not None:
            self._reader.close()
        self.socket.close()

    def _reply(self, route: bytes, request_id: bytes, payload: bytes) -> None:
        self._send(route, b"", *pack(request_id, payload))

    def _send(self, *frames: bytes) -> None:
        try:
            self.socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError:  # its client will ask again, and the reply is stored
            self.unsent += 1
        if self._reader is not None:
            self._reader.poke()
