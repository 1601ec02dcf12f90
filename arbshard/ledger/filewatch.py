"""Looks at the ledger's files, so that a change made by somebody else is noticed. Owned by ``store``.

The files are only ever looked at by name. To open and close one here would release all locks that SQLite holds on it
in this process (POSIX locks belong to the process, not to the descriptor).
"""

import os
from pathlib import Path

from arbshard.errors import LedgerChanged, LedgerError
from arbshard.ledger.file import log_of, shared_of
from arbshard.ledger.identity import FileFacts, LedgerFacts, change_between


class FileWatch:
    """The files of one ledger from its opening to its close."""

    def __init__(self, path: Path) -> None:
        """Raises ``LedgerError`` when the files cannot be looked at."""
        self._path = path
        self._database, self._log, self._shared = str(path), str(log_of(path)), str(shared_of(path))
        self._known = self._facts()

    def look(self) -> None:
        """Compare with the last look. Nothing was written in between. Raises ``LedgerChanged``, ``LedgerError``."""
        self._compare(self._facts(), wrote=False)

    def look_before_write(self) -> None:
        """Likewise for the two files that are written."""
        self._compare(self._written(), wrote=False)

    def wrote(self) -> None:
        """Compare after a write of our own, whose outcome is what later looks expect. Raises as ``look``."""
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
