"""Sends statements to risk. A statement that does not arrive is not repeated: the next one states everything anew."""

from collections.abc import Awaitable
from typing import Protocol

from arbshard.accounts.meter import AccountsMeter
from arbshard.crashpoint import reach
from arbshard.errors import TransportError
from arbshard.log import get_logger
from arbshard.wire.messages import Denied, Statement, decode_command_reply, encode


class StatementTransport(Protocol):
    """Carries statements: a ``RequestClient``."""

    def request(self, payload: bytes, *, priority: int = 0) -> Awaitable[bytes]:
        """Send one request and return its coming reply. Raises ``TransportError``, here or there."""
        ...


class Statements:
    """Sends statements, and counts those that risk refuses or does not answer."""

    def __init__(self, transport: StatementTransport, meter: AccountsMeter) -> None:
        self._transport = transport
        self._meter = meter
        self._trouble = ""

    async def send(self, statement: Statement) -> None:
        """Send ``statement`` to risk."""
        trouble = ""
        reach("before_state")
        try:
            answer = decode_command_reply(await self._transport.request(encode(statement)))
            if isinstance(answer, Denied):
                self._meter.count("denied")
                trouble = answer.why
        except TransportError as error:
            self._meter.count("silent")
            trouble = str(error)
        reach("after_state")
        if trouble != self._trouble:
            get_logger().warning("statement", venue=statement.venue, trouble=trouble or "none any more")
            self._trouble = trouble
