"""Reads the rows of a tape in the order in which they were received, as ``replaying`` feeds them to the system.

A recorder reads the connections of each venue in batches, so the rows of two venues are not in the order of their
receipt, and the rows of one venue are. Here all rows are sorted by the monotonic time of receipt. Each recording has
a monotonic clock of its own if the machine was started anew in between; all later clocks continue the first one by
the wall clock.

Rows are read as columns (``blocks.RowBlock``).
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from arbshard.backtest.blocks import (
    FED,
    FRAME,
    TABLE,
    BatchSource,
    FeedRow,
    RowBlock,
    RowTable,
)
from arbshard.backtest.tops import NO_UPDATE, UNSENT_MS, IndexedBatch, TapeTops
from arbshard.config import Config, decode_recorded
from arbshard.errors import UsageError
from arbshard.model.universe import Universe
from arbshard.tape import TapeError
from arbshard.tape.format import REFUSED, SCHEMA, UNIVERSE, Row, SegmentInfo
from arbshard.tape.reading import Tape, TapeSegment
from arbshard.tape.recorder import WorkerRefusals

_HORIZON_NS = 1_000_000_000
"""Time in ns by which rows of one venue may be written after rows of another venue that were received later."""
_BLOCK_ROWS = 32_768
"""Number of rows in a block: a block costs some hundreds of microseconds whatever its size."""
_T = TypeVar("_T")
_UNIVERSES = msgspec.json.Decoder(Universe, strict=False)


class TapePart(msgspec.Struct, frozen=True):
    """Identifies a part of a tape: frames received from ``start_ns`` (inclusive) to ``end_ns`` (exclusive).

    Both are wall time in ns; None means no bound.
    """

    folder: str
    start_ns: int | None = None
    end_ns: int | None = None


class _Names:
    """Assigns numbers to names; the empty name has the number 0."""

    def __init__(self) -> None:
        self.all = [""]
        self._numbers = {"": 0}

    def numbers_in(self, names: Sequence[str]) -> npt.NDArray[np.int32]:
        """Return the number of each name."""
        return np.array([self._number_of(name) for name in names], np.int32)

    def numbers_of(self, column: pa.Array) -> npt.NDArray[np.int32]:
        """Return the number of each value of ``column``, which has few different texts."""
        encoded = column.dictionary_encode()
        numbers = [self._number_of(name) for name in encoded.dictionary.to_pylist()]
        found: npt.NDArray[np.int32] = np.array(numbers, np.int32)[encoded.indices.to_numpy()]
        return found

    def _number_of(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self.all)
            self.all.append(name)
        return number


class TapeStart(NamedTuple):
    """Holds what is known before the first row."""

    config: Config
    universe: Universe
    recording: int
    """Number of the recording that the first row belongs to."""
    first_ns: int
    """Monotonic time of the first row that is fed."""
    wall_offset_ns: int
    """Wall time less monotonic time at the first row, in ns."""


class TapeRows:
    """Provides the rows of one part of a tape, as often as ``rows`` is called. Never more than a few batches are in
    memory.
    """

    def __init__(self, part: TapePart) -> None:
        """Open the part. Raises ``TapeError`` where there is no readable tape, and ``UsageError`` for an
        empty part.
        """
        if part.start_ns is not None and part.end_ns is not None and part.start_ns >= part.end_ns:
            raise UsageError(
                f"the part of the tape ends at {part.end_ns}, before it begins at {part.start_ns}"
            )
        self._part = part
        self._segments = _segments_of(part)
        self.start = self._find_start()
        self.late = 0
        """Number of rows that came more than a second after rows received later; they are fed late."""

    def rows(self) -> Iterator[list[FeedRow]]:
        """Yield every row that concerns the feeds, sorted, in lists, without glances. Raises ``TapeError``."""
        for block in self.blocks():
            yield block.rows()

    def blocks(self, tops: TapeTops | None = None) -> Iterator[RowBlock]:
        """Yield every row that concerns the feeds, sorted, in blocks. Raises ``TapeError``.

        ``tops`` gives each frame its glance; None for no glances.
        """
        reader = _BlockReader(self._part, has_glances=tops is not None)
        for segment in self._segments:
            for batch in map(reader.plain, segment.batches()) if tops is None else tops.batches(segment):
                yield from reader.add(batch, segment.info)
                self.late = reader.late
        yield from reader.rest()

    def decisions(self) -> Iterator[tuple[int, str, bytes]]:
        """Yield (wall time in ns, kind of event, JSON) of every recorded event of risk's ledger in the part."""
        for segment in self._segments:
            for batch in segment.batches():
                wall = pc.equal(batch.column("kind"), "decision")
                found = self._bounded(batch.filter(wall))
                columns = [found.column(name).to_pylist() for name in ("wall_ns", "detail", "data")]
                yield from zip(*columns, strict=True)

    def universes(self) -> Iterator[Universe]:
        """Yield every universe of the part, as it was recorded. Raises ``TapeError``."""
        for segment in self._segments:
            yield universe_on_tape(segment.info, segment.path)
            for batch in segment.batches():
                found = self._bounded(batch.filter(pc.equal(batch.column("kind"), UNIVERSE)))
                for data in found.column("data").to_pylist():
                    yield universe_in(data, f"{segment.path}: a change of the pairs")

    def refusals(self) -> Iterator[tuple[str, WorkerRefusals]]:
        """Yield the name of a worker and its changed counts, for each row about what workers refused."""
        decode = msgspec.json.Decoder(WorkerRefusals).decode
        for segment in self._segments:
            for batch in segment.batches():
                found = self._bounded(batch.filter(pc.equal(batch.column("kind"), REFUSED)))
                columns = (found.column(name).to_pylist() for name in ("connection", "data"))
                for worker, data in zip(*columns, strict=True):
                    yield worker, _decoded(msgspec.Raw(data), decode, f"{segment.path}: counts of a worker")

    def _choose(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        kinds = batch.column("kind")
        if not FED.issuperset(kinds.unique().to_pylist()):
            batch = batch.filter(pc.is_in(kinds, value_set=pa.array(sorted(FED))))
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
            traded: bytes | None = None
            for batch in segment.batches():
                chosen, changes = self._choose(batch), batch.filter(pc.equal(batch.column("kind"), UNIVERSE))
                if chosen.num_rows:
                    first_ns = chosen.column("wall_ns")[0]
                    changes = changes.filter(pc.less(changes.column("wall_ns"), first_ns))
                if changes.num_rows:
                    traded = changes.column("data")[-1].as_py()
                if chosen.num_rows:
                    return _start_of(segment, chosen, traded)
        raise UsageError(f"{self._part.folder}: there is no frame in this part of the tape")


class _Shifts:
    """Calculates what is added to the monotonic times of a recording so that they continue those of the first."""

    def __init__(self) -> None:
        self._boot = ""
        self._offset_ns = 0
        self._by_boot: dict[str, int] = {}

    def of(self, info: SegmentInfo, offset_ns: int) -> int:
        """Return the ns to add to the times of a batch, given the wall time less the monotonic time of its first
        row.
        """
        known = self._by_boot.get(info.boot)
        if known is None:
            if not self._by_boot:
                self._offset_ns = offset_ns
            known = self._by_boot[info.boot] = offset_ns - self._offset_ns
        return known


def config_on_tape(info: SegmentInfo, path: Path) -> Config:
    """Return the configuration of the run that was recorded. Raises ``TapeError``."""
    return _decoded(info.config, decode_recorded, f"{path}: the configuration of the run")


def universe_on_tape(info: SegmentInfo, path: Path) -> Universe:
    """Return the pairs, markets, rules and fees of the run that was recorded. Raises ``TapeError``."""
    return universe_in(info.universe, f"{path}: the pairs of the run")


def universe_in(text: bytes | msgspec.Raw, what: str) -> Universe:
    """Return a universe that is on a tape as JSON. ``what`` names it in errors. Raises ``TapeError``."""
    return _decoded(msgspec.Raw(text), _UNIVERSES.decode, what)


def _decoded(raw: msgspec.Raw, decode: Callable[[msgspec.Raw], _T], what: str) -> _T:
    if bytes(raw) == b"null":
        raise TapeError(f"{what} were not recorded")
    try:
        return decode(raw)
    except msgspec.MsgspecError as error:
        raise TapeError(f"{what} cannot be read: {error}") from error


def _segments_of(part: TapePart) -> list[TapeSegment]:
    """Return the segments that may hold rows of the part. A recording's segments follow each other in time."""
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


def _start_of(segment: TapeSegment, batch: pa.RecordBatch, traded: bytes | None) -> TapeStart:
    """Return what is known before the first row of ``batch``. ``traded`` is the universe of the last row that has one
    before it in the segment.
    """
    offset_ns = int(batch.column("wall_ns")[0].as_py() - batch.column("at_ns")[0].as_py())
    floor_ns = segment.info.recording * 1_000_000 - offset_ns
    return TapeStart(
        config_on_tape(segment.info, segment.path),
        universe_on_tape(segment.info, segment.path)
        if traded is None
        else universe_in(traded, f"{segment.path}: a change of the pairs"),
        segment.info.recording,
        max(int(pc.min(batch.column("at_ns")).as_py()), floor_ns),
        offset_ns,
    )


class _BlockReader:
    """Makes blocks of those rows of the batches of a tape that are in ``part`` and concern the feeds."""

    def __init__(self, part: TapePart, *, has_glances: bool) -> None:
        self._part = part
        self._has_glances = has_glances
        self._info: SegmentInfo | None = None
        """The description of the segment to which the last rows belong."""
        self._names = _Names()
        self._sources: dict[int, BatchSource] = {}
        """Batches of which rows are in no block yet, by their number."""
        self._batches = 0
        self._numbers: tuple[Sequence[str], npt.NDArray[np.int32]] | None = None
        self._shifts = _Shifts()
        self._floors: dict[int, int] = {}
        """Time at which the last row of a venue is due, by the venue's number: no row of it is fed before."""
        self._tables: list[RowTable] = []
        """Rows that are in no block yet; ``_count`` is their number."""
        self._count = 0
        self._released_ns = 0
        """Time at which the last row of the last block is due, in ns."""
        self.late = 0
        """Number of rows that came more than a second after rows received later."""

    def plain(self, batch: pa.RecordBatch) -> IndexedBatch:
        """Return a batch by columns, without anything about its frames."""
        names, rows = self._names, batch.num_rows
        at_ns, none = batch.column("at_ns").to_numpy(), np.full(rows, np.nan)
        return IndexedBatch(
            names=names.all,
            kinds=names.numbers_of(batch.column("kind")),
            venues=names.numbers_of(batch.column("venue")),
            connections=names.numbers_of(batch.column("connection")),
            markets=np.zeros(rows, np.int32),
            at_ns=at_ns,
            offset_ns=batch.column("wall_ns").to_numpy() - at_ns,
            bids=none,
            asks=none,
            sent_ms=np.full(rows, UNSENT_MS),
            updates=np.full(rows, NO_UPDATE),
            is_touch=np.zeros(rows, np.int8),
            sources=((rows, lambda: batch),),
        )

    def add(self, batch: IndexedBatch, info: SegmentInfo) -> Iterator[RowBlock]:
        """Add a batch. Yields the block that can be made with it, if one can."""
        places = self._choose(batch)
        if not len(places):
            return
        if info is not self._info:
            self._describe(batch, places, info)
        self._append(batch, places, info)
        if self._count >= _BLOCK_ROWS:
            table = self._sorted()
            count = int(np.searchsorted(table["due_ns"], table["due_ns"][-1] - _HORIZON_NS, side="right"))
            if count:
                yield self._block(table, count)

    def _append(self, batch: IndexedBatch, places: npt.NDArray[np.intp], info: SegmentInfo) -> None:
        table = self._table_of(batch, places, info)
        self._tables.append(table)
        self._count += len(table)

    def _describe(self, batch: IndexedBatch, places: npt.NDArray[np.intp], info: SegmentInfo) -> None:
        """Begin another segment: if other pairs than before are in its description, and no row of ``batch``, which
        is its first, says when they came, they come with its first row.
        """
        before, self._info = self._info, info
        kinds = batch.kinds[places]
        if (
            before is None
            or before.universe == info.universe
            or bytes(info.universe) == b"null"
            or UNIVERSE in {batch.names[kind] for kind in np.flatnonzero(np.bincount(kinds)).tolist()}
        ):
            return
        at_ns = int(batch.at_ns[places[0]])
        wall_ns = at_ns + int(batch.offset_ns[places[0]])
        row = Row(UNIVERSE, "", "", "", at_ns, wall_ns, 0, 0, "", bytes(info.universe))
        described = pa.RecordBatch.from_pylist([{"row": 0, **row._asdict()}], schema=SCHEMA)
        self._append(self.plain(described), np.zeros(1, np.intp), info)

    def _choose(self, batch: IndexedBatch) -> npt.NDArray[np.intp]:
        """Return the places of the rows that are in the part and concern the feeds."""
        is_fed = np.array([name in FED for name in batch.names])[batch.kinds]
        part = self._part
        if part.start_ns is not None or part.end_ns is not None:
            wall_ns = batch.at_ns + batch.offset_ns
            if part.start_ns is not None:
                is_fed &= wall_ns >= part.start_ns
            if part.end_ns is not None:
                is_fed &= wall_ns < part.end_ns
        return np.flatnonzero(is_fed)

    def rest(self) -> Iterator[RowBlock]:
        """Yield the last block, if there is one."""
        if self._count:
            table = self._sorted()
            yield self._block(table, len(table))

    def _sorted(self) -> RowTable:
        """Return all rows that are in no block yet, in their order."""
        table = np.concatenate(self._tables)
        due_ns = table["due_ns"]
        if (due_ns[1:] < due_ns[:-1]).any():
            table = table[np.argsort(due_ns, kind="stable")]
        late = int(np.searchsorted(table["due_ns"], self._released_ns))
        self.late += late
        table["due_ns"][:late] = self._released_ns
        self._tables = [table]
        return table

    def _block(self, table: RowTable, count: int) -> RowBlock:
        """Return the first ``count`` rows as a block; the others are left for the next block."""
        table, rest = table[:count], table[count:]
        self._released_ns = int(table["due_ns"][-1])
        self._tables, self._count = [rest], len(rest)
        block = RowBlock(table, self._names.all, self._sources, has_glances=self._has_glances)
        waiting = set(rest["source"].tolist())
        self._sources = {number: source for number, source in self._sources.items() if number in waiting}
        return block

    def _numbers_of(self, names: Sequence[str]) -> npt.NDArray[np.int32]:
        """Return the number of each name; those of a segment are looked up once, and again when there are more."""
        known = self._numbers
        if known is None or known[0] is not names or len(known[1]) != len(names):
            known = self._numbers = names, self._names.numbers_in(names)
        return known[1]

    def _table_of(self, batch: IndexedBatch, places: npt.NDArray[np.intp], info: SegmentInfo) -> RowTable:
        offset_ns = int(batch.offset_ns[places[0]])
        shift_ns = self._shifts.of(info, offset_ns)
        began_ns = info.recording * 1_000_000 - offset_ns + shift_ns
        numbers = self._numbers_of(batch.names)
        table = np.zeros(len(places), TABLE)
        received_ns = batch.at_ns[places] + shift_ns
        venues = numbers[batch.venues[places]]
        table["received_ns"] = received_ns
        table["connection"] = numbers[batch.connections[places]]
        table["venue"] = venues
        for venue in np.flatnonzero(np.bincount(venues)).tolist():
            mine = venues == venue
            floor_ns = max(self._floors.get(venue, began_ns), began_ns)
            due_ns = np.maximum(np.maximum.accumulate(received_ns[mine]), floor_ns)
            table["due_ns"][mine] = due_ns
            self._floors[venue] = int(due_ns[-1])
        if self._has_glances:
            table["market"] = numbers[batch.markets[places]]
            for name, column in (
                ("bid", batch.bids), ("ask", batch.asks), ("sent_ms", batch.sent_ms),
                ("update", batch.updates), ("is_touch", batch.is_touch),
            ):  # fmt: skip
                table[name] = column[places]
        begin = 0
        for rows, load in batch.sources:
            first, last = np.searchsorted(places, (begin, begin + rows)).tolist()
            if first < last:
                self._batches += 1
                table["source"][first:last] = self._batches
                table["place"][first:last] = places[first:last] - begin
                self._sources[self._batches] = BatchSource(load, shift_ns, info)
            begin += rows
        table["is_mark"] = np.array([name != FRAME for name in batch.names])[batch.kinds[places]]
        return table


def delayed(
    batches: Iterator[list[FeedRow]], frames: int, routes: Mapping[str, Callable[[bytes], str | None]]
) -> Iterator[list[FeedRow]]:
    """Yield ``batches`` with each frame received when the ``frames``-th next frame of its market was.

    The last frames of each market are not received at all. ``routes`` finds the market of a frame, by venue. A row
    that is not a frame of a market keeps its time.
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
