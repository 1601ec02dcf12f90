"""Creates and opens the ledger's file: it is made whole or not at all, is recognised, and is opened to read or
write.

``store`` (the one writer), ``reader`` and ``inspection`` use it. A reader can neither write nor checkpoint: SQLite
opens the file itself read-only, refuses statements that write, and never starts a checkpoint. This is necessary
because SQLite below 3.51.3 can corrupt a database when a second connection checkpoints.
"""

import fcntl
import os
import secrets
import sqlite3
import stat
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Literal

from arbshard.errors import (
    LedgerBusy,
    LedgerDamaged,
    LedgerError,
    LedgerFull,
    LedgerVersionError,
    RunDirError,
    UsageError,
)
from arbshard.ledger import schema
from arbshard.ledger.events import SCHEMA_VERSION
from arbshard.ledger.lock import lock_of

BUSY_S = 2.0
"""How long SQLite waits for another program that holds the file, in seconds."""
_OPENING_TRIES = 100
_OPENING_PAUSE_S = 0.02
# A commit waits for a checkpoint that coincides with it, so the owner checkpoints between two batches; SQLite does
# so itself only when the log has grown to this many pages.
_AUTOCHECKPOINT_PAGES = 32_000

LOG_ROOM_BYTES = 8 * 1024 * 1024
"""Size that the write-ahead log of a live run has from its first commit on: enough for the commits between two
checkpoints (``store``).
"""
_PIECE_BYTES = 1024 * 1024
_FULL_BYTES = 65_536
"""Free space in bytes below which SQLite's next page may not fit."""

Opening = Literal["any", "existing", "new"]
"""What must be at a ledger's path: anything (a missing ledger is begun), a ledger, or no ledger."""

TAG_LENGTH = 5
_TAG_LETTERS = string.ascii_lowercase + string.digits

_DAMAGED_CODES = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_MISMATCH", "SQLITE_FORMAT")
_TO_DO = (
    ("SQLITE_FULL", "free space on its disk, then start again"),
    ("SQLITE_IOERR", "check its disk and the free space there, then start again"),
    ("SQLITE_READONLY", "check owner and mode of the file and its directory"),
    ("SQLITE_CANTOPEN", "check owner and mode of the file and its directory"),
    ("SQLITE_BUSY", "another program holds it: close that, then start again"),
    ("SQLITE_LOCKED", "another program holds it: close that, then start again"),
)


def damaged(path: Path, problem: str) -> LedgerDamaged:
    """Return the error that says what is damaged and what to do."""
    return LedgerDamaged(
        f"{path}: damaged: {problem}; keep this file, and put a backup in its place or start with another --state-dir"
    )


def failure(path: Path, doing: str, error: sqlite3.Error) -> LedgerError:
    """Return the error that says what failed while ``doing`` ("cannot be read") and what to do."""
    code = str(getattr(error, "sqlite_errorname", ""))  # errors that Python itself raises have no code
    text = str(error)
    if code.startswith(_DAMAGED_CODES) or text.startswith(
        ("no such table", "no such column", "Could not decode")
    ):
        return damaged(path, text)
    for family, advice in _TO_DO:
        if code.startswith(family):
            kind = LedgerFull if family == "SQLITE_FULL" or _is_full(path) else LedgerError
            return kind(f"{path}: {doing}: {text}; {advice}")
    return LedgerError(f"{path}: {doing}: {text}")


