"""Keeps what screening needs of each row of a tape, next to the tape, so that each frame is parsed once.

There is one file for each segment, in the folder ``tops`` of the tape: the market, the best prices, the time of
sending and the update id of each frame, and the times, kinds and names of all rows. As long as the bytes of the
segment are those from which the file was made, a backtest reads the file alone, and neither unpacks nor parses a
frame that it does not feed. A file is derived and can be removed at any time: the next backtest writes it again. It
is an Arrow IPC stream after a line with its own checksum, a hash over the source code of the codecs, and the checksum
of the segment; where one of the first two differs, nothing of it is used. Each of its batches names the checksum of
the segment's batch that it belongs to, so where the segment differs, a batch that is new or has changed is parsed
anew.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from hashlib import sha256
from math import nan
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

import arbshard.venues
from arbshard.backtest.slots import FRAME_BYTES_MAX
from arbshard.errors import FrameError
from arbshard.log import get_logger
from arbshard.tape.reading import TapeSegment
from arbshard.tape.writing import TOPS, TOPS_SUFFIX, segments_in
from arbshard.venues.base.fusion import FusedVenue
from arbshard.venues.base.market import Venue
from arbshard.venues.registry import codecs, get_adapter
from supervisor.rundir import write_whole

FOLDER = TOPS
UNSENT_MS = -1
"""Time of sending of a frame that has none."""
NO_UPDATE = -1
"""Update id of a frame that has none."""
_FRAME = "frame"
_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.int32(), nullable=False),
        pa.field("venue", pa.int32(), nullable=False),
        pa.field("connection", pa.int32(), nullable=False),
        pa.field("market", pa.int32(), nullable=False),
        pa.field("at_ns", pa.int64(), nullable=False),
        pa.field("offset_ns", pa.int64(), nullable=False),
        pa.field("bid", pa.float64(), nullable=False),
        pa.field("ask", pa.float64(), nullable=False),
        pa.field("sent_ms", pa.int64(), nullable=False),
        pa.field("update", pa.int64(), nullable=False),
        pa.field("is_touch", pa.int8(), nullable=False),
    ]
)
_OF = b"of"
"""Key of the segment's batches that a batch is made of: checksum and number of rows of each, ``a:1 b:2``."""
_ROWS_MIN = 32_768
"""Number of rows from which on a batch of a file is closed: those of a segment may have few hundreds."""
_NAMES = b"names"
"""Key of the texts that ``kind``, ``venue``, ``connection`` and ``market`` number, as a JSON list."""
_SUFFIX = TOPS_SUFFIX
_NUMBER_MAX = 1 << 53
"""Times of sending and update ids beyond this are not kept: their frames count as unsound, and are never skipped."""

_Numbers = npt.NDArray[np.int64]
_Prices = npt.NDArray[np.float64]


class IndexedBatch(NamedTuple):
    """Holds successive batches of a segment by columns, and their messages only on demand."""

    names: list[str]
    """Texts by their numbers; number 0 is the empty text. It may grow while a segment is read."""
    kinds: npt.NDArray[np.int32]
    venues: npt.NDArray[np.int32]
    connections: npt.NDArray[np.int32]
    markets: npt.NDArray[np.int32]
    """0 for a row that is not a frame of a market. Frames too long for a slot have no market either, and neither have
    frames of venues that ccxt brings: the hash over the codecs does not cover all that reads them.
    """
    at_ns: _Numbers
    offset_ns: _Numbers
    """Wall time less monotonic time."""
    bids: _Prices
    asks: _Prices
    """NaN for a row that is not a frame with a sound book."""
    sent_ms: _Numbers
    """Time of sending by the venue's clock; ``UNSENT_MS`` where the frame has none."""
    updates: _Numbers
    """Update ids of frames of venues that send levels and touches in two streams; ``NO_UPDATE`` where there is
    none.
    """
    is_touch: npt.NDArray[np.int8]
    """1 for a frame with a touch alone."""
    sources: tuple[tuple[int, Callable[[], pa.RecordBatch]], ...]
    """For each batch of the segment its number of rows, and what returns it. Raises ``TapeError`` where it is
    damaged.
    """


_Look = tuple[str, float, float, int, int, int]
"""Market, best bid, best ask, time of sending, update id, and 1 for a touch."""
_NOTHING: _Look = "", nan, nan, UNSENT_MS, NO_UPDATE, 0


