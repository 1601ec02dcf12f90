"""Allows one writer per ledger: the lock file beside the ledger is held for as long as the process lives."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from time import sleep

from arbshard.errors import ArbshardError, LedgerFull, RunDirError

_TRIES = 5
_PAUSE_S = 0.02
"""Pause before another try in seconds, because ``writer_of`` holds the lock for a moment too when it looks for the
holder.
"""


class FileLock:
    """An exclusive lock on a file. The kernel drops it with the process, however that ends."""

    _full: type[ArbshardError] = RunDirError
    """What is raised when the disk has no room for the file."""

    def __init__(self, path: Path, held_by: Callable[[str], str]) -> None:
        """Take the lock. Raises ``RunDirError``; ``held_by`` makes its text from the process that holds the lock."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RunDirError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            _take(descriptor)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "an unknown process"
            os.close(descriptor)
            raise RunDirError(held_by(holder)) from error
        except OSError as error:
            os.close(descriptor)
            raise RunDirError(f"{path}: cannot be locked: {error.strerror}") from error
        try:
            _name_holder(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._full(
                    f"{path}: cannot be written: its disk is full; free space on its disk, then start again"
                ) from error
            raise RunDirError(f"{path}: cannot be written: {error.strerror}") from error
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Release the lock. May be called again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class WriterLock(FileLock):
    """The lock of the one process that writes a ledger."""

    _full = LedgerFull

    def __init__(self, ledger: Path) -> None:
        """Take the lock. Raises ``RunDirError`` naming the process that holds it, ``LedgerFull``."""
        super().__init__(
            lock_of(ledger),
            lambda holder: f"{ledger}: process {holder} already writes this ledger; stop it first",
        )


def writer_of(ledger: Path) -> str | None:
    """Return the process that writes the ledger now; None when none does."""
    try:
        descriptor = os.open(lock_of(ledger), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None  # a copy, which no process has written here
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
    else:
        return None
    finally:
        os.close(descriptor)


def lock_of(ledger: Path) -> Path:
    """Return the path of the lock file of the ledger at ``ledger``."""
    return ledger.with_name(f"{ledger.name}.lock")


def _name_holder(descriptor: int) -> None:
    """Write our pid over that of the last holder, which needs no room on the disk. Raises ``OSError``."""
    holder = f"{os.getpid()}\n".encode()
    os.pwrite(descriptor, holder, 0)
    os.ftruncate(descriptor, len(holder))


def _take(descriptor: int) -> None:
    """Lock the file. Raises ``BlockingIOError`` when another process keeps the lock."""
    for attempt in range(1, _TRIES + 1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == _TRIES:
                raise
            sleep(_PAUSE_S)
        else:
            return
