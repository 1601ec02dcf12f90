"""The supervisor as a virtual process: real parts of it, in the order of ``supervisor.run``.

Made anew by ``machine`` for each start of the whole system; the ledger's disk and the exchanges outlive it.
"""

import asyncio
from pathlib import Path

import msgspec

from arbshard.errors import RunFailed
from arbshard.model.phase import Phase, WorkerState
from arbshard.model.rundir import RunFiles
from arbshard.model.silence import SETTLED_NS
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksWriter
from arbshard.shm.doorbell import ShardNotifier
from arbshard.virtual.bells import Bells
from arbshard.virtual.children import KILLED, VirtualChild
from arbshard.virtual.costs import UNIVERSE_NS
from arbshard.virtual.loop import VirtualProcess
from arbshard.virtual.risk import VirtualRisk
from arbshard.virtual.stand_ins import VirtualControl, VirtualMarkets, VirtualShardManager, World
from arbshard.virtual.worker import Surroundings, VirtualWorker
from supervisor.processes.health import PageHealth
from supervisor.processes.process_supervisor import ProcessSupervisor
from supervisor.processes.watchdog import Watchdog
from supervisor.rundir import write_whole
from supervisor.shards.manager import Surroundings as DeskSurroundings

TICK_S = 0.19
"""The watchdog takes a pause of 200 ms for one of ours."""
_REPORT_NS = 1_000_000_000
_SLOT_BYTES = 8192
_MORE_PAIRS = 2
_SILENT = ("stale", "down")