class TapeTops:
    """Reads the batches of a tape with what screening needs of each frame."""

    def __init__(self) -> None:
        self._codecs: Mapping[str, Venue] = codecs()
        self._fused: dict[str, FusedVenue] = {
            name: fused for name in self._codecs if (fused := get_adapter(name).fused) is not None
        }
        self.parsed = 0
        """Number of batches that were parsed; all others were read."""

    def batches(self, segment: TapeSegment) -> Iterator[IndexedBatch]:
        """Yield every whole batch of ``segment``. Raises ``TapeError``."""
        path = segment.path.parent / FOLDER / f"{segment.path.name}{_SUFFIX}"
        whole = segment.checksum()
        kept = _read(path)
        if kept.of == whole:
            number = 0
            for contents, columns in kept.batches():
                sources = [
                    (rows, partial(segment.batch, number + n, one)) for n, (one, rows) in enumerate(contents)
                ]
                yield _indexed(kept.names, columns, *sources)
                number += len(contents)
            return
        names = _NumberedNames(kept.names)
        known = kept.by_content()
        tops: list[tuple[bytes, pa.RecordBatch]] = []
        for batch, content in segment.checked_batches():
            found = known.get(content)
            if found is None or found.num_rows != batch.num_rows:
                found = self._parse(batch, names)
            tops.append((content, found))
            yield _indexed(names.all, found, (batch.num_rows, partial(_same, batch)))
        _write(path, whole, names.all, tops)

    def _parse(self, batch: pa.RecordBatch, names: "_NumberedNames") -> pa.RecordBatch:
        self.parsed += 1
        columns = [batch.column(name).to_pylist() for name in ("kind", "venue", "at_ns", "data")]
        found = [
            self._look_at(venue, data, at_ns) if kind == _FRAME and len(data) <= FRAME_BYTES_MAX else _NOTHING
            for kind, venue, at_ns, data in zip(*columns, strict=True)
        ]
        markets, bids, asks, sent, updates, touches = zip(*found, strict=True) if found else [()] * 6
        at_ns = batch.column("at_ns").to_numpy()
        numbers = [
            pa.array([names.number_of(one) for one in batch.column(name).to_pylist()], pa.int32())
            for name in ("kind", "venue", "connection")
        ]
        return pa.record_batch(
            [
                *numbers,
                pa.array([names.number_of(market) for market in markets], pa.int32()),
                pa.array(at_ns),
                pa.array(batch.column("wall_ns").to_numpy() - at_ns),
                bids,
                asks,
                sent,
                updates,
                pa.array(touches, pa.int8()),
            ],
            schema=_SCHEMA,
        )

    def _look_at(self, venue: str, frame: bytes, at_ns: int) -> _Look:
        """Return what screening needs of a frame."""
        codec, fused = self._codecs.get(venue), self._fused.get(venue)
        if codec is None:
            return _NOTHING
        touch = fused.touch_of(frame) if fused is not None else None
        if fused is not None and touch is not None:
            bid, ask = _prices_of(fused, fused.joined(b"{}", touch.body), at_ns)
            return _sound(touch.symbol, bid, ask, UNSENT_MS, touch.update_id, 1)
        market = codec.route(frame)
        if market is None:
            return _NOTHING
        sent_ms = codec.sent_ms(frame)
        update = fused.depth_id(frame) if fused is not None else None
        return _sound(
            market,
            *_prices_of(codec, frame, at_ns),
            UNSENT_MS if sent_ms is None else sent_ms,
            NO_UPDATE if update is None else update,
            0,
        )


def _prices_of(codec: Venue, frame: bytes, at_ns: int) -> tuple[float, float]:
    try:
        top = codec.top_of_book(frame, at_ns)
    except FrameError:  # the feed counts it when it reaches the frame
        return nan, nan
    return top.best_bid, top.best_ask


def _sound(market: str, bid: float, ask: float, sent_ms: int, update: int, is_touch: int) -> _Look:
    if max(sent_ms, update) > _NUMBER_MAX:
        return market, nan, nan, UNSENT_MS, NO_UPDATE, is_touch
    return market, bid, ask, sent_ms, update, is_touch


@cache
def _codecs_hash() -> str:
    """Return the hash of the source code of everything that reads frames."""
    folder = Path(arbshard.venues.__file__).parent
    found = sha256()
    for path in (*sorted(folder.rglob("*.py")), Path(__file__)):
        found.update(path.read_bytes())
    return found.hexdigest()


class _NumberedNames:
    """Assigns numbers to texts; the empty text has the number 0."""

    def __init__(self, known: list[str]) -> None:
        self.all = known or [""]
        self._numbers = {name: number for number, name in enumerate(self.all)}

    def number_of(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self.all)
            self.all.append(name)
        return number


