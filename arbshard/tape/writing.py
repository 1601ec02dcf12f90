"""Contains ``TapeWriter``, which writes rows into segments and removes the oldest segments. Needs pyarrow.

Each batch is written whole at once, so a process that is killed loses at most what it had in memory, and the segment
is readable to the last whole batch. Nothing here raises for a disk that is full or broken: the rows are dropped and
counted, and the first batch that can be written again begins with marks that report how many are missing.
"""

import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from arbshard.log import get_logger
from arbshard.tape.format import (
    CHECKSUM,
    DROPPED,
    SCHEMA,
    Row,
    SegmentInfo,
    checksum,
    name_of,
    parse_name,
    schema_with,
)

BATCH_ROWS_MAX = 4096
BATCH_BYTES_MAX = 4 << 20
_FIRST_PAUSE_NS = 500_000_000
_PAUSE_NS_MAX = 30_000_000_000
_COMPRESSION = "zstd"
TOPS = "tops"
"""Folder of a tape in which backtests keep the best prices of each segment."""
TOPS_SUFFIX = ".tops"
"""Ending of such a file's name, after the name of the segment."""

Describe = Callable[[int, int], SegmentInfo]
"""Makes the description of a segment from its number and the number of its first row."""


class TapeBounds(NamedTuple):
    """Limits how large segments become, and how much is kept."""

    segment_ns: int = 600_000_000_000
    segment_bytes: int = 64_000_000
    keep_ms: int = 168 * 3_600_000
    keep_bytes: int = 10_000_000_000
    free_bytes_min: int = 500_000_000
    """Free bytes on the disk below which nothing is written: the ledger may need them."""


class TapeWriter:
    """Writes one recording into ``folder``, which no other process writes at the same time."""

    def __init__(self, folder: Path, recording: int, describe: Describe, bounds: TapeBounds) -> None:
        """Make a writer. ``recording`` is the wall time in ms at which the recording began."""
        self._folder = folder
        self._recording = recording
        self._describe = describe
        self._bounds = bounds
        self._pending: list[Row] = []
        self._pending_bytes = 0
        self._file: _SegmentFile | None = None
        self._opened_ns = 0
        self._segments = 0
        self._dropped: Counter[str] = Counter()
        """Number of rows that were lost and not marked yet, by venue."""
        self._not_before_ns = 0
        self._pause_ns = _FIRST_PAUSE_NS
        self.rows = 0
        """Number of rows so far, with the lost ones: the number of the next row."""
        self.written = 0
        self.lost = 0
        """Number of rows that could not be written."""
        self.failures = 0
        self.removed = 0
        """Number of old segments that were removed."""
        self.last_error = ""

    @property
    def is_full(self) -> bool:
        """Return whether what is in memory should be written now."""
        return len(self._pending) >= BATCH_ROWS_MAX or self._pending_bytes >= BATCH_BYTES_MAX

    def add(self, row: Row) -> None:
        """Add a row to what is in memory."""
        self._pending.append(row)
        self._pending_bytes += len(row.data)

    def flush(self, now_ns: int, now_ms: int) -> None:
        """Write the rows in memory as one batch, or drop them if that is impossible."""
        rows, self._pending, self._pending_bytes = self._pending, [], 0
        if not rows:
            return
        if now_ns < self._not_before_ns:
            self._drop(rows)
            return
        marks = self._marks(rows[0])
        try:
            self._write([*marks, *rows], now_ns, now_ms)
        except OSError as error:
            self._fail(error, now_ns)
            self._drop(rows)
        else:
            self.written += len(rows) + len(marks)
            self._dropped.clear()
            if self.last_error:
                get_logger().warning("the tape is written again", lost_rows=self.lost)
                self.last_error = ""
                self._pause_ns = _FIRST_PAUSE_NS

    def close(self, now_ns: int, now_ms: int) -> None:
        """Write the rows in memory, and end the segment in order."""
        self._not_before_ns = 0
        self.flush(now_ns, now_ms)
        if self._file is not None:
            try:
                self._end_segment(now_ms)
            except OSError as error:
                self._fail(error, now_ns)

    def _write(self, rows: list[Row], now_ns: int, now_ms: int) -> None:
        if self._file is not None and (
            self._file.size >= self._bounds.segment_bytes
            or now_ns - self._opened_ns >= self._bounds.segment_ns
        ):
            self._end_segment(now_ms)
        if self._file is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._require_room()
            info = self._describe(self._segments, self.rows)
            self._file = _SegmentFile(self._folder / name_of(self._recording, self._segments), info)
            self._opened_ns = now_ns
        self._file.write(_batch_of(rows, self.rows))
        if self._file.batches == 1:  # a segment without a batch is removed, and its number is free again
            self._segments += 1
        self.rows += len(rows)

    def _marks(self, before: Row) -> list[Row]:
        """Return rows that report what was lost, one for each venue, with the clocks of the row ``before``, which
        follows them.
        """
        return [
            Row(
                DROPPED, venue, "", "", before.at_ns, before.wall_ns, 0, lost, f"disk: {self.last_error}", b""
            )
            for venue, lost in sorted(self._dropped.items())
        ]

    def _drop(self, rows: list[Row]) -> None:
        for row in rows:
            # A lost mark counts as the rows that it reported.
            self._dropped[row.venue] += row.number if row.kind == DROPPED else 1
        self.lost += len(rows)
        self.rows += len(rows)

    def _fail(self, error: OSError, now_ns: int) -> None:
        self.failures += 1
        if not self.last_error:
            get_logger().error("the tape cannot be written: rows are lost", error=str(error))
        self.last_error = error.strerror or str(error)
        self._not_before_ns = now_ns + self._pause_ns
        self._pause_ns = min(self._pause_ns * 2, _PAUSE_NS_MAX)
        if self._file is not None:
            self._file.abandon()
            self._file = None

    def _end_segment(self, now_ms: int) -> None:
        file, self._file = self._file, None
        assert file is not None
        try:
            file.close()
        except OSError:
            file.abandon()
            raise
        self._trim(now_ms)

    def _require_room(self) -> None:
        found = os.statvfs(self._folder)
        free = found.f_bavail * found.f_frsize
        if free < self._bounds.free_bytes_min:
            raise OSError(f"only {free // 1_000_000} MB are free on its disk")

    def _trim(self, now_ms: int) -> None:
        """Remove segments that are older or more than the bounds allow, each with what backtests keep of it."""
        kept = [(path, path.stat(), _size_of(tops_of(path))) for path in segments_in(self._folder)]
        size = sum(stat.st_size + derived for _, stat, derived in kept)
        for path, stat, derived in kept[:-1]:
            is_old = stat.st_mtime_ns // 1_000_000 < now_ms - self._bounds.keep_ms
            if not is_old and size <= self._bounds.keep_bytes:
                break
            path.unlink(missing_ok=True)
            if derived:
                tops_of(path).unlink(missing_ok=True)
            size -= stat.st_size + derived
            self.removed += 1


