"""Receives people's orders to a running supervisor (``wire.control``) from its socket, and answers them."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from arbshard.errors import ProtocolError, UsageError
from arbshard.log import get_logger
from arbshard.wire import control
from arbshard.wire.replies import Handler

Given = TypeVar("Given")


class Server(Protocol):
    """Gives answers to requests at an endpoint: ``wire.serve.ReplyServer``."""

    @property
    def bad(self) -> int:
        """Return the number of messages that are not requests."""
        ...

    def start(self, on_error: Callable[[Exception], None], /) -> None:
        """Answer from now on, in the running loop. ``on_error`` is called with what the handler raised."""
        ...

    def close(self) -> None:
        """Stop answering. May be called again."""
        ...


OpenControl = Callable[[str, Handler], Server]
"""Opens a server, given the endpoint and the handler of a batch of requests. Raises ``TransportError``."""


class ControlServer:
    """Answers by the handlers that ``on`` registers; an order without a handler is denied."""

    def __init__(self, endpoint: str, on_failure: Callable[[], None], open_server: OpenControl) -> None:
        """Open the socket. Raises ``TransportError``."""
        self._server = open_server(endpoint, self._obey)
        self._on_failure = on_failure
        self._handlers: dict[type, Callable[[Any], control.ControlAnswer]] = {}
        self.why_not_yet: Callable[[], str] = lambda: ""
        """Returns why an order without a handler cannot be carried out yet; empty when it never can be."""
        self._unreadable = 0

    @property
    def bad(self) -> int:
        """Return the number of messages that could not be read as an order."""
        return self._server.bad + self._unreadable

    def on(self, kind: type[Given], handler: Callable[[Given], control.ControlAnswer]) -> None:
        """Register ``handler`` for orders of ``kind``. What it raises as ``UsageError`` is a denial."""
        self._handlers[kind] = handler

    def start(self) -> None:
        """Answer from now on, in the running loop."""
        self._server.start(self._failed)

    def close(self) -> None:
        """Stop answering."""
        self._server.close()

    def _failed(self, error: Exception) -> None:
        get_logger().error("the control socket ended in a defect", exc_info=error)
        self._on_failure()

    def _obey(self, batch: list[bytes]) -> list[bytes]:
        return [control.encode(self._answer(payload)) for payload in batch]

    def _answer(self, payload: bytes) -> control.ControlAnswer:
        try:
            order = control.decode_order(payload)
        except ProtocolError as error:
            self._unreadable += 1
            return control.ControlDenied(str(error))
        handler = self._handlers.get(type(order))
        if handler is None:
            why = self.why_not_yet() or f"{type(order).__name__}: not possible in this run"
            return control.ControlDenied(why)
        try:
            answer = handler(order)
        except UsageError as error:
            answer = control.ControlDenied(str(error))
        if isinstance(order, control.ChangingOrder):
            # Nothing else records who has moved pairs or stopped the run: the ledger is of risk.
            said = answer.why if isinstance(answer, control.ControlDenied) else getattr(answer, "text", "")
            kind = type(order).__name__
            get_logger().info("order", kind=kind, by=order.by[:200] or "unknown", answer=said[:200])
        return answer