class _Kept(NamedTuple):
    """Is the content of one file."""

    of: bytes
    """Checksum of the segment from which it was made; empty for none."""
    names: list[str]
    body: bytes
    """The Arrow stream; empty for none."""

    def batches(self) -> Iterator[tuple[list[tuple[bytes, int]], pa.RecordBatch]]:
        """Yield columns with checksum and number of rows of the segment's batches, in the order of the segment."""
        if not self.body:
            return
        reader = pa.ipc.open_stream(self.body, options=pa.ipc.IpcReadOptions(use_threads=False))
        with suppress(StopIteration):
            while True:
                batch, metadata = reader.read_next_batch_with_custom_metadata()
                contents = (one.split(b":") for one in metadata[_OF].split())
                yield [(content, int(rows)) for content, rows in contents], batch

    def by_content(self) -> dict[bytes, pa.RecordBatch]:
        """Return the columns of each batch of the segment by its checksum."""
        found: dict[bytes, pa.RecordBatch] = {}
        for contents, columns in self.batches():
            begin = 0
            for content, rows in contents:
                found[content] = columns.slice(begin, rows)
                begin += rows
        return found


def _indexed(
    names: list[str], columns: pa.RecordBatch, *sources: tuple[int, Callable[[], pa.RecordBatch]]
) -> IndexedBatch:
    by_name = {name: columns.column(name).to_numpy() for name in _SCHEMA.names}
    return IndexedBatch(
        names=names,
        kinds=by_name["kind"],
        venues=by_name["venue"],
        connections=by_name["connection"],
        markets=by_name["market"],
        at_ns=by_name["at_ns"],
        offset_ns=by_name["offset_ns"],
        bids=by_name["bid"],
        asks=by_name["ask"],
        sent_ms=by_name["sent_ms"],
        updates=by_name["update"],
        is_touch=by_name["is_touch"],
        sources=sources,
    )


def _same(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def _read(path: Path) -> _Kept:
    """Return the content of a file; nothing for a missing or invalid file."""
    nothing = _Kept(b"", [], b"")
    try:
        head, _, body = path.read_bytes().partition(b"\n") if path.exists() else (b"", b"", b"")
    except OSError as error:
        get_logger().warning(
            "the best prices kept for a segment cannot be read", path=str(path), error=str(error)
        )
        return nothing
    own, _, of = head.rpartition(b" ")
    if not own or own != _head_of(body, of):
        return nothing
    metadata = pa.ipc.open_stream(body).schema.metadata
    return _Kept(of, msgspec.json.decode(metadata[_NAMES], type=list[str]), body)


def _write(path: Path, of: bytes, names: list[str], tops: list[tuple[bytes, pa.RecordBatch]]) -> None:
    """Write the columns for later backtests, and remove those of segments that are gone."""
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
    schema = _SCHEMA.with_metadata({_NAMES: msgspec.json.encode(names)})
    with pa.ipc.new_stream(out, schema, options=options) as writer:
        waiting: list[tuple[bytes, pa.RecordBatch]] = []
        for number, one in enumerate(tops, 1):
            waiting.append(one)
            if number == len(tops) or sum(batch.num_rows for _, batch in waiting) >= _ROWS_MIN:
                of_each = b" ".join(b"%b:%d" % (content, batch.num_rows) for content, batch in waiting)
                columns = pa.Table.from_batches([batch for _, batch in waiting]).combine_chunks()
                (merged,) = columns.to_batches() or (waiting[0][1],)
                writer.write_batch(
                    merged.replace_schema_metadata(schema.metadata), custom_metadata={_OF: of_each}
                )
                waiting.clear()
    body = out.getvalue()
    try:
        path.parent.mkdir(exist_ok=True, mode=0o700)
        write_whole(path, b"%b %b\n%b" % (_head_of(body, of), of, body))
        segments = {one.name for one in segments_in(path.parent.parent)}
        for other in path.parent.glob(f"*{_SUFFIX}"):
            if other.stem not in segments:
                other.unlink(missing_ok=True)
    except OSError as error:
        get_logger().warning("the best prices of a segment cannot be kept", path=str(path), error=str(error))


def _head_of(body: bytes, of: bytes) -> bytes:
    """Return the beginning of the first line of a file with this content, made of the segment ``of`` by these
    codecs.
    """
    return f"{crc32(of, crc32(body)):08x} {_codecs_hash()}".encode()
