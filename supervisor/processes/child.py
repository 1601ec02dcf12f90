"""One child process: started, asked whether it still runs, ended by its pid."""

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from arbshard.execution.live.keys import KEY_VARIABLES
from arbshard.model.notes import ChildNote, ChildState
from arbshard.secret import Secret, hidden_file
from supervisor.processes.pulse import Pulse

_STDERR_KEPT = 2000


def child_environment() -> dict[str, str]:
    """The supervisor's environment without API keys: a process shows its environment for as long as it lives."""
    kept = {name: value for name, value in os.environ.items() if name not in KEY_VARIABLES}
    return {**kept, "PYTHONUNBUFFERED": "1"}


class Child:
    """A program, through all its incarnations. ``command`` makes the argument list for an epoch."""

    def __init__(
        self,
        name: str,
        command: Callable[[int], Sequence[str]],
        log_dir: Path,
        *,
        draws: bool = False,
        pulse: Pulse | None = None,
        shard: int | None = None,
        hands_over: Callable[[], Secret] | None = None,
    ) -> None:
        """``draws``: it may write to our terminal. ``pulse``: where it shows that it is up; None: at once.

        ``shard``: of a worker. ``hands_over``: asked at each start for what the child reads from its standard input,
        because arguments, environment and files could be read by others.
        """
        self._draws = draws
        self.name = name
        self.pulse = pulse
        self.shard = shard
        self._command = command
        self._hands_over = hands_over
        self._stderr = log_dir / f"{name}.stderr"
        self._process: subprocess.Popen[bytes] | None = None
        self.epoch = 0
        self.state: ChildState = "starting"
        self.reason = ""
        """Why the last incarnation ended."""
        self.doom = ""
        """Why this one was killed by us."""

    def start(self) -> None:
        """Start the next incarnation."""
        self._begin()
        with ExitStack() as files:
            stderr = files.enter_context(self._stderr.open("wb"))
            hidden = None if self._hands_over is None else hidden_file(self._hands_over())
            stdin = subprocess.DEVNULL if hidden is None else files.enter_context(hidden)
            self._process = subprocess.Popen(
                self._command(self.epoch),
                stdin=stdin,
                stdout=None if self._draws else subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C is for the supervisor, which ends its children in order
                env=child_environment(),
            )

    def adopt(self, process: subprocess.Popen[bytes], stderr: Path) -> None:
        """Make ``process``, which runs already, the next incarnation. ``stderr``: where it writes its words."""
        self._begin()
        stderr.replace(self._stderr)
        self._process = process

    def _begin(self) -> None:
        self.epoch += 1
        self.state = "starting"
        self.doom = ""

    @property
    def pid(self) -> int:
        """0 when it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    @property
    def is_up(self) -> bool:
        """Whether the incarnation that runs has come so far that it works."""
        return self.pid != 0 and (self.pulse is None or self.pulse.is_up(self.pid))

    def poll(self) -> int | None:
        """The exit code once it has ended, None while it runs (or has never been started)."""
        return self._process.poll() if self._process is not None else None

    def last_words(self) -> str:
        """The last line it wrote to stderr."""
        try:
            text = self._stderr.read_bytes()[-_STDERR_KEPT:].decode(errors="replace")
        except OSError:
            return ""
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""

    def terminate(self) -> None:
        """Ask it to end."""
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)

    def put_down(self, why: str) -> None:
        """Kill it, a stopped one too, without waiting; the first reason counts."""
        if self._process is not None and self.pid and not self.doom:
            self.doom = why
            self._process.kill()

    def kill(self) -> None:
        """End it, and wait until it is gone."""
        if self._process is not None and self.pid:
            self._process.kill()
            self._process.wait(timeout=5)

    def note(self, again_in_s: float = 0.0) -> ChildNote:
        """As shown in status."""
        restarts = max(self.epoch - 1, 0)
        return ChildNote(self.name, self.state, self.pid, self.epoch, restarts, again_in_s, self.reason)
