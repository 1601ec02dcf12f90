"""Reads a part of a tape row by row, in the order of time. Needs pyarrow.

Within a recording the time of a row is its monotonic time plus the difference of both clocks at the beginning of
the recording, so that a wall clock that was set meanwhile changes nothing. Rows of several sources come into a tape
a little out of order: they are sorted within ``_SORTED_NS``, and no more than that is kept in memory.
"""

import heapq
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from arbshard.tape.format import Row, SegmentInfo
from arbshard.tape.reading import Tape, TapeSegment

_SORTED_NS = 1_000_000_000
_ROWS_MAX = 100_000
"""Most rows that are kept in order to sort them, whatever their times are."""
KINDS = frozenset(("frame", "known", "rest", "gap", "connect", "disconnect"))


class TimedRow(NamedTuple):
    """Is a row with the time at which it is played."""

    at_ns: int
    """Wall time in nanoseconds."""
    row: Row


class Stretch(NamedTuple):
    """Is the part of a tape received from ``start_ns`` (inclusive) to ``end_ns`` (exclusive), in wall time."""

    tape: Tape
    start_ns: int | None = None
    end_ns: int | None = None

    def infos(self) -> Iterator[SegmentInfo]:
        """Yield the descriptions of the segments. Raises ``TapeError`` for a tape that is damaged."""
        for segment in self._segments():
            yield segment.info

    def rows(self) -> Iterator[TimedRow]:
        """Yield what the venues sent and what happened to connections.

        Raises ``TapeError`` for a tape that is damaged.
        """
        waiting: list[tuple[int, int, Row]] = []
        newest_ns = 0
        for count, (at_ns, row) in enumerate(self._unsorted()):
            newest_ns = max(newest_ns, at_ns)
            heapq.heappush(waiting, (at_ns, count, row))
            while waiting and (waiting[0][0] <= newest_ns - _SORTED_NS or len(waiting) > _ROWS_MAX):
                yield TimedRow(waiting[0][0], heapq.heappop(waiting)[2])
            if self.end_ns is not None and newest_ns >= self.end_ns + _SORTED_NS:
                break
        while waiting:
            yield TimedRow(waiting[0][0], heapq.heappop(waiting)[2])

    def _unsorted(self) -> Iterator[tuple[int, Row]]:
        recording: int | None = None
        offset_ns = began_ns = 0
        for segment in self._segments():
            for _, row in segment.rows():
                if segment.info.recording != recording:
                    recording = segment.info.recording
                    offset_ns, began_ns = row.wall_ns - row.at_ns, recording * 1_000_000
                if row.kind not in KINDS:
                    continue
                # What was received before the recording began is played when it begins.
                at_ns = max(row.at_ns + offset_ns, began_ns)
                if self.start_ns is not None and at_ns < self.start_ns:
                    continue
                if self.end_ns is None or at_ns < self.end_ns:
                    yield at_ns, row

    def _segments(self) -> Iterator[TapeSegment]:
        """Yield the segments that may hold a part of the stretch."""
        segments = list(self.tape.segments())
        for segment, following in pairwise((*segments, None)):
            assert segment is not None
            if following is not None and self.start_ns is not None:
                first_ns = _first_ns(following)
                if first_ns is not None and first_ns + _SORTED_NS <= self.start_ns:
                    continue
            if self.end_ns is not None and segment.info.recording * 1_000_000 >= self.end_ns:
                return
            yield segment


def _first_ns(segment: TapeSegment) -> int | None:
    """Return the wall time of the first row in nanoseconds; None for a segment without a whole batch."""
    for batch in segment.batches():
        if batch.num_rows:
            at_ns: int = batch.column("wall_ns")[0].as_py()
            return at_ns
    return None
