"""Carries requests between virtual processes: it replaces a Unix socket on virtual time, with delays and losses.

The client side is the real ``wire.request.RequestClient`` (its queue, time-outs, resends) over a channel without a
socket. The server side is the real ``wire.serve.ReplyServer`` over a listener at a ``Port``, which the incarnation
of risk that listens holds. One connection keeps its order; a resend uses a new connection and may overtake.
"""

from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from arbshard.virtual.loop import VirtualLoop, VirtualProcess
from arbshard.virtual.network_conditions import NetworkConditions
from arbshard.wire.replies import Asked, Handler, StoredReplies
from arbshard.wire.request import RequestClient
from arbshard.wire.serve import ReplyServer

_AGAIN_NS = 10_000_000
_TAG_BYTES = 24
"""The kind of a request is within this many bytes from its beginning."""
_HELLO = b"Hello"

OnReply = Callable[[tuple[bytes, bytes] | None], None]


class VirtualConnection:
    """Is one connection, for as long as both ends hold it."""

    def __init__(self, on_reply: OnReply, asker: VirtualProcess | None) -> None:
        self.is_open = True
        self.on_reply = on_reply
        self.asker = asker
        self.there_ns = 0
        """Time in ns at which the last message to the server arrives; nothing that is sent later arrives
        before it.
        """
        self.back_ns = 0


class PendingRequest(NamedTuple):
    """Is a request that has arrived."""

    line: VirtualConnection
    request_id: bytes
    payload: bytes


class Straggler:
    """Holds a request until its sender has been replaced.

    A Unix socket keeps what a process wrote before it died, and nothing orders it with what its successor writes.
    The next request of ``kind`` that a worker of ``shard`` sends is held back; it arrives just after its successor's
    first message.
    """

    def __init__(
        self, shard: str, kind: str, after_ns: int, on_kept: Callable[[VirtualProcess], None]
    ) -> None:
        """Make a straggler.

        ``on_kept`` is called with the process whose request is held back. The request arrives ``after_ns`` after the
        first one of its successor.
        """
        self.shard = shard
        self.kind = kind
        self._tag = kind.encode()
        self._after_ns = after_ns
        self._on_kept = on_kept
        self._kept: PendingRequest | None = None
        self.has_arrived = False

    def keeps(self, request: "PendingRequest") -> bool:
        """Keep ``request`` if it is the one that has to wait. Returns whether it is kept."""
        sender = request.line.asker
        if self._kept is not None or sender is None or not self._is_of_shard(sender):
            return False
        if self._tag not in request.payload[:_TAG_BYTES]:
            return False
        self._kept = request
        self._on_kept(sender)
        return True

    def follows(self, request: "PendingRequest") -> "PendingRequest | None":
        """Return the request that was kept if ``request`` is the first of its sender's successor, otherwise None."""
        kept, sender = self._kept, request.line.asker
        is_first = _HELLO in request.payload[:_TAG_BYTES] and sender is not None
        if kept is None or self.has_arrived or not is_first or sender is kept.line.asker:
            return None
        if sender is None or not self._is_of_shard(sender):
            return None
        self.has_arrived = True
        return kept

    def delay_ns(self) -> int:
        """Return how long after the successor's first request the kept one arrives."""
        return self._after_ns

    def _is_of_shard(self, process: VirtualProcess) -> bool:
        return process.name.startswith(f"{self.shard}.")


class PortServer:
    """Holds a process that receives requests at a port."""

    def __init__(self, process: VirtualProcess, on_request: Callable[[PendingRequest], None]) -> None:
        self.process = process
        self.on_request = on_request


class Port:
    """Is the socket of risk, which outlives the process that listens on it."""

    def __init__(self, loop: VirtualLoop, network: NetworkConditions) -> None:
        self.loop = loop
        self.network = network
        self._listener: PortServer | None = None
        self.stragglers: dict[Straggler, None] = {}

    def listen(self, listener: PortServer | None) -> None:
        """Let ``listener`` receive the requests from now on; None if no process listens."""
        self._listener = listener

    @property
    def listener(self) -> PortServer | None:
        """Return the listener, if its process is alive; otherwise None."""
        found = self._listener
        return found if found is not None and found.process.alive else None

    def ask(self, line: VirtualConnection, request_id: bytes, payload: bytes) -> None:
        """Send a request to the process that listens now."""
        listener = self.listener
        if listener is None or self.network.loses():
            return
        for _ in range(1 + self.network.doubles()):
            line.there_ns = max(line.there_ns, self.loop.now_ns + self.network.request_ns())
            request = PendingRequest(line, request_id, payload)
            if self.stragglers and self._is_kept(request, listener):
                return
            self.loop.deliver(listener.process, line.there_ns, listener.on_request, request)

    def _is_kept(self, request: PendingRequest, listener: PortServer) -> bool:
        for straggler in tuple(self.stragglers):
            if straggler.keeps(request):
                return True
            kept = straggler.follows(request)
            if kept is not None:
                at_ns = request.line.there_ns + straggler.delay_ns()
                self.loop.deliver(listener.process, at_ns, listener.on_request, kept)
        return False

    def answer(self, request: PendingRequest, payload: bytes) -> bool:
        """Send the reply to ``request``. Returns whether its sender still listens."""
        line = request.line
        if not line.is_open or (line.asker is not None and not line.asker.alive):
            return False
        if not self.network.loses():
            line.back_ns = max(line.back_ns, self.loop.now_ns + self.network.request_ns())
            self.loop.deliver(line.asker, line.back_ns, _hear, line, request.request_id, payload)
        return True


