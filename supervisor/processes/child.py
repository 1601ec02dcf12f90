"""Describes one child of a run, through all its incarnations, and what it needs of the machine that runs it.

``ProcessHost`` is that machine: the operating system (``posix``), or a virtual one in the simulation.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from arbshard.log import get_logger
from arbshard.model.notes import ChildNote, ChildState
from arbshard.secret import Secret
from supervisor.processes.health import ChildHealth

_KILLED_S = 5.0
"""How long the system may take to end a process that was killed, in seconds."""


class ChildSpec(NamedTuple):
    """Says how a child is started."""

    name: str
    command: Callable[[int], Sequence[str]]
    """Returns the argument list for an epoch."""
    health: ChildHealth | None = None
    """Shows whether it is up; None: it is up at once."""
    shard: int | None = None
    """The shard of a worker."""
    hands_over: Callable[[], Secret] | None = None
    """Returns, at each start, what the child reads from its standard input, because arguments, environment and files
    could be read by others.
    """
    draws: bool = False
    """Whether it may write to our terminal."""
    term: int | None = None
    """The term in which risk leads a cluster."""


class Process(Protocol):
    """Is one incarnation of a child, as the machine runs it."""

    @property
    def pid(self) -> int:
        """Return the process id; 0 when it does not run any more."""
        ...

    def poll(self) -> int | None:
        """Return the exit code once it has ended, None while it runs. It is called all the time."""
        ...

    def terminate(self) -> None:
        """Ask the process to end."""
        ...

    def kill(self) -> None:
        """End the process, a suspended one too, without waiting for its end."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Block until it has ended. Return False when it has not in time."""
        ...

    def stderr_tail(self) -> str:
        """Return the last line it wrote to stderr."""
        ...

    def stderr_text(self) -> str:
        """Return the end of what it wrote to stderr."""
        ...

    def close(self) -> None:
        """Close our ends of its pipes. May be called again."""
        ...


class SpareProcess(Process, Protocol):
    """Is a worker that was started without a shard, or risk without a term."""

    def is_ready(self) -> bool:
        """Return whether it has reported that it can take over. It is called all the time."""
        ...

    def assign(self, *numbers: int) -> bool:
        """Assign it its shard and epoch, or its term. Return False when it is dead."""
        ...


class ProcessHost(Protocol):
    """Is the machine that runs the children."""

    def spawn(self, spec: ChildSpec, epoch: int) -> Process:
        """Start an incarnation. Raises ``OSError`` when the system refuses; nothing is left behind then."""
        ...

    def spawn_spare(self, spec: ChildSpec) -> SpareProcess:
        """Start a process that waits for what it is to be. Raises ``OSError`` as ``spawn`` does."""
        ...

    def notice_exit(self, pid: int) -> None:
        """Make ``wait_for_exit`` return when this child ends."""
        ...

    async def wait_for_exit(self, timeout_s: float) -> None:
        """Wait until a noticed child has ended, ``timeout_s`` at most."""
        ...

    def is_stopped(self, pid: int) -> bool:
        """Return whether a signal or a debugger holds the process."""
        ...

    def cpu_s(self, pid: int) -> float | None:
        """Return the seconds of CPU time that the process has used; None when that is not known."""
        ...

    def close(self) -> None:
        """Stop to notice exits. May be called again."""
        ...


class Child:
    """Is what is known of a child: the incarnation that runs, its state, and why the last one ended."""

    def __init__(self, spec: ChildSpec, host: ProcessHost, before: int = 0, last: int | None = None) -> None:
        """Begin without a process. ``before``: the epoch before its first one. ``last``: the last epoch that may be
        used; None for no limit.
        """
        self.spec = spec
        self.name = spec.name
        self.health = spec.health
        self.shard = spec.shard
        self._host = host
        self._process: Process | None = None
        self.epoch = self._before = before
        self._last = last
        self.state: ChildState = "starting"
        self.reason = ""
        """Why the last incarnation ended."""
        self.kill_reason = ""
        """Why we killed the present incarnation."""

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
        """Return the process id; 0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    @property
    def may_go_on(self) -> bool:
        """Return whether there is an epoch for another incarnation."""
        return self._last is None or self.epoch < self._last

    @property
    def is_up(self) -> bool:
        """Return whether the incarnation that runs has finished its start."""
        return self.pid != 0 and (self.health is None or self.health.is_up(self.pid))

    def poll(self) -> int | None:
        """Return the exit code once it has ended, None while it runs or was never started. Call it all the time."""
        return self._process.poll() if self._process is not None else None

    def stderr_tail(self) -> str:
        """Return the last line it wrote to stderr."""
        return self._process.stderr_tail() if self._process is not None else ""

    def stderr_text(self) -> str:
        """Return the end of what it wrote to stderr."""
        return self._process.stderr_text() if self._process is not None else ""

    def terminate(self) -> None:
        """Ask the process to end."""
        if self._process is not None and self.pid:
            self._process.terminate()

    def kill(self, reason: str) -> None:
        """Kill it, a suspended one too, without waiting; the first reason counts."""
        if self._process is not None and self.pid and not self.kill_reason:
            self.kill_reason = reason
            self._process.kill()

    def kill_and_wait(self) -> None:
        """Kill it, and wait until it has ended. One that the system cannot end in time is left behind."""
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
        """Return what status shows of it."""
        restarts = max(self.epoch - self._before - 1, 0)
        return ChildNote(self.name, self.state, self.pid, self.epoch, restarts, again_in_s, self.reason)
