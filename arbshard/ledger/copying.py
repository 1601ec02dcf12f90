"""Makes a whole copy of a ledger for another host while risk goes on writing. ``leadership.following`` uses it.

A thread copies the file as it is at one moment, by SQLite's online backup, into a file beside it. Unlike a backup the
copy keeps the ledger's tag, because it is the same ledger. The newest archive goes with it, because the next archive
continues its chain of digests.
"""

import os
import sqlite3
import threading
from pathlib import Path
from typing import NamedTuple

from arbshard.closable import Closable
from arbshard.errors import LedgerError
from arbshard.ledger import schema
from arbshard.ledger.archive import folder_of
from arbshard.ledger.file import failure, log_of
from arbshard.ledger.reader import LedgerReader

_PAGES_AT_ONCE = 1024
"""Pages of a piece of the copy. The interpreter's lock is held only between two pieces."""


class CopiedPart(NamedTuple):
    """Is a part of a copy."""

    archive: str
    """Name of the archive that it belongs to; empty for the ledger's file."""
    offset: int
    data: bytes
    is_last: bool
    """Whether it is the end of the whole copy."""


class LedgerCopy(Closable):
    """Is one copy, which is made and then read in parts."""

    def __init__(self, ledger: Path, target: Path) -> None:
        """Begin to copy ``ledger`` to ``target``, which must not be used otherwise."""
        self._ledger = ledger
        self._target = target
        self._file = -1
        self._is_stopped = False
        self.problem: LedgerError | None = None
        """Why there is no copy."""
        self.seq = 0
        """The last event in the copy."""
        self._files: list[Path] = [target]
        """What is to be read, in this order."""
        self._offset = 0
        self._thread = threading.Thread(target=self._run, name="copy", daemon=True)
        self._thread.start()

    @property
    def is_made(self) -> bool:
        """Return whether the copy can be read, or has failed."""
        return not self._thread.is_alive()

    def part(self, size: int) -> CopiedPart:
        """Return the next part, of at most ``size`` bytes. Raises ``OSError``."""
        path = self._files[0]
        if self._file < 0:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        data = os.pread(self._file, size, self._offset)
        if not data:
            raise OSError(f"{path}: it was cut")
        is_end = self._offset + len(data) >= os.fstat(self._file).st_size
        name = path.name if path != self._target else ""
        return CopiedPart(name, self._offset, data, is_end and len(self._files) == 1)

    def go_on(self, part: CopiedPart) -> None:
        """Go on after ``part``."""
        self._offset += len(part.data)
        if not part.is_last and self._offset >= os.fstat(self._file).st_size:
            os.close(self._file)
            self._file, self._offset = -1, 0
            del self._files[0]

    def close(self) -> None:
        """Remove the copy. May be called again."""
        self._is_stopped = True
        self._thread.join()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        _remove(self._target)

    def _run(self) -> None:
        # At a lower priority it might be interrupted while it holds the interpreter's lock, and risk would wait.
        try:
            self._copy()
        except LedgerError as error:
            self.problem = error
        except sqlite3.Error as error:
            self.problem = failure(self._target, "cannot be written", error)
        except OSError as error:
            self.problem = LedgerError(f"{self._target}: cannot be written: {error.strerror}")

    def _copy(self) -> None:
        _remove(self._target)
        os.close(os.open(self._target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with LedgerReader(self._ledger) as reader:
            copy = sqlite3.connect(self._target, isolation_level=None)
            try:
                reader.copy_to(copy, _PAGES_AT_ONCE, self._check)
                copy.execute("PRAGMA journal_mode = DELETE")  # then it is one file
                self.seq = copy.execute(schema.LAST_SEQ).fetchone()[0] or reader.first_seq - 1
                if reader.period is not None:
                    archive = folder_of(self._ledger) / reader.period.archive.name
                    if archive.exists():
                        self._files.insert(0, archive)
            finally:
                copy.close()

    def _check(self) -> None:
        """Raise ``LedgerError`` when the copy is no longer wanted."""
        if self._is_stopped:
            raise LedgerError(f"{self._target}: it is no longer wanted")


def _remove(path: Path) -> None:
    for one in (
        path,
        log_of(path),
        path.with_name(f"{path.name}-shm"),
        path.with_name(f"{path.name}-journal"),
    ):
        one.unlink(missing_ok=True)
