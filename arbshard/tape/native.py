"""Imports files of a venue's own messages, one on a line, into segments of a tape. Needs pyarrow.

| line | |
|---|---|
| ``SECONDS <tab> MESSAGE`` | a message of a stream, and when it was received |
| ``SECONDS <tab> QUERY <tab> BODY`` | an answer over REST with one market's book; the query is ``symbol=BTCUSDT…`` |
| ``MESSAGE`` | without a time: the venue's own counts, or else that of the line before |
"""

import gzip
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs

import msgspec

from arbshard.errors import FrameError, UsageError
from arbshard.tape import TapeError
from arbshard.tape.format import Row, SegmentInfo, name_of
from arbshard.tape.writing import TapeBounds, TapeWriter
from arbshard.venues.base.adapter import Adapter
from arbshard.venues.registry import get_adapter
from arbshard.version import __version__

_INSTANCE = "import"
_LINE_BYTES_MAX = 1 << 24
_SECONDS_MAX = 10**10


class NativeFile(NamedTuple):
    """Is a file, with the venue whose messages it holds."""

    venue: str
    path: Path


class ImportReport(NamedTuple):
    """Holds what was imported."""

    rows: int
    frames: dict[str, int]
    """Number of messages of streams, by venue."""
    books: dict[str, int]
    """Number of those among them that are a market's book or changes of one, by venue."""
    first_ns: int
    last_ns: int


