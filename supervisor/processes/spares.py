"""Workers kept ready: everything imported, attached to shared memory, waiting for a shard.

In a live run the first line on its stdin holds the keys. Then a spare waits for one line more, its shard; when stdin
is closed instead, because the supervisor is gone, it ends. It says on its stdout that it is ready.
"""

import os
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple

from arbshard.config import RunConfig
from arbshard.log import get_logger
from arbshard.model.notes import SpareState
from arbshard.secret import Secret
from supervisor.processes.child import child_environment
from supervisor.processes.restarts import RestartPolicy, pause_s
from supervisor.processes.stderr_pipe import StderrPipe

_PAUSE_NS = 1_000_000_000
"""Before a new one is started: who has just taken over has the CPU for itself."""
_READY_NS = 15_000_000_000
"""One that has not become ready within this will not."""
_KILLED_S = 1.0
"""How long those may take to end that are killed at the end of the run."""


class AssignedSpare(NamedTuple):
    """A spare that has been given a shard."""

    process: "subprocess.Popen[bytes]"
    words: StderrPipe


class _Spare:
    def __init__(self, name: str, command: Sequence[str], now_ns: int, handed_over: Secret | None) -> None:
        """Raises ``OSError`` when the system refuses."""
        self.name = name
        self.begun_ns = now_ns
        self.words = StderrPipe()
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.words.writer,
                start_new_session=True,
                env=child_environment(),
            )
        except OSError:
            self.words.close()
            raise
        self.words.hand_over()
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.is_ready = False
        if handed_over is not None:
            self._hand_over(handed_over)

    def poll(self) -> None:
        """See whether it has said that it is ready."""
        self.words.drain()
        if not self.is_ready and self.process.stdout is not None:
            self.is_ready = bool(self.process.stdout.read(1))

    def send(self, line: str) -> bool:
        """Give it its shard; False when it is dead."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        self.let_go()
        return True

    def _hand_over(self, secret: Secret) -> None:
        """The first line of its standard input."""
        assert self.process.stdin is not None
        try:
            secret.use_encoded(self.process.stdin.write)
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # it has ended already, which ``maintain`` will find

    def let_go(self) -> None:
        """Close our ends of its pipes."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # what was not read will never be


class SparePool:
    """Starts them, hands them out, replaces those that died."""

    def __init__(
        self,
        run: RunConfig,
        command: Sequence[str],
        alert: Callable[[str], None],
        hands_over: Callable[[], Secret] | None = None,
    ) -> None:
        """``hands_over``: asked for the first line that each of them reads from its standard input."""
        self._alert = alert
        self._hands_over = hands_over
        self.wanted = run.spare_workers
        self._command = tuple(command)
        self._policy = RestartPolicy(run)
        self._spares: list[_Spare] = []
        self._dying: list[subprocess.Popen[bytes]] = []
        """Killed, and not yet buried: nobody waits for their end."""
        self._made = 0
        self._refused = 0
        """How often in a row the system would not start one."""
        self._due_ns = 0
        self._is_given_up = False
        """They die too often: none is started any more."""

    @property
    def states(self) -> tuple[SpareState, ...]:
        """Of those that run."""
        return tuple("ready" if spare.is_ready else "starting" for spare in self._spares)

    @property
    def pids(self) -> dict[str, int]:
        """Of those that run, by name."""
        return {spare.name: spare.process.pid for spare in self._spares}

    def maintain(self, now_ns: int) -> bool:
        """Start one that is missing, bury one that died; whether there was a change. Call it all the time."""
        before = [spare.name for spare in self._spares]
        self._dying = [process for process in self._dying if process.poll() is None]
        for spare in tuple(self._spares):
            if spare.process.poll() is not None:
                self._discard(spare, now_ns)
                continue
            spare.poll()
            if not spare.is_ready and now_ns - spare.begun_ns > _READY_NS:
                self._discard(spare, now_ns)
        if len(self._spares) < self.wanted and now_ns >= self._due_ns and not self._is_given_up:
            self._start(now_ns)
        return before != [spare.name for spare in self._spares]

    def assign(self, shard: int, epoch: int, now_ns: int) -> AssignedSpare | None:
        """A ready one, told what to do; None when there is none."""
        for spare in tuple(self._spares):
            spare.poll()
            if spare.is_ready and spare.process.poll() is None:
                self._spares.remove(spare)
                self._due_ns = now_ns + _PAUSE_NS
                if spare.send(f"{shard} {epoch}\n"):
                    return AssignedSpare(spare.process, spare.words)
                self._discard(spare, now_ns)
        return None

    def end(self) -> None:
        """End all at once: they hold nothing."""
        self.wanted = 0
        for spare in self._spares:
            self._kill(spare)
        for process in self._dying:
            try:
                process.wait(_KILLED_S)
            except subprocess.TimeoutExpired:
                get_logger().error("a killed spare worker does not end", pid=process.pid)
        self._spares.clear()
        self._dying.clear()

    def _start(self, now_ns: int) -> None:
        """Start one. That the system refuses is nobody's failure: it is tried again after a growing pause."""
        self._due_ns = now_ns + _PAUSE_NS
        try:
            secret = None if self._hands_over is None else self._hands_over()
            self._spares.append(_Spare(f"spare-{self._made + 1}", self._command, now_ns, secret))
        except OSError as error:
            self._refused += 1
            self._due_ns = now_ns + int(pause_s(self._refused) * 1e9)
            get_logger().warning("a spare worker cannot be started", error=str(error), tries=self._refused)
            if self._refused == 1:
                self._alert(f"a spare worker cannot be started: {error}; this is tried again")
            return
        self._made += 1
        self._refused = 0

    def _discard(self, spare: _Spare, now_ns: int) -> None:
        if spare in self._spares:
            self._spares.remove(spare)
        self._kill(spare)
        wait_s = self._policy.after_end(now_ns, came_up=spare.is_ready)
        get_logger().warning(
            "a spare worker ended",
            spare=spare.name,
            code=spare.process.returncode,
            given_up=wait_s is None,
            words=spare.words.text(),
        )
        if wait_s is None:
            self._is_given_up = True
            self._alert("spare workers end too often: none is kept any more")
        else:
            self._due_ns = max(self._due_ns, now_ns + int(wait_s * 1e9))

    def _kill(self, spare: _Spare) -> None:
        """Without waiting for its end."""
        spare.process.kill()
        spare.let_go()
        spare.words.close()
        self._dying.append(spare.process)
