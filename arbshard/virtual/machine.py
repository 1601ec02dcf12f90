"""Assembles the virtual machine: exchanges, the disk, a network, and the system, which is started on it again and
again.

``Simulation.run`` causes faults for the requested time, then lets everything come to rest, closes all positions, and
checks whether the invariants hold. It is the only part that touches the real world: it needs a directory for mapped
files.
"""

import asyncio
import gc
import shutil
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from pathlib import Path
from random import Random
from time import process_time

import psutil

from arbshard.config import Config
from arbshard.model.money import use_money_context
from arbshard.virtual.accounts import LiveWorld
from arbshard.virtual.audit import Audit
from arbshard.virtual.clock import VirtualClock
from arbshard.virtual.confines import dying, patient_collector, place, quiet
from arbshard.virtual.exchange import VirtualExchanges
from arbshard.virtual.faults import Faults
from arbshard.virtual.health import RECOVERED_NS, Health
from arbshard.virtual.ledger import Disk
from arbshard.virtual.loop import START_NS, VirtualLoop, VirtualProcess
from arbshard.virtual.network import Port
from arbshard.virtual.network_conditions import NetworkConditions
from arbshard.virtual.operator import Operator
from arbshard.virtual.oracle import Oracle
from arbshard.virtual.order_events import EventBus
from arbshard.virtual.outcome import Memory, SimulationReport
from arbshard.virtual.settings import Settings, config_of, universe_of
from arbshard.virtual.stand_ins import Timing, VirtualWorld
from arbshard.virtual.system import VirtualSupervisor
from arbshard.virtual.trace import Trace
from arbshard.virtual.unkind import Unkind
from arbshard.wire.messages import Close

CALM_S = 120.0
_SELDOM = ("calm", "band")
"""Regimes in which entries may be minutes apart."""
_LOOK_S = 1.0
_KEEP_S = 0.5
_GONE_S = 3.0
"""Time in seconds within which the children of a dead supervisor end."""
_RESTART_S = 2.0
"""Time in seconds that a person takes to start the system again."""
_GIVEN_UP_S = 20.0
"""Time in seconds that a person takes to notice that a shard was given up."""
_CLOSE_S = 120.0
_HELP_EVERY_S = 10.0
"""Interval in seconds at which a person closes the pairs that are only closed by hand, while the run ends."""
_RECONCILED_S = 90.0
"""Time in seconds after the last fault within which venues and ledger agree, if a person accepts the differences."""
_TRIED_S = 30.0
"""Time in seconds that a person waits for an order to be carried out."""
_WATCH_EVERY = 60
"""Number of checks of the loop between two of a person's looks at the halts."""
_RESET_EVERY = 600
"""Number of checks of the loop between two resets of limits that were set."""


def _set(event: asyncio.Event, _: object) -> None:
    event.set()


class BrokenOff(Exception):
    """Is raised when the simulation was ordered to end early; there is nothing to report."""


