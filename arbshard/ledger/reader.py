"""Reads a ledger without ever writing, for ``verify``, exports and reports. It works while risk writes, too."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from arbshard.closable import Closable
from arbshard.errors import LedgerDamaged, LedgerError, UsageError
from arbshard.ledger import schema, snapshots
from arbshard.ledger.events import Event, decode_event
from arbshard.ledger.file import check_meta, damaged, failure, one_file, open_reader
from arbshard.ledger.inspection import check_numbers, check_pages
from arbshard.ledger.period import load_opening
from arbshard.ledger.postings import Line
from arbshard.ledger.snapshots import Snapshot

EventRow = tuple[int, int, str, str, str, str]
"""(seq, ts_ms, kind, pair, intent_id, body), as stored."""
T = TypeVar("T")

EVER = -(2**63)
"""Is before every wall time and every number."""
_PIECE_ROWS = 2000


def _nothing() -> None:
    """Do nothing after a piece of a copy."""


class LedgerReader(Closable):
    """Is a read-only connection; ``ledger.file`` explains what makes it so.

    All that it returns is as of the moment in which it was made: events and postings are only ever added, so the
    number of the last event marks that moment. It holds no lock and no read transaction in between.
    """

    def __init__(self, path: Path) -> None:
        """Open the ledger. Raises ``UsageError`` when there is none, ``LedgerError`` when it cannot be read."""
        if not path.is_file():
            raise UsageError(f"{path}: no ledger here")
        self.path = path
        with one_file(path):
            try:
                self._connection = open_reader(path)
            except sqlite3.Error as error:
                raise failure(path, "cannot be opened", error) from error
            self._begin()

    def _begin(self) -> None:
        path = self.path
        try:
            self.meta = check_meta(self._connection, path)
            self.period = load_opening(self._connection, path)
            """What the period begins with; None when nothing is in archives."""
            before = self.period.seq if self.period is not None else 0
            self.first_seq = before + 1
            """Number of the first event that is not in an archive."""
            self.last_seq: int = self._connection.execute(schema.LAST_SEQ).fetchone()[0] or before
        except sqlite3.Error as error:
            self.close()
            raise failure(path, "cannot be read", error) from error
        except LedgerError:
            self.close()
            raise

    def rows(
        self,
        kinds: Sequence[str] = (),
        since_ms: int = EVER,
        *,
        after: int = EVER,
        until: int | None = None,
    ) -> Iterator[EventRow]:
        """Yield every event by seq: all, or those of ``kinds``, that were decided at ``since_ms`` or later.

        Only events after the number ``after`` and up to the number ``until`` are read. Raises ``LedgerError``.
        """
        last = self.last_seq if until is None else min(until, self.last_seq)
        wanted = f",{','.join(kinds)}," if kinds else ""
        while True:
            given = (after, last, since_ms, wanted, _PIECE_ROWS)
            rows: list[EventRow] = self._all(schema.EVENTS_PIECE, given)
            for row in rows:
                if not isinstance(row[1], int) or not all(isinstance(value, str) for value in row[2:]):
                    raise damaged(self.path, f"the row of event {row[0]} holds something else than text")
                yield row
            if len(rows) < _PIECE_ROWS:
                return
            after = rows[-1][0]

    def decode(self, seq: int, body: str) -> Event:
        """Return the event of a row. Raises ``LedgerDamaged`` naming the event."""
        try:
            return decode_event(body)
        except LedgerDamaged as error:
            raise damaged(self.path, f"event {seq}: {error}") from error

    def lines(self, after: int = EVER) -> Iterator[Line]:
        """Yield every posting after the event ``after``, in order. Raises ``LedgerError``."""
        seq, number = after, 2**63 - 1
        while True:
            lines: list[Line] = self._all(schema.POSTINGS_PIECE, (seq, number, self.last_seq, _PIECE_ROWS))
            for line in lines:
                _check_line(self.path, line)
                yield line
            if len(lines) < _PIECE_ROWS:
                return
            seq, number = lines[-1][:2]

    def dated_lines(self, since_ms: int = EVER) -> Iterator[tuple[int, Line]]:
        """Yield (wall time in ms, posting) of each posting whose event was decided at ``since_ms`` or later, in
        order.
        """
        seq, number = EVER, EVER
        while True:
            given = (seq, number, self.last_seq, since_ms, _PIECE_ROWS)
            rows: list[tuple[int, int, str, str, str, str, int]] = self._all(
                schema.DATED_POSTINGS_PIECE, given
            )
            for seq, number, account, currency, amount, balance, at_ms in rows:
                line = (seq, number, account, currency, amount, balance)
                _check_line(self.path, line)
                if not isinstance(at_ms, int):
                    raise damaged(self.path, f"the row of event {seq} holds something else than a time")
                yield at_ms, line
            if len(rows) < _PIECE_ROWS:
                return

    def stray_lines(self) -> Iterator[tuple[int, int]]:
        """Yield (seq, line) of postings after the last event, which belong to no event."""
        yield from self._all(schema.STRAY_POSTINGS, (self.last_seq,))

    def counts(self) -> dict[str, int]:
        """Return the number of events by kind."""
        counted: list[tuple[str, int]] = self._all(schema.COUNT_BY_KIND, (self.last_seq,))
        return dict(counted)

    def extent_ms(self) -> tuple[int, int] | None:
        """Return the (earliest, latest) wall time of an event in milliseconds; None when there is no event."""
        found: list[tuple[object, object]] = self._all(schema.EXTENT_MS, (self.last_seq,))
        first, last = found[0]
        if first is None or last is None:
            return None
        if not isinstance(first, int) or not isinstance(last, int):
            raise damaged(self.path, "an event was decided at something else than a time")
        return first, last

    def count_postings(self) -> int:
        """Return the number of postings."""
        found: list[tuple[int]] = self._all(schema.COUNT_POSTINGS, (self.last_seq,))
        return found[0][0]

    def bytes_used(self) -> int:
        """Return the bytes of the ledger's pages, with those that are still in the write-ahead log alone."""
        pages: list[tuple[int]] = self._all("PRAGMA page_count", ())
        page_bytes: list[tuple[int]] = self._all("PRAGMA page_size", ())
        return pages[0][0] * page_bytes[0][0]

    def snapshots(self) -> Iterator[Snapshot | LedgerDamaged]:
        """Yield the snapshots, newest first; in place of a damaged one, the error that says why. Raises
        ``LedgerError``.
        """
        try:
            yield from snapshots.load(self._connection, self.last_seq)
        except sqlite3.Error as error:
            raise failure(self.path, "cannot be read", error) from error

    def check_pages(self) -> None:
        """Check every page. Raises ``LedgerDamaged`` or ``LedgerError``."""
        try:
            check_pages(self._connection, self.path)
        except sqlite3.Error as error:
            raise failure(self.path, "cannot be read", error) from error

    def check_numbers(self) -> None:
        """Raise ``LedgerDamaged`` when an event of the period is missing. Raises ``LedgerError``."""
        try:
            check_numbers(self._connection, self.path)
        except sqlite3.Error as error:
            raise failure(self.path, "cannot be read", error) from error

    def copy_to(
        self,
        target: sqlite3.Connection,
        pages_at_once: int,
        on_piece: Callable[[], None] = _nothing,
    ) -> None:
        """Copy the whole file as it is now, by SQLite's online backup. Raises ``sqlite3.Error``.

        ``on_piece`` is called after each piece of ``pages_at_once`` pages; what it raises ends the copy.

        One read transaction holds the moment from the first page to the last; without it, every commit of the writer
        would make the copy begin again.
        """
        self._connection.execute("BEGIN")
        try:
            self._connection.execute(schema.LAST_SEQ).fetchone()
            self._connection.backup(target, pages=pages_at_once, progress=lambda *_: on_piece(), sleep=0)
        finally:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _all(self, query: str, given: Sequence[object]) -> list[T]:
        try:
            return self._connection.execute(query, given).fetchall()
        except sqlite3.Error as error:
            raise failure(self.path, "cannot be read", error) from error


def _check_line(path: Path, line: Line) -> None:
    if not isinstance(line[1], int) or not all(isinstance(value, str) for value in line[2:]):
        raise damaged(path, f"the row of posting {line[0]}.{line[1]} holds something else than text")
