"""Simulates faults of processes: of the system's own, of the requests between them, and of the machine that they run
on.

Each method is one kind of fault of ``rates``. It returns a ``Spell``, or a text for the trace when the fault ends at
once, or None or an empty text when there is nothing that it can affect.
"""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from arbshard.virtual.children import VirtualChild
from arbshard.virtual.loop import Killed, VirtualProcess
from arbshard.virtual.network import Straggler
from arbshard.virtual.network_conditions import NetworkConditions
from arbshard.virtual.rates import (
    ACCOUNTS_POINTS,
    LIVE_WORKER_POINTS,
    RISK_POINTS,
    STRAGGLERS,
    WAKE_POINTS,
    WORKER_POINTS,
)
from arbshard.virtual.spells import Spell, VirtualSpells
from arbshard.virtual.stand_ins import VirtualWorld
from arbshard.virtual.system import VirtualSupervisor

_POINT_WAIT_S = 30.0
"""Time in seconds within which a process must reach the crash point at which it is to die."""


class PlannedFault(NamedTuple):
    """Is a fault that affects a process when it reaches a crash point."""

    child: str
    point: str
    wakes: bool = False
    """Whether the process is stopped there, is fenced, and continues; otherwise it dies."""


class ProcessFaults:
    """Draws the details of a fault of processes or of the machine and carries it out."""

    def __init__(
        self,
        world: VirtualWorld,
        network: NetworkConditions,
        random: Random,
        supervisor: Callable[[], VirtualSupervisor | None],
        spells: VirtualSpells,
    ) -> None:
        """Make the faults. ``supervisor`` returns the supervisor that runs now."""
        self._world = world
        self._loop = world.loop
        self._network = network
        self._random = random
        self._supervisor = supervisor
        self._spells = spells
        self._is_over = False
        self.plans: list[PlannedFault] = []
        """Faults that wait for a process to come to a crash point."""

    def calm(self) -> None:
        """Drop what is planned; nothing more is planned by itself."""
        self._is_over = True
        self.plans.clear()

    # crash points

    def reached(self, point: str) -> None:
        """Carry out the fault that is planned for the running process at ``point``; ``crashpoint`` calls this at
        each point.

        Raises ``Killed`` when the process dies there.
        """
        process = self._loop.current_process()
        supervisor = self._supervisor()
        if process is None or supervisor is None:
            return
        for plan in self.plans:
            child = supervisor.child(plan.child)
            if plan.point == point and child is not None and child.process is process:
                self.plans.remove(plan)
                if plan.wakes:
                    self._stop_and_wake(supervisor, child)
                else:
                    self._die_at(supervisor, child, point)
                return

    def _die_at(self, supervisor: VirtualSupervisor, child: VirtualChild, point: str) -> None:
        self._spells.mark(f"died {child.name}.{child.epoch} {point}")
        risk = supervisor.risk
        if point == "after_commit" and risk is not None and risk.core is not None:
            risk.core.commit()  # a replay must find this part of the state
        child.die()
        raise Killed

    def _stop_and_wake(self, supervisor: VirtualSupervisor, child: VirtualChild) -> None:
        stuck_s = self._world.config.run.stuck_after_ms / 1000
        spell = self._stop(child, stuck_s + self._random.uniform(0.5, 0.75))
        if spell is not None:
            self._spells.mark(f"stopped {self._spells.begin(spell)}")
            self._loop.call_later(
                stuck_s + 0.05, self._pause_if_running, supervisor, context=self._spells.context
            )

    def _pause_if_running(self, supervisor: VirtualSupervisor) -> None:
        if supervisor.is_running and not supervisor.process.stopped and not self._is_over:
            said = self._spells.begin(self._pause_supervisor(supervisor, 0.75))
            self._spells.mark(f"stop_supervisor {said}")

    def kill_worker_at(self) -> Spell | None:
        """Let a worker die at a crash point."""
        return self._kill_at(self._a_worker(), WORKER_POINTS)

    def kill_live_worker_at(self) -> Spell | None:
        """Let a worker die at a crash point, which may be one of its live orders."""
        return self._kill_at(self._a_worker(), LIVE_WORKER_POINTS)

    def kill_risk_at(self) -> Spell | None:
        """Let risk die at a crash point."""
        return self._kill_at(self._child("risk"), RISK_POINTS)

    def kill_accounts_at(self) -> Spell | None:
        """Let the accounts process die at a crash point."""
        return self._kill_at(self._child("accounts"), ACCOUNTS_POINTS)

    def wake_fenced(self) -> Spell | None:
        """Stop a worker in the middle of a trade, and continue it once it is fenced and not yet killed."""
        child = self._a_worker()
        if child is None:
            return None
        return self._await_at(PlannedFault(child.name, self._random.choice(WAKE_POINTS), wakes=True))

    def _kill_at(self, child: VirtualChild | None, points: tuple[str, ...]) -> Spell | None:
        if child is None:
            return None
        return self._await_at(PlannedFault(child.name, self._random.choice(points)))

    def _await_at(self, plan: PlannedFault) -> Spell:
        def forget() -> None:
            if plan in self.plans:
                self.plans.remove(plan)

        return Spell(_POINT_WAIT_S, lambda: self.plans.append(plan), forget, f"{plan.child} {plan.point}")

    # deaths

    def kill_worker(self) -> str:
        """Kill a worker."""
        return _kill(self._a_worker())

    def kill_risk(self) -> str:
        """Kill risk."""
        return _kill(self._child("risk"))

    def kill_accounts(self) -> str:
        """Kill the accounts process."""
        return _kill(self._child("accounts"))

    def kill_supervisor(self) -> str:
        """Kill the supervisor."""
        supervisor = self._supervisor()
        if supervisor is None or not supervisor.process.alive:
            return ""
        self._loop.kill(supervisor.process)
        return supervisor.name

    def restart(self) -> str:
        """End the run in order, with its positions kept or closed; ``machine`` starts the next one."""
        supervisor = self._supervisor()
        if supervisor is None or not supervisor.is_running:
            return ""
        keeps = self._random.random() < 0.5
        supervisor.request_stop(keep_positions=keeps)
        return f"{supervisor.name} {'keeps' if keeps else 'closes'}"

    # processes that do not run for a while

    def stop_worker(self) -> Spell | None:
        """Stop a worker as by SIGSTOP, and continue it."""
        return self._stop(
            self._a_worker(), self._random.choice((0.1, 0.6, 2.0, 6.0)) * self._random.uniform(0.5, 1.5)
        )

    def stop_risk(self) -> Spell | None:
        """Stop risk as by SIGSTOP, and continue it."""
        return self._stop(
            self._child("risk"), self._random.choice((0.1, 0.6, 2.0)) * self._random.uniform(0.5, 1.5)
        )

    def stop_accounts(self) -> Spell | None:
        """Stop the accounts process as by SIGSTOP, and continue it."""
        return self._stop(
            self._child("accounts"), self._random.choice((0.1, 0.6, 2.0)) * self._random.uniform(0.5, 1.5)
        )

    def stop_supervisor(self) -> Spell | None:
        """Stop the supervisor as by SIGSTOP, and continue it.

        In half of the pauses a worker dies meanwhile, so that its successor begins right after the pause.
        """
        supervisor = self._supervisor()
        if supervisor is None or not supervisor.process.alive or supervisor.process.stopped:
            return None
        seconds = self._random.choice((0.3, 2.0, 8.0)) * self._random.uniform(0.5, 1.5)
        worker = self._a_worker() if self._random.random() < 0.5 else None
        if worker is not None:
            at_s = seconds * self._random.uniform(0.1, 0.9)
            self._loop.call_later(at_s, self._die_meanwhile, worker, context=self._spells.context)
        return self._pause_supervisor(supervisor, seconds)

    def _die_meanwhile(self, child: VirtualChild) -> None:
        if child.pid and not self._is_over:
            self._spells.mark(f"died {_kill(child)} while the supervisor is stopped")

    def slow_callback(self) -> Spell | None:
        """Make a callback of a process take long: its loop is blocked, and the process lives."""
        supervisor = self._supervisor()
        if supervisor is None or not supervisor.process.alive:
            return None
        seconds = self._random.choice((0.2, 0.5, 1.2, 3.0)) * self._random.uniform(0.5, 1.0)
        match self._random.randrange(3):
            case 0:
                process: VirtualProcess | None = supervisor.process
            case 1:
                process = risk.process if (risk := self._child("risk")) is not None else None
            case _:
                process = worker.process if (worker := self._a_worker()) is not None else None
        if process is None or not process.alive:
            return None
        taken_ns = int(seconds * 1e9)
        return Spell(seconds, lambda: self._loop.hold(process, taken_ns), lambda: None, process.name)

    def _stop(self, child: VirtualChild | None, seconds: float) -> Spell | None:
        if child is None or child.process.stopped:
            return None
        return self._pause(child.process, seconds, f"{child.name}.{child.epoch}")

    def _pause_supervisor(self, supervisor: VirtualSupervisor, seconds: float) -> Spell:
        return self._pause(supervisor.process, seconds, supervisor.name)

    def _pause(self, process: VirtualProcess, seconds: float, what: str) -> Spell:
        loop = self._loop
        return Spell(
            seconds, lambda: loop.stop_process(process), lambda: loop.continue_process(process), what
        )

    # requests between processes

    def slow_requests(self) -> Spell:
        """Delay requests and replies."""
        most_ns = int(self._random.uniform(20, 900) * 1e6)
        return self._network.spell(self._random.uniform(1.0, 20.0), f"by {most_ns}", request_slow_ns=most_ns)

    def lossy(self) -> Spell:
        """Lose some requests and replies, and deliver some requests twice."""
        lost, doubled = self._random.uniform(0.02, 0.4), self._random.uniform(0.0, 0.3)
        what = f"{lost:.3f} {doubled:.3f}"
        return self._network.spell(
            self._random.uniform(2.0, 20.0), what, lost_share=lost, doubled_share=doubled
        )

    def straggler(self) -> Spell | None:
        """Kill a worker and deliver a request of it after its successor has begun."""
        child = self._a_worker()
        if child is None:
            return None
        port, loop = self._world.port, self._loop

        def kept(sender: VirtualProcess) -> None:
            loop.call_soon(self._kill_sender, sender, context=self._spells.context)

        straggler = Straggler(
            child.name, self._random.choice(STRAGGLERS), int(self._random.uniform(0, 2e6)), kept
        )

        def begin() -> None:
            port.stragglers[straggler] = None

        def end() -> None:
            del port.stragglers[straggler]

        return Spell(_POINT_WAIT_S, begin, end, f"{straggler.shard} {straggler.kind}")

    def _kill_sender(self, sender: VirtualProcess) -> None:
        supervisor = self._supervisor()
        child = supervisor.child(sender.name.partition(".")[0]) if supervisor is not None else None
        if child is not None and child.process is sender:
            self._spells.mark(f"died {sender.name} with a request on its way")
            child.die()

    # the machine

    def clock_jump(self) -> str:
        """Change the wall clock suddenly, by two hours at most."""
        span_ms = self._random.choice((50, 1_000, 30_000, 7_200_000))
        jump_ms = int(span_ms * self._random.uniform(-1.0, 1.0))
        self._world.clock.jump(jump_ms)
        return f"{jump_ms} ms"

    def disk_full(self) -> Spell:
        """Fill the ledger's disk."""
        disk = self._world.disk

        def set_full(is_full: bool) -> None:
            disk.is_full = is_full

        return Spell(self._random.uniform(0.5, 15.0), lambda: set_full(True), lambda: set_full(False), "disk")

    def no_room(self) -> str:
        """Let the machine start no process for a while, just when one is needed and no spare is left."""
        loop = self._loop

        def set_full(is_full: bool) -> None:
            loop.has_no_room = is_full

        supervisor = self._supervisor()
        for spare in tuple(supervisor.host.spares) if supervisor is not None else ():
            spare.die()
        seconds = self._random.choice((1.0, 10.0, 40.0)) * self._random.uniform(0.5, 1.5)
        said = self._spells.begin(
            Spell(seconds, lambda: set_full(True), lambda: set_full(False), "processes")
        )
        victim = self._a_worker() if self._random.random() < 0.7 else self._child("risk")
        return f"{said} {_kill(victim)}"

    def _child(self, name: str) -> VirtualChild | None:
        """Return the child of this name if both it and the supervisor run."""
        supervisor = self._supervisor()
        child = supervisor.child(name) if supervisor is not None and supervisor.process.alive else None
        return child if child is not None and child.pid else None

    def _a_worker(self) -> VirtualChild | None:
        return self._child(f"worker-{self._random.randrange(self._world.config.run.shards)}")


def _kill(child: VirtualChild | None) -> str:
    if child is None:
        return ""
    child.die()
    return f"{child.name}.{child.epoch}"
