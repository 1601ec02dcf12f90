"""What people tell a running supervisor: takes orders of ``wire.control`` from its socket and answers them."""

from collections.abc import Callable
from typing import Any, TypeVar

from arbshard.errors import ProtocolError, UsageError
from arbshard.log import get_logger
from arbshard.model.rundir import RunFiles
from arbshard.wire import control
from arbshard.wire.serve import ReplyServer

Given = TypeVar("Given")


class ControlServer:
    """Answers by ``on``; an order nobody answers is denied."""

    def __init__(self, files: RunFiles, on_failure: Callable[[], None]) -> None:
        """Raises ``TransportError``."""
        self._server = ReplyServer(files.control_endpoint, self._obey)
        self._on_failure = on_failure
        self._handlers: dict[type, Callable[[Any], control.Answer]] = {}
        self._unreadable = 0

    @property
    def bad(self) -> int:
        """What came and was no order."""
        return self._server.bad + self._unreadable

    def on(self, kind: type[Given], handler: Callable[[Given], control.Answer]) -> None:
        """Have orders of ``kind`` answered by ``handler``. What it raises as ``UsageError`` is a denial."""
        self._handlers[kind] = handler

    def start(self) -> None:
        """Answer from now on, in the running loop."""
        self._server.start(self._failed)

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.close()

    def _failed(self, error: Exception) -> None:
        get_logger().error("the control socket ended in a defect", exc_info=error)
        self._on_failure()

    def _obey(self, batch: list[bytes]) -> list[bytes]:
        return [control.encode(self._answer(payload)) for payload in batch]

    def _answer(self, payload: bytes) -> control.Answer:
        try:
            order = control.decode_order(payload)
        except ProtocolError as error:
            self._unreadable += 1
            return control.Denied(str(error))
        handler = self._handlers.get(type(order))
        if handler is None:
            return control.Denied(f"{type(order).__name__}: not possible in this run")
        try:
            return handler(order)
        except UsageError as error:
            return control.Denied(str(error))
