"""Defines where time comes from: live, it passes by itself; in a recording, the recording moves it.

Everything else in this folder is the same for both. ``recording`` has the other implementation.
"""

import asyncio
from typing import Protocol

from arbshard.clock import Clock
from arbshard.config import ExecutionConfig
from arbshard.data.provider import MarketDataProvider
from arbshard.execution.executor import ExecutorFactory, Observer
from arbshard.execution.ports import BookPort, RiskPort

_TURN_S = 0.005


class Pace(Protocol):
    """Defines how a session waits."""

    @property
    def clock(self) -> Clock:
        """Return the clock by which decisions are made."""
        ...

    @property
    def has_ended(self) -> bool:
        """Return whether no book will come any more."""
        ...

    @property
    def is_stepped(self) -> bool:
        """Return whether time passes only when a session asks for the next books."""
        ...

    async def changes(self, timeout_s: float) -> frozenset[str]:
        """Wait for new books, while trades continue; return the symbols that changed."""
        ...

    async def turn(self) -> None:
        """Let what was just started begin its work."""
        ...

    def make_executors(
        self, risk: RiskPort, books: BookPort, execution: ExecutionConfig, clock: Clock, observer: Observer, /
    ) -> ExecutorFactory:
        """Return a factory of executors that wait in this time."""
        ...


class LivePace:
    """Uses the machine's clocks and the event loop's sleeps."""

    has_ended = False
    is_stepped = False

    def __init__(self, provider: MarketDataProvider, clock: Clock) -> None:
        self._provider = provider
        self.clock = clock

    async def changes(self, timeout_s: float) -> frozenset[str]:
        """Wait for new books; return the symbols that changed."""
        return await self._provider.changes(timeout_s)

    async def turn(self) -> None:
        """Let what was just started begin its work."""
        await asyncio.sleep(_TURN_S)

    def make_executors(
        self, risk: RiskPort, books: BookPort, execution: ExecutionConfig, clock: Clock, observer: Observer, /
    ) -> ExecutorFactory:
        """Return a factory of executors that wait in real time."""
        return ExecutorFactory(risk, books, execution, clock, observer)
