"""Reads a part of a tape row by row, in the order of time. Needs pyarrow.

Within a recording the time of a row is its monotonic time plus the difference of both clocks at the beginning of
the recording, so that a wall clock that was set meanwhile changes nothing. Rows of several sources come into a tape
a little out of order: they are sorted within ``_SORTED_NS``, and no more than that is kept in memory.
"""

import heapq
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from arbshard.model.universe import Universe
from arbshard.tape import TapeError
from arbshard.tape.format import UNIVERSE, Row, described_universe
from arbshard.tape.reading import Tape, TapeSegment, rows_of

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

    def universes(self) -> Iterator[tuple[int, Universe]]:
        """Yield what the recorded run traded, each with the wall time in ns from which on it did. The first may be
        from before the stretch.

        Raises ``TapeError`` for a tape that is damaged at its beginning, or pairs that cannot be read.
        """
        newest = b""
        for at_ns, text, path in self._universe_texts():
            if text == newest:
                continue
            newest = text
            universe = described_universe(text, f"{path}: the pairs that were traded")
            if universe is not None:
                yield at_ns, universe

    def _universe_texts(self) -> Iterator[tuple[int, bytes, Path]]:
        """Yield the time, the JSON and the segment of each description of what was traded, up to the first damage."""
        is_any_found = False
        try:
            for segment, first_ns, clock in self._timed_segments():
                yield first_ns, bytes(segment.info.universe), segment.path
                is_any_found = True
                for row in segment.rows_of_kind(UNIVERSE):
                    at_ns = clock.time_of(row.at_ns)
                    if self.end_ns is None or at_ns < self.end_ns:
                        yield at_ns, row.data, segment.path
        except TapeError:
            if not is_any_found:
                raise
            # What is damaged later ends the replay when it comes to it.

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
        for segment, _, clock in self._timed_segments():
            for batch in segment.batches():
                if self.start_ns is not None and clock.is_before(batch, self.start_ns):
                    continue
                for _, row in rows_of(batch):
                    if row.kind not in KINDS:
                        continue
                    at_ns = clock.time_of(row.at_ns)
                    if self.start_ns is not None and at_ns < self.start_ns:
                        continue
                    if self.end_ns is None or at_ns < self.end_ns:
                        yield at_ns, row

    def _timed_segments(self) -> Iterator[tuple[TapeSegment, int, "_RecordingClock"]]:
        """Yield each segment that may hold a part of the stretch, with the time of its first row and its clock."""
        recording: int | None = None
        clock = _RecordingClock(0, 0)
        for segment in self._segments():
            first = segment.first_times()
            if first is None:
                continue
            at_ns, wall_ns = first
            if segment.info.recording != recording:
                recording = segment.info.recording
                clock = _RecordingClock(wall_ns - at_ns, recording * 1_000_000)
            yield segment, clock.time_of(at_ns), clock

    def _segments(self) -> Iterator[TapeSegment]:
        """Yield the segments that may hold a part of the stretch."""
        segments = list(self.tape.segments())
        for segment, following in pairwise((*segments, None)):
            assert segment is not None
            if following is not None and self.start_ns is not None:
                first = following.first_times()
                if first is not None and first[1] + _SORTED_NS <= self.start_ns:
                    continue
            if self.end_ns is not None and segment.info.recording * 1_000_000 >= self.end_ns:
                return
            yield segment


class _RecordingClock(NamedTuple):
    """Converts monotonic times of a recording into the times at which rows are played."""

    offset_ns: int
    """Wall time less monotonic time when the recording began."""
    began_ns: int

    def time_of(self, at_ns: int) -> int:
        """Return when a row is played: what was received before the recording began is played when it begins."""
        return max(at_ns + self.offset_ns, self.began_ns)

    def is_before(self, batch: pa.RecordBatch, start_ns: int) -> bool:
        """Return whether all rows of a batch are played before ``start_ns``."""
        newest_ns = pc.max(batch.column("at_ns")).as_py()
        return newest_ns is not None and self.time_of(newest_ns) < start_ns
