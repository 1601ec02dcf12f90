"""Keeps the market and the best prices of each frame of a tape, next to the tape, so that each frame is parsed once.

They are in one file for each segment, in the folder ``tops`` of the tape. A file is derived and can be removed at
any time: the next backtest writes it again. It is an Arrow IPC stream after a line with its own checksum and a hash
over the source code of the codecs; where either differs, nothing of it is used. Each of its batches names the
checksum of the segment's batch that it belongs to, so a batch that is new or has changed is parsed anew.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from math import nan
from pathlib import Path
from zlib import crc32

import pyarrow as pa

import arbshard.venues
from arbshard.backtest.slots import FRAME_BYTES_MAX
from arbshard.errors import FrameError
from arbshard.log import get_logger
from arbshard.tape.reading import TapeSegment
from arbshard.tape.writing import TOPS, TOPS_SUFFIX, segments_in
from arbshard.venues.base.market import Venue
from arbshard.venues.registry import codecs
from supervisor.rundir import write_whole

FOLDER = TOPS
MARKET, BID, ASK = "glance_market", "glance_bid", "glance_ask"
"""Columns that a batch gets. A row that is not a frame with a sound book has no market, or prices that are NaN.
Frames too long for a slot have no market either, and neither have frames of venues that ccxt brings: the hash over
the codecs does not cover all that reads them.
"""
_SCHEMA = pa.schema(
    [
        pa.field(MARKET, pa.string(), nullable=False),
        pa.field(BID, pa.float64(), nullable=False),
        pa.field(ASK, pa.float64(), nullable=False),
    ]
)
_OF = b"of"
"""Key of the checksum of the segment's batch."""
_SUFFIX = TOPS_SUFFIX


class TapeTops:
    """Adds what a glance at each frame finds to the batches of a tape."""

    def __init__(self) -> None:
        self._codecs: Mapping[str, Venue] = codecs()
        self.parsed = 0
        """Number of batches that were parsed; all others were read."""

    def batches(self, segment: TapeSegment) -> Iterator[pa.RecordBatch]:
        """Yield every whole batch of ``segment`` with the further columns. Raises ``TapeError``."""
        path = segment.path.parent / FOLDER / f"{segment.path.name}{_SUFFIX}"
        kept = _read(path)
        tops: list[tuple[bytes, pa.RecordBatch]] = []
        is_new = False
        for batch, content in segment.checked_batches():
            found = kept.get(content)
            if found is None or found.num_rows != batch.num_rows:
                found = self._parse(batch)
                is_new = True
            tops.append((content, found))
            yield pa.record_batch(
                [*batch.columns, *found.columns], names=[*batch.schema.names, *_SCHEMA.names]
            )
        if is_new:
            _write(path, tops)

    def _parse(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.parsed += 1
        columns = [batch.column(name).to_pylist() for name in ("kind", "venue", "at_ns", "data")]
        markets, bids, asks = [], [], []
        for kind, venue, at_ns, data in zip(*columns, strict=True):
            codec = self._codecs.get(venue) if kind == "frame" else None
            market = codec.route(data) if codec is not None and len(data) <= FRAME_BYTES_MAX else None
            bid = ask = nan
            if codec is not None and market is not None:
                try:
                    top = codec.top_of_book(data, at_ns)
                except FrameError:  # the feed counts it when it reaches the frame
                    pass
                else:
                    bid, ask = top.best_bid, top.best_ask
            markets.append(market or "")
            bids.append(bid)
            asks.append(ask)
        return pa.record_batch([markets, bids, asks], schema=_SCHEMA)


@cache
def _codecs_hash() -> str:
    """Return the hash of the source code of everything that reads frames."""
    folder = Path(arbshard.venues.__file__).parent
    found = sha256()
    for path in (*sorted(folder.rglob("*.py")), Path(__file__)):
        found.update(path.read_bytes())
    return found.hexdigest()


def _read(path: Path) -> dict[bytes, pa.RecordBatch]:
    """Return the content of a file by the checksum of the segment's batch; nothing for an invalid file."""
    try:
        head, _, body = path.read_bytes().partition(b"\n") if path.exists() else (b"", b"", b"")
    except OSError as error:
        get_logger().warning(
            "the best prices kept for a segment cannot be read", path=str(path), error=str(error)
        )
        return {}
    if head != _head_of(body):
        return {}
    kept: dict[bytes, pa.RecordBatch] = {}
    reader = pa.ipc.open_stream(body, options=pa.ipc.IpcReadOptions(use_threads=False))
    with suppress(StopIteration):
        while True:
            batch, metadata = reader.read_next_batch_with_custom_metadata()
            kept[metadata[_OF]] = batch
    return kept


def _write(path: Path, tops: list[tuple[bytes, pa.RecordBatch]]) -> None:
    """Write the parsed columns for later backtests, and remove those of segments that are gone."""
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
    with pa.ipc.new_stream(out, _SCHEMA, options=options) as writer:
        for content, batch in tops:
            writer.write_batch(batch, custom_metadata={_OF: content})
    body = out.getvalue()
    try:
        path.parent.mkdir(exist_ok=True, mode=0o700)
        write_whole(path, _head_of(body) + b"\n" + body)
        segments = {one.name for one in segments_in(path.parent.parent)}
        for other in path.parent.glob(f"*{_SUFFIX}"):
            if other.stem not in segments:
                other.unlink(missing_ok=True)
    except OSError as error:
        get_logger().warning("the best prices of a segment cannot be kept", path=str(path), error=str(error))


def _head_of(body: bytes) -> bytes:
    """Return the first line of a file with this content, written by these codecs."""
    return f"{crc32(body):08x} {_codecs_hash()}".encode()
