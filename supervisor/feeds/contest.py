"""Decides which frame is newer when two connections bring one market. Pure; ``fanout`` calls it.

Each frame has a mark that grows as the book changes (``Venue.sequence_number``). A frame wins if its mark is above
the newest one. The lane that brought the newest frame may bring more of the same mark, because an exchange's time
may be the same in two frames. Marks are comparable as long as the venue counts on. A venue is assumed to count anew
only if the lane that brought the newest frame itself stays behind for ``RESET_NS``: another lane may merely be
slow.
"""

from typing import Generic, TypeVar

RESET_NS = 5_000_000_000

L = TypeVar("L")


class Contest(Generic[L]):
    """Keeps the newest mark of one market."""

    def __init__(self, owner: L, mark: int | None) -> None:
        """Begin the comparison.

        ``owner`` brought the frame in the slot, which has ``mark``; None if the slot is empty.
        """
        self._owner: L | None = owner
        self._newest = mark
        self._behind_ns: int | None = None
        """Since when the owner has been behind the newest mark (monotonic nanoseconds)."""

    def wins(self, lane: L, mark: int, received_ns: int) -> bool:
        """Return whether a frame is to be written."""
        newest = self._newest
        owns = self._owner is None or lane is self._owner
        if newest is None or mark > newest or (mark == newest and lane is self._owner):
            won = True
        elif mark == newest or not owns:
            won = False
        elif self._behind_ns is None:
            self._behind_ns = received_ns
            won = False
        else:
            won = received_ns - self._behind_ns >= RESET_NS
        if won:
            self._owner, self._newest, self._behind_ns = lane, mark, None
        return won

    def leave(self, lane: L) -> None:
        """Record that ``lane`` brings the market no longer."""
        if lane is self._owner:
            self._owner, self._behind_ns = None, None
