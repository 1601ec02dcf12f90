"""What happens to a run's files: its ledger, logs and run directory are removed, replaced, damaged, or find no room.

``torture`` calls one of ``HARMLESS`` or ``FATAL`` at a time. After a harmless act the run must go on; after a fatal
one it must end by itself, with an exit code that says so, and must go on where it was once the files are back.
"""

import errno
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

HARMLESS = ("logs removed", "children.json damaged", "run folder full")
FATAL = ("ledger removed", "ledger replaced", "WAL removed", "disk full")
LAST = ("ledger truncated", "WAL truncated")
"""What was lost cannot be put back, so nothing of the session may follow."""
_SUFFIXES = ("", "-wal", "-shm")


class Disk:
    """A small file system of its own below ``path``, so that it can be full without harm to anybody else."""

    def __init__(self, path: Path, megabytes: int) -> None:
        """Raises ``OSError`` where this user may not mount one."""
        path.mkdir(mode=0o700, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(path)],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
        if done.returncode:
            raise OSError(errno.EPERM, f"cannot mount: {done.stderr.strip()}")
        self._path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave no byte free. May be called again while somebody else makes room."""
        with self._filler.open("ab", buffering=0) as filler:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        filler.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it, with everything on it."""
        subprocess.run(["umount", "-l", str(self._path)], capture_output=True, timeout=10, check=False)


@contextmanager
def ledger_removed(ledger: Path) -> Iterator[None]:
    """Take the ledger away by its name; its writer still has it open. It is put back at the end."""
    aside = _move_aside(ledger)
    try:
        yield
    finally:
        _put_back(ledger, aside)


@contextmanager
def ledger_replaced(ledger: Path, backup: Path) -> Iterator[None]:
    """Put ``backup`` in the ledger's place, as a person does who restores the wrong file."""
    aside = _move_aside(ledger)
    shutil.copyfile(backup, ledger)
    try:
        yield
    finally:
        _put_back(ledger, aside)


@contextmanager
def wal_removed(ledger: Path) -> Iterator[None]:
    """Take the write-ahead log away by its name."""
    wal = _beside(ledger, "-wal")
    aside = wal.with_name(f"{wal.name}.aside")
    try:
        wal.rename(aside)
    except FileNotFoundError:
        yield  # nothing was written yet
        return
    try:
        yield
    finally:
        aside.rename(wal)


def back_up(ledger: Path, to: Path) -> None:
    """Copy the ledger as it stands, while it is written."""
    with (
        closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(to)) as copy,
    ):
        source.backup(copy)


def truncate(path: Path, size: int) -> None:
    """Cut a file; one that is shorter is left as it is."""
    if path.stat().st_size > size:
        os.truncate(path, size)


def _beside(ledger: Path, suffix: str) -> Path:
    return ledger.with_name(f"{ledger.name}{suffix}")


def _move_aside(ledger: Path) -> dict[Path, Path]:
    moved = {}
    for suffix in _SUFFIXES:
        path = _beside(ledger, suffix)
        aside = path.with_name(f"{path.name}.aside")
        if path.exists():
            path.rename(aside)
            moved[path] = aside
    return moved


def _put_back(ledger: Path, aside: dict[Path, Path]) -> None:
    for suffix in _SUFFIXES:
        _beside(ledger, suffix).unlink(missing_ok=True)
    for path, kept in aside.items():
        kept.rename(path)
