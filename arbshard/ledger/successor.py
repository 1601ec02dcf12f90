"""Makes the file in which the ledger goes on after a period was archived, and puts it in the ledger's place.

Removing archived events from the ledger's own file would go against its guards and leave the file as large as it
was. So the next period is written as a file of its own: what opens it, and the events after the cut. Everything up
to the renaming leaves the ledger untouched; the renaming is the one moment at which the old period is over.
"""

import errno
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from arbshard.crashpoint import reach
from arbshard.errors import LedgerError
from arbshard.ledger import schema
from arbshard.ledger.events import SCHEMA_VERSION
from arbshard.ledger.file import failure, log_of, shared_of, sync_directory
from arbshard.ledger.period import PeriodOpening, head_of_period, save_opening
from arbshard.ledger.reader import LedgerReader

_MODE = 0o600
_ROWS_AT_ONCE = 2000


def successor_of(ledger: Path) -> Path:
    """Return the path at which the successor of ``ledger`` is made."""
    return ledger.with_name(f"{ledger.name}.next")


def make_successor(reader: LedgerReader, opening: PeriodOpening) -> Path:
    """Write the file that begins with ``opening`` and holds the events of ``reader`` after it. Return its path.

    It is on the disk when this returns. Raises ``LedgerError``.
    """
    path = successor_of(reader.path)
    try:
        remove(path)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))
    except OSError as error:
        raise LedgerError(f"{path}: cannot be made: {error.strerror}") from error
    try:
        connection = _open(path)
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement in (*schema.STATEMENTS, *schema.PERIOD_STATEMENTS):
                connection.execute(statement)
            connection.executemany(schema.INSERT_META, _meta(reader.meta).items())
            save_opening(connection, opening)
            connection.executemany(schema.INSERT_EVENT, reader.rows(after=opening.seq))
            connection.executemany(schema.INSERT_POSTING, reader.lines(after=opening.seq))
            connection.execute("COMMIT")
        finally:
            connection.close()
        _sync(path)
    except sqlite3.Error as error:
        raise failure(path, "cannot be written", error) from error
    except OSError as error:
        raise LedgerError(f"{path}: cannot be written: {error.strerror}") from error
    reach("successor_written")
    return path


def bring_up_to_date(path: Path, ledger: sqlite3.Connection, name: Path, last_seq: int) -> None:
    """Copy what was added to the ledger since the successor at ``path`` was made, up to the event ``last_seq``.

    ``ledger`` reads the ledger at ``name``. Raises ``LedgerError`` when the successor is not one of this ledger,
    else ``sqlite3.Error`` or ``OSError``.
    """
    connection = _open(path)
    try:
        done = _checked(connection, path, ledger, name)
        connection.execute("BEGIN IMMEDIATE")
        for query, insert in (
            (schema.EVENTS_AFTER, schema.INSERT_EVENT),
            (schema.POSTINGS_AFTER, schema.INSERT_POSTING),
        ):
            rows = ledger.execute(query, (done,))
            while piece := rows.fetchmany(_ROWS_AT_ONCE):
                connection.executemany(insert, piece)
        count, first, last = connection.execute(schema.COUNT).fetchone()
        _, before = head_of_period(connection, path)
        if (last or before) != last_seq or (count and (first, count) != (before + 1, last - before)):
            raise LedgerError(f"{path}: it ends at event {last or before}, the ledger at {last_seq}")
        connection.execute("COMMIT")
    finally:
        connection.close()
    _sync(path)


def put_in_place(path: Path, ledger: Path) -> None:
    """Make ``path`` the ledger, whose log is empty and which no other program opens now (``file.one_file``).

    The old log and index are removed first, because their names would otherwise belong to the new file. A program
    that still reads the old file keeps it open, with its log and index, and reads on undisturbed. Raises
    ``OSError``.
    """
    reach("before_switch")
    for beside in (log_of(ledger), shared_of(ledger)):
        beside.unlink(missing_ok=True)
    reach("during_switch")
    path.rename(ledger)
    sync_directory(ledger.parent)
    reach("after_switch")


def remove(path: Path) -> None:
    """Remove a successor that was not taken over, and its writer's other files. Raises ``OSError``.

    The journal is removed first: SQLite would apply that of an interrupted attempt to the next file of this name.
    """
    for end in ("-journal", "-wal", "-shm", ""):
        path.with_name(f"{path.name}{end}").unlink(missing_ok=True)


def _meta(meta: Mapping[str, str]) -> dict[str, str]:
    return {**meta, "schema": str(SCHEMA_VERSION)}


def _open(path: Path) -> sqlite3.Connection:
    """Return a connection that leaves one file in WAL mode behind when it is closed. ``_sync`` makes it durable."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if log_of(path).exists():  # closing removes it, and without it the file is not whole
        raise OSError(errno.EBUSY, "another program holds it, so that its log stays beside it")


def _checked(connection: sqlite3.Connection, path: Path, ledger: sqlite3.Connection, name: Path) -> int:
    """Return the last event of the successor, which must follow from the ledger that it is to succeed.

    Raises ``LedgerError`` when it does not, and ``sqlite3.Error``.
    """
    number, archived_seq = head_of_period(connection, path)
    period, _ = head_of_period(ledger, name)
    metas = [dict(one.execute(schema.ALL_META).fetchall()) for one in (connection, ledger)]
    if number <= period or metas[0] != _meta(metas[1]):
        raise LedgerError(f"{path}: it does not continue period {period} of {name}")
    done: int = connection.execute(schema.LAST_SEQ).fetchone()[0] or archived_seq
    ours, theirs = (one.execute(schema.BODY_AT, (done,)).fetchone() for one in (connection, ledger))
    if theirs is None or (ours is not None and ours != theirs):
        raise LedgerError(f"{path}: its event {done} is not that of {name}")
    return done