def _hear(line: VirtualConnection, request_id: bytes, payload: bytes) -> None:
    if line.is_open:
        line.on_reply((request_id, payload))


class VirtualChannel:
    """Implements ``wire.request.Channel``, as ``wire.unix.UnixChannel`` does."""

    WINDOW = 64

    def __init__(self, port: Port, on_reply: OnReply) -> None:
        self._port = port
        self._on_reply = on_reply
        self._process = port.loop.current_process()
        self._line: VirtualConnection | None = None
        self._to: PortServer | None = None
        self._questions: dict[bytes, bytes] = {}
        self._is_trying = False

    def send(self, request_id: bytes, payload: bytes) -> None:
        """Send a request, or keep it until the port can be reached, as ``Channel`` does."""
        self._questions[request_id] = payload
        if self._line is not None and self._to is self._port.listener:
            self._port.ask(self._line, request_id, payload)
        elif not self._is_trying:
            self._connect()

    def drop(self) -> None:
        """Close the connection and drop the requests without a reply, as ``Channel`` does."""
        self._questions.clear()
        if self._line is not None:
            self._line.is_open = False
            self._line = None

    def _connect(self) -> None:
        self._is_trying = False
        if not self._questions:
            return
        if self._line is not None:
            self._line.is_open = False  # the process at the other end has died
            self._line = None
        self._to = self._port.listener
        if self._to is None:
            self._is_trying = True
            self._port.loop.deliver(self._process, self._port.loop.now_ns + _AGAIN_NS, self._connect)
            return
        self._line = VirtualConnection(self._heard, self._process)
        for request_id, payload in tuple(self._questions.items()):
            self._port.ask(self._line, request_id, payload)

    def _heard(self, reply: tuple[bytes, bytes] | None) -> None:
        if reply is not None:
            self._questions.pop(reply[0], None)
        self._on_reply(reply)


class VirtualClient(RequestClient):
    """Is the real client with another channel, and with ids that are the same in every run of a seed."""

    def __init__(self, port: Port, name: str, timeout_ms: float, tries: int) -> None:
        super().__init__("unix:///virtual", timeout_ms, tries)
        self._channel = VirtualChannel(port, self._on_reply)
        self._id_prefix = blake2b(name.encode(), digest_size=8).digest()


class VirtualListener:
    """Implements ``wire.serve.Listener``: requests that arrive in one turn of the loop form one batch."""

    def __init__(self, port: Port, process: VirtualProcess, on_reply: Callable[[list[bytes]], None]) -> None:
        """Make a listener. ``on_reply`` is called with every reply just before it is sent."""
        self._port = port
        self._here = PortServer(process, self._arrived)
        self._on_reply = on_reply
        self._on_ready: Callable[[], None] | None = None
        self._waiting: list[PendingRequest] = []
        self.bad = 0
        self.unsent = 0

    def start(self, on_ready: Callable[[], None]) -> None:
        """Listen, and call ``on_ready`` when requests have arrived, as ``Listener`` does."""
        self._on_ready = on_ready
        self._port.listen(self._here)

    def receive(self, limit: int) -> list[Asked]:
        """Return the requests that have arrived, ``limit`` at most, as ``Listener`` does."""
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        if self._waiting:
            self._call_soon()
        return [Asked(one.request_id, one.payload, partial(self._reply, one)) for one in taken]

    def close(self) -> None:
        """Listen no more, and drop the requests that wait, as ``Listener`` does."""
        self._waiting.clear()
        if self._port.listener in (self._here, None):
            self._port.listen(None)

    def _arrived(self, request: PendingRequest) -> None:
        self._waiting.append(request)
        if len(self._waiting) == 1:
            self._call_soon()

    def _call_soon(self) -> None:
        assert self._on_ready is not None
        self._port.loop.call_soon(self._on_ready)

    def _reply(self, request: PendingRequest, payload: bytes) -> None:
        self._on_reply([payload])
        if not self._port.answer(request, payload):
            self.unsent += 1


class VirtualReplyServer(ReplyServer):
    """Is the real server with a listener that has no socket."""

    def __init__(
        self,
        port: Port,
        process: VirtualProcess,
        handler: Handler,
        stored_replies: int,
        on_reply: Callable[[list[bytes]], None],
    ) -> None:
        """Make a server. ``on_reply`` is called with every reply just before it is sent."""
        self.endpoint = "unix:///virtual"
        self._listeners = [VirtualListener(port, process, on_reply)]
        self._handler = handler
        self._replies = StoredReplies(stored_replies)
        self._on_error = None
        self.requests = self.batches = 0
