"""Decides when messages are due: at a fixed rate on a fixed grid of time, whatever happens to them (open
loop). Pure.

``replay`` asks what is due. Messages are counted by position; the position determines the market and the
version of its frame. What is due between two points of the grid leaves at the second of them, and is
stamped with its time.
"""

from collections.abc import Iterator
from typing import NamedTuple

GRID_NS = 200_000
"""The finest grid, in nanoseconds: a timer that fires more often costs more than the messages."""
LATE_NS = 1_000_000
"""A message that leaves more than this many nanoseconds after it was due counts as late."""
STANDSTILL_NS = 1_000_000_000
"""When the grid is further behind than this, the process was paused: what was due meanwhile is skipped."""
_SECOND_MILLI = 10**12


class Due(NamedTuple):
    """Is a group of messages that leave together."""

    at_ns: int
    """The intended send time, in monotonic nanoseconds."""
    first: int
    """Position of the first message."""
    end: int
    """Position behind the last message."""


class Schedule:
    """Maps points in time to the positions of the messages that are due."""

    def __init__(self, start_ns: int, rate_per_s: float) -> None:
        self._rate_milli = round(rate_per_s * 1000)
        assert self._rate_milli > 0, rate_per_s
        self.grid_ns = max(-(-_SECOND_MILLI // self._rate_milli), GRID_NS)
        """Nanoseconds between two points of the grid: one message, or the finest grid."""
        self.start_ns = start_ns
        """The first point of the grid, in monotonic nanoseconds."""
        self._point = 0
        """Number of the next point of the grid."""
        self.position = 0
        """Position of the next message."""
        self.skipped = 0
        """Messages that were never sent because the process was paused."""

    def take(self, now_ns: int, messages_max: int) -> Iterator[Due]:
        """Yield what is due by ``now_ns``, oldest first, until at least ``messages_max`` messages were
        yielded.
        """
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
