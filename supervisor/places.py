"""Finds where run directories are kept, and which of these places an instance uses.

``$ARBSHARD_RUN_ROOT`` is the only place if it is set. Otherwise there are several, best first, because another user
may have blocked one, and because two shells of one user may have different environments. Every command finds an
instance in the same place: where its lock is held, else where it left a directory, else where `arbshard run` would
make one.
"""

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from arbshard.errors import RunDirError
from arbshard.model.rundir import LOCK

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_TEXT_BYTES = 32


class Root(NamedTuple):
    """Is a directory in which run directories are made."""

    path: Path
    is_chosen: bool
    """Whether a person named it, so that it is not removed when it is empty."""


def roots() -> list[Root]:
    """Return the possible places here, best first."""
    chosen = os.environ.get("ARBSHARD_RUN_ROOT")
    if chosen:
        return [Root(Path(chosen).expanduser().absolute(), is_chosen=True)]
    own = f"arbshard-{os.getuid()}"
    shared = [Path("/dev/shm"), Path(tempfile.gettempdir())]  # noqa: S108 - a directory of mode 0700 is made there
    paths = [*(path / "arbshard" for path in _runtime_dirs()), *(path / own for path in shared)]
    return [Root(path, is_chosen=False) for path in dict.fromkeys(paths)]


def usable_roots() -> list[Root]:
    """Return those of ``roots`` that are ours, or can be made. Raises ``RunDirError`` when there is none."""
    usable: list[Root] = []
    objections: list[str] = []
    for root in roots():
        try:
            _check_root(root.path)
        except RunDirError as error:
            objections.append(str(error))
        else:
            usable.append(root)
    if not usable:
        advice = "" if len(objections) == 1 else "; choose a directory of your own with $ARBSHARD_RUN_ROOT"
        raise RunDirError("; ".join(objections) + advice)
    return usable


def find_root(name: str) -> Root:
    """Return the root of the instance ``name``, whether it runs or not. Raises ``RunDirError``."""
    usable = usable_roots()
    left = [root for root in usable if _has_lock(root.path / name)]
    held = [root for root in left if _holder_of(root.path / name) is not None]
    return (held or left or usable)[0]


def find_run_dir(name: str) -> Path:
    """Return the run directory of the instance ``name``, whether it runs or not. Raises ``RunDirError``."""
    return find_root(name).path / name


def running_pid(name: str) -> int | None:
    """Return the pid of the supervisor that holds ``name`` (0 if it cannot be read), None when no process does.

    Raises ``RunDirError``.
    """
    return _holder_of(find_run_dir(name))


def open_root(root: Root) -> tuple[int, bool]:
    """Open the root. Return its descriptor, and whether it was made now. Raises ``RunDirError`` or ``OSError``."""
    _check_root(root.path)
    try:
        root.path.mkdir(mode=0o700)
        is_new = True
    except FileExistsError:
        is_new = False
    return _open_checked(root.path), is_new


def open_directory(path: Path, *, within: int) -> int:
    """Open the directory ``path`` in the open directory ``within``, which must be ours. Return its descriptor.

    Raises ``RunDirError`` for a link, another kind of file, or a directory of another user, else ``OSError``.
    """
    directory = _open_no_link(path, path.name, within)
    if os.fstat(directory).st_uid != os.getuid():
        os.close(directory)
        raise RunDirError(f"run directory {path} belongs to another user")
    return directory


def is_regular(name: str, directory: int) -> bool:
    """Return whether ``name`` in the open ``directory`` is a file, and not a link to one."""
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def read_holder(lock: int) -> int:
    """Return the pid in the lock file; 0 if none can be read there."""
    try:
        return int(os.pread(lock, _LOCK_TEXT_BYTES, 0))
    except (OSError, ValueError):
        return 0


def _runtime_dirs() -> Iterator[Path]:
    """Yield the user's own directories in memory, which no other user can block.

    ``/run/user`` is tried too, for a shell without ``$XDG_RUNTIME_DIR``.
    """
    named = os.environ.get("XDG_RUNTIME_DIR", "")
    for path in dict.fromkeys((Path(named), Path(f"/run/user/{os.getuid()}"))):
        try:
            found = path.lstat()
        except OSError:
            continue
        is_private = found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700
        if path.is_absolute() and stat.S_ISDIR(found.st_mode) and is_private and _is_in_memory(path):
            yield path


def _is_in_memory(path: Path) -> bool:
    resolved = path.resolve()
    mounts = {
        Path(part.mountpoint): part.fstype
        for part in psutil.disk_partitions(all=True)
        if resolved.is_relative_to(part.mountpoint)
    }
    return bool(mounts) and mounts[max(mounts, key=lambda mount: len(mount.parts))] in {"tmpfs", "ramfs"}


def _check_root(path: Path) -> None:
    """Raise ``RunDirError`` unless ``path`` is a directory of ours alone, or can be made."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise RunDirError(f"run directory {path} cannot be written: No such file or directory") from None
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise RunDirError(f"run directory {path} cannot be written: Permission denied") from None
        return
    except OSError as error:
        raise RunDirError(f"run directory {path} cannot be written: {error.strerror}") from error
    if stat.S_ISLNK(found.st_mode):
        raise RunDirError(f"run directory {path} is a link: name the directory that it points to")
    _check_owner(found, path)


def _check_owner(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise RunDirError(f"run directory {path} cannot be written: Not a directory")
    if found.st_uid != os.getuid():
        raise RunDirError(f"run directory {path} belongs to another user")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o022:
        raise RunDirError(
            f"run directory {path} can be written by other users (mode {mode:04o}): chmod 700 it"
        )


def _open_checked(path: Path) -> int:
    directory = _open_no_link(path, path)
    try:
        _check_owner(os.fstat(directory), path)
    except RunDirError:
        os.close(directory)
        raise
    return directory


def _open_no_link(path: Path, name: str | Path, within: int | None = None) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=within)
    except NotADirectoryError as error:  # the system raises this for a link as well
        kind = "a link" if path.is_symlink() else "not a directory"
        raise RunDirError(f"run directory {path} is {kind}: remove it, or choose another place") from error


def _has_lock(path: Path) -> bool:
    """Return whether the directory is ours and marked as a run directory."""
    lock = _open_lock(path)
    if lock is None:
        return False
    os.close(lock)
    return True


def _holder_of(path: Path) -> int | None:
    """Return the pid of the process that holds the lock in ``path``; None if none does."""
    lock = _open_lock(path)
    if lock is None:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return read_holder(lock)
    else:
        return None
    finally:
        os.close(lock)


def _open_lock(path: Path) -> int | None:
    """Return the lock file in a directory that is ours; None if there is none."""
    try:
        directory = os.open(path, _DIRECTORY)
    except OSError:
        return None
    try:
        if os.fstat(directory).st_uid != os.getuid() or not is_regular(LOCK, directory):
            return None
        return os.open(LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    finally:
        os.close(directory)