def tops_of(segment: Path) -> Path:
    """Return the path at which backtests keep the best prices of ``segment``. The file is derived, and may be
    missing.
    """
    return segment.parent / TOPS / f"{segment.name}{TOPS_SUFFIX}"


def _size_of(path: Path) -> int:
    """Return the size of a file that a backtest may write or remove meanwhile; 0 where it is missing."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def segments_in(folder: Path) -> list[Path]:
    """Return the segments in a folder, the oldest first. A missing folder has none."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in paths if parse_name(path) is not None)


class _SegmentFile:
    """Is one segment. A batch is in the file as a whole, or the file is cut back to the batch before."""

    def __init__(self, path: Path, info: SegmentInfo) -> None:
        """Make the file. Raises ``OSError``; there is no file then."""
        self._path = path
        self._memory = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression=_COMPRESSION)
        self._stream = pa.ipc.new_stream(self._memory, schema_with(info), options=options)
        self.size = 0
        self.batches = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch. Raises ``OSError``; ``abandon`` is then to be called."""
        self._stream.write_batch(batch, custom_metadata={CHECKSUM: checksum(batch)})
        self._append()
        self.batches += 1

    def close(self) -> None:
        """End the stream in order, and make it durable on the disk. Raises ``OSError``."""
        self._stream.close()
        self._append()
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def abandon(self) -> None:
        """Close the file after a failure: cut it back to its last whole batch, or remove it if it has none."""
        try:
            os.ftruncate(self._descriptor, self.size)
            if not self.batches:
                self._path.unlink(missing_ok=True)
        except OSError as error:  # a reader finds the end of the last whole batch by itself
            get_logger().warning(
                "a segment of the tape ends in the middle", path=str(self._path), error=str(error)
            )
        finally:
            os.close(self._descriptor)

    def _append(self) -> None:
        data = memoryview(self._memory.getvalue())
        self._memory.seek(0)
        self._memory.truncate()
        written = 0
        while written < len(data):
            written += os.write(self._descriptor, data[written:])
        self.size += written


def _batch_of(rows: list[Row], first: int) -> pa.RecordBatch:
    columns = [range(first, first + len(rows)), *zip(*rows, strict=True)]
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)
