"""What risk wants of this shard beside trading: to enter nothing, and to close pairs. Looked at by ``loop``.

Risk has the truth. A word on its page says when there is news; what it is, risk is asked. A pair is closed until
risk no longer names it, so nothing is lost when a worker or risk ends in between.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from arbshard.log import get_logger
from arbshard.model.intent import ExitReason
from arbshard.wire.messages import Instructed, Welcome


class Serial(Protocol):
    """Where news is announced: ``risk_page.RiskPage``."""

    def serial(self, now_ns: int) -> int | None:
        """A number that changes with every news; None when it cannot be read."""
        ...


class InstructionSource(Protocol):
    """Whom to ask: ``risk_link.RiskLink``."""

    async def instructions(self) -> Instructed:
        """What stands now."""
        ...


class StandingOrders:
    """The mirror of what stands at risk."""

    def __init__(
        self, source: InstructionSource, page: Serial, on_failure: Callable[[BaseException], None]
    ) -> None:
        self._source = source
        self._page = page
        self._on_failure = on_failure
        self.serial = 0
        """Of what is known: it changes with every change at risk."""
        self._asking: asyncio.Task[None] | None = None
        self.halted = False
        self.stopped = False
        """Whether exits are stopped too, except those that a person orders."""
        self.closing: dict[str, ExitReason] = {}
        self.apart: frozenset[str] = frozenset()
        """Pairs that are set apart: they enter nothing."""

    def apply(self, said: Welcome | Instructed) -> None:
        """What risk has said."""
        closing, apart = dict(said.closing), frozenset(said.apart)
        now = said.halted, said.stopped, closing, apart
        if now != (self.halted, self.stopped, self.closing, self.apart):
            get_logger().warning(
                "told by risk", halted=said.halted, stopped=said.stopped, closing=closing, apart=sorted(apart)
            )
        self.serial = said.serial
        self.halted, self.stopped, self.closing, self.apart = now

    def poll(self, now_ns: int) -> None:
        """Ask risk if there is news; its answer comes later."""
        if self._asking is not None:
            return
        serial = self._page.serial(now_ns)
        if serial is not None and serial != self.serial:
            self._asking = asyncio.ensure_future(self._ask())
            self._asking.add_done_callback(self._asked)

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> None:
        self.apply(await self._source.instructions())

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)