class Simulation:
    """Is one simulation, and runs it from its seed."""

    def __init__(
        self,
        settings: Settings,
        write: Callable[[str], object] | None = None,
        timing: Timing | None = None,
        adjust: Callable[[Config], Config] | None = None,
    ) -> None:
        """Make a simulation.

        ``write`` receives every line of the trace; ``adjust`` changes the system's configuration.
        """
        self._settings = settings
        self._loop = loop = VirtualLoop()  # type: ignore[abstract]  # what it lacks raises, as it should
        self._clock = VirtualClock(loop)
        config = config_of(settings)
        self._config = config = adjust(config) if adjust is not None else config
        self.trace = Trace(loop, write)
        self.network = NetworkConditions(Random(f"{settings.seed}:weather"))
        self._exchanges = VirtualExchanges(config.sim, self._clock, loop, self.network)
        universe = universe_of(self._exchanges.world, config)
        unkind = Unkind(self._exchanges, universe, Random(f"{settings.seed}:unkind"), loop)
        self.oracle = Oracle(config, universe, self._clock, self.trace)
        self.oracle.on_violation = loop.stop
        self.oracle.budgets.works = unkind.works
        self.oracle.worth.is_traded = self._is_traded
        self.oracle.bounds.coarseness = unkind.coarseness
        self.oracle.on_execution = unkind.on_execution
        loop.on_slow = self._slow
        self.audit = Audit(self.oracle, self.trace)
        self.oracle.audit_event = self.audit.add
        self.disk = Disk(self.oracle.stored)
        port = Port(loop, self.network)
        live: LiveWorld | None = None
        if settings.is_live:
            self._exchanges.open_accounts(self.oracle)
            self.oracle.wallets = self._exchanges.wallets
            bus = EventBus(loop, self.network, Random(f"{settings.seed}:bus"))
            live = LiveWorld(
                config,
                self._clock,
                self._exchanges.trading,
                bus,
                self._exchanges.open_stream,
                self._exchanges.open_order_stream,
            )
        self.world = VirtualWorld(
            loop, self._clock, config, universe, self._exchanges, unkind, self.disk, port, self.oracle,
            self.audit, self.trace, Random(f"{settings.seed}:boots"), timing or Timing(), live,
        )  # fmt: skip
        self.operator = Operator(loop, port, universe, self.trace, self.oracle.last_cost)
        self.faults = Faults(
            self.world,
            self.network,
            Random(f"{settings.seed}:faults"),
            lambda: self.supervisor,
            self.operator.send_random,
        )
        self.health = Health(self.world, self.faults)
        self.supervisor: VirtualSupervisor | None = None
        self.oracle.owners = self._owners
        self.oracle.silent_ns = lambda: self.supervisor.silent_ns if self.supervisor is not None else 0
        self._root = Path()
        self._starts = 0
        self._given_up_s = 0.0
        self._is_closing = False
        self._is_broken_off = False
        self._memory: list[Memory] = []
        for venue in self._exchanges.venues.values():
            venue.on_truth = self._received
            venue.on_lost = self._lost
            venue.on_pong = self._answered

    def run(self) -> SimulationReport:
        """Run all of it. Raises ``BrokenOff`` after ``break_off``, when everything has been tidied up."""
        return copy_context().run(self._run)

    def break_off(self) -> None:
        """End ``run`` before the next event. May be called from a signal handler."""
        self._is_broken_off = True
        self._loop.stop()

    def _run(self) -> SimulationReport:
        use_money_context()
        began_s = process_time()
        quietly = quiet(self.trace, self._loop.charge)
        with place() as self._root, quietly, dying(self.faults.processes.reached), patient_collector():
            try:
                self._loop.run_until_complete(self._live())
            except Exception as error:  # noqa: BLE001 - a defect of the simulated system, or of the simulation
                if not self.oracle.violations:
                    self.oracle.violations.append(f"defect: {error!r}")
            finally:
                # A fuzz that is stopped leaves the loop while virtual processes are at work. The interpreter
                # would close their coroutines while they count as alive, and each would report a defect.
                defects = tuple(self._loop.defects)
                self._loop.finish()
            if not self.oracle.violations:  # otherwise the rest was broken off in the middle
                self.oracle.violations += [f"defect: {defect}" for defect in defects]
        if self._is_broken_off:
            raise BrokenOff
        virtual_s = (self._loop.now_ns - START_NS) / 1e9
        return SimulationReport(
            self._settings,
            virtual_s,
            process_time() - began_s,
            self._loop.events_run,
            sum(venue.hub.frames for venue in self._exchanges.venues.values()),
            self.trace.hash,
            self.trace.lines,
            dict(sorted(self.faults.counts.items())),
            self._starts,
            self.oracle.tally,
            tuple(self._memory),
            tuple(self.oracle.violations),
            virtual_s,
            tuple(self.trace.last),
        )

    def _is_traded(self, base: str) -> bool:
        supervisor = self.supervisor
        return supervisor is not None and any(pair.base == base for pair in supervisor.universe.pairs)

    async def _live(self) -> None:
        keeping = [asyncio.ensure_future(self._exchanges.run()), asyncio.ensure_future(self._keep())]
        watching = asyncio.ensure_future(self._watch())
        await asyncio.sleep(10)  # let it start: a defect that breaks it at once is found by other tests
        going_wrong = asyncio.ensure_future(self.faults.run(self._settings.faults, self._settings.only))
        await asyncio.sleep(self._settings.hours * 3600)
        if going_wrong.done() and (error := going_wrong.exception()) is not None:
            self.oracle.differs(f"defect: a fault could not be done: {error!r}")
        going_wrong.cancel()
        self.faults.calm()
        self.network.restore()
        if self.world.live is not None:  # a ban lasts longer than the fault that brought it about
            await asyncio.sleep(max(venue.refuses_for_s for venue in self.world.live.venues.values()))
        self.trace.note("calm", "")
        calm_ns = self._loop.now_ns
        await self.operator.set_right()
        self.faults.trade_all()
        if self.world.live is not None:
            await self._reconcile()
        if self.faults.was_unkind:
            await self._look_after_pairs()
        await asyncio.sleep(CALM_S)
        if self.oracle.traded_ns < calm_ns + RECOVERED_NS and self._settings.regime not in _SELDOM:
            self.oracle.differs(f"liveness: nothing was traded in the {CALM_S:g} s after the last fault")
        watching.cancel()
        await self._close()
        for task in keeping:
            task.cancel()

    async def _look_after_pairs(self) -> None:
        """Close and release the pairs that wait for a person. This lasts as long as the longest pause between two
        tries.
        """
        waited_s = 0.0
        while waited_s < self._config.execution.pause_max_s:
            apart = tuple(self.oracle.budgets.apart)
            if apart:
                await self.operator.send(Close(apart))
            await asyncio.sleep(_TRIED_S)
            waited_s += _TRIED_S
            await self.operator.release(apart)

    async def _reconcile(self) -> None:
        """Accept what others have moved, until venues and ledger agree."""
        waited_s = 0.0
        while not self.oracle.venues.is_reconciled and waited_s < _RECONCILED_S:
            await self.operator.accept(self.oracle.venues.differences)
            await asyncio.sleep(_RESTART_S)
            waited_s += _RESTART_S
        if not self.oracle.venues.is_reconciled:
            left = self.oracle.venues.open_questions()
            self.oracle.differs(f"reconciliation: after {_RECONCILED_S:g} s of calm there are {left}")

    async def _keep(self) -> None:
        """Start the system, and start it again whenever it has ended."""
        while not self._is_closing:
            self._starts += 1
            name = f"run-{self._starts}"
            run_dir = self._root / name
            run_dir.mkdir()
            while self._loop.has_no_room:  # noqa: ASYNC110 - a person who tries again
                await asyncio.sleep(_RESTART_S)
            process = self._loop.new_process(name)
            # A person starts it again, and a service manager does.
            is_service = self._starts % 2 == 0
            supervisor = self.supervisor = VirtualSupervisor(
                self.world, process, run_dir, name, is_service=is_service
            )
            for venue in self._exchanges.trading.values():
                venue.new_run()
            self.trace.note("start", name)
            task = self._loop.spawn(process, supervisor.run())
            ended = asyncio.Event()
            process.on_killed = ended.set  # nothing of a killed process runs, so its task reports nothing
            task.add_done_callback(partial(_set, ended))
            await ended.wait()
            await asyncio.sleep(_KEEP_S)  # a person checks now and then
            if task.done() and task.exception() is not None:
                self.oracle.differs(f"defect: the supervisor ended with {task.exception()!r}")
            self.trace.note("end", f"{name} {supervisor.failure}")
            await self._bury(supervisor)
            shutil.rmtree(run_dir)
            if not self._is_closing:
                await asyncio.sleep(_RESTART_S)
                while self.disk.is_full:  # noqa: ASYNC110 - a person who looks now and then
                    await asyncio.sleep(_RESTART_S)

    async def _bury(self, supervisor: VirtualSupervisor) -> None:
        """Wait until the children of a dead supervisor have ended. The next start ends a child that is stopped."""
        self._loop.kill(supervisor.process)
        for spare in tuple(supervisor.host.spares):  # its standard input is closed
            spare.die()
        waited_s = 0.0
        while any(child.pid for child in supervisor.children) and waited_s < _GONE_S:
            await asyncio.sleep(_KEEP_S)
            waited_s += _KEEP_S
        for child in supervisor.children:
            process = child.process
            if child.pid and not (process.stopped or process.held):
                self.oracle.differs(f"orphans: {child.name} lives {_GONE_S:g} s after its supervisor")
            child.die()
        for venue in self._exchanges.venues.values():
            venue.forget_dead()

    async def _watch(self) -> None:
        looks = 0
        while True:  # cancelled when all is to be closed
            await asyncio.sleep(_LOOK_S)
            looks += 1
            self.health.check(self.supervisor)
            self._look_for_given_up()
            if self._loop.defects:
                self.oracle.differs(f"defect: {self._loop.defects[0]}")
            if looks % _WATCH_EVERY == 0:
                await self.operator.resume_if_halted()
                await self.operator.release(self.oracle.budgets.apart)
                await self.operator.accept(self.oracle.venues.differences)
            if looks % _RESET_EVERY == 0:
                await self.operator.reset_limits()
            if looks % 3600 == 0:
                self._weigh()

    def _look_for_given_up(self) -> None:
        """Restart the system as a person does who sees that a shard was given up."""
        supervisor = self.supervisor
        given_up = supervisor is not None and supervisor.has_given_up
        self._given_up_s = self._given_up_s + _LOOK_S if given_up else 0.0
        if supervisor is not None and self._given_up_s >= _GIVEN_UP_S:
            self._given_up_s = 0.0
            self.trace.note("operator", "starts anew: a shard was given up")
            supervisor.request_stop(keep_positions=True)

    def _weigh(self) -> None:
        gc.collect()
        hour = (self._loop.now_ns - START_NS) / 3.6e12
        rss_mb = psutil.Process().memory_info().rss / 1e6
        self._memory.append(Memory(round(hour, 2), len(gc.get_objects()), round(rss_mb, 1)))

    async def _close(self) -> None:
        """Close all positions and end in order; then check that nothing is left."""
        self._is_closing = True
        supervisor = self.supervisor
        if supervisor is None or not supervisor.is_running:
            self.oracle.differs("liveness: the system does not run at the end")
            return
        risk = supervisor.risk
        supervisor.request_stop()
        waited_s = 0.0
        while supervisor.process.alive and not self._has_ended(supervisor) and waited_s < _CLOSE_S:
            if waited_s % _HELP_EVERY_S == 0 and self.oracle.budgets.apart:
                await self.operator.send(Close(tuple(self.oracle.budgets.apart)))
            await asyncio.sleep(_LOOK_S)
            waited_s += _LOOK_S
        if not self._has_ended(supervisor):
            self.oracle.differs(f"liveness: closing took more than {_CLOSE_S:g} s")
        if risk is None or risk.core is None:
            self.oracle.differs("liveness: risk does not run at the end")
            return
        state = risk.core.state
        self.oracle.balances(state.balances.totals())
        self.oracle.settled()
        for what, left in (
            ("positions", sorted(state.positions)),
            ("intents", sorted(state.trades)),
            ("intents by the events", sorted(self.oracle.open)),
            ("holds", [account for account, balance in state.balances.items() if balance.held]),
        ):
            if left:
                self.oracle.differs(f"left over: {what} {left}")
        self.audit.replayed(self.disk, state)

    def _owners(self, base: str) -> list[int]:
        supervisor = self.supervisor
        workers = [supervisor.worker(shard) for shard in range(self._settings.shards)] if supervisor else []
        return [one.shard for one in workers if one is not None and one.process.alive and one.may_trade(base)]

    def _has_ended(self, supervisor: VirtualSupervisor) -> bool:
        return not any(child.pid for child in supervisor.children)

    def _received(self, symbol: str, connection: int, payload: bytes) -> None:
        now_ns = self._loop.now_ns
        if self.oracle.frames.received(symbol, now_ns, payload, connection):
            self.oracle.fresh.received(symbol, connection, now_ns)

    def _slow(self, process: VirtualProcess, taken_ns: int, what: str) -> None:
        self.oracle.differs(f"slow: {process.name} {what}, and holds its loop for {taken_ns / 1e6:.0f} ms")

    def _answered(self, connection: int) -> None:
        self.oracle.fresh.answered(connection, self._loop.now_ns)

    def _lost(self, connection: int) -> None:
        self.oracle.fresh.lost(connection, self._loop.now_ns)
        self.oracle.frames.lost(connection)
