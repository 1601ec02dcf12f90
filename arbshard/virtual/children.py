"""Children of a virtual supervisor: the real ``supervisor.processes`` starts, watches and restarts them."""

import signal
from collections.abc import Callable
from typing import Protocol

from arbshard.log import get_logger
from arbshard.virtual.costs import START_CHILD_NS
from arbshard.virtual.loop import VirtualLoop, VirtualProcess
from supervisor.processes.child import Child
from supervisor.processes.health import ChildHealth

KILLED = -9


class Program(Protocol):
    """What runs in a process."""

    async def run(self) -> int:
        """Until its end; the exit code."""
        ...


Make = Callable[[VirtualProcess, int], Program]
"""Makes the program of an incarnation: process and epoch."""


def _nobody(_name: str, _epoch: int, _code: int) -> None:
    """Who is told when nobody is."""


class VirtualChild(Child):
    """A child whose incarnations are virtual processes."""

    def __init__(
        self,
        name: str,
        loop: VirtualLoop,
        make: Make,
        boot_s: Callable[[], float],
        health: ChildHealth,
        shard: int | None = None,
    ) -> None:
        """``boot_s``: how long the next incarnation takes to come to its first line."""
        super().__init__(name, lambda _: (), health=health, shard=shard)
        self._loop = loop
        self._make = make
        self._boot_s = boot_s
        self._code: int | None = None
        self.process: VirtualProcess | None = None
        self.program: Program | None = None
        self.on_end: Callable[[str, int, int], None] = _nobody

    def start(self) -> None:
        """See ``Child``."""
        self._loop.charge(START_CHILD_NS, f"starts {self.name}")
        process = self._loop.new_process(f"{self.name}.{self.epoch + 1}")
        self._begin()
        self._code = None
        self.process = process
        self.program = self._make(self.process, self.epoch)
        delay_ns = int(self._boot_s() * 1e9)
        self._loop.deliver(
            self.process, self._loop.now_ns + delay_ns, self._boot, self.process, self.program, self.epoch
        )

    def _boot(self, process: VirtualProcess, program: Program, epoch: int) -> None:
        self._loop.create_task(self._live(process, program, epoch))

    async def _live(self, process: VirtualProcess, program: Program, epoch: int) -> None:
        try:
            code = await program.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process ends of it
            if not process.alive:  # it was killed, and could not even clean up
                return
            get_logger().error("a process ends in a defect", process=process.name, exc=repr(error))
            code = 1
        self._ended(process, epoch, code)

    def _ended(self, process: VirtualProcess, epoch: int, code: int) -> None:
        self._loop.kill(process)
        if process is self.process and self._code is None:
            self._code = code
            self.on_end(self.name, epoch, code)

    @property
    def pid(self) -> int:
        """See ``Child``."""
        return self.process.pid if self.process is not None and self._code is None else 0

    def poll(self) -> int | None:
        """See ``Child``."""
        return self._code

    def die(self) -> None:
        """As by SIGKILL from outside."""
        if self.process is not None and self._code is None:
            self._ended(self.process, self.epoch, KILLED)

    def stderr_tail(self) -> str:
        """See ``Child``."""
        return ""

    def terminate(self) -> None:
        """See ``Child``. A stopped process hears of it when it is continued."""
        if self.process is not None and self._code is None:
            self._loop.deliver(self.process, self._loop.now_ns, self._terminated, self.process, self.epoch)

    def _terminated(self, process: VirtualProcess, epoch: int) -> None:
        """Do what the process does on SIGTERM. One that has not said so yet dies of it."""
        handler = process.signals.get(signal.SIGTERM)
        if handler is not None:
            handler()
        else:
            self._ended(process, epoch, -signal.SIGTERM)

    def kill(self, why: str) -> None:
        """See ``Child``."""
        if self.pid and not self.kill_reason:
            self.kill_reason = why
            self.die()

    def kill_and_wait(self) -> None:
        """See ``Child``."""
        self.die()
