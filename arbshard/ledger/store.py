"""The ledger's file: SQLite in WAL mode with one writing connection, owned by ``arbshard.risk``.

Nothing here decides. ``append`` is all-or-nothing: when it raises, the file and the balances kept here are as
before. Other programs read through ``ledger.reader``.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NoReturn, Self

from arbshard.errors import (
    LedgerDamaged,
    LedgerError,
    LedgerVersionError,
    RunDirError,
    UsageError,
)
from arbshard.ledger import schema
from arbshard.ledger.events import SCHEMA_VERSION, Event, decode_event, encode_event, kind_of, subject_of
from arbshard.ledger.lock import WriterLock
from arbshard.ledger.postings import postings_of
from arbshard.model.money import ZERO, plain

_BUSY_MS = 2000
# A commit waits for a checkpoint that falls into it, so the owner makes them between two batches; SQLite itself
# only when the log has grown to this many pages.
_AUTOCHECKPOINT_PAGES = 32_000
_COMMITS_DUE = 200
_COMMITS_OVERDUE = 500

Row = tuple[int, int, str, str, str, str]
Line = tuple[int, int, str, str, str, str]


class LedgerStore:
    """The one writer."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: WriterLock) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._balances: dict[tuple[str, str], Decimal] = {}
        self._unmoved = 0
        """Commits since the last checkpoint."""
        self.last_seq = 0

    @classmethod
    def open(cls, path: Path, *, name: str, mode: str, now_ms: int, durable: bool = False) -> Self:
        """Open or create the ledger at ``path``.

        ``durable`` makes every append reach the disk (live); without it the newest appends may be lost when the
        machine, not the process, fails. Raises ``RunDirError`` (place unusable, another writer), ``UsageError``
        (ledger of another mode), ``LedgerVersionError``, ``LedgerDamaged``, ``LedgerError``.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise RunDirError(f"{path.parent}: cannot be created: {error.strerror}") from error
        lock = WriterLock(path)
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_MS / 1000)
            _configure(connection, durable=durable)
            _prepare(connection, path, name, mode, now_ms)
            store = cls(path, connection, lock)
            store._load()
        except BaseException as error:
            if connection is not None:
                connection.close()
            lock.release()
            if isinstance(error, sqlite3.Error):
                _fail(path, error)
            raise
        return store

    def events(self) -> Iterator[tuple[int, Event]]:
        """(sequence, event) of everything stored, oldest first. Raises ``LedgerDamaged``, ``LedgerError``."""
        try:
            for seq, _, _, _, _, body in self._connection.execute(schema.ALL_EVENTS):
                yield seq, decode_event(body)
        except sqlite3.Error as error:
            _fail(self.path, error)

    def append(self, events: Sequence[Event]) -> None:
        """Store ``events`` and their postings in one transaction. Raises ``LedgerError``; then nothing is stored."""
        if not events:
            return
        balances: dict[tuple[str, str], Decimal] = {}
        rows: list[Row] = []
        lines: list[Line] = []
        seq = self.last_seq
        for event in events:
            seq += 1
            rows.append((seq, event.at_ms, kind_of(event), *subject_of(event), encode_event(event)))
            for number, (account, currency, amount) in enumerate(postings_of(event)):
                key = account, currency
                before = balances[key] if key in balances else self._balances.get(key, ZERO)
                balances[key] = after = before + amount
                lines.append((seq, number, account, currency, plain(amount), plain(after)))
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(schema.INSERT_EVENT, rows)
            self._connection.executemany(schema.INSERT_POSTING, lines)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise LedgerError(f"{self.path}: cannot be written: {error}") from error
        self.last_seq = seq
        self._unmoved += 1
        self._balances.update(balances)

    @property
    def balances(self) -> Mapping[tuple[str, str], Decimal]:
        """Running balance by (account, currency)."""
        return self._balances

    def checkpoint_if_due(self, *, is_idle: bool) -> bool:
        """Move the write-ahead log into the file when it has grown, sooner when ``is_idle``; whether it was moved.

        Raises ``LedgerError``.
        """
        if self._unmoved < (_COMMITS_DUE if is_idle else _COMMITS_OVERDUE):
            return False
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: cannot be checkpointed: {error}") from error
        self._unmoved = 0
        return True

    def close(self) -> None:
        """Move everything into the file, empty the log and let the next writer in. Raises ``LedgerError``."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: cannot be checkpointed: {error}") from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without writing anything more, after a failure. May be called again."""
        self._connection.close()
        self._lock.release()

    def _load(self) -> None:
        first, last, count = self._connection.execute(schema.EXTENT).fetchone()
        if first != 1 or last != count:
            raise LedgerDamaged(f"{self.path}: {count} events are numbered {first} to {last}")
        ended = self._connection.execute("SELECT kind FROM events WHERE seq = ?", (last,)).fetchone()
        if ended is not None and ended[0] != "Stopped":  # the last writer did not end in order
            _check_pages(self._connection, self.path)
        for account, currency, balance, _ in self._connection.execute(schema.LAST_BALANCES):
            self._balances[account, currency] = Decimal(balance)
        self.last_seq = last

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:  # some errors (disk full) have SQLite roll back by itself
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: cannot be written nor rolled back: {error}") from error


def _configure(connection: sqlite3.Connection, *, durable: bool) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_AUTOCHECKPOINT_PAGES}")


def _prepare(connection: sqlite3.Connection, path: Path, name: str, mode: str, now_ms: int) -> None:
    found = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if found == 0:
        stated = {"schema": str(SCHEMA_VERSION), "name": name, "mode": mode, "created_ms": str(now_ms)}
        connection.execute("BEGIN IMMEDIATE")
        for statement in schema.STATEMENTS:
            connection.execute(statement)
        connection.executemany(schema.INSERT_META, stated.items())
        connection.execute("COMMIT")
    check_meta(connection, path, mode)


def check_meta(connection: sqlite3.Connection, path: Path, mode: str | None = None) -> None:
    """Whether this program may read the ledger, and in ``mode`` write it.

    Raises ``LedgerVersionError``, ``UsageError``, ``LedgerDamaged``, ``sqlite3.Error``.
    """
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    try:
        version = int(meta["schema"])
        written_in = meta["mode"]
    except (KeyError, ValueError) as error:
        raise LedgerDamaged(f"{path}: it does not say what it is: {error}") from error
    if version > SCHEMA_VERSION:
        raise LedgerVersionError(
            f"{path}: schema {version} was written by a newer arbshard; this one knows {SCHEMA_VERSION}"
        )
    if mode is not None and written_in != mode:
        raise UsageError(
            f"{path}: this ledger was begun in mode {written_in}, not {mode}; use another name or state directory"
        )


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if result != "ok":
        raise LedgerDamaged(f"{path}: {result}")


def _fail(path: Path, error: sqlite3.Error) -> NoReturn:
    # "malformed" and "not a database" are DatabaseError itself, the rest (locked, full, I/O) its children.
    if type(error) is sqlite3.DatabaseError or "no such table" in str(error):
        raise LedgerDamaged(f"{path}: {error}") from error
    raise LedgerError(f"{path}: {error}") from error
