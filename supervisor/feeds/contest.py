"""Two connections bring one market: which frame is the newer one. Pure; called by ``fanout``.

Each frame has a mark that grows as the book goes on (``Venue.sequence_number``). A frame wins if its mark is
above the newest one; the lane that brought the newest may bring more of the same mark, as an exchange's time may
stand still from one frame to the next. Marks compare as long as the venue counts on. That it has begun anew is
believed only of the lane that brought the newest itself, and only when it stays behind for ``RESET_NS``: another
lane may merely be slow.
"""

from typing import Generic, TypeVar

RESET_NS = 5_000_000_000

L = TypeVar("L")


class Contest(Generic[L]):
    """The newest mark of one market."""

    def __init__(self, owner: L, mark: int | None) -> None:
        """``owner`` brought the frame that is in the slot, with ``mark``; None when the slot is empty."""
        self._owner: L | None = owner
        self._newest = mark
        self._behind_ns: int | None = None
        """Since when the owner has been behind the newest mark."""

    def wins(self, lane: L, mark: int, received_ns: int) -> bool:
        """Whether a frame is to be written."""
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
        """``lane`` brings the market no longer."""
        if lane is self._owner:
            self._owner, self._behind_ns = None, None