class VirtualSupervisor:
    """One run of the system: ``run`` until it is told to end, fails, or is killed."""

    def __init__(self, world: World, process: VirtualProcess, run_dir: Path, name: str) -> None:
        self._world = world
        self.process = process
        self.name = name
        self.files = RunFiles(run_dir)
        self.children: list[VirtualChild] = []
        self.control: VirtualControl | None = None
        """None until it is up."""
        self._markets: VirtualMarkets | None = None
        self._desk: VirtualShardManager | None = None
        self.is_running = False
        """Whether it has come up and was not told to end."""
        self._processes: ProcessSupervisor | None = None
        self._told: Phase | None = None
        self._silent = False
        self._reported_ns = 0
        self._looks = 0
        self.failure = ""
        """Why it gave up."""

    def request_stop(self, *, keep_positions: bool = False) -> None:
        """End in order."""
        self._told = Phase.DRAINING_KEEP if keep_positions else Phase.DRAINING
        self.is_running = False

    def terminate(self) -> None:
        """As by SIGTERM."""
        self.request_stop()

    def worker(self, shard: int) -> VirtualWorker | None:
        """The program of a shard's newest incarnation."""
        child = self.child(f"worker-{shard}")
        return child.program if child is not None and isinstance(child.program, VirtualWorker) else None

    def child(self, name: str) -> VirtualChild | None:
        """A child by name."""
        return next((child for child in self.children if child.name == name), None)

    @property
    def risk(self) -> VirtualRisk | None:
        """The program of the newest incarnation of risk."""
        child = self.child("risk")
        return child.program if child is not None and isinstance(child.program, VirtualRisk) else None

    async def run(self) -> int:
        """The exit code: 0 in order, 1 when the run could not go on."""
        world, files = self._world, self.files
        write_whole(files.config, msgspec.json.encode(world.config))
        write_whole(files.universe, msgspec.json.encode(world.universe))
        slots = 1 + 2 * (len(world.universe.pairs) + _MORE_PAIRS)
        books = BooksWriter.create(files.books, slots, _SLOT_BYTES, epoch=self.process.pid)
        books.beat(world.clock.monotonic_ns())
        shards = world.config.run.shards
        bells = Bells(world.loop, shards)
        notifiers = [
            ShardNotifier.create(files.dir, shard, ringer=bells.bell(shard)) for shard in range(shards)
        ]
        around = Surroundings(
            world.loop, world.clock, files, world.config, world.port, bells, world.oracle,
            world.timing.worker_timer_s, self.process,
        )  # fmt: skip
        self._processes = processes = ProcessSupervisor(
            world.config.run, world.clock, self._alert, lambda: None
        )
        watchdog = Watchdog(processes, world.config.run, lambda _: "")
        self._make_children(around)
        try:
            await self._start(processes, books, notifiers)
            await self._serve(processes, watchdog, books)
            await self._drain(processes, books, watchdog)
        except RunFailed as error:
            self.failure = str(error)
            world.trace.note("failed", self.failure)
        finally:
            self.is_running = False
        return await self._end(processes, books)

    def _make_children(self, around: Surroundings) -> None:
        world, files = self._world, self.files
        draw = world.random.uniform
        self.children.append(
            VirtualChild(
                "risk",
                world.loop,
                lambda process, _: VirtualRisk(
                    around,
                    process,
                    world.disk,
                    self.name,
                    world.oracle,
                    world.audit,
                    lambda: self._silent,
                    world.timing.risk_tick_s,
                ),
                lambda: draw(*world.timing.risk_boot_s),
                PageHealth(files.risk_page, "ready", 1),
            )
        )
        for shard in range(world.config.run.shards):
            self.children.append(self._make_worker(around, shard))
        for child in self.children:
            child.on_end = self._child_ended

    def _make_worker(self, around: Surroundings, shard: int) -> VirtualChild:
        draw = self._world.random.uniform
        return VirtualChild(
            f"worker-{shard}",
            self._world.loop,
            lambda process, epoch: VirtualWorker(around, process, shard, epoch),
            lambda: draw(*self._world.timing.worker_boot_s),
            PageHealth(self.files.worker_page(shard), "state", WorkerState.RUNNING),
            shard,
        )

    async def _start(
        self, processes: ProcessSupervisor, books: BooksWriter, notifiers: list[ShardNotifier]
    ) -> None:
        world = self._world
        heart = asyncio.ensure_future(self._come_up(books))
        risk, *workers = self.children
        processes.start(risk)
        for worker in workers:
            processes.start(worker)
        markets = self._markets = VirtualMarkets(world, books, notifiers, self._alert)
        await markets.start()
        await processes.until_up(risk)
        for worker in workers:
            await processes.until_up(worker)
        heart.cancel()
        self._open_shards(processes, books, markets)
        books.set_phase(Phase.RUNNING)
        self.is_running = self._told is None
        world.trace.note("running", self.name)

    def _open_shards(self, processes: ProcessSupervisor, books: BooksWriter, markets: VirtualMarkets) -> None:
        """From now on pairs can be moved, added and removed."""
        world = self._world
        around = DeskSurroundings(
            world.config,
            self.files,
            books,
            markets,
            processes,
            world.clock,
            self._alert,
            self._held,
            self._changed,
        )
        desk = self._desk = VirtualShardManager(world.universe, around)
        desk.listed = world.universe.pairs
        self.control = VirtualControl()
        desk.register(self.control)

    def _held(self) -> frozenset[str]:
        risk = self.risk
        if risk is None or risk.core is None:
            return frozenset()
        return frozenset(position.pair for position in risk.core.state.positions.values())

    def _changed(self, universe: Universe) -> None:
        self._world.loop.charge(UNIVERSE_NS, "writes a universe")
        self._world.trace.note("universe", f"{universe.serial} {universe.shards} leaving {universe.leaving}")

    @property
    def silent_ns(self) -> int:
        """For how long this process has done nothing, or did nothing until a moment ago; otherwise 0."""
        process, now_ns = self.process, self._world.clock.monotonic_ns()
        if process.stopped or process.held:
            return now_ns - process.stopped_ns
        return process.continued_ns - process.stopped_ns if now_ns - process.continued_ns < SETTLED_NS else 0

    @property
    def universe(self) -> Universe:
        """In force now."""
        return self._desk.assignments.universe if self._desk is not None else self._world.universe

    @property
    def is_changing(self) -> bool:
        """Whether a change of the universe waits or is under way."""
        return self._desk is not None and not self._desk.assignments.is_idle

    async def _serve(self, processes: ProcessSupervisor, watchdog: Watchdog, books: BooksWriter) -> None:
        while self._told is None:
            self._look(processes, watchdog, books)
            await asyncio.sleep(TICK_S)

    def _look(self, processes: ProcessSupervisor, watchdog: Watchdog, books: BooksWriter) -> None:
        """The heart beats, children are watched, and once a second the feeds say how they are."""
        now_ns = self._world.clock.monotonic_ns()
        books.beat(now_ns)
        watchdog.check(now_ns)
        processes.watch()
        self._looks += 1
        if self._looks % 2 and self._told is None and self._desk is not None:
            self._desk.step(now_ns)
        if now_ns - self._reported_ns >= _REPORT_NS:
            self._reported_ns = now_ns
            markets = self._markets
            assert markets is not None
            markets.check()
            states = [note.state for note in markets.report()]
            self._silent = self.is_running and bool(states) and all(one in _SILENT for one in states)

    async def _come_up(self, books: BooksWriter) -> None:
        """The heart, until ``_look`` takes over."""
        while True:
            books.beat(self._world.clock.monotonic_ns())
            await asyncio.sleep(TICK_S)

    async def _drain(self, processes: ProcessSupervisor, books: BooksWriter, watchdog: Watchdog) -> None:
        assert self._told is not None
        world = self._world
        processes.ending = True
        if self._desk is not None:
            self._desk.end(world.clock.monotonic_ns())
        world.trace.note("draining", f"{self.name} {self._told.name}")
        books.set_phase(self._told)
        deadline_ns = world.clock.monotonic_ns() + int(world.config.run.stop_timeout_s * 1e9)
        workers = [child for child in self.children if child.shard is not None]
        while any(worker.state in ("starting", "running", "restarting") for worker in workers):
            self._look(processes, watchdog, books)
            if world.clock.monotonic_ns() > deadline_ns:
                world.trace.note("alert", "positions not all closed in time")
                return
            await asyncio.sleep(TICK_S)

    async def _end(self, processes: ProcessSupervisor, books: BooksWriter) -> int:
        processes.ending = True
        heart = asyncio.ensure_future(self._come_up(books))
        await processes.end([child.name for child in self.children if child.shard is not None], 2.0)
        if self._markets is not None:
            await self._markets.stop()
        await processes.end(["risk"], 10.0)
        processes.kill_all()
        if self._desk is not None:
            self._desk.close()
        heart.cancel()
        return 1 if self.failure else 0

    def _alert(self, line: str) -> None:
        self._world.trace.note("alert", line)

    def _child_ended(self, name: str, epoch: int, code: int) -> None:
        self._world.trace.note("ended", f"{name}.{epoch} code {code}")
        risk = self.risk
        if name == "risk" and code == KILLED and risk is not None and risk.core is not None:
            self._world.audit.left(risk.core.state)
        self._world.oracle.ended(name, epoch, code)
