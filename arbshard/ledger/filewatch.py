"""Watches the ledger's files, so that a change made by another program is noticed. ``store`` owns it.

Only risk writes the ledger while it runs, so between two of its own writes nothing about the files may change at
all. Its own writes make the database and its write-ahead log grow and give them a new time, but they never shrink or
replace them: a passive checkpoint lets SQLite write the log from its beginning again without cutting it, and only
the close of the ledger empties the log, after the last check. Of the shared index (``-shm``) only device and inode
are compared, because every reader writes to it. ``change_between`` judges by these facts alone.

The files are only ever examined by name. To open and close one here would release all locks that SQLite holds on it
in this process (POSIX locks belong to the process, not to the descriptor).
"""

import os
from pathlib import Path
from typing import NamedTuple

from arbshard.errors import LedgerChanged, LedgerError
from arbshard.ledger.file import log_of, shared_of


class FileFacts(NamedTuple):
    """Describes one file by what ``stat`` returns."""

    device: int
    inode: int
    size: int
    modified_ns: int


class LedgerFacts(NamedTuple):
    """Describes the files of one ledger; None for a file that does not exist."""

    database: FileFacts | None
    log: FileFacts | None
    """The write-ahead log."""
    shared: FileFacts | None
    """SQLite's shared index of the log. Without it new readers and the writer no longer see each other's locks."""


class FileWatch:
    """Notices when another program has changed the files of a ledger, from its opening to its close."""

    def __init__(self, path: Path) -> None:
        """Record the present facts of the files. Raises ``LedgerError`` when they cannot be examined."""
        self._path = path
        self._database, self._log, self._shared = str(path), str(log_of(path)), str(shared_of(path))
        self._known = self._facts()

    def check(self) -> None:
        """Compare with the last check, since when nothing was written. Raises ``LedgerChanged`` or
        ``LedgerError``.
        """
        self._compare(self._facts(), wrote=False)

    def look_before_write(self) -> None:
        """Compare the database and its log, which a write changes. Raises as ``check`` does."""
        self._compare(self._written(), wrote=False)

    def wrote(self) -> None:
        """Compare after a write of our own, and expect its outcome from now on. Raises as ``check`` does."""
        self._compare(self._written(), wrote=True)

    def _compare(self, found: LedgerFacts, *, wrote: bool) -> None:
        change = change_between(self._known, found, wrote=wrote)
        if change is not None:
            raise LedgerChanged(
                f"{self._path}: {change} while the ledger was in use; nothing more is written to it: "
                "put the ledger back that this run began with, then start again"
            )
        self._known = found

    def _written(self) -> LedgerFacts:
        return LedgerFacts(_facts_of(self._database), _facts_of(self._log), self._known.shared)

    def _facts(self) -> LedgerFacts:
        return LedgerFacts(_facts_of(self._database), _facts_of(self._log), _facts_of(self._shared))


def _facts_of(name: str) -> FileFacts | None:
    try:
        found = os.stat(name)  # noqa: PTH116 - twice as quick as Path.stat, and made at every commit
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerError(f"{name}: cannot be looked at: {error.strerror}") from error
    return FileFacts(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def change_between(before: LedgerFacts, after: LedgerFacts, *, wrote: bool) -> str | None:
    """Return what another program did to the files, as the end of a sentence; None for nothing.

    With ``wrote``, risk itself wrote in between, so that files may have appeared, grown and become newer.
    """
    return (
        _change_of("its file", before.database, after.database, wrote=wrote)
        or _change_of("its write-ahead log", before.log, after.log, wrote=wrote)
        or _place_change(before.shared, after.shared)
    )


def _change_of(what: str, before: FileFacts | None, after: FileFacts | None, *, wrote: bool) -> str | None:
    if before is None:
        return None if after is None or wrote else f"{what} was made by another program"
    if after is None:
        return f"{what} was removed"
    if (before.device, before.inode) != (after.device, after.inode):
        return f"{what} was replaced by another file"
    if after.size < before.size:
        return f"{what} was cut from {before.size} to {after.size} bytes"
    if not wrote and (after.size, after.modified_ns) != (before.size, before.modified_ns):
        return f"{what} was written by another program"
    return None


def _place_change(before: FileFacts | None, after: FileFacts | None) -> str | None:
    if before is None:
        return None
    if after is None:
        return "its shared index was removed"
    if (before.device, before.inode) != (after.device, after.inode):
        return "its shared index was replaced by another file"
    return None


class LedgerIdentity(NamedTuple):
    """Says which ledger it is, and which event is its last."""

    tag: str
    last_seq: int


def difference(began_with: LedgerIdentity, found: LedgerIdentity) -> str | None:
    """Return why ``found`` is not the ledger that the run began with; None when it is.

    It may hold more events than were noted, because a commit is noted after it was made.
    """
    if found.tag != began_with.tag:
        return f"it has the tag {found.tag}, and this run began with {began_with.tag}"
    if found.last_seq < began_with.last_seq:
        return f"it ends with event {found.last_seq}, and this run has written event {began_with.last_seq}"
    return None
