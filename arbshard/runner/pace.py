"""``Pace``: where time comes from. Live, it passes by itself; in a recording it is the recording's.

Everything else in this room is the same for both. ``recording`` has the other implementation.
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
    """How a session waits."""

    @property
    def clock(self) -> Clock:
        """The time that decisions are made at."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether no book will come any more."""
        ...

    @property
    def is_stepped(self) -> bool:
        """Whether time passes only when a session asks for the next books."""
        ...

    async def changes(self, timeout_s: float) -> frozenset[str]:
        """Wait for new books, and let what is under way go on meanwhile; the symbols that changed."""
        ...

    async def turn(self) -> None:
        """Let what was just started get under way."""
        ...

    def make_executors(
        self, risk: RiskPort, books: BookPort, execution: ExecutionConfig, clock: Clock, observer: Observer, /
    ) -> ExecutorFactory:
        """Make executors that wait in this time."""
        ...


class LivePace:
    """The machine's clocks and the event loop's sleeps."""

    has_ended = False
    is_stepped = False

    def __init__(self, provider: MarketDataProvider, clock: Clock) -> None:
        self._provider = provider
        self.clock = clock

    async def changes(self, timeout_s: float) -> frozenset[str]:
        """See ``Pace``."""
        return await self._provider.changes(timeout_s)

    async def turn(self) -> None:
        """See ``Pace``."""
        await asyncio.sleep(_TURN_S)

    def make_executors(
        self, risk: RiskPort, books: BookPort, execution: ExecutionConfig, clock: Clock, observer: Observer, /
    ) -> ExecutorFactory:
        """See ``Pace``."""
        return ExecutorFactory(risk, books, execution, clock, observer)
