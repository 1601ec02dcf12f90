"""Provides the clocks of a simulation.

``VirtualClock`` takes monotonic time from the loop, and its wall clock may jump. There is one for all processes of a
machine.
"""

from functools import partial
from operator import attrgetter

from arbshard.clock import SystemClock
from arbshard.virtual.loop import VirtualLoop

WALL_START_MS = 1_795_000_000_000
_NOW_NS = attrgetter("now_ns")


class VirtualClock(SystemClock):
    """Replaces the machine's clocks wherever the system reads them."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._offset_ms = WALL_START_MS - loop.now_ns // 1_000_000
        # The loop's time in ns, which never goes back. It is read several times in each callback, and this costs
        # half as much as a method.
        self.monotonic_ns = partial(_NOW_NS, loop)

    def wall_ms(self) -> int:
        """Return the wall time in ms, jumps included."""
        return self._loop.now_ns // 1_000_000 + self._offset_ms

    def jump(self, milliseconds: int) -> None:
        """Set the wall clock forward by ``ms``, or back if it is negative."""
        self._offset_ms += milliseconds


class SteadyClock:
    """Is a clock that is never set: a venue's own, which no fault of the machine changes. Implements ``Clock``."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._offset_ms = WALL_START_MS - loop.now_ns // 1_000_000

    def monotonic_ns(self) -> int:
        """Return the loop's time in ns."""
        return self._loop.now_ns

    def wall_ms(self) -> int:
        """Return the true time of day in ms."""
        return self._loop.now_ns // 1_000_000 + self._offset_ms
