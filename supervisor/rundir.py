"""Makes the run directory, locks it against a second instance, cleans it of a crashed predecessor, removes it at the
end.

It is in memory where there is such a place (``supervisor.places``), below a directory of this user alone.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from arbshard.errors import RunDirError
from arbshard.log import get_logger
from arbshard.model.rundir import OWN_NAMES, RunFiles
from supervisor.lockdir import Busy, LockedDir
from supervisor.orphans import encode_note, end_orphans
from supervisor.places import find_root

_SOCKET_PATH_MAX = 107
_SOCKET_NAME_MAX = max(len(name) for name in OWN_NAMES if name.endswith((".ipc", ".sock")))
_NAME_USUAL = 8
"""An instance's name may be this long before the error about a long path blames the name."""


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` in one piece: a reader sees the file before or the file after. Raises ``OSError``."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


class RunDir:
    """Is the directory of one running instance, held by a lock as long as the process lives."""

    def __init__(self, held: LockedDir, warnings: list[str]) -> None:
        self.files = RunFiles(held.path)
        self.warnings = warnings
        """What was found in it that is not as it should be; for the log, once there is one."""
        self._held = held

    @classmethod
    def acquire(cls, name: str, *, apart_from: Path | None = None) -> "RunDir":
        """Make and lock the directory, which must be neither in ``apart_from`` nor above it.

        Raises ``RunDirError`` with what is in the way; nothing was touched then.
        """
        root = find_root(name)
        path = root.path / name
        _require_short(root.path, name)
        if apart_from is not None:
            _require_apart(path, apart_from)
        try:
            held = LockedDir.acquire(root, name)
        except Busy as busy:
            raise RunDirError(
                f"an instance named '{name}' is already running (pid {busy.holder or 'unknown'}): "
                f"stop it with 'arbshard stop --name {name}' or choose another --name"
            ) from None
        try:
            damaged = end_orphans(held.directory)
            warnings = held.clear()
        except OSError as error:
            held.close()
            raise RunDirError(
                f"run directory {path} cannot be cleaned: {error.strerror}: {error.filename}"
            ) from error
        except RunDirError:
            held.close()
            raise
        return cls(held, [damaged, *warnings] if damaged else warnings)

    def note_children(self, children: Mapping[str, int]) -> None:
        """Store which children we have, so that a successor can wait for them if this dies. Raises ``OSError``."""
        write_whole(self.files.children, encode_note(children))

    def release(self) -> None:
        """Remove our files and the directory, and give up the lock. What is not ours stays, with a warning."""
        try:
            warnings = self._held.release()
        except OSError as error:
            warnings = [f"run directory {self.files.dir} cannot be removed: {error.strerror}"]
        for warning in warnings:
            get_logger().warning(warning)


def _require_short(root: Path, name: str) -> None:
    room = _SOCKET_PATH_MAX - _SOCKET_NAME_MAX - len("/") - len("/")
    root_bytes, name_bytes = len(os.fsencode(root)), len(name)
    if root_bytes + name_bytes <= room:
        return
    advice = (
        f"use a shorter --name, at most {room - root_bytes} characters fit"
        if root_bytes + _NAME_USUAL <= room
        else f"its root alone has {root_bytes} bytes: choose a shorter $ARBSHARD_RUN_ROOT"
    )
    raise RunDirError(f"run directory {root}/{name}: the path is too long for a socket; {advice}")


def _require_apart(run_dir: Path, state_dir: Path) -> None:
    run, state = run_dir.resolve(), state_dir.resolve()
    if run == state or run.is_relative_to(state) or state.is_relative_to(run):
        raise RunDirError(
            f"run directory {run_dir} and state directory {state_dir} must not be the same or one in the other: "
            "the one is removed at the end, the other is kept; change $ARBSHARD_RUN_ROOT or --state-dir"
        )
