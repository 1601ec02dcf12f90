"""One writer per ledger: a lock file beside it, held for as long as the process lives."""

import fcntl
import os
from pathlib import Path

from arbshard.errors import RunDirError


class WriterLock:
    """An exclusive lock. The kernel drops it with the process, however that ends."""

    def __init__(self, ledger: Path) -> None:
        """Take the lock. Raises ``RunDirError`` naming the process that holds it."""
        path = ledger.with_name(f"{ledger.name}.lock")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RunDirError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "an unknown process"
            os.close(descriptor)
            raise RunDirError(f"{ledger}: process {holder} already writes this ledger") from error
        except OSError as error:
            os.close(descriptor)
            raise RunDirError(f"{path}: cannot be locked: {error.strerror}") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let the next writer in. May be called again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
