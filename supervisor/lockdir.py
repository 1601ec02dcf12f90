"""Makes a directory that one process marks, locks, and removes by the names of its files.

Nothing is ever removed from a directory without the mark, which is the lock file, and only files with names of
``arbshard.model.rundir`` are removed. Everything is done relative to an open directory, so that no process can put
another in its place meanwhile. Run directories use it, and simulations for their mapped files.
"""

import fcntl
import os
import stat
from contextlib import ExitStack, suppress
from pathlib import Path
from time import sleep
from typing import Self

from arbshard.errors import RunDirError
from arbshard.model.rundir import LOCK, is_own_name
from supervisor.places import Root, is_regular, open_directory, open_root, read_holder

_TRIES = 10
_PAUSE_S = 0.02


class Busy(RunDirError):
    """Is raised when another process holds the directory."""

    def __init__(self, path: Path, holder: int) -> None:
        super().__init__(f"run directory {path} is used by process {holder or 'unknown'}")
        self.holder = holder


class LockedDir:
    """Is the directory, held as long as the process lives."""

    def __init__(self, path: Path, root: int, directory: int, lock: int, *, removes_root: bool) -> None:
        self.path = path
        self._root = root
        self.directory = directory
        """Descriptor of the directory."""
        self._lock = lock
        self._removes_root = removes_root

    @classmethod
    def acquire(cls, root: Root, name: str, *, tries: int = _TRIES) -> Self:
        """Make the directory, or take over what a killed process left; lock it.

        It is tried again after a pause because `arbshard status` takes the lock for an instant to test it. Raises
        ``Busy`` (another process holds it) or ``RunDirError`` (it is not ours, or cannot be made).
        """
        path = root.path / name
        for tries_left in reversed(range(tries)):
            try:
                return cls._try(root, path)
            except Busy:
                if not tries_left:
                    raise
            except FileNotFoundError:
                if not tries_left:
                    raise RunDirError(
                        f"run directory {path} is being removed by another: try again"
                    ) from None
            except OSError as error:
                raise RunDirError(f"run directory {path} cannot be written: {error.strerror}") from error
            sleep(_PAUSE_S)
        raise AssertionError("the last try either returns or raises")

    @classmethod
    def _try(cls, root: Root, path: Path) -> Self:
        with ExitStack() as undo:
            above, is_new = open_root(root)
            undo.callback(os.close, above)
            with suppress(FileExistsError):  # what is there is checked below
                os.mkdir(path.name, 0o700, dir_fd=above)
            directory = open_directory(path, within=above)
            undo.callback(os.close, directory)
            _require_marked_or_empty(path, directory)
            lock = _open_lock(directory)
            undo.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Busy(path, read_holder(lock)) from None
            _require_in_place(lock, directory)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            undo.pop_all()
        return cls(path, above, directory, lock, removes_root=is_new or not root.is_chosen)

    def clear(self) -> list[str]:
        """Remove what a predecessor left. Return a warning for each thing that is not ours and stays.

        A directory under the name of one of our files is renamed, so that it is not in the way. Raises ``OSError``.
        """
        warnings = []
        for name in remove_own_files(self.directory):
            if is_own_name(name):
                aside = f"{name}.set-aside-{os.getpid()}"
                os.rename(name, aside, src_dir_fd=self.directory, dst_dir_fd=self.directory)
                warnings.append(f"{self.path / name} is a directory, not a file of ours: renamed to {aside}")
            else:
                warnings.append(f"{self.path / name} is not a file of ours: it is left as it is")
        return warnings

    def release(self) -> list[str]:
        """Remove our files and, if nothing else is in it, the directory; give up the lock.

        Return a warning for each thing that stays. Raises ``OSError``.
        """
        try:
            left = remove_own_files(self.directory)
            if left:  # the mark stays too, so that the next start may clean up here
                return [
                    f"{self.path} is left because of {name}, which is not a file of ours" for name in left
                ]
            self._remove()
            return []
        finally:
            self.close()

    def close(self) -> None:
        """Give up the lock and leave everything as it is."""
        for descriptor in (self._lock, self.directory, self._root):
            os.close(descriptor)

    def _remove(self) -> None:
        """Remove the lock file and the empty directory.

        Another process may have removed any of this already, and another may just begin in the empty directory.
        """
        try:
            os.unlink(LOCK, dir_fd=self.directory)
            found = os.stat(self.path.name, dir_fd=self._root, follow_symlinks=False)
            if os.path.samestat(found, os.fstat(self.directory)):
                os.rmdir(self.path.name, dir_fd=self._root)
            if self._removes_root:
                self.path.parent.rmdir()
        except OSError:
            return


def _open_lock(directory: int) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(LOCK, flags, 0o600, dir_fd=directory)
    except PermissionError:  # the file is ours, so only its mode is wrong
        os.chmod(LOCK, 0o600, dir_fd=directory)
        return os.open(LOCK, flags, 0o600, dir_fd=directory)


def _require_in_place(lock: int, directory: int) -> None:
    """Raise ``FileNotFoundError`` when the lock file is not the one that was opened.

    Its holder may have removed the file after we had opened it: then it locks nothing any more.
    """
    if not os.path.samestat(os.fstat(lock), os.stat(LOCK, dir_fd=directory, follow_symlinks=False)):
        raise FileNotFoundError(LOCK)


def _require_marked_or_empty(path: Path, directory: int) -> None:
    """Raise ``RunDirError`` for a directory that arbshard did not make, or that others may read."""
    mode = stat.S_IMODE(os.fstat(directory).st_mode)
    if not is_regular(LOCK, directory):
        if os.listdir(directory):
            raise RunDirError(
                f"run directory {path} is not empty and was not made by arbshard: nothing in it was touched; "
                "choose another --name or $ARBSHARD_RUN_ROOT, or remove it if an older arbshard left it"
            )
        os.fchmod(directory, 0o700)  # it is empty, so no other user has put anything into it
    elif mode != 0o700:
        raise RunDirError(
            f"run directory {path} may be opened by other users (mode {mode:04o}, not 0700): "
            "look at what is in it, then remove it"
        )


def remove_own_files(directory: int) -> list[str]:
    """Remove the files that have our names, except the lock. Return the names of what stays. Raises ``OSError``."""
    left = []
    for name in sorted(os.listdir(directory)):
        if name == LOCK:
            continue
        if not is_own_name(name) or not _remove(name, directory):
            left.append(name)
    return left


def _remove(name: str, directory: int) -> bool:
    """Remove a file or link, or a directory if it is empty. Return whether it was removed."""
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=directory)
        return True
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError:
        return False
    return True
