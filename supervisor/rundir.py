"""The run directory: made, locked against a second instance, cleaned of a crashed predecessor, removed at the end.

It stands in memory (``/dev/shm``) where there is such a place, below a directory of this user alone.
"""

import fcntl
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import psutil

from arbshard.errors import RunDirError
from arbshard.model.rundir import RunFiles

_SOCKET_PATH_MAX = 107
_LOCK_TRIES = 10
_LOCK_PAUSE_S = 0.02
_ORPHANS_POLL_S = 0.05
_ORPHANS_S = 3.0
"""Children of a dead supervisor notice within a second; this is how long a new one waits for them."""


def run_root() -> Path:
    """Where this user's run directories stand: ``$ARBSHARD_RUN_ROOT`` if set."""
    chosen = os.environ.get("ARBSHARD_RUN_ROOT")
    if chosen:
        return Path(chosen)
    memory = Path("/dev/shm")  # noqa: S108 - below it a directory of mode 0700 is made
    parent = memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    return parent / f"arbshard-{os.getuid()}"


def find_run_dir(name: str) -> Path:
    """The run directory of the instance ``name``, whether it runs or not."""
    return run_root() / name


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` in one piece: whoever reads meanwhile, `arbshard status` say, sees nothing or all of it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _open_lock(files: RunFiles) -> int:
    path = files.dir
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if path.parent.stat().st_uid != os.getuid():
            raise RunDirError(f"run directory {path.parent} belongs to another user")
        path.mkdir(mode=0o700, exist_ok=True)
        return os.open(files.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RunDirError(f"run directory {path} cannot be written: {error.strerror}") from error


def _runs(process: psutil.Process) -> bool:
    """Whether it still does anything: a dead process that nobody has buried yet does not."""
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _until_gone(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until they have ended; those that have not in time."""
    deadline_s = monotonic() + timeout_s
    left = [process for process in processes if _runs(process)]
    while left and monotonic() < deadline_s:
        sleep(_ORPHANS_POLL_S)
        left = [process for process in left if _runs(process)]
    return left


class RunDir:
    """The directory of one running instance, held by a lock as long as the process lives."""

    def __init__(self, files: RunFiles, lock: int) -> None:
        self.files = files
        self._lock = lock

    @classmethod
    def acquire(cls, name: str) -> "RunDir":
        """Make and lock the directory. Raises ``RunDirError`` with what is in the way."""
        path = find_run_dir(name)
        files = RunFiles(path)
        if len(f"{path}/control.ipc") > _SOCKET_PATH_MAX:
            raise RunDirError(
                f"run directory {path}: the path is too long for a socket; use a shorter --name"
            )
        lock = cls._lock_file(name, files)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        run_dir = cls(files, lock)
        try:
            run_dir._clear()
        except RunDirError:
            os.close(lock)
            raise
        return run_dir

    @staticmethod
    def _lock_file(name: str, files: RunFiles) -> int:
        for tries_left in reversed(range(_LOCK_TRIES)):
            lock = _open_lock(files)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if tries_left:  # `status` looks by taking the lock for an instant
                    os.close(lock)
                    sleep(_LOCK_PAUSE_S)
                    continue
                holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
                os.close(lock)
                raise RunDirError(
                    f"an instance named '{name}' is already running (pid {holder}): "
                    f"stop it with 'arbshard stop --name {name}' or choose another --name"
                ) from None
            if files.lock.exists() and os.path.samestat(os.fstat(lock), files.lock.stat()):
                return lock
            os.close(lock)  # its holder removed the file after we had opened it: it locks nothing any more
        raise RunDirError(f"run directory {files.dir} is being removed by another instance: try again")

    def note_children(self, children: dict[str, int]) -> None:
        """Keep who our children are, so that a successor can wait for them if we are killed."""
        known = []
        for name, pid in children.items():
            try:
                known.append({"name": name, "pid": pid, "started": psutil.Process(pid).create_time()})
            except psutil.NoSuchProcess:
                continue  # gone already: nobody to wait for
        partial = self.files.dir / "children.tmp"
        partial.write_text(json.dumps(known))
        partial.replace(self.files.dir / "children.json")

    def release(self) -> None:
        """Remove the directory and give up the lock."""
        self._remove_files()
        shutil.rmtree(self.files.dir, ignore_errors=True)
        os.close(self._lock)
        try:
            self.files.dir.parent.rmdir()
        except OSError:
            return  # other instances have theirs below it

    def _clear(self) -> None:
        """Take away what a predecessor left that was killed."""
        self._await_orphans()
        self._remove_files()

    def _remove_files(self) -> None:
        for path in self.files.dir.iterdir():
            if path != self.files.lock:
                path.unlink(missing_ok=True)

    def _await_orphans(self) -> None:
        """Wait for our predecessor's children; end those that do not go by themselves, by pid and start time."""
        try:
            known = json.loads((self.files.dir / "children.json").read_text())
        except (OSError, ValueError):
            return  # no predecessor, or it died before it had children
        orphans = []
        for child in known:
            try:
                process = psutil.Process(child["pid"])
                if process.create_time() == child["started"]:
                    orphans.append(process)
            except psutil.NoSuchProcess:
                continue
        stubborn = _until_gone(orphans, _ORPHANS_S)
        for process in stubborn:
            with suppress(psutil.NoSuchProcess):  # it has just ended by itself
                process.kill()
        if left := _until_gone(stubborn, _ORPHANS_S):
            raise RunDirError(f"process {left[0].pid} of the last run cannot be ended")


def running_pid(name: str) -> int | None:
    """The pid of the supervisor that holds ``name``, None when nobody does."""
    try:
        lock = os.open(RunFiles(find_run_dir(name)).lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return int(os.read(lock, 32).decode().strip() or 0)
    else:
        return None
    finally:
        os.close(lock)
