"""Derives Parquet files by venue, type, day and market from a tape (``compact``). Needs pyarrow.

The files can be removed and made again as long as the tape exists. ``tables`` defines their columns. A frame that
the engine refuses is left out and counted.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from arbshard.errors import FrameError, UsageError
from arbshard.tape import TapeError
from arbshard.tape.format import Row
from arbshard.tape.reading import Tape
from arbshard.tape.tables import padded, read_csv, schema_of, table_of
from arbshard.venues.base.adapter import Adapter
from arbshard.venues.base.diff import EVENTS_HELD_MAX, DiffVenue
from arbshard.venues.base.exact import ExactLevels
from arbshard.venues.base.fusion import BookFuser, FusedVenue, FusionCounts
from arbshard.venues.registry import get_adapter

_AT_ONCE = 100
"""Number of markets whose files are open at the same time. The tape is read once for each group of this size."""
_CONNECTIONS_MAX = 8
"""Number of connections of a market of which the newest book is kept."""
_GROUP_ROWS = 1000
_IMPORTED_AT_ONCE = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Allowed names of venues and markets: they become names of files."""
_BOOKS = frozenset(("frame", "known"))

TextLevel = tuple[str | Decimal, str | Decimal]
"""(price, size), both exact."""


class CompactReport:
    """Holds what ``compact`` has done."""

    def __init__(self) -> None:
        self.files: dict[Path, int] = {}
        """Number of rows of each file that was written."""
        self.kept: list[Path] = []
        """Files that hold more of their day than the tape does, and were left as they are."""
        self.refused: Counter[str] = Counter()
        """Frames left out, by reason."""


def compact(tape: Tape, folder: Path, levels: int) -> CompactReport:
    """Write ``book_snapshot_<levels>``, ``quotes`` and ``incremental_book_L2`` below ``folder``. Returns what was
    done.

    Raises ``TapeError``. A file that is written appears whole or not at all.
    """
    report = CompactReport()
    markets = sorted({(venue, symbol) for venue, symbol, _ in _frames(tape, {})})
    snapshots = {
        (venue, diff.snapshot_path(symbol)): symbol
        for venue, symbol in markets
        if (diff := get_adapter(venue).diff) is not None
    }
    for start in range(0, len(markets), _AT_ONCE):
        chosen = frozenset(markets[start : start + _AT_ONCE])
        with ExitStack() as stack:
            compactions: dict[tuple[str, str], _Market] = {}
            for venue, symbol, row in _frames(tape, snapshots):
                if (venue, symbol) not in chosen:
                    continue
                one = compactions.get((venue, symbol))
                if one is None:
                    made = _Market(get_adapter(venue), symbol, folder, levels, report)
                    one = compactions[venue, symbol] = stack.enter_context(made)
                one.add(row)
            for one in compactions.values():
                one.finish()
    return report


def import_csv(path: Path, folder: Path) -> CompactReport:
    """Write the rows of a CSV file of Tardis below ``folder``, where ``compact`` would. Returns what was done.

    The file may hold several markets and days. Raises ``TapeError``.
    """
    report = CompactReport()
    files: dict[Path, _DayFile] = {}
    try:
        for kind, table in read_csv(path):
            for values in zip(*(column.to_pylist() for column in table.columns), strict=True):
                exchange, symbol, _, local_us = values[:4]
                for text in (exchange, symbol):
                    if not _NAME.fullmatch(text):
                        raise TapeError(f"{path}: {text!r} is not the name of a venue or market")
                place = folder / exchange / kind / _date_of(local_us) / f"{symbol}.parquet"
                file = files.get(place)
                if file is None:
                    if len(files) >= _IMPORTED_AT_ONCE:
                        raise TapeError(f"{path}: more than {_IMPORTED_AT_ONCE} markets and days: split it")
                    file = files[place] = _DayFile(place, kind)
                file.add(local_us, values)
        for file in files.values():
            file.finish_into(report)
    finally:
        for file in files.values():
            file.discard()
    return report


def _date_of(local_us: int) -> str:
    return datetime.fromtimestamp(local_us / 1e6, UTC).strftime("%Y-%m-%d")


