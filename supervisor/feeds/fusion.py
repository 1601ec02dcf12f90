"""Joins the touch of a book to its levels before a frame is written into its slot.

No book is decoded for it. What a connection brings is joined here, and what two connections bring of one market is
compared in ``fanout`` as usual.
"""

from collections.abc import Iterable

from typing_extensions import override

from arbshard.venues.base.fusion import BookFuser, FusedVenue, FusionCounts
from supervisor.feeds.fanout import Lane, OnControl, VenueFanout


class FusedBooks:
    """Makes the lanes of a venue's connections, and holds what they count."""

    def __init__(self, venue: FusedVenue, fanout: VenueFanout) -> None:
        self._venue = venue
        self._fanout = fanout
        self.counts = FusionCounts()

    def lane(self, on_control: OnControl) -> "FusedLane":
        """Make the lane of one connection."""
        lane = FusedLane(self._fanout, on_control, BookFuser(self._venue, self.counts))
        self._fanout.open_lane(lane)
        return lane


class FusedLane(Lane):
    """Takes in both streams of the markets of one connection. Implements ``link.Intake``.

    ``frames`` counts what is passed on: a touch without levels is no sign that books come.
    """

    def __init__(self, fanout: VenueFanout, on_control: OnControl, fuser: BookFuser) -> None:
        super().__init__(fanout, on_control)
        self._fuser = fuser

    @override
    def __call__(self, frame: bytes, received_ns: int) -> None:
        fused = self._fuser.fuse(frame, received_ns)
        if fused is not None:
            super().__call__(fused, received_ns)

    @override
    def detach(self, symbols: Iterable[str]) -> None:
        gone = tuple(symbols)
        self._fuser.forget(gone)
        super().detach(gone)
