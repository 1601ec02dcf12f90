"""Defines a segment of the tape: columns, kinds of rows, description, file names, checksums. Needs pyarrow.

A segment is an Arrow IPC stream. Its schema carries a ``SegmentInfo``, and each batch a checksum of its content,
since Arrow itself has none. ``docs/tape.md`` describes each column.
"""

import re
import zlib
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa

from arbshard.model.universe import Universe
from arbshard.tape import TapeError
from arbshard.wire.recording import FEED_KINDS

FORMAT = 1
"""Version of the format. It increases with every change that older readers would misread."""

RUN_KINDS = ("venue", "control", "alert")
"""Kinds of rows with a message of the bus about the run, as JSON."""
DECISION = "decision"
"""Kind of a row with an event of risk's ledger, as JSON."""
REFUSED = "refused"
"""Kind of a row with what one worker has refused so far, as JSON."""
UNIVERSE = "universe"
"""Kind of a row with what is traded from then on, as JSON."""
DROPPED = "dropped"
"""Kind of a row that reports how many rows are missing before it, and why."""
KINDS = (*FEED_KINDS, *RUN_KINDS, DECISION, REFUSED, UNIVERSE, DROPPED)

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("venue", pa.string(), nullable=False),
        pa.field("connection", pa.string(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("at_ns", pa.int64(), nullable=False),
        pa.field("wall_ns", pa.int64(), nullable=False),
        pa.field("began_ns", pa.int64(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("data", pa.binary(), nullable=False),
    ]
)

_INFO = b"arbshard.tape"
CHECKSUM = b"crc32"
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""Last bytes of a segment that was closed in order."""
_NAME = re.compile(r"(\d{13})-(\d{6})\.arrows")


class Row(NamedTuple):
    """Is one row of the tape, without its number, which the writer adds."""

    kind: str
    venue: str
    connection: str
    symbol: str
    at_ns: int
    """Monotonic time in ns."""
    wall_ns: int
    began_ns: int
    number: int
    """Position in the source: sequence number on the bus, or number of the ledger's event. For ``dropped``, how many
    rows are missing.
    """
    detail: str
    data: bytes


class SegmentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Describes a segment so that no other file is needed to understand it."""

    format: int = FORMAT
    recording: int
    """Wall time in ms at which its recording began. All segments of a recording have the same."""
    segment: int
    """Number of the segment in the recording, from 0."""
    first_row: int
    instance: str
    version: str
    """Version of the arbshard that wrote it."""
    boot: str
    """Identity of the machine's boot: monotonic times of different boots cannot be compared."""
    universe: msgspec.Raw = msgspec.Raw(b"null")
    """Pairs, markets, rules and fees of the run when the segment was begun, as JSON."""
    config: msgspec.Raw = msgspec.Raw(b"null")
    """The run's configuration as JSON, without secrets."""

    def described_universe(self) -> Universe | None:
        """Return the pairs with their rules and fees; None where they are not known. Raises ``TapeError``."""
        return described_universe(self.universe, "the pairs in its description")


def described_universe(text: bytes | msgspec.Raw, what: str) -> Universe | None:
    """Return a universe that is on a tape as JSON; None where it is not known. ``what`` names it in errors.

    Raises ``TapeError``.
    """
    try:
        return msgspec.json.decode(text, type=Universe | None)
    except msgspec.MsgspecError as error:
        raise TapeError(f"{what} cannot be read: {error}") from error


def schema_with(info: SegmentInfo) -> pa.Schema:
    """Return the schema of a segment with this description."""
    return SCHEMA.with_metadata({_INFO: msgspec.json.encode(info)})


def info_of(schema: pa.Schema) -> SegmentInfo:
    """Return the description in a segment's schema. Raises ``TapeError`` for a schema of something else."""
    text = (schema.metadata or {}).get(_INFO)
    if text is None:
        raise TapeError("not a tape of arbshard")
    try:
        info = msgspec.json.decode(text, type=SegmentInfo)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TapeError(f"its description cannot be read: {error}") from error
    if info.format != FORMAT:
        raise TapeError(f"it has format {info.format}, and this arbshard reads format {FORMAT}")
    if schema.remove_metadata() != SCHEMA:
        raise TapeError("its columns are not those of format 1")
    return info


def name_of(recording: int, segment: int) -> str:
    """Return the file name of a segment. The order of names is the order of segments."""
    return f"{recording:013d}-{segment:06d}.arrows"


def parse_name(path: Path) -> tuple[int, int] | None:
    """Return (recording, segment) of a segment's file; None for other files."""
    found = _NAME.fullmatch(path.name)
    return (int(found[1]), int(found[2])) if found is not None else None


def checksum(batch: pa.RecordBatch) -> bytes:
    """Return a checksum over all values of a batch: a written batch and the same batch when read have the same."""
    crc = zlib.crc32(str(batch.num_rows).encode())
    for column in batch.columns:
        flat = pa.concat_arrays([column]) if column.offset else column
        _, *buffers = flat.buffers()
        if len(buffers) == 1:
            crc = zlib.crc32(buffers[0][: 8 * len(flat)], crc)
        else:
            offsets, values = buffers
            used = memoryview(offsets[: 4 * (len(flat) + 1)]).cast("i")
            crc = zlib.crc32(used, crc)
            if values is not None:
                crc = zlib.crc32(values[used[0] : used[-1]], crc)
    return f"{crc:08x}".encode()
