"""One child process: started, asked whether it still runs, ended by its pid."""

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from arbshard.execution.live.keys import KEY_VARIABLES
from arbshard.log import get_logger
from arbshard.model.notes import ChildNote, ChildState
from arbshard.secret import Secret, hidden_file
from supervisor.processes.health import ChildHealth
from supervisor.processes.stderr_pipe import StderrPipe

_KILLED_S = 5.0
"""How long the system may take to end a process that was killed."""


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
        *,
        draws: bool = False,
        health: ChildHealth | None = None,
        shard: int | None = None,
        hands_over: Callable[[], Secret] | None = None,
    ) -> None:
        """``draws``: it may write to our terminal. ``health``: where it shows that it is up; None: at once.

        ``shard``: of a worker. ``hands_over``: asked at each start for what the child reads from its standard input,
        because arguments, environment and files could be read by others.
        """
        self._draws = draws
        self.name = name
        self.health = health
        self.shard = shard
        self._command = command
        self._hands_over = hands_over
        self._stderr: StderrPipe | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.epoch = 0
        self.state: ChildState = "starting"
        self.reason = ""
        """Why the last incarnation ended."""
        self.kill_reason = ""
        """Why this one was killed by us."""

    def start(self) -> None:
        """Start the next incarnation. Raises ``OSError`` when the system refuses; then nothing has changed."""
        words = StderrPipe()
        try:
            with ExitStack() as files:
                hidden = None if self._hands_over is None else hidden_file(self._hands_over())
                process = subprocess.Popen(
                    self._command(self.epoch + 1),
                    stdin=subprocess.DEVNULL if hidden is None else files.enter_context(hidden),
                    stdout=None if self._draws else subprocess.DEVNULL,
                    stderr=words.writer,
                    start_new_session=True,  # Ctrl-C is for the supervisor, which ends its children in order
                    env=child_environment(),
                )
        except OSError:
            words.close()
            raise
        words.hand_over()
        self.adopt(process, words)

    def adopt(self, process: subprocess.Popen[bytes], words: StderrPipe) -> None:
        """Make ``process``, which runs already, the next incarnation. ``words``: what it writes to stderr."""
        self._begin()
        self.close()
        self._process, self._stderr = process, words

    def _begin(self) -> None:
        self.epoch += 1
        self.state = "starting"
        self.kill_reason = ""

    @property
    def pid(self) -> int:
        """0 when it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    @property
    def is_up(self) -> bool:
        """Whether the incarnation that runs has come so far that it works."""
        return self.pid != 0 and (self.health is None or self.health.is_up(self.pid))

    def poll(self) -> int | None:
        """The exit code once it has ended, None while it runs (or has never been started). Call it all the time."""
        if self._stderr is not None:
            self._stderr.drain()
        return self._process.poll() if self._process is not None else None

    def stderr_tail(self) -> str:
        """The last line it wrote to stderr."""
        return self._stderr.last_line() if self._stderr is not None else ""

    def stderr_text(self) -> str:
        """The end of what it wrote to stderr."""
        return self._stderr.text() if self._stderr is not None else ""

    def terminate(self) -> None:
        """Ask it to end."""
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self, why: str) -> None:
        """Kill it, a stopped one too, without waiting; the first reason counts."""
        if self._process is not None and self.pid and not self.kill_reason:
            self.kill_reason = why
            self._process.kill()

    def kill_and_wait(self) -> None:
        """End it, and wait until it is gone. One that the system cannot end in time is left behind."""
        if self._process is not None and self.pid:
            self._process.kill()
            try:
                self._process.wait(timeout=_KILLED_S)
            except subprocess.TimeoutExpired:
                get_logger().error("a killed process does not end", child=self.name, pid=self._process.pid)

    def close(self) -> None:
        """Listen to its words no more."""
        if self._stderr is not None:
            self._stderr.close()

    def note(self, again_in_s: float = 0.0) -> ChildNote:
        """As shown in status."""
        restarts = max(self.epoch - 1, 0)
        return ChildNote(self.name, self.state, self.pid, self.epoch, restarts, again_in_s, self.reason)