def free_bytes(path: Path) -> int:
    """Return how many bytes this process may still write on the file system of ``path``. Raises ``OSError``."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _is_full(path: Path) -> bool:
    """Return whether a full disk caused an I/O error. SQLite reports some of these as errors of another family."""
    try:
        return free_bytes(path.parent) < _FULL_BYTES
    except OSError:
        return False  # then the error is about more than free space


def check_opening(path: Path, opening: Opening) -> None:
    """Raise ``UsageError`` unless a ledger is, or is not yet, at ``path`` as ``opening`` demands."""
    if opening == "new" and path.exists():
        raise UsageError(
            f"--new-ledger: there is a ledger at {path} already; "
            "leave --new-ledger away to go on with it, or name another --state-dir"
        )
    # With a log it is damaged, which ``create`` reports.
    is_lost = not path.exists() and not log_of(path).exists()
    if opening == "existing" and is_lost:
        raise UsageError(
            f"{path}: there is no ledger, and a live run begins one only with --new-ledger: if this instance "
            "has traded before, mount or name its state directory (--state-dir, or state_dir in the "
            "configuration); if it is new, add --new-ledger"
        )


def shared_of(path: Path) -> Path:
    """Return the path of SQLite's shared index of the write-ahead log of the ledger at ``path``."""
    return path.with_name(f"{path.name}-shm")


def log_of(path: Path) -> Path:
    """Return the path of SQLite's write-ahead log of the ledger at ``path``."""
    return path.with_name(f"{path.name}-wal")


def create(path: Path, name: str, mode: str, now_ms: int) -> None:
    """Make an empty ledger where there is none. After a crash it is there whole (by renaming) or not at all.

    Raises ``LedgerDamaged`` when only the log of a lost ledger is there, else ``LedgerError`` or ``RunDirError``.
    """
    log = log_of(path)
    if log.exists() and log.stat().st_size > 0:
        raise damaged(path, f"it is gone, but its log {log.name} is still there")
    partial = path.with_name(f"{path.name}.new")
    stated = {"schema": str(SCHEMA_VERSION), "name": name, "mode": mode, "created_ms": str(now_ms)}
    stated["tag"] = new_tag()
    try:
        partial.unlink(missing_ok=True)  # left by a start that was killed; the caller holds the lock
        # SQLite gives its log the same mode.
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(partial, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in schema.STATEMENTS:
                connection.execute(statement)
            connection.executemany(schema.INSERT_META, stated.items())
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
        partial.rename(path)
        sync_directory(path.parent)
    except sqlite3.Error as error:
        raise failure(path, "cannot be created", error) from error
    except OSError as error:
        raise RunDirError(f"{path}: cannot be created: {error.strerror}") from error


def new_tag() -> str:
    """Return five random characters that distinguish this ledger's orders from those of any other at the venues."""
    return "".join(secrets.choice(_TAG_LETTERS) for _ in range(TAG_LENGTH))


def check_writable(path: Path) -> None:
    """Raise ``RunDirError`` when a file of the ledger at ``path`` may only be read."""
    for one in (path, path.parent):
        if not os.access(one, os.W_OK):
            raise RunDirError(f"{one}: may not be written: check its owner and mode")


def make_private(path: Path) -> list[str]:
    """Remove other users' access to the ledger's files. Return a line for each file that was open to them.

    Raises ``RunDirError``.
    """
    lines = []
    for one in (path, log_of(path), path.with_name(f"{path.name}-shm"), lock_of(path)):
        try:
            found = one.lstat()
            mode = stat.S_IMODE(found.st_mode)
            if stat.S_ISREG(found.st_mode) and mode & 0o077:
                one.chmod(0o600)
                lines.append(f"{one} was open to other users (mode {mode:04o}): it is 0600 now")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RunDirError(f"{one}: may be read by other users, and its mode cannot be changed") from error
    return lines


def sync_directory(directory: Path) -> None:
    """Write a rename in ``directory`` to the disk, so that it survives a failure of the machine. Raises
    ``OSError``.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def one_file(path: Path, *, exclusive: bool = False) -> Iterator[None]:
    """Keep the ledger's path leading to one and the same file, with its log and its index.

    Every reader holds this while it opens the file. A process that puts another file at the path holds it
    exclusively, so that no reader joins the new file with the log of the old one. Raises ``LedgerBusy`` when the
    others do not release it.
    """
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RunDirError(f"{path.parent}: cannot be opened: {error.strerror}") from error
    try:
        _lock_directory(descriptor, path, exclusive=exclusive)
        yield
    finally:
        os.close(descriptor)


def _lock_directory(descriptor: int, path: Path, *, exclusive: bool) -> None:
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    # The writer of the ledger must not wait, and tries again later.
    tries = 1 if exclusive else _OPENING_TRIES
    for attempt in range(1, tries + 1):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if attempt == tries:
                raise LedgerBusy(f"{path}: another program is just opening it") from error
            sleep(_OPENING_PAUSE_S)
        else:
            return


def open_reader(path: Path, *, any_thread: bool = False) -> sqlite3.Connection:
    """Return a connection that cannot write. Raises ``sqlite3.Error``."""
    mode = "mode=ro&immutable=1" if _is_at_rest(path) else "mode=ro"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_S,
        check_same_thread=not any_thread,
    )
    try:
        connection.execute("PRAGMA query_only = 1")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _is_at_rest(path: Path) -> bool:
    """Return whether the ledger is in a folder that may only be read, and no program has it open.

    SQLite makes the index of the log in that folder even to read, unless it knows that nothing changes the file. A
    program that has the ledger open has made log and index already.
    """
    if os.access(path.parent, os.W_OK, effective_ids=True):
        return False
    log = log_of(path)
    return not shared_of(path).exists() and (not log.exists() or not log.stat().st_size)


def open_writer(path: Path, *, durable: bool) -> sqlite3.Connection:
    """Return the connection that writes. With ``durable`` every commit reaches the disk. Raises ``sqlite3.Error``."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=BUSY_S
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")  # a restored backup is not in this mode yet
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_AUTOCHECKPOINT_PAGES}")
    except sqlite3.Error:
        connection.close()
        raise
    if durable:
        _make_room(log_of(path))
    return connection