def import_native(files: Sequence[NativeFile], folder: Path, described: SegmentInfo | None) -> ImportReport:
    """Write the messages of all ``files`` as one recording, in the order of their times. Returns what was imported.

    ``described`` is the segment whose pairs, rules and configuration are those of this recording too; without it no
    backtest can trade on the recording, because messages do not contain a venue's rules. Monotonic times are the
    wall times. Raises ``TapeError``; only segments of what came before the fault are left behind then.
    """
    lines = heapq.merge(*(_lines(file, place) for place, file in enumerate(files)))
    frames, books, numbers = Counter[str](), Counter[str](), Counter[str]()
    writer: TapeWriter | None = None
    first_ns = last_ns = 0
    for at_ns, _, _, row, is_book in lines:
        if writer is None:
            first_ns = at_ns
            writer = _writer(folder, at_ns // 1_000_000, described)
        last_ns = at_ns
        numbers[row.venue] += 1
        frames[row.venue] += row.kind == "frame"
        books[row.venue] += is_book
        writer.add(row._replace(number=numbers[row.venue]))
        if writer.is_full:
            writer.flush(at_ns, at_ns // 1_000_000)
            _require_written(writer, folder)
    if writer is None:
        raise TapeError("the files hold no message")
    writer.close(last_ns, last_ns // 1_000_000)
    _require_written(writer, folder)
    return ImportReport(writer.written, dict(frames), dict(books), first_ns, last_ns)


def _writer(folder: Path, recording: int, described: SegmentInfo | None) -> TapeWriter:
    if (folder / name_of(recording, 0)).exists():
        raise TapeError(f"{folder} already holds a recording that begins at the same time")

    def describe(segment: int, first_row: int) -> SegmentInfo:
        return SegmentInfo(
            recording=recording,
            segment=segment,
            first_row=first_row,
            instance=_INSTANCE,
            version=__version__,
            boot=_INSTANCE,
            universe=described.universe if described is not None else msgspec.Raw(b"null"),
            config=described.config if described is not None else msgspec.Raw(b"null"),
        )

    # What is imported is as old as it is: age must not remove it.
    return TapeWriter(folder, recording, describe, TapeBounds(keep_ms=1 << 62, keep_bytes=1 << 62))


def _require_written(writer: TapeWriter, folder: Path) -> None:
    if writer.lost:
        raise TapeError(f"{folder}: cannot be written: {writer.last_error or 'rows were lost'}")


_Line = tuple[int, int, int, Row, bool]
"""(ns, place of the file, number of the row, row, whether it is a book): no two have equal first three values."""


def _lines(file: NativeFile, place: int) -> Iterator[_Line]:
    adapter = _adapter_of(file)
    at_ns = number = line_number = 0
    is_open = False
    try:
        with _open(file.path) as source:
            while line := source.readline(_LINE_BYTES_MAX):
                line_number += 1
                if not line.strip():
                    continue
                where = f"{file.path}: line {line_number}"
                said_ns, row, is_book = _parse(line.rstrip(b"\r\n"), adapter, where)
                # The first received message comes first, whatever a clock that was set meanwhile shows.
                at_ns = max(at_ns, said_ns or at_ns)
                if not at_ns:
                    raise TapeError(f"{where}: neither the line nor its message has a time")
                if row.kind == "frame" and not is_open:
                    is_open = True
                    yield at_ns, place, number, _mark("connect", file, at_ns, "imported from"), False
                    number += 1
                row = row._replace(connection="" if row.kind == "rest" else _connection(file))
                yield at_ns, place, number, row._replace(at_ns=at_ns, wall_ns=at_ns), is_book
                number += 1
    except (OSError, EOFError) as error:
        raise TapeError(f"{file.path}: cannot be read: {error}") from error
    if is_open:
        yield at_ns, place, number, _mark("disconnect", file, at_ns, "end of"), False


def _open(path: Path) -> gzip.GzipFile:
    with path.open("rb") as file:
        is_zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if is_zipped else path.open("rb")  # type: ignore[return-value]


def _adapter_of(file: NativeFile) -> Adapter:
    try:
        return get_adapter(file.venue)
    except UsageError as error:
        raise TapeError(f"{file.venue}:{file.path}: {error}") from error


def _parse(line: bytes, adapter: Adapter, where: str) -> tuple[int, Row, bool]:
    """Return the time in ns (0 where there is none), the row, and whether it is of a book. Raises ``TapeError``."""
    head, *rest = line.split(b"\t", 2)
    if not rest:
        data, said_ns = head, 0
    else:
        said_ns, data = _ns_of(head, where), rest[-1]
    if not data.startswith((b"{", b"[")):
        raise TapeError(f"{where}: the message is not a JSON object or list")
    if len(rest) == 2:
        return said_ns, _rest_row(rest[0], data, adapter, where), False
    diff = adapter.diff
    symbol = adapter.market.route(data)
    is_change = symbol is None and diff is not None and diff.route(data) is not None
    is_book = adapter.market_of(data) is not None
    if not said_ns:
        said_ns = _venue_ns(data, adapter, is_book=symbol is not None, is_change=is_change)
    return said_ns, Row("frame", adapter.name, "", "", 0, 0, 0, 0, "", data), is_book


def _ns_of(text: bytes, where: str) -> int:
    try:
        seconds = Decimal(text.decode())
    except (UnicodeDecodeError, InvalidOperation):
        seconds = Decimal(0)
    if not 0 < seconds < _SECONDS_MAX:
        raise TapeError(
            f"{where}: does not begin with a time in seconds since 1970, such as 1618678263.010785"
        )
    return int(seconds * 1_000_000_000)


def _venue_ns(data: bytes, adapter: Adapter, *, is_book: bool, is_change: bool) -> int:
    """Return the venue's own time of a message in ns; 0 where it has none."""
    try:
        if is_book:
            return (adapter.market.decode(data, 0).exchange_ms or 0) * 1_000_000
        if is_change:
            assert adapter.diff is not None
            return adapter.diff.update_of(data).event_ms * 1_000_000
    except FrameError:
        return 0  # the frame is kept as it came; its reader refuses it
    return 0


def _rest_row(query: bytes, body: bytes, adapter: Adapter, where: str) -> Row:
    symbols = parse_qs(query.decode(errors="replace")).get("symbol", [])
    if adapter.diff is None or len(symbols) != 1:
        raise TapeError(f"{where}: a line with a query must be {adapter.name}'s book of one symbol=…")
    # With the path by which a run requests it, so that readers find it.
    detail = f"{adapter.diff.snapshot_path(symbols[0])} HTTP 200"
    return Row("rest", adapter.name, "", symbols[0], 0, 0, 0, 0, detail, body)


def _connection(file: NativeFile) -> str:
    return f"{_INSTANCE}-{file.path.name}"


def _mark(kind: str, file: NativeFile, at_ns: int, what: str) -> Row:
    detail = f"{what} {file.path.name}"
    return Row(kind, file.venue, _connection(file), "", at_ns, at_ns, 0, 0, detail, b"")
