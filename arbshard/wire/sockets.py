"""Opens ZeroMQ sockets and drives them by their own descriptors. Every other ZeroMQ file of this package uses it.

A socket's descriptor is edge-triggered: it becomes readable when the socket's state changes and does not show what
is still waiting, and any send or receive may consume that edge. So the socket itself is asked again after each of
them (``SocketReader.poke``). This costs some 50 µs less per message than ``zmq.asyncio``.
"""

import asyncio
import os
from collections.abc import Callable

import zmq

from arbshard.errors import TransportError
from arbshard.wire.envelope import REQUEST_BYTES_MAX

Socket = zmq.Socket[bytes]

IPC_PATH_BYTES_MAX = 107
"""Longest path in bytes that ``sockaddr_un`` holds."""
FRAME_BYTES_MAX = REQUEST_BYTES_MAX
_HANDSHAKE_MS = 2000
"""How long a peer has to introduce itself, in milliseconds."""
_RECONNECT_MS = 10
_RECONNECT_MAX_MS = 200


def _as_it_is(_: Socket) -> None:
    """Set no further option."""


def open_socket(
    kind: int,
    endpoint: str,
    *,
    bind: bool,
    high_water: int,
    frame_max: int = FRAME_BYTES_MAX,
    context: "zmq.Context[Socket] | None" = None,
    prepare: Callable[[Socket], None] = _as_it_is,
) -> Socket:
    """Return a socket bound or connected to ``endpoint``, with at most ``high_water`` messages per peer and
    direction.

    A peer that sends a frame of more than ``frame_max`` bytes is disconnected before the frame is read, and so is
    one that connects and sends nothing. ``context``: None for the one of the process. ``prepare`` sets further
    options. Raises ``TransportError``.
    """
    assert high_water > 0, high_water  # 0 would mean no limit
    path = endpoint.removeprefix("ipc://")
    size = len(os.fsencode(path))
    if path != endpoint and size > IPC_PATH_BYTES_MAX:
        raise TransportError(
            f"{endpoint}: the path is {size} bytes long, a socket's may have {IPC_PATH_BYTES_MAX}; "
            "choose a shorter run directory"
        )
    socket: Socket = (zmq.Context.instance() if context is None else context).socket(kind)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, high_water)
        socket.setsockopt(zmq.RCVHWM, high_water)
        socket.setsockopt(zmq.MAXMSGSIZE, frame_max)
        socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
        socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
        prepare(socket)
        if bind:
            socket.bind(endpoint)
        else:
            socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise TransportError(
            f"{endpoint}: cannot {'bind' if bind else 'connect'}: {error.strerror}"
        ) from error
    return socket


def descriptor(socket: Socket) -> int:
    """Return the descriptor that shows changes of the socket's state."""
    number = socket.getsockopt(zmq.FD)
    assert isinstance(number, int)
    return number


def is_readable(socket: Socket) -> bool:
    """Return whether a message is waiting."""
    events = socket.getsockopt(zmq.EVENTS)
    assert isinstance(events, int)
    return events & zmq.POLLIN != 0


def receive(socket: Socket) -> list[bytes] | None:
    """Return the frames of the next waiting message; None if there is none. Does not wait."""
    if not is_readable(socket):
        return None
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None


class SocketReader:
    """Calls ``drain`` in the running loop whenever messages wait. ``drain`` may leave some: it is called again."""

    def __init__(self, socket: Socket, drain: Callable[[], None]) -> None:
        self._socket = socket
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor(socket)
        self._soon: asyncio.Handle | None = None
        self._closed = False
        self._loop.add_reader(self._descriptor, self._ready)
        self.poke()

    def poke(self) -> None:
        """Call ``drain`` soon if messages wait. To be called after every send or receive outside ``drain``."""
        if self._soon is None and not self._closed and is_readable(self._socket):
            self._soon = self._loop.call_soon(self._ready)

    def _ready(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._closed:
            return
        try:
            self._drain()
        finally:  # also when drain raised: the loop reports it, and the messages behind it are not forgotten
            self.poke()

    def close(self) -> None:
        """Stop calling ``drain``. Called before the socket is closed. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._descriptor)
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
