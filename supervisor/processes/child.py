"""One child of a run, through all its incarnations; and what it needs of the machine that runs it.

``ProcessHost`` is that machine: the operating system (``posix``), or a virtual one in the simulation.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from arbshard.log import get_logger
from arbshard.model.notes import ChildNote, ChildState
from arbshard.secret import Secret
from supervisor.processes.health import ChildHealth

_KILLED_S = 5.0
"""How long the system may take to end a process that was killed."""


class ChildSpec(NamedTuple):
    """What a child is started with."""

    name: str
    command: Callable[[int], Sequence[str]]
    """Epoch → argument list."""
    health: ChildHealth | None = None
    """Where it shows that it is up; None: it is up at once."""
    shard: int | None = None
    """The shard of a worker."""
    hands_over: Callable[[], Secret] | None = None
    """Called at each start for what the child reads from its standard input, because arguments, environment and files
    could be read by others."""
    draws: bool = False
    """Whether it may write to our terminal."""


class Process(Protocol):
    """One incarnation of a child, as the machine runs it."""

    @property
    def pid(self) -> int:
        """0 when it does not run any more."""
        ...

    def poll(self) -> int | None:
        """The exit code once it has ended, None while it runs. Called all the time."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it, a stopped one too, without waiting for its end."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Block until it has ended; False when it has not in time."""
        ...

    def stderr_tail(self) -> str:
        """The last line it wrote to stderr."""
        ...

    def stderr_text(self) -> str:
        """The end of what it wrote to stderr."""
        ...

    def close(self) -> None:
        """Close our ends of its pipes. May be called again."""
        ...


class SpareProcess(Process, Protocol):
    """A worker that was started without a shard."""

    def is_ready(self) -> bool:
        """Whether it has said that it can take over a shard. Called all the time."""
        ...

    def assign(self, shard: int, epoch: int) -> bool:
        """Give it its shard; False when it is dead."""
        ...


class ProcessHost(Protocol):
    """The machine that runs the children."""

    def spawn(self, spec: ChildSpec, epoch: int) -> Process:
        """Start an incarnation. Raises ``OSError`` when the system refuses; nothing is left behind then."""
        ...

    def spawn_spare(self, spec: ChildSpec) -> SpareProcess:
        """Start a worker without a shard. Raises ``OSError`` likewise."""
        ...

    def notice_exit(self, pid: int) -> None:
        """Have ``wait_for_exit`` return when this child ends."""
        ...

    async def wait_for_exit(self, timeout_s: float) -> None:
        """Wait until a noticed child has ended, ``timeout_s`` at most."""
        ...

    def is_stopped(self, pid: int) -> bool:
        """Whether a signal or a debugger holds the process."""
        ...

    def cpu_s(self, pid: int) -> float | None:
        """Seconds of CPU time that the process has used; None when that cannot be said."""
        ...

    def close(self) -> None:
        """Notice no exit any more. May be called again."""
        ...


class Child:
    """What is known of a child: the incarnation that runs, its state, and why the last one ended."""

    def __init__(self, spec: ChildSpec, host: ProcessHost) -> None:
        self.spec = spec
        self.name = spec.name
        self.health = spec.health
        self.shard = spec.shard
        self._host = host
        self._process: Process | None = None
        self.epoch = 0
        self.state: ChildState = "starting"
        self.reason = ""
        """Why the last incarnation ended."""
        self.kill_reason = ""
        """Why this one was killed by us."""

    def start(self) -> None:
        """Start the next incarnation. Raises ``OSError`` when the system refuses; then nothing has changed."""
        self.adopt(self._host.spawn(self.spec, self.epoch + 1))

    def adopt(self, process: Process) -> None:
        """Make ``process``, which runs already, the next incarnation."""
        self.close()
        self.epoch += 1
        self.state = "starting"
        self.kill_reason = ""
        self._process = process

    @property
    def pid(self) -> int:
        """0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_up(self) -> bool:
        """Whether the incarnation that runs has come so far that it works."""
        return self.pid != 0 and (self.health is None or self.health.is_up(self.pid))

    def poll(self) -> int | None:
        """The exit code once it has ended, None while it runs (or has never been started). Call it all the time."""
        return self._process.poll() if self._process is not None else None

    def stderr_tail(self) -> str:
        """The last line it wrote to stderr."""
        return self._process.stderr_tail() if self._process is not None else ""

    def stderr_text(self) -> str:
        """The end of what it wrote to stderr."""
        return self._process.stderr_text() if self._process is not None else ""

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None and self.pid:
            self._process.terminate()

    def kill(self, reason: str) -> None:
        """Kill it, a stopped one too, without waiting; the first reason counts."""
        if self._process is not None and self.pid and not self.kill_reason:
            self.kill_reason = reason
            self._process.kill()

    def kill_and_wait(self) -> None:
        """End it, and wait until it is gone. One that the system cannot end in time is left behind."""
        if self._process is not None and self.pid:
            pid = self.pid
            self._process.kill()
            if not self._process.wait(_KILLED_S):
                get_logger().error("a killed process does not end", child=self.name, pid=pid)

    def close(self) -> None:
        """Close our ends of its pipes."""
        if self._process is not None:
            self._process.close()

    def note(self, again_in_s: float = 0.0) -> ChildNote:
        """What status shows of it."""
        restarts = max(self.epoch - 1, 0)
        return ChildNote(self.name, self.state, self.pid, self.epoch, restarts, again_in_s, self.reason)