def _make_room(log: Path) -> None:
    """Fill the write-ahead log with zeros up to the size that it comes to have.

    A commit that makes the file longer waits for the file system's journal besides, several times as long. SQLite
    takes zeros behind the last frame, or in place of the first, for the end of the log. None are written where the
    disk is nearly full.
    """
    try:
        if free_bytes(log.parent) < 4 * LOG_ROOM_BYTES:
            return
        descriptor = os.open(log, os.O_WRONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            while size < LOG_ROOM_BYTES:
                size += os.pwrite(descriptor, bytes(min(_PIECE_BYTES, LOG_ROOM_BYTES - size)), size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:  # then commits take longer, and nothing else changes
        from arbshard.log import get_logger  # commands that only read a ledger need no logging

        get_logger().warning("no room is made for the log of the ledger", why=error.strerror)


def check_meta(connection: sqlite3.Connection, path: Path, mode: str | None = None) -> dict[str, str]:
    """Return the ledger's meta data if this program may read it and, where ``mode`` is given, write it in that mode.

    Raises ``LedgerVersionError``, ``UsageError``, ``LedgerDamaged`` or ``sqlite3.Error``.
    """
    if path.stat().st_size == 0:
        raise damaged(path, "the file is empty")
    tables = {str(name) for (name,) in connection.execute(schema.TABLE_NAMES).fetchall()}
    missing = [name for name in ("meta", "events", "postings") if name not in tables]
    if missing:
        raise damaged(
            path, f"it has no table {', '.join(missing)}, so it is not a ledger, or not a whole one"
        )
    meta = {str(key): str(value) for key, value in connection.execute(schema.ALL_META).fetchall()}
    try:
        version = int(meta["schema"])
        written_in = meta["mode"]
    except (KeyError, ValueError) as error:
        raise damaged(path, f"it does not say what it is ({error})") from error
    if version > SCHEMA_VERSION:
        raise LedgerVersionError(
            f"{path}: schema {version} was written by a newer arbshard, this one knows {SCHEMA_VERSION}; "
            "use the newer program, or start with another --state-dir"
        )
    if mode is not None and written_in != mode:
        raise UsageError(
            f"{path}: this ledger was begun in mode {written_in}, not {mode}; use another name or state directory"
        )
    return meta
