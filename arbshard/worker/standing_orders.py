"""What risk wants of this shard beside trading: to enter nothing, and to close pairs. Looked at by ``loop``.

A pair is closed until risk no longer names it, so nothing is lost when a worker or risk ends in between.
"""

from collections.abc import Callable
from typing import Protocol

from arbshard.log import get_logger
from arbshard.model.intent import ExitReason
from arbshard.wire.messages import Instructed, Welcome
from arbshard.worker.risk_news import RiskNews, Serial


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
        self._news = RiskNews("instructions", page, self._ask, on_failure)
        self.halted = False
        self.stopped = False
        """Whether exits are stopped too, except those that a person orders."""
        self.closing: dict[str, ExitReason] = {}
        self.apart: frozenset[str] = frozenset()
        """Pairs that are set apart: they enter nothing."""

    @property
    def serial(self) -> int:
        """Of what is known: it changes with every change at risk."""
        return self._news.serial

    def apply(self, said: Welcome | Instructed) -> None:
        """Follow what risk has said."""
        closing, apart = dict(said.closing), frozenset(said.apart)
        now = said.halted, said.stopped, closing, apart
        if now != (self.halted, self.stopped, self.closing, self.apart):
            get_logger().warning(
                "told by risk", halted=said.halted, stopped=said.stopped, closing=closing, apart=sorted(apart)
            )
        self._news.serial = said.serial
        self.halted, self.stopped, self.closing, self.apart = now

    def poll(self, now_ns: int) -> None:
        """Ask risk if there is news; its answer comes later."""
        self._news.poll(now_ns)

    async def close(self) -> None:
        """Stop asking."""
        await self._news.close()

    async def _ask(self, _: int) -> int:
        said = await self._source.instructions()
        self.apply(said)
        return said.serial
