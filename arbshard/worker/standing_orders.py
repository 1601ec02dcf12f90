"""Keeps what risk requires of this shard beside trading: to enter nothing, and to close pairs. ``loop`` polls it.

A pair is closed until risk no longer names it, so nothing is lost when a worker or risk ends in between.
"""

from collections.abc import Callable
from typing import Protocol

from arbshard.log import get_logger
from arbshard.model.intent import ExitReason
from arbshard.wire.messages import Instructed, Welcome
from arbshard.worker.risk_news import RiskNews, Serial


class InstructionSource(Protocol):
    """Is asked for risk's instructions: ``risk_link.RiskLink``."""

    async def instructions(self) -> Instructed:
        """Return the instructions that are now in force."""
        ...


class StandingOrders:
    """Mirrors the instructions that are in force at risk."""

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
        """Return the serial of what is known: it changes with every change at risk."""
        return self._news.serial

    def apply(self, message: Welcome | Instructed) -> None:
        """Adopt the instructions in risk's message."""
        closing, apart = dict(message.closing), frozenset(message.apart)
        now = message.halted, message.stopped, closing, apart
        if now != (self.halted, self.stopped, self.closing, self.apart):
            get_logger().warning(
                "instructions of risk",
                halted=message.halted,
                stopped=message.stopped,
                closing=closing,
                apart=sorted(apart),
            )
        self._news.serial = message.serial
        self.halted, self.stopped, self.closing, self.apart = now

    def poll(self, now_ns: int) -> None:
        """Ask risk if there is news; its answer comes later."""
        self._news.poll(now_ns)

    async def close(self) -> None:
        """Stop asking."""
        await self._news.close()

    async def _ask(self, _: int) -> int:
        message = await self._source.instructions()
        self.apply(message)
        return message.serial
