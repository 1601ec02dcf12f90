"""Reads a tape: ``Tape`` gives its segments and batches, ``verify`` checks whether all of it is there. Needs
pyarrow.

A segment that is still being written, or whose writer was killed, is read to its last whole batch.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from arbshard.tape import NoTape, TapeError
from arbshard.tape.format import (
    CHECKSUM,
    DECISION,
    DROPPED,
    END_OF_STREAM,
    SCHEMA,
    Row,
    SegmentInfo,
    checksum,
    info_of,
    parse_name,
)
from arbshard.tape.writing import segments_in
from arbshard.wire.recording import FEED_KINDS

_PART_BYTES = 1 << 20
_FAULTS_MAX = 100
"""Largest number of faults that a report names; the others are counted."""


class TapeSegment:
    """Represents one file of a tape."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises ``TapeError`` for a file that is not a segment of a tape, or cannot be read."""
        self.path = path
        try:
            with pa.memory_map(str(path)) as source:
                self.size: int = source.size()
                self.info: SegmentInfo = info_of(pa.ipc.open_stream(source).schema)
        except (OSError, pa.ArrowException) as error:
            raise TapeError(f"{path}: cannot be read as a tape: {_reason(error)}") from error
        except TapeError as error:
            raise TapeError(f"{path}: {error}") from error
        self.is_closed = self._ends_in_order()
        self.torn = ""
        """Reason why reading ended before the end of the file; empty if it did not, and before it was read."""
        self._messages: list[pa.ipc.Message] | None = None
        """Batches as they are in the file, packed; None before one of them was asked for by its number."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield every whole batch. Raises ``TapeError`` for one whose content has changed since it was written."""
        for batch, _ in self.checked_batches():
            yield batch

    def checked_batches(self) -> Iterator[tuple[pa.RecordBatch, bytes]]:
        """Yield every whole batch with the checksum of its content. Raises ``TapeError`` as ``batches`` does."""
        self.torn = ""
        # Nearly all bytes are of one column, so threads would only cost CPU time.
        options = pa.ipc.IpcReadOptions(use_threads=False)
        with pa.memory_map(str(self.path)) as source:
            reader = pa.ipc.open_stream(source, options=options)
            number = 0
            while True:
                try:
                    batch, metadata = reader.read_next_batch_with_custom_metadata()
                    if batch.num_rows:
                        batch.validate(full=True)
                except StopIteration:
                    return
                except (OSError, pa.ArrowException) as error:
                    # In a segment that was not closed, bytes after the last whole batch are no fault.
                    if self.is_closed:
                        raise TapeError(
                            f"{self.path}: batch {number} is damaged: {_reason(error)}"
                        ) from error
                    self.torn = _reason(error)
                    return
                found = checksum(batch)
                if (metadata or {}).get(CHECKSUM) != found:
                    raise TapeError(f"{self.path}: batch {number} is damaged: its checksum is wrong")
                yield batch, found
                number += 1

    def checksum(self) -> bytes:
        """Return a checksum over all bytes of the file. Raises ``TapeError`` where it cannot be read."""
        crc = size = 0
        try:
            with self.path.open("rb") as file:
                while part := file.read(_PART_BYTES):
                    crc, size = zlib.crc32(part, crc), size + len(part)
            return f"{size:x}-{crc:08x}".encode()
        except OSError as error:
            raise TapeError(f"{self.path}: cannot be read: {_reason(error)}") from error

    def batch(self, number: int, content: bytes) -> pa.RecordBatch:
        """Return one batch, the checksum of whose content is known. Raises ``TapeError`` if it is another one."""
        if self._messages is None:
            self._messages = self._packed()
        try:
            batch = pa.ipc.read_record_batch(self._messages[number], SCHEMA)
            batch.validate(full=True)
        except (OSError, IndexError, pa.ArrowException) as error:
            raise TapeError(f"{self.path}: batch {number} is damaged: {_reason(error)}") from error
        if checksum(batch) != content:
            raise TapeError(f"{self.path}: batch {number} is damaged: its checksum is wrong")
        return batch

    def _packed(self) -> list[pa.ipc.Message]:
        reader = pa.ipc.MessageReader.open_stream(pa.memory_map(str(self.path)))
        messages: list[pa.ipc.Message] = []
        while True:
            try:
                messages.append(reader.read_next_message())
            except (StopIteration, OSError, pa.ArrowException):  # what is torn was found when it was indexed
                return messages[1:]  # the first one is the schema

    def columns(self, *names: str) -> Iterator[pa.RecordBatch]:
        """Yield every whole batch with only these columns. This is fast: no other column is unpacked, and nothing is
        checked.
        """
        options = pa.ipc.IpcReadOptions(
            included_fields=sorted(SCHEMA.get_field_index(name) for name in names)
        )
        with pa.memory_map(str(self.path)) as source:
            reader = pa.ipc.open_stream(source, options=options)
            while True:
                try:
                    yield reader.read_next_batch()
                except StopIteration:
                    return
                except (OSError, pa.ArrowException) as error:
                    if self.is_closed:
                        raise TapeError(f"{self.path}: a batch is damaged: {_reason(error)}") from error
                    return

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Yield every row with its number."""
        for batch in self.batches():
            yield from rows_of(batch)

    def rows_of_kind(self, kind: str) -> Iterator[Row]:
        """Yield every row of a kind. Batches without such a row are not unpacked, and no checksum is checked. Raises
        ``TapeError`` for a batch that cannot be read.
        """
        found = [
            number
            for number, batch in enumerate(self.columns("kind"))
            if pc.any(pc.equal(batch.column("kind"), kind)).as_py()
        ]
        messages = self._packed() if found else []
        for number in found:
            try:
                batch = pa.ipc.read_record_batch(messages[number], SCHEMA)
                batch.validate(full=True)
            except (OSError, IndexError, pa.ArrowException) as error:
                raise TapeError(f"{self.path}: batch {number} is damaged: {_reason(error)}") from error
            for _, row in rows_of(batch.filter(pc.equal(batch.column("kind"), kind))):
                yield row

    def first_times(self) -> tuple[int, int] | None:
        """Return the first row's times (monotonic, wall) in ns; None for a segment without a whole batch."""
        for batch in self.columns("at_ns", "wall_ns"):
            if batch.num_rows:
                return batch.column("at_ns")[0].as_py(), batch.column("wall_ns")[0].as_py()
        return None

    def _ends_in_order(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(max(self.size - len(END_OF_STREAM), 0))
            return file.read() == END_OF_STREAM


def rows_of(batch: pa.RecordBatch) -> Iterator[tuple[int, Row]]:
    """Yield every row of a batch with its number."""
    columns = [column.to_pylist() for column in batch.columns]
    for number, *values in zip(*columns, strict=True):
        yield number, Row(*values)


class Tape:
    """Gives access to all segments in a folder."""

    def __init__(self, folder: Path) -> None:
        """Open the tape in ``folder``. Raises ``TapeError`` when there is none."""
        self.folder = folder
        self.paths = segments_in(folder)
        if not self.paths:
            raise NoTape(f"there is no tape in {folder}")

    def segments(self) -> Iterator[TapeSegment]:
        """Yield every segment, the oldest first. Raises ``TapeError`` at one that cannot be read."""
        for path in self.paths:
            if path.exists():  # the recorder may just have removed it
                yield TapeSegment(path)

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Yield every row with its number, in the order of recordings and segments."""
        for segment in self.segments():
            yield from segment.rows()


class Extent(NamedTuple):
    """Is the extent of one kind of rows of one venue: their number, their size, and the first and last time."""

    rows: int
    bytes: int
    first_ns: int
    """Wall time of the first row, in ns."""
    last_ns: int


class TapeReport:
    """Holds what ``verify`` has found."""

    def __init__(self) -> None:
        self.segments = 0
        self.open_segments = 0
        """Number of segments that were not closed in order: the recorder writes them, was killed, or had no room."""
        self.bytes = 0
        self.rows = 0
        self.marked = 0
        """Number of rows that are missing and whose loss is marked in the tape."""
        self.extents: dict[tuple[str, str], Extent] = {}
        """Extents of rows, by venue and kind."""
        self.faults: list[str] = []
        self.suppressed = 0

    def fault(self, line: str) -> None:
        """Add a fault, in one line."""
        if len(self.faults) < _FAULTS_MAX:
            self.faults.append(line)
        else:
            self.suppressed += 1


class _Recording:
    """Holds what was seen of one recording."""

    def __init__(self) -> None:
        self.segment: int | None = None
        self.row: int | None = None
        self.numbers: dict[str, int] = {}
        self.missing: Counter[str] = Counter()
        """Number of rows whose loss was marked since the last row of the venue, by venue."""


def verify(tape: Tape) -> TapeReport:
    """Check every row: whether each batch is whole, and whether no row is missing without a mark. Returns what was
    found.
    """
    report = TapeReport()
    recordings: dict[int, _Recording] = {}
    for path in tape.paths:
        try:
            segment = TapeSegment(path)
            report.segments += 1
            report.bytes += segment.size
            report.open_segments += not segment.is_closed
            recording = recordings.setdefault(segment.info.recording, _Recording())
            _check_place(report, recording, segment)
            for batch in segment.batches():
                _check_batch(report, recording, path, batch)
        except TapeError as error:
            report.fault(str(error))
    return report


def _check_place(report: TapeReport, recording: _Recording, segment: TapeSegment) -> None:
    info = segment.info
    if parse_name(segment.path) != (info.recording, info.segment):
        report.fault(f"{segment.path}: its name is not that of segment {info.segment} of {info.recording}")
    # The oldest segments are removed with time, so any may be the first.
    if recording.segment is not None and info.segment != recording.segment + 1:
        report.fault(f"{segment.path}: follows segment {recording.segment}; those in between are missing")
        recording.row = None
        recording.numbers.clear()
    recording.segment = info.segment


def _check_batch(report: TapeReport, recording: _Recording, path: Path, batch: pa.RecordBatch) -> None:
    names = ("row", "kind", "venue", "wall_ns", "number", "data")
    columns = [batch.column(name) for name in names]
    lengths = columns.pop()
    sizes = pc.binary_length(lengths).to_pylist()
    is_first = True
    for row, kind, venue, wall_ns, number, size in zip(
        *(column.to_pylist() for column in columns), sizes, strict=True
    ):
        report.rows += 1
        if recording.row is not None and row != recording.row + 1 and not (is_first and kind == DROPPED):
            report.fault(f"{path}: row {row} follows row {recording.row}, and no mark says why")
        is_first = False
        recording.row = row
        _extend(report.extents, (venue, kind), size, wall_ns)
        if kind == DROPPED:
            report.marked += number
            recording.missing[venue] += number
        elif kind == DECISION or kind in FEED_KINDS:
            last = recording.numbers.get(venue)
            missing = recording.missing.pop(venue, 0)
            # Marks without a venue count decisions and messages about the run together.
            if last is not None and (number > last + 1 + missing or (venue and number <= last + missing)):
                source = venue or "the ledger"
                report.fault(
                    f"{path}: row {row}: {source} has {number} after {last}, and {missing} are marked as missing"
                )
            recording.numbers[venue] = number


def _extend(extents: dict[tuple[str, str], Extent], key: tuple[str, str], size: int, wall_ns: int) -> None:
    known = extents.get(key)
    if known is None:
        extents[key] = Extent(1, size, wall_ns, wall_ns)
    else:
        first_ns, last_ns = min(known.first_ns, wall_ns), max(known.last_ns, wall_ns)
        extents[key] = Extent(known.rows + 1, known.bytes + size, first_ns, last_ns)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
