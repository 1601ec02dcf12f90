"""The rows of a tape in the order in which they were received, as ``replaying`` feeds them to the system.

A recorder reads the connections of each venue in batches, so the rows of two venues are not in the order of their
receipt, and the rows of one venue are. Here all rows are sorted by the monotonic time of receipt. Each recording has
a monotonic clock of its own if the machine was started anew in between; all later ones are counted on from the first
by the wall clock.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from arbshard.backtest.tops import ASK, BID, MARKET, TapeTops
from arbshard.config import Config, decode_recorded
from arbshard.errors import UsageError
from arbshard.model.universe import Universe
from arbshard.tape import TapeError
from arbshard.tape.format import SegmentInfo
from arbshard.tape.reading import Tape, TapeSegment
from arbshard.wire.recording import FEED_KINDS

_HORIZON_NS = 1_000_000_000
"""Rows of one venue may be written so long after rows of another venue that were received later."""
_FRAME = "frame"
_T = TypeVar("_T")
_UNIVERSES = msgspec.json.Decoder(Universe, strict=False)
_FED = frozenset((*FEED_KINDS, "dropped"))


class TapePart(msgspec.Struct, frozen=True):
    """A part of a tape: frames received from ``start_ns`` (inclusive) to ``end_ns`` (exclusive).

    Both are wall time in ns; None means no bound.
    """

    folder: str
    start_ns: int | None = None
    end_ns: int | None = None


class TapeMark(NamedTuple):
    """What a row that is not a frame says."""

    kind: str
    symbol: str
    began_ns: int
    detail: str
    number: int
    recording: int


Glance = tuple[str, float, float]
"""The market of a frame, its best bid and its best ask, as ``tops`` has them."""
FeedRow = tuple[int, int, str, bytes, TapeMark | None, str, Glance | None]
"""When it is due, when it was received (monotonic; earlier than due only for books known before the recording), the
connection, the data, the mark (None for a frame), the venue, and the glance at the frame (None if there was none)."""


class TapeStart(NamedTuple):
    """What is known before the first row."""

    config: Config
    universe: Universe
    first_ns: int
    """Monotonic time of the first row that is fed."""
    wall_offset_ns: int
    """Wall time less monotonic time, there."""


class TapeRows:
    """Reads one part of a tape, as often as ``rows`` is called. Never more than a few batches are in memory."""

    def __init__(self, part: TapePart) -> None:
        """Raises ``TapeError`` where there is no tape that can be read, and ``UsageError`` for an empty part."""
        if part.start_ns is not None and part.end_ns is not None and part.start_ns >= part.end_ns:
            raise UsageError(
                f"the part of the tape ends at {part.end_ns}, before it begins at {part.start_ns}"
            )
        self._part = part
        self._segments = _segments_of(part)
        self.start = self._find_start()
        self.late = 0
        """Rows that came more than a second after rows received later; they are fed late."""

    def rows(self, tops: TapeTops | None = None) -> Iterator[list[FeedRow]]:
        """Every row that concerns the feeds, sorted, in lists. Raises ``TapeError``.

        ``tops``: what gives each frame its glance; None for no glances.
        """
        pending: list[FeedRow] = []
        released_ns = 0
        shifts = _Shifts()
        floors: dict[str, int] = {}
        for segment in self._segments:
            for batch in segment.batches() if tops is None else tops.batches(segment):
                chosen = self._choose(batch)
                if not chosen.num_rows:
                    continue
                fresh = _rows_of(chosen, shifts.of(segment.info, chosen), segment.info, floors)
                pending += fresh
                pending.sort(key=_due)
                late = _count_until(pending, released_ns - 1)
                if late:
                    self.late += late
                    pending[:late] = [(released_ns, *row[1:]) for row in pending[:late]]
                until_ns = pending[-1][0] - _HORIZON_NS
                count = _count_until(pending, until_ns)
                if count:
                    released_ns = pending[count - 1][0]
                    yield pending[:count]
                    del pending[:count]
        if pending:
            yield pending

    def decisions(self) -> Iterator[tuple[int, str, bytes]]:
        """(wall time in ns, kind of event, JSON) of every recorded event of risk's ledger in the part."""
        for segment in self._segments:
            for batch in segment.batches():
                wall = pc.equal(batch.column("kind"), "decision")
                found = self._bounded(batch.filter(wall))
                columns = [found.column(name).to_pylist() for name in ("wall_ns", "detail", "data")]
                yield from zip(*columns, strict=True)

    def _choose(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        kinds = batch.column("kind")
        if not _FED.issuperset(kinds.unique().to_pylist()):
            batch = batch.filter(pc.is_in(kinds, value_set=pa.array(sorted(_FED))))
        return self._bounded(batch)

    def _bounded(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        part = self._part
        if part.start_ns is not None:
            batch = batch.filter(pc.greater_equal(batch.column("wall_ns"), part.start_ns))
        if part.end_ns is not None:
            batch = batch.filter(pc.less(batch.column("wall_ns"), part.end_ns))
        return batch

    def _find_start(self) -> TapeStart:
        for segment in self._segments:
            for batch in segment.batches():
                chosen = self._choose(batch)
                if chosen.num_rows:
                    return _start_of(segment, chosen)
        raise UsageError(f"{self._part.folder}: there is no frame in this part of the tape")


class _Shifts:
    """What is added to the monotonic times of a recording so that they go on from those of the first."""

    def __init__(self) -> None:
        self._boot = ""
        self._offset_ns = 0
        self._by_boot: dict[str, int] = {}

    def of(self, info: SegmentInfo, batch: pa.RecordBatch) -> int:
        """What is added to the times of ``batch``."""
        known = self._by_boot.get(info.boot)
        if known is None:
            offset_ns = batch.column("wall_ns")[0].as_py() - batch.column("at_ns")[0].as_py()
            if not self._by_boot:
                self._offset_ns = offset_ns
            known = self._by_boot[info.boot] = offset_ns - self._offset_ns
        return known


def config_on_tape(info: SegmentInfo, path: Path) -> Config:
    """The configuration of the run that was recorded. Raises ``TapeError``."""
    return _decoded(info.config, decode_recorded, f"{path}: the configuration of the run")


def universe_on_tape(info: SegmentInfo, path: Path) -> Universe:
    """The pairs, markets, rules and fees of the run that was recorded. Raises ``TapeError``."""
    return _decoded(info.universe, _UNIVERSES.decode, f"{path}: the pairs of the run")


def _decoded(raw: msgspec.Raw, decode: Callable[[msgspec.Raw], _T], what: str) -> _T:
    if bytes(raw) == b"null":
        raise TapeError(f"{what} were not recorded")
    try:
        return decode(raw)
    except msgspec.MsgspecError as error:
        raise TapeError(f"{what} cannot be read: {error}") from error


def _segments_of(part: TapePart) -> list[TapeSegment]:
    """The segments that may hold rows of the part. A recording's segments follow each other in time."""
    segments = list(Tape(Path(part.folder)).segments())
    if part.start_ns is None and part.end_ns is None:
        return segments
    firsts = [_first_wall_ns(segment) for segment in segments]
    kept = []
    for number, segment in enumerate(segments):
        began_ns = firsts[number]
        if began_ns is None:
            continue
        is_last = number + 1 == len(segments)
        next_ns = None if is_last else firsts[number + 1]
        if part.end_ns is not None and began_ns - 2 * _HORIZON_NS >= part.end_ns:
            continue
        if part.start_ns is not None and next_ns is not None and next_ns + 2 * _HORIZON_NS < part.start_ns:
            continue
        kept.append(segment)
    return kept


def _first_wall_ns(segment: TapeSegment) -> int | None:
    for batch in segment.batches():
        if batch.num_rows:
            return int(batch.column("wall_ns")[0].as_py())
    return None


def _start_of(segment: TapeSegment, batch: pa.RecordBatch) -> TapeStart:
    offset_ns = int(batch.column("wall_ns")[0].as_py() - batch.column("at_ns")[0].as_py())
    floor_ns = segment.info.recording * 1_000_000 - offset_ns
    return TapeStart(
        config_on_tape(segment.info, segment.path),
        universe_on_tape(segment.info, segment.path),
        max(int(pc.min(batch.column("at_ns")).as_py()), floor_ns),
        offset_ns,
    )


def _rows_of(
    batch: pa.RecordBatch, shift_ns: int, info: SegmentInfo, floors: dict[str, int]
) -> Iterator[FeedRow]:
    offset_ns = batch.column("wall_ns")[0].as_py() - batch.column("at_ns")[0].as_py()
    began_ns = info.recording * 1_000_000 - offset_ns + shift_ns
    times, venues = _numbers(batch.column("at_ns")), _texts(batch.column("venue"))
    received = [at_ns + shift_ns for at_ns in times] if shift_ns else times
    due: list[int] = []
    for received_ns, venue in zip(received, venues, strict=True):
        floor_ns = floors.get(venue, began_ns)
        floors[venue] = due_ns = max(received_ns, floor_ns, began_ns)
        due.append(due_ns)
    glances: Iterable[Glance | None] = repeat(None, batch.num_rows)
    if MARKET in batch.schema.names:
        bids, asks = _numbers(batch.column(BID), "d"), _numbers(batch.column(ASK), "d")
        glances = zip(_texts(batch.column(MARKET)), bids, asks, strict=True)
    marks = _marks_of(batch, shift_ns, info)
    data = batch.column("data").to_pylist()
    return zip(due, received, _texts(batch.column("connection")), data, marks, venues, glances, strict=True)


def _numbers(column: pa.Array, form: Literal["q", "d"] = "q") -> list[Any]:
    """The values of a column of 64 bits without nulls. A tenth of the time that ``to_pylist`` takes."""
    values = memoryview(column.buffers()[1])[8 * column.offset : 8 * (column.offset + len(column))]
    return list(values.cast(form))


def _texts(column: pa.Array) -> list[str]:
    """The values of a column of few different texts."""
    encoded = column.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    return [
        texts[code] for code in memoryview(encoded.indices.buffers()[1]).cast("i")[: len(column)].tolist()
    ]


def _marks_of(batch: pa.RecordBatch, shift_ns: int, info: SegmentInfo) -> list[TapeMark | None]:
    """What each row says that is not a frame; None for a frame."""
    marks: list[TapeMark | None] = [None] * batch.num_rows
    kinds = batch.column("kind")
    if kinds.unique().to_pylist() == [_FRAME]:
        return marks
    for place in pc.indices_nonzero(pc.not_equal(kinds, _FRAME)).to_pylist():
        kind, symbol, began_ns, detail, number = (
            batch.column(name)[place].as_py() for name in ("kind", "symbol", "began_ns", "detail", "number")
        )
        asked_ns = began_ns + shift_ns if began_ns else 0
        marks[place] = TapeMark(kind, symbol, asked_ns, detail, number, info.recording)
    return marks


_due: Callable[[FeedRow], int] = itemgetter(0)


def _count_until(rows: list[FeedRow], until_ns: int) -> int:
    """How many rows at the front are due by ``until_ns``."""
    return bisect_right(rows, until_ns, key=_due)


def delayed(
    batches: Iterator[list[FeedRow]], frames: int, routes: Mapping[str, Callable[[bytes], str | None]]
) -> Iterator[list[FeedRow]]:
    """``batches`` with each frame received when the ``frames``-th next frame of its market was.

    The last frames of each market are not received at all. ``routes`` finds the market of a frame, by venue. What is
    no frame of a market keeps its time.
    """
    waiting: dict[str, deque[FeedRow]] = {}
    for batch in batches:
        out: list[FeedRow] = []
        for row in batch:
            due_ns, _, connection, data, mark, venue, _ = row
            route = routes.get(venue)
            symbol = route(data) if mark is None and route is not None else None
            if symbol is None:
                out.append(row)
                continue
            queue = waiting.setdefault(f"{venue} {connection} {symbol}", deque())
            queue.append(row)
            if len(queue) > frames:
                _, _, _, older, _, _, glance = queue.popleft()
                out.append((due_ns, due_ns, connection, older, None, venue, glance))
        yield out
