"""When messages are due: a fixed rate on a fixed grid of time, whatever becomes of them (open loop). Pure.

``replay`` asks what is due. Messages are counted by position; the position says which market it is and which
version of its frame. What is due between two points of the grid leaves at the second of them, and is stamped with
it.
"""

from collections.abc import Iterator
from typing import NamedTuple

GRID_NS = 200_000
"""The finest grid: a timer that fires more often costs more than the messages."""
LATE_NS = 1_000_000
"""Sent so long after it was due, a message counts as late."""
STANDSTILL_NS = 1_000_000_000
"""When the grid is further behind than this the process stood still: what was due meanwhile is skipped."""
_SECOND_MILLI = 10**12


class Due(NamedTuple):
    """Messages that leave together."""

    at_ns: int
    """When: the intended send time, monotonic."""
    first: int
    """Position of the first."""
    end: int
    """Position behind the last."""


class Schedule:
    """Positions in time."""

    def __init__(self, start_ns: int, rate_per_s: float) -> None:
        self._rate_milli = round(rate_per_s * 1000)
        assert self._rate_milli > 0, rate_per_s
        self.grid_ns = max(-(-_SECOND_MILLI // self._rate_milli), GRID_NS)
        """Distance of two points of the grid: one message, or the finest grid."""
        self.start_ns = start_ns
        """A point of the grid."""
        self._point = 0
        """The next point of the grid."""
        self.position = 0
        """The next message."""
        self.skipped = 0
        """Messages that were never sent because the process stood still."""

    def take(self, now_ns: int, messages_max: int) -> Iterator[Due]:
        """What is due by ``now_ns``, oldest first, until more than ``messages_max`` have been taken."""
        self._skip_standstill(now_ns)
        taken = 0
        while taken < messages_max:
            at_ns = self.start_ns + self._point * self.grid_ns
            if at_ns > now_ns:
                return
            end = self._point * self.grid_ns * self._rate_milli // _SECOND_MILLI
            self._point += 1
            if end > self.position:
                due = Due(at_ns, self.position, end)
                taken += end - self.position
                self.position = end
                yield due

    def _skip_standstill(self, now_ns: int) -> None:
        behind_ns = now_ns - (self.start_ns + self._point * self.grid_ns)
        if behind_ns > STANDSTILL_NS:
            self._point += behind_ns // self.grid_ns
            position = self._point * self.grid_ns * self._rate_milli // _SECOND_MILLI
            self.skipped += position - self.position
            self.position = position
