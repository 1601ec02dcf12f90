"""The state directory is held by one supervisor at a time, from before its first file is written there."""

import os
from pathlib import Path
from time import monotonic, sleep

from arbshard.config import Config
from arbshard.errors import RunDirError
from arbshard.ledger.file import make_private
from arbshard.ledger.lock import FileLock, writer_of

_WRITER_POLL_S = 0.05
_WRITER_GONE_S = 3.0
"""How long to wait in seconds: risk of a supervisor that was killed ends within a second."""


def state_dir_of(config: Config) -> Path:
    """Return where ledger and logs of an instance are kept: for ever, so never in a temporary place."""
    if config.state_dir:
        return Path(config.state_dir).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return (Path(base).expanduser() / "arbshard" / config.name).absolute()


class StateDir:
    """Is the directory in which ledger and logs of an instance are kept."""

    def __init__(self, path: Path, lock: FileLock, warnings: list[str]) -> None:
        self.path = path
        self.warnings = warnings
        """What was corrected in it; for the log, once there is one."""
        self._lock = lock

    @classmethod
    def hold(cls, path: Path) -> "StateDir":
        """Make the directory if there is none, and keep every other run out of it.

        Raises ``RunDirError``; what another run keeps there is untouched then.
        """
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise RunDirError(f"state directory {path} cannot be written: {error.strerror}") from error
        lock = FileLock(
            path / "supervisor.lock",
            lambda holder: (
                f"state directory {path} is used by another run (process {holder}): "
                "stop that one, or choose another --state-dir"
            ),
        )
        try:
            ledger = path / "ledger.sqlite"
            _await_writer(ledger)
            return cls(path, lock, make_private(ledger))
        except RunDirError:
            lock.release()
            raise

    def release(self) -> None:
        """Allow another run to use the directory."""
        self._lock.release()


def _await_writer(ledger: Path) -> None:
    """Raise ``RunDirError`` if a process goes on writing the ledger, such as a program that uses the library."""
    deadline_s = monotonic() + _WRITER_GONE_S
    while (writer := writer_of(ledger)) is not None:
        if monotonic() > deadline_s:
            raise RunDirError(f"{ledger}: process {writer} already writes this ledger; stop it first")
        sleep(_WRITER_POLL_S)
