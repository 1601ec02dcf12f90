"""``arbshard ledger backup``: a copy of the ledger in one file, made while risk may go on writing.

The copy is SQLite's own online backup, read through a connection that cannot write.
"""

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from arbshard.errors import LedgerError
from arbshard.ledger import schema
from arbshard.ledger.file import damaged, failure
from arbshard.ledger.output import new_file
from arbshard.ledger.reader import LedgerReader

_PAGES_AT_ONCE = 4096
"""Between two pieces Ctrl-C is heard."""


class Backup(NamedTuple):
    """What was copied."""

    events: int
    """Number of the last event in the copy."""
    size: int
    """Bytes."""


def back_up(ledger: Path, target: Path) -> Backup:
    """Copy ``ledger`` to the new file ``target``. It is whole when it appears, and needs no second file beside it.

    Raises ``UsageError`` (no ledger, ``target`` exists or cannot be made), ``LedgerError``.
    """
    with LedgerReader(ledger) as reader, new_file(target) as partial:
        try:
            events = _copy(reader, partial)
        except OSError as error:
            raise LedgerError(f"{target}: cannot be written: {error.strerror}") from error
        return Backup(events, partial.stat().st_size)


def _copy(reader: LedgerReader, partial: Path) -> int:
    """The number of the last event that was copied."""
    try:
        copy = sqlite3.connect(partial, isolation_level=None)
    except sqlite3.Error as error:
        raise failure(partial, "cannot be written", error) from error
    try:
        reader.copy_to(copy, _PAGES_AT_ONCE)
        # A file of its own, without a log beside it; the first writer puts it back into WAL mode.
        copy.execute("PRAGMA journal_mode = DELETE")
        # Put in the place of its original it would count on from here and give names that venues have heard already.
        copy.execute(schema.FORGET_TAG)
        last: int = copy.execute(schema.LAST_SEQ).fetchone()[0] or 0
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
