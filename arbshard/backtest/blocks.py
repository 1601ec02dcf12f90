"""Holds successive rows of a tape by columns (``RowBlock``). Messages remain in Arrow's memory, or packed in the
segment, until a row is requested.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from arbshard.tape.format import UNIVERSE, SegmentInfo
from arbshard.wire.recording import FEED_KINDS

FRAME = "frame"
FED = frozenset((*FEED_KINDS, UNIVERSE, "dropped"))
"""Kinds of the rows that concern the feeds."""


class TapeMark(NamedTuple):
    """Holds the content of a row that is not a frame."""

    kind: str
    symbol: str
    began_ns: int
    detail: str
    number: int
    recording: int


Glance = tuple[str, float, float]
"""The market of a frame, its best bid and its best ask, as ``tops`` has them; no market for a touch alone, which is
no book.
"""
FeedRow = tuple[int, int, str, bytes, TapeMark | None, str, Glance | None]
"""When it is due, when it was received (monotonic; earlier than due only for books known before the recording), the
connection, the data, the mark (None for a frame), the venue, and the glance at the frame (None if there was none)."""


TABLE = np.dtype(
    [
        ("due_ns", np.int64),
        ("received_ns", np.int64),
        ("sent_ms", np.int64),
        ("update", np.int64),
        ("bid", np.float64),
        ("ask", np.float64),
        ("connection", np.int32),
        ("venue", np.int32),
        ("market", np.int32),
        ("source", np.int32),
        ("place", np.int32),
        ("is_mark", np.bool_),
        ("is_touch", np.bool_),
    ],
    align=True,  # numpy copies columns that are not before it computes with them
)
"""Columns of a block. Names are numbers of ``RowBlock.names``. ``source`` and ``place`` locate message and mark of a
row; ``sent_ms``, ``update`` and ``is_touch`` are as in ``tops.IndexedBatch``.
"""
RowTable = npt.NDArray[np.void]


class BatchSource:
    """Holds what is not in the table, for one batch of a segment."""

    def __init__(self, load: Callable[[], pa.RecordBatch], shift_ns: int, info: SegmentInfo) -> None:
        self._load = load
        self._shift_ns = shift_ns
        self._info = info
        self._messages: list[bytes] | None = None

    @cached_property
    def _batch(self) -> pa.RecordBatch:
        return self._load()

    @property
    def messages(self) -> list[bytes]:
        """Return the data of all rows."""
        if self._messages is None:
            self._messages = self._batch.column("data").to_pylist()
        return self._messages

    def message(self, place: int) -> bytes:
        """Return the data of one row."""
        if self._messages is not None:
            return self._messages[place]
        message: bytes = self._batch.column("data")[place].as_py()
        return message

    @cached_property
    def marks(self) -> Mapping[int, TapeMark]:
        """Return the marks by the place of their row."""
        return _marks_of(self._batch, self._shift_ns, self._info)


class RowBlock:
    """Holds successive rows in the order in which they are due."""

    def __init__(
        self, table: RowTable, names: Sequence[str], sources: Mapping[int, BatchSource], *, has_glances: bool
    ) -> None:
        self.table = table
        self.names = names
        """Names of connections, venues and markets, by their numbers. A market without a name was not found."""
        self.has_glances = has_glances
        """Whether markets and best prices of frames are known."""
        self._sources = sources

    @property
    def frames(self) -> int:
        """Return the number of rows that are not marks."""
        return len(self.table) - int(np.count_nonzero(self.table["is_mark"]))

    def frames_without_market(self, connections: Iterable[str]) -> int:
        """Return the number of frames in which no market was found, or which came by one of these connections."""
        table = self.table
        numbers = [number for number, name in enumerate(self.names) if name in set(connections)]
        found = (table["market"] == 0) | np.isin(table["connection"], numbers)
        return int(np.count_nonzero(found & ~table["is_mark"]))

    def rest(self, number: int) -> "RowBlock | None":
        """Return the rows from ``number`` on; None if there are none."""
        if number >= len(self.table):
            return None
        return RowBlock(self.table[number:], self.names, self._sources, has_glances=self.has_glances)

    def count_within(self, span_ns: int) -> int:
        """Return the number of rows that are due within ``span_ns`` of the first."""
        due_ns = self.table["due_ns"]
        return int(np.searchsorted(due_ns, due_ns[0] + span_ns))

    def head(self, number: int) -> "RowBlock":
        """Return the rows before ``number``."""
        return RowBlock(self.table[:number], self.names, self._sources, has_glances=self.has_glances)

    def followed_by(self, others: Sequence["RowBlock"]) -> "RowBlock":
        """Return these rows and those of ``others``, which come after them, of the same tape."""
        if not others:
            return self
        waiting = set(np.flatnonzero(np.bincount(self.table["source"])).tolist())
        sources = {number: source for number, source in self._sources.items() if number in waiting}
        for other in others:
            sources.update(other._sources)  # noqa: SLF001 - of the same class
        table = np.concatenate((self.table, *(other.table for other in others)))
        return RowBlock(table, self.names, sources, has_glances=self.has_glances)

    def message(self, number: int) -> bytes:
        """Return the data of a row."""
        found = self.table[number]
        return self._sources[int(found["source"])].message(int(found["place"]))

    def later(self, number: int) -> Callable[[], bytes]:
        """Return a function that returns the data of a row, and keeps no other row in memory."""
        found = self.table[number]
        return partial(self._sources[int(found["source"])].message, int(found["place"]))

    def row(self, number: int) -> FeedRow:
        """Return one row."""
        (
            due_ns, received_ns, _, _, bid, ask, connection, venue, market, source, place, is_mark, is_touch
        ) = self.table[number].item()  # fmt: skip
        names, found = self.names, self._sources[source]
        return (
            due_ns, received_ns, names[connection], found.messages[place],
            found.marks[place] if is_mark else None, names[venue],
            (names[0 if is_touch else market], bid, ask) if self.has_glances else None,
        )  # fmt: skip

    def rows(self) -> list[FeedRow]:
        """Return all rows."""
        return self._rows_of(self.table)

    def _rows_of(self, table: RowTable) -> list[FeedRow]:
        names, sources = self.names, self._sources
        columns = (
            table["due_ns"].tolist(), table["received_ns"].tolist(), table["connection"].tolist(),
            table["source"].tolist(), table["place"].tolist(), table["is_mark"].tolist(),
            table["venue"].tolist(), np.where(table["is_touch"], 0, table["market"]).tolist(),
            table["bid"].tolist(), table["ask"].tolist(),
        )  # fmt: skip
        has_glances = self.has_glances
        return [
            (
                due_ns, received_ns, names[connection], sources[source].messages[place],
                sources[source].marks[place] if is_mark else None, names[venue],
                (names[market], bid, ask) if has_glances else None,
            )
            for due_ns, received_ns, connection, source, place, is_mark, venue, market, bid, ask in zip(
                *columns, strict=True
            )
        ]  # fmt: skip


def _marks_of(batch: pa.RecordBatch, shift_ns: int, info: SegmentInfo) -> dict[int, TapeMark]:
    """Return the marks of the rows that concern the feeds and are not frames, by their places."""
    marks: dict[int, TapeMark] = {}
    kinds = batch.column("kind")
    for place in pc.indices_nonzero(pc.not_equal(kinds, FRAME)).to_pylist():
        kind, symbol, began_ns, detail, number = (
            batch.column(name)[place].as_py() for name in ("kind", "symbol", "began_ns", "detail", "number")
        )
        if kind in FED:
            asked_ns = began_ns + shift_ns if began_ns else 0
            marks[place] = TapeMark(kind, symbol, asked_ns, detail, number, info.recording)
    return marks
