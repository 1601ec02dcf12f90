"""Cuts a tape into parts of equal recorded time, and computes a digest of each part's files. Needs pyarrow."""

import os
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from arbshard.errors import UsageError
from arbshard.tape import TapeError
from arbshard.tape.format import parse_name
from arbshard.tape.reading import Tape, TapeSegment

PARTS_MAX = 1000
_EDGE_BYTES = 4096
_MINUTE_NS = 60_000_000_000


class SweepPart(msgspec.Struct, frozen=True):
    """Describes a part of a tape: what was received from ``start_ns`` (inclusive) to ``end_ns`` (exclusive), in wall
    time.
    """

    number: int
    """Number of the part, from 1."""
    start_ns: int
    end_ns: int
    first_segment: str
    last_segment: str
    """Names of the first and the last file that hold rows of the part."""
    digest: str
    """Digest of these files, so that a part of another tape is another part."""


def cut(folder: Path, count: int) -> tuple[SweepPart, ...]:
    """Return ``count`` parts of equal recorded time, in order. Times in which nothing was recorded do not count.

    Raises ``UsageError`` for a tape that is missing, damaged or too short.
    """
    try:
        spans = list(_spans(Tape(folder)))
    except TapeError as error:
        raise UsageError(str(error)) from error
    recorded_ns = sum(end - start for _, start, end in spans)
    if recorded_ns < count * _MINUTE_NS:
        raise UsageError(
            f"{folder}: {recorded_ns / _MINUTE_NS:.1f} minutes are recorded, "
            f"and each of {count} parts needs one at least"
        )
    bounds = [_moment_after(spans, recorded_ns * number // count) for number in range(count)]
    bounds.append(spans[-1][2] + 1)
    parts = []
    for number, (start, end) in enumerate(pairwise(bounds), 1):
        names = [name for name, first, last in spans if first < end and last >= start]
        digest = digest_of(folder, names[0], names[-1])
        parts.append(SweepPart(number, start, end, names[0], names[-1], digest))
    return tuple(parts)


def digest_of(folder: Path, first: str, last: str) -> str:
    """Return a digest of the segments from ``first`` to ``last``: names, sizes, and the bytes at both ends of each.

    The last one may still be written, so only its beginning counts. Raises ``UsageError``.
    """
    digest = blake2b(digest_size=16)
    names = sorted(one.name for one in _listed(folder) if first <= one.name <= last and parse_name(one))
    for name in names:
        try:
            with (folder / name).open("rb") as file:
                digest.update(name.encode() + file.read(_EDGE_BYTES))
                if name != last:
                    size = file.seek(0, os.SEEK_END)
                    file.seek(max(size - _EDGE_BYTES, 0))
                    digest.update(str(size).encode() + file.read())
        except OSError as error:
            raise UsageError(f"{folder / name}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read: {error.strerror}") from error


def _spans(tape: Tape) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each segment with frames, and when its first and last one came; no two spans overlap.

    A segment lasts until the next one of its recording begins. Only frames say when something was recorded: a
    recording begins with books and decisions from before it.
    """
    begun = [(segment, start) for segment in tape.segments() if (start := _first_ns(segment)) is not None]
    if not begun:
        raise TapeError(f"there is no frame on the tape in {tape.folder}")
    reached = 0
    for (segment, start), following in zip(begun, [*begun[1:], None], strict=True):
        if following is not None and following[0].info.recording == segment.info.recording:
            end = following[1]
        else:
            end = max(max(times) for batch in segment.batches() if (times := _frame_times(batch)))
        if end >= reached:  # the wall clock may have been set back between two recordings
            yield segment.path.name, max(start, reached), end
            reached = end


def _first_ns(segment: TapeSegment) -> int | None:
    """Return when the first frame came, in wall time; None for a segment without frames."""
    return next((min(times) for batch in segment.batches() if (times := _frame_times(batch))), None)


def _frame_times(batch: pa.RecordBatch) -> list[int]:
    times: list[int] = batch.filter(pc.equal(batch.column("kind"), "frame")).column("wall_ns").to_pylist()
    return times


def _moment_after(spans: Sequence[tuple[str, int, int]], recorded_ns: int) -> int:
    """Return the wall time at which so much had been recorded."""
    for _, start, end in spans:
        if recorded_ns < end - start:
            return start + recorded_ns
        recorded_ns -= end - start
    return spans[-1][2]
