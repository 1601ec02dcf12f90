"""Simulates trades on a recording in the recording's own time, with the same result every time.

An order that takes 40 ms to arrive meets the book that was there 40 ms later, however fast the recording is played.
Time moves only when the next book is asked for; whatever waits for an earlier moment is woken in order.
"""

import asyncio
from heapq import heappop, heappush
from random import Random

from typing_extensions import override

from arbshard.clock import Clock
from arbshard.config import ExecutionConfig, PaperConfig
from arbshard.data.recorded import RecordedMarketDataProvider
from arbshard.execution.executor import ExecutorFactory, Observer, PaperExecutor
from arbshard.execution.paper_port import LateFills, PaperPort
from arbshard.execution.ports import BookPort, RiskPort
from arbshard.model.market import Pair

_TURNS = 16
"""Turns of the event loop after which a woken trade has reached its next wait or its end: it needs about six."""
_TICK_NS = 20_000_000
"""A step of time once the recording has ended."""


class RecordedClock:
    """Implements ``Clock``: the recording moves it, and it wakes sleepers."""

    def __init__(self, monotonic_ns: int, wall_offset_ms: int) -> None:
        self._ns = monotonic_ns
        self._wall_offset_ms = wall_offset_ms
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    def monotonic_ns(self) -> int:
        """Return the recording's monotonic time in nanoseconds."""
        return self._ns

    def wall_ms(self) -> int:
        """Return the recording's wall time in milliseconds."""
        return self._ns // 1_000_000 + self._wall_offset_ms

    async def sleep(self, seconds: float) -> None:
        """Wait in the recording's time."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heappush(self._sleepers, (self._ns + int(seconds * 1e9), self._count, woken))
        await woken

    async def run_until(self, monotonic_ns: int) -> None:
        """Move to ``monotonic_ns``, waking sleepers at their times on the way."""
        while self._sleepers and self._sleepers[0][0] <= monotonic_ns:
            due_ns, _, woken = heappop(self._sleepers)
            if woken.done():  # cancelled
                continue
            self._ns = max(self._ns, due_ns)
            woken.set_result(None)
            await self.turn()
        self._ns = max(self._ns, monotonic_ns)

    async def turn(self) -> None:
        """Let everything that can continue do so, without moving the time."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)


class RecordedExecutor(PaperExecutor):
    """Executes on paper, with pauses in the recording's time."""

    @override
    async def _pause(self, wait_s: float) -> None:
        await _recorded(self._clock).sleep(wait_s)


class RecordedExecutors(ExecutorFactory):
    """Makes ``RecordedExecutor``."""

    _paper_executor_type = RecordedExecutor

    @override
    def _create_paper_port(self, pair: Pair, paper: PaperConfig) -> PaperPort:
        sleep = _recorded(self._clock).sleep
        late_fills = LateFills(self._risk, Random(f"{paper.seed}:{pair.base}:late"), sleep)
        return PaperPort(pair, paper, self._books, self._clock, late_fills, sleep)


def _recorded(clock: Clock) -> RecordedClock:
    assert isinstance(clock, RecordedClock), clock
    return clock


class RecordedPace:
    """Implements ``Pace``: each call for changes is one step of the recording."""

    is_stepped = True

    def __init__(self, provider: RecordedMarketDataProvider) -> None:
        self._provider = provider
        self.clock = RecordedClock(provider.now_ns, provider.wall_offset_ms)

    @property
    def has_ended(self) -> bool:
        """Return whether the recording has ended; its last books then no longer grow old."""
        return self._provider.exhausted

    async def changes(self, timeout_s: float) -> frozenset[str]:
        """Move to the next books; return the symbols that changed. After the end only time passes."""
        await asyncio.sleep(0)  # other tasks on this event loop get a turn
        if self._provider.exhausted:
            await self.clock.run_until(self.clock.monotonic_ns() + _TICK_NS)
        else:
            await self.clock.run_until(self._provider.next_ns)
        return await self._provider.changes(timeout_s)

    async def turn(self) -> None:
        """Let what was just started begin its work."""
        await self.clock.turn()

    def make_executors(
        self, risk: RiskPort, books: BookPort, execution: ExecutionConfig, clock: Clock, observer: Observer, /
    ) -> ExecutorFactory:
        """Return a factory of executors that wait in the recording's time."""
        assert clock is self.clock, "a recording has one clock"
        return RecordedExecutors(risk, books, execution, self.clock, observer)
