"""Reads a ledger without ever writing: for ``verify``, status and reports, also while risk writes."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from arbshard.errors import LedgerDamaged, LedgerError, UsageError
from arbshard.ledger import schema
from arbshard.ledger.store import Line, Row, check_meta


class LedgerReader:
    """A read-only connection."""

    def __init__(self, path: Path) -> None:
        """Raises ``UsageError`` when there is no ledger, ``LedgerVersionError``, ``LedgerDamaged``."""
        if not path.is_file():
            raise UsageError(f"{path}: no ledger here")
        self.path = path
        try:
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise LedgerError(f"{path}: cannot be opened: {error}") from error
        try:
            check_meta(self._connection, path)
            # One moment for everything that is read, however much risk appends meanwhile.
            self._connection.execute("BEGIN")
        except sqlite3.Error as error:
            self.close()
            raise LedgerDamaged(f"{path}: {error}") from error
        except LedgerError:
            self.close()
            raise

    def rows(self) -> Iterator[Row]:
        """(seq, ts_ms, kind, pair, intent_id, body) of every event, by seq."""
        return self._read(schema.ALL_EVENTS)

    def lines(self) -> Iterator[Line]:
        """(seq, line, account, currency, amount, balance) of every posting, in order."""
        return self._read(schema.ALL_POSTINGS)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, query: str) -> Iterator[tuple[int, int, str, str, str, str]]:
        try:
            yield from self._connection.execute(query)
        except sqlite3.Error as error:
            raise LedgerDamaged(f"{self.path}: {error}") from error
