"""Connects worker and risk of a backtest within one process: requests take no socket and no time."""

import asyncio
from collections.abc import Callable
from functools import partial

from typing_extensions import override

from arbshard.shm.doorbell import ShardNotifier
from arbshard.wire.replies import Asked, Handler, StoredReplies
from arbshard.wire.request import RequestClient
from arbshard.wire.serve import ReplyServer
from arbshard.worker.assembly import Worker


class InnerListener:
    """Receives the requests of a worker in the same process. Implements ``wire.serve.Listener``."""

    def __init__(self) -> None:
        self.on_reply: Callable[[], None] = _nothing
        """Is called at each reply, before the worker gets it."""
        self._waiting: list[Asked] = []
        self._on_ready: Callable[[], None] | None = None
        self.bad = 0
        self.unsent = 0

    def start(self, on_ready: Callable[[], None]) -> None:
        """Call ``on_ready`` when requests wait."""
        self._on_ready = on_ready
        self._call()

    def receive(self, limit: int) -> list[Asked]:
        """Return up to ``limit`` waiting requests."""
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        self._call()
        return taken

    def put(self, request: Asked) -> None:
        """Add a request."""
        self._waiting.append(request)
        if len(self._waiting) == 1:
            self._call()

    def close(self) -> None:
        """Stop listening."""
        self._on_ready = None
        self._waiting.clear()

    def _call(self) -> None:
        if self._waiting and self._on_ready is not None:
            asyncio.get_running_loop().call_soon(self._on_ready)


class InnerReplyServer(ReplyServer):
    """Is the server of risk, without a socket."""

    def __init__(self, listener: InnerListener, handler: Handler, stored_replies: int) -> None:
        self.endpoint = "in this process"
        self._listeners = [listener]
        self._handler = handler
        self._replies = StoredReplies(stored_replies)
        self._on_error = None
        self.requests = self.batches = 0


class InnerClient(RequestClient):
    """Is the client of a worker, without a socket: requests and replies take no time."""

    def __init__(self, listener: InnerListener, timeout_ms: float, tries: int) -> None:
        super().__init__("unix:///in-this-process", timeout_ms, tries)
        self._channel = _InnerChannel(listener, self._on_reply)
        self._id_prefix = b"backtest"


class _InnerChannel:
    """Implements ``wire.request.Channel``."""

    WINDOW = 64

    def __init__(
        self, listener: InnerListener, on_reply: Callable[[tuple[bytes, bytes] | None], None]
    ) -> None:
        self._listener = listener
        self._on_reply = on_reply

    def send(self, request_id: bytes, payload: bytes) -> None:
        self._listener.put(Asked(request_id, payload, partial(self._reply, request_id)))

    def drop(self) -> None:
        """Do nothing: a reply is never late."""

    def _reply(self, request_id: bytes, payload: bytes) -> None:
        self._listener.on_reply()
        asyncio.get_running_loop().call_soon(self._on_reply, (request_id, payload))


class InnerNotifier(ShardNotifier):
    """Notifies the worker in the same process at once which slot has changed, in place of ring and doorbell."""

    def __init__(self, worker: Worker) -> None:  # the parent's would write into a ring
        self._worker = worker
        self.rings = 0

    @override
    def push(self, slot: int) -> None:
        self._worker.loop.look_at(slot)

    @override
    def close(self) -> None:
        """Do nothing: nothing is open."""


def _nothing() -> None:
    """Do nothing."""
