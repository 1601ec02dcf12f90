"""``arbshard ledger backup`` copies the ledger and its archives while risk may go on writing.

The copy is made by SQLite's own online backup, read through a connection that cannot write.
"""

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from arbshard.errors import LedgerError, UsageError
from arbshard.ledger import schema
from arbshard.ledger.archive import ArchiveReader, folder_of
from arbshard.ledger.file import damaged, failure, sync_directory
from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.output import new_file
from arbshard.ledger.reader import LedgerReader

_PAGES_AT_ONCE = 4096
"""Pages per piece of a copy. Ctrl-C takes effect between two pieces."""


class Backup(NamedTuple):
    """Says what was copied."""

    events: int
    """Number of the last event in the copy."""
    size: int
    """Size of the ledger itself, in bytes."""
    archives: int
    """Number of archived periods that were copied."""
    archives_size: int
    """Size of these archives, in bytes."""


def back_up(ledger: Path, target: Path) -> Backup:
    """Copy ``ledger`` to the new file ``target``, and its archives into a new folder beside that.

    The copy is whole when it appears and needs no second file beside it, and all archives that it follows
    are there before it. Raises ``UsageError`` (no ledger, ``target`` or its folder exists or cannot be
    made) or ``LedgerError``.
    """
    with LedgerHistory(ledger) as history, new_file(target) as partial:
        try:
            archives = history.archives()
            size = _copy_archives(archives, folder_of(target)) if archives else 0
            events = _copy(history.live, partial)
        except OSError as error:
            raise LedgerError(f"{target}: cannot be written: {error.strerror}") from error
        return Backup(events, partial.stat().st_size, len(archives), size)


def _copy_archives(archives: Sequence[ArchiveReader], folder: Path) -> int:
    """Copy ``archives``. Each is compared with its digest before it counts as copied. Return their size in
    bytes.

    Raises ``OSError``.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError as error:
        raise UsageError(f"{folder}: exists already, and nothing is overwritten") from error
    size = 0
    with ExitStack() as undo:
        undo.callback(folder.rmdir)
        for archive in archives:
            copy = folder / archive.path.name
            with archive.path.open("rb") as source, copy.open("xb") as target:
                undo.callback(copy.unlink)
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
            copy.chmod(0o400)
            for _ in ArchiveReader(copy).bodies():
                pass  # reading all of it compares it with its digest
            size += copy.stat().st_size
        sync_directory(folder)
        undo.pop_all()
    return size


def _copy(reader: LedgerReader, partial: Path) -> int:
    """Copy the ledger into ``partial``. Return the number of the last event that was copied."""
    try:
        copy = sqlite3.connect(partial, isolation_level=None)
    except sqlite3.Error as error:
        raise failure(partial, "cannot be written", error) from error
    try:
        reader.copy_to(copy, _PAGES_AT_ONCE)
        # The copy is one file without a log beside it; its first writer puts it back into WAL mode.
        copy.execute("PRAGMA journal_mode = DELETE")
        # Without this a copy that is put in the place of its original would continue the original's numbers, and
        # give order names that the venues have already received.
        copy.execute(schema.FORGET_TAG)
        last: int = copy.execute(schema.LAST_SEQ).fetchone()[0] or reader.first_seq - 1
    except sqlite3.Error as error:
        raise failure(partial, "cannot be written", error) from error
    finally:
        copy.close()
    if last < reader.last_seq:
        raise damaged(reader.path, f"its copy ends at event {last}, not at {reader.last_seq}")
    descriptor = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return last
