"""Implements the supervisor's ``ProcessHost`` on the virtual machine: its children are virtual processes."""

import asyncio
import signal
from collections.abc import Callable
from typing import Protocol

from arbshard.log import get_logger
from arbshard.virtual.costs import START_CHILD_NS
from arbshard.virtual.loop import VirtualLoop, VirtualProcess
from supervisor.processes.child import ChildSpec

KILLED = -9


class Program(Protocol):
    """Is a program that a virtual process executes."""

    async def run(self) -> int:
        """Run until the program ends. Returns the exit code."""
        ...


Make = Callable[[str, VirtualProcess, int], Program]
"""Makes the program of an incarnation from the name of the child, its process and its epoch."""


class VirtualChild:
    """Is one incarnation of a child, or a spare worker. Implements ``child.SpareProcess``."""

    def __init__(self, host: "VirtualHost", name: str, epoch: int, process: VirtualProcess) -> None:
        self._host = host
        self.name = name
        self.epoch = epoch
        self.process = process
        self.program: Program | None = None
        """The program of the shard; None while the process is a spare."""
        self.has_booted = False
        self._code: int | None = None

    @property
    def pid(self) -> int:
        """Return the process id; 0 once the process has ended."""
        return self.process.pid if self._code is None else 0

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self._code

    def terminate(self) -> None:
        """Send SIGTERM. A stopped process receives it when it is continued."""
        if self._code is None and self._host.is_alive:
            self._host.loop.deliver(self.process, self._host.loop.now_ns, self._terminated)

    def _terminated(self) -> None:
        """Do what the process does on SIGTERM. A process without a handler yet dies of it."""
        handler = self.process.signals.get(signal.SIGTERM)
        if handler is not None:
            handler()
        else:
            self.end(-signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, unless the sender itself has been killed."""
        if self._host.is_alive:
            self.die()

    def die(self) -> None:
        """End as by SIGKILL from anywhere."""
        self.end(KILLED)

    def end(self, code: int) -> None:
        """End with exit code ``code``, unless the process has ended already: the first code counts."""
        self._host.loop.kill(self.process)
        if self._code is None:
            self._code = code
            self._host.on_exit(self, code)

    def wait(self, timeout_s: float) -> bool:
        """Return True at once: a virtual process ends without a delay."""
        del timeout_s
        return True

    def stderr_tail(self) -> str:
        """Return an empty text: virtual processes write nothing to stderr."""
        return ""

    def stderr_text(self) -> str:
        """Return an empty text: virtual processes write nothing to stderr."""
        return ""

    def close(self) -> None:
        """Do nothing: there are no pipes."""

    def is_ready(self) -> bool:
        """Return whether a spare can take over a shard."""
        return self.has_booted

    def assign(self, *numbers: int) -> bool:
        """Make a spare the worker of a shard; False when it is dead."""
        if self._code is not None:
            return False
        shard, epoch = numbers
        self.name, self.epoch = f"worker-{shard}", epoch
        self.process.name = f"{self.name}.{epoch}"
        self._host.begin(self, delay_s=0.0)
        return True


class VirtualHost:
    """Implements ``child.ProcessHost`` for one supervisor."""

    def __init__(
        self,
        loop: VirtualLoop,
        supervisor: VirtualProcess,
        make: Make,
        boot_s: Callable[[str], float],
        on_end: Callable[[str, int, int], None],
    ) -> None:
        """Make a host.

        ``boot_s`` returns how long an incarnation of a child takes to reach the first line of its program.
        ``on_end`` is called with the name, epoch and exit code of each incarnation that has ended.
        """
        self.loop = loop
        self._supervisor = supervisor
        self._make = make
        self._boot_s = boot_s
        self._on_end = on_end
        self.children: dict[str, VirtualChild] = {}
        """The newest incarnation of each child, by name."""
        self.spares: dict[VirtualChild, None] = {}
        """Spare workers that run and wait for a shard."""
        self._has_exited = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_alive(self) -> bool:
        """Return whether the supervisor lives. The ``finally`` blocks of a killed one have no effect."""
        return self._supervisor.alive

    def spawn(self, spec: ChildSpec, epoch: int) -> VirtualChild:
        """Start an incarnation. Raises ``OSError`` while the machine has no room for a process."""
        child = self._start(spec.name, epoch)
        self.begin(child, self._boot_s(spec.name))
        return child

    def spawn_spare(self, spec: ChildSpec) -> VirtualChild:
        """Start a worker without a shard. Raises ``OSError`` while the machine has no room for a process."""
        spare = self._start(spec.name, 0)
        self.spares[spare] = None
        due_ns = self.loop.now_ns + int(self._boot_s(spec.name) * 1e9)
        self.loop.deliver(spare.process, due_ns, self._spare_has_booted, spare)
        return spare

    def _start(self, name: str, epoch: int) -> VirtualChild:
        self.loop.charge(START_CHILD_NS, f"starts {name}")
        return VirtualChild(self, name, epoch, self.loop.new_process(f"{name}.{epoch}"))

    def _spare_has_booted(self, spare: VirtualChild) -> None:
        spare.has_booted = True

    def begin(self, child: VirtualChild, delay_s: float) -> None:
        """Let ``child`` begin its program after ``delay_s``."""
        self.spares.pop(child, None)
        self.children[child.name] = child
        child.program = program = self._make(child.name, child.process, child.epoch)
        due_ns = self.loop.now_ns + int(delay_s * 1e9)
        self.loop.deliver(child.process, due_ns, self._boot, child, program)

    def _boot(self, child: VirtualChild, program: Program) -> None:
        self.loop.create_task(self._live(child, program))

    async def _live(self, child: VirtualChild, program: Program) -> None:
        try:
            code = await program.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process ends of it
            if not child.process.alive:  # it was killed, and could not even clean up
                return
            get_logger().error("a process ends in a defect", process=child.process.name, exc=repr(error))
            code = 1
        child.end(code)

    def on_exit(self, child: VirtualChild, code: int) -> None:
        """Note that a child has ended with exit code ``code``, and wake the supervisor if it waits."""
        if child in self.spares:
            del self.spares[child]
        else:
            self._on_end(child.name, child.epoch, code)
        self._has_exited = True
        if self._waiter is not None:
            self.loop.deliver(self._supervisor, self.loop.now_ns, _wake, self._waiter)

    def notice_exit(self, pid: int) -> None:
        """Do nothing: every exit of a virtual process is noticed without a signal."""

    async def wait_for_exit(self, timeout_s: float) -> None:
        """Wait until a child has ended, ``timeout_s`` at most."""
        if not self._has_exited:
            self._waiter = self.loop.create_future()
            self.loop.call_later(timeout_s, _wake, self._waiter)
            await self._waiter
            self._waiter = None
        self._has_exited = False

    def is_stopped(self, pid: int) -> bool:
        """Return whether a child is stopped as by SIGSTOP."""
        return any(child.process.pid == pid and child.process.stopped for child in self.children.values())

    def cpu_s(self, pid: int) -> float | None:
        """Return None: CPU time is charged to virtual processes and is not added up."""
        del pid
        return None

    def close(self) -> None:
        """Do nothing: the host holds no resources."""


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