def _frames(tape: Tape, snapshots: dict[tuple[str, str], str]) -> Iterator[tuple[str, str, Row]]:
    """Yield (venue, symbol, row) of each row with a book, the changes of one, or one of the ``snapshots`` over REST.

    ``snapshots`` has the symbol by venue and path.
    """
    adapters: dict[str, Adapter | None] = {}
    for _, row in tape.rows():
        if row.kind == "rest":
            path, _, outcome = row.detail.partition(" ")
            symbol = snapshots.get((row.venue, path)) if outcome == "HTTP 200" else None
            if symbol is not None:
                yield row.venue, symbol, row
            continue
        if row.kind not in _BOOKS:
            continue
        if row.venue not in adapters:
            adapters[row.venue] = _adapter(row.venue)
        adapter = adapters[row.venue]
        if adapter is None:
            continue
        symbol = adapter.market_of(row.data)
        if symbol is not None:
            yield row.venue, symbol, row


def _adapter(venue: str) -> Adapter | None:
    try:
        return get_adapter(venue)
    except UsageError:
        return None  # ccxt, which provided this venue, is not installed


class _Market:
    """Writes the files of one market, day after day."""

    def __init__(
        self, adapter: Adapter, symbol: str, folder: Path, levels: int, report: CompactReport
    ) -> None:
        self._adapter = adapter
        self._symbol = symbol
        self._folder = folder
        self._levels = levels
        self._report = report
        self._files: dict[str, _DayFile] = {}
        self._date = ""
        self._connection = ""
        self._mark: int | None = None
        self._known: tuple[int, ExactLevels, ExactLevels] | None = None
        """The newest book before the recording began, with its number: the first changes follow it."""
        self._changes_id: int | None = None
        """Number of the last change that was written; None where a snapshot is needed first."""
        self._held: list[Row] = []
        self._fusers: dict[str, BookFuser] = {}
        """Joins touches to levels, one for each connection."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.discard()

    def add(self, row: Row) -> None:
        """Add the content of a row's frame."""
        diff, fused = self._adapter.diff, self._adapter.fused
        try:
            if fused is not None and fused.touch_of(row.data) is not None:
                joined = self._fuse(fused, row)
                if joined is not None:
                    self._add_book(joined, is_touch=True)
            elif row.kind == "rest":
                assert diff is not None
                if self._changes_id is None:
                    snapshot = diff.snapshot_of(row.data)
                    self._begin_changes(row, snapshot.last_id, snapshot.bids, snapshot.asks)
            elif diff is not None and self._adapter.market.route(row.data) is None:
                self._add_changes(row, diff)
            elif (
                row.kind == "frame" or not self._date
            ):  # a book from before the recording is older than all others
                joined = self._fuse(fused, row) if fused is not None and row.kind == "frame" else row
                self._add_book(joined or row, is_touch=False)
        except FrameError as error:
            self._refuse(error.reason)

    def finish(self) -> None:
        """Put the files in place."""
        for file in self._files.values():
            file.finish_into(self._report)
        self._files.clear()

    def _fuse(self, fused: FusedVenue, row: Row) -> Row | None:
        """Return the row with the book after it; None for a touch that changes nothing."""
        fuser = self._fusers.get(row.connection)
        if fuser is None:
            if len(self._fusers) >= _CONNECTIONS_MAX:
                del self._fusers[next(iter(self._fusers))]
            fuser = self._fusers[row.connection] = BookFuser(fused, FusionCounts())
        frame = fuser.fuse(row.data, row.at_ns)
        return row._replace(data=frame) if frame is not None else None

    def _add_book(self, row: Row, *, is_touch: bool) -> None:
        exact = self._adapter.exact_levels
        if exact is None:
            self._refuse("no exact numbers of this venue")
            return
        market = self._adapter.market
        book = market.decode(row.data, row.at_ns)
        mark = market.sequence_number(row.data)
        # Two connections may carry one market; as in the run, the later one brings nothing new. A book from before
        # the recording belongs to no connection, and may have a newer touch than the next levels.
        is_other = self._connection not in ("", row.connection)
        if is_other and None not in (mark, self._mark) and mark <= self._mark:  # type: ignore[operator]
            self._refuse("another connection was first")
            return
        self._connection, self._mark = row.connection, mark
        bids, asks = exact(row.data)
        if row.kind == "known" and mark is not None:
            self._known = mark, bids, asks
        local_us = row.wall_ns // 1000
        head = (
            self._adapter.name,
            self._symbol,
            local_us if book.exchange_ms is None else book.exchange_ms * 1000,
            local_us,
        )
        if not is_touch:
            levels = zip(padded(asks, self._levels), padded(bids, self._levels), strict=True)
            flat = (number for ask, bid in levels for number in (*ask, *bid))
            self._write(f"book_snapshot_{self._levels}", local_us, (*head, *flat))
        (ask, ask_size), (bid, bid_size) = asks[0], bids[0]
        self._write("quotes", local_us, (*head, ask_size, ask, bid, bid_size))

    def _add_changes(self, row: Row, diff: DiffVenue) -> None:
        """Write the changes of an event at their position after a snapshot. Until there is one, events are held as
        in the run.
        """
        event = diff.update_of(row.data)
        if self._changes_id is None:
            if len(self._held) < EVENTS_HELD_MAX:
                self._held.append(row)
            else:
                self._refuse("no snapshot that the changes could follow")
            if self._known is not None:
                known, self._known = self._known, None
                self._begin_changes(row, *known)
            return
        if event.last_id <= self._changes_id:
            return  # it is in the snapshot, or another connection was first
        if event.first_id > self._changes_id + 1:
            self._refuse("changes before it are missing")
            self._changes_id = None
            self._held = [row]
            return
        self._changes_id = event.last_id
        self._write_changes(row, event.event_ms * 1000, event.bids, event.asks, is_snapshot=False)

    def _begin_changes(
        self, row: Row, last_id: int, bids: Iterable[TextLevel], asks: Iterable[TextLevel]
    ) -> None:
        """Write a snapshot, and the events that were held after it."""
        self._changes_id = last_id
        self._write_changes(row, row.wall_ns // 1000, bids, asks, is_snapshot=True)
        held, self._held = self._held, []
        assert self._adapter.diff is not None
        for earlier in held:
            self._add_changes(earlier, self._adapter.diff)

    def _write_changes(
        self, row: Row, us: int, bids: Iterable[TextLevel], asks: Iterable[TextLevel], *, is_snapshot: bool
    ) -> None:
        local_us = row.wall_ns // 1000
        head = (self._adapter.name, self._symbol, us, local_us, is_snapshot)
        for side, levels in (("bid", bids), ("ask", asks)):
            for price, amount in levels:
                self._write("incremental_book_L2", local_us, (*head, side, Decimal(price), Decimal(amount)))

    def _refuse(self, why: str) -> None:
        self._report.refused[f"{self._adapter.name}: {why}"] += 1

    def _write(self, kind: str, local_us: int, values: tuple[object, ...]) -> None:
        date = _date_of(local_us)
        if date != self._date:
            self.finish()
            self._date = date
        file = self._files.get(kind)
        if file is None:
            path = self._folder / self._adapter.name / kind / date / f"{self._symbol}.parquet"
            file = self._files[kind] = _DayFile(path, kind)
        file.add(local_us, values)


class _DayFile:
    """Writes one file under another name, and puts it in place at its end."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.rows = 0
        self._kind = kind
        self._partial = path.with_name(f".{path.name}.partial")
        self._pending: list[tuple[object, ...]] = []
        self._writer: pq.ParquetWriter | None = None
        self._first_us = self._last_us = 0

    def add(self, local_us: int, values: tuple[object, ...]) -> None:
        self._first_us = min(self._first_us, local_us) if self.rows else local_us
        self._last_us = max(self._last_us, local_us)
        self.rows += 1
        self._pending.append(values)
        if len(self._pending) >= _GROUP_ROWS:
            self._flush()

    def finish_into(self, report: CompactReport) -> None:
        """Put the file in place, unless the existing one holds more of the day."""
        self._flush()
        assert self._writer is not None
        self._writer.close()
        self._writer = None
        try:
            if self._is_less_than_there_is():
                self._partial.unlink()
                report.kept.append(self.path)
            else:
                self._partial.replace(self.path)
                report.files[self.path] = self.rows
        except OSError as error:
            raise TapeError(f"{self.path}: cannot be written: {error.strerror}") from error

    def discard(self) -> None:
        """Close and remove an unfinished file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._partial.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._pending:
            return
        rows, self._pending = self._pending, []
        try:
            if self._writer is None:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._writer = pq.ParquetWriter(self._partial, schema_of(self._kind), compression="zstd")
            self._writer.write_table(table_of(rows, self._kind))
        except OSError as error:
            raise TapeError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def _is_less_than_there_is(self) -> bool:
        """Return whether the existing file begins earlier or ends later: old segments are removed after a
        compaction.
        """
        if not self.path.exists():
            return False
        try:
            times = pq.read_table(self.path, columns=["local_timestamp"])["local_timestamp"].to_pylist()
        except (OSError, pa.ArrowException):
            return False  # it cannot be read, so it is made again
        return bool(times) and (times[0] < self._first_us or times[-1] > self._last_us)
