"""Runs from the first child to the last file: starts in order, serves, drains, and ends in order.

``SupervisorPorts`` is all that a run uses of the world. ``main`` gives real ports and the simulation virtual ones,
so the order of start, drain and end exists once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from arbshard.clock import Clock, lease_ns
from arbshard.config import Config, without_secrets
from arbshard.config.run import PAIRS_MAX
from arbshard.data.stream import Opener
from arbshard.errors import ArbshardError, ChildFailed, RunFailed, SharedMemoryError, UsageError
from arbshard.execution.live.keys import hand_over
from arbshard.ledger.file import Opening
from arbshard.log import get_logger
from arbshard.model.notes import COMPANIONS, RunState, VenueNote
from arbshard.model.phase import Phase
from arbshard.model.risk_note import NO_NOTE, RiskNote, decode_risk_note, open_pairs
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.repeat import repeat
from arbshard.shm.books import BooksWriter
from arbshard.shm.doorbell import Ringer, ShardNotifier
from arbshard.shm.pages import PageReader
from arbshard.venues.base.client import Fetch
from arbshard.venues.keys import Keys
from arbshard.venues.registry import AWAY, get_venue
from arbshard.wire import control
from arbshard.wire.bus import HIGH_WATER, Publisher
from arbshard.wire.recording import RAW, RAW_HIGH_WATER
from supervisor.cluster import HostRole, carried_by
from supervisor.control import ControlServer, OpenServer
from supervisor.exchanges import with_exchanges
from supervisor.feeds.venue import VenueFeed
from supervisor.ledger import LedgerAlerts, describe_open, describe_unclosable
from supervisor.preflight import FindUniverse, ReadListings
from supervisor.processes.child import Child, ChildSpec, ProcessHost
from supervisor.processes.health import PageHealth
from supervisor.processes.probe import HttpProbe
from supervisor.processes.process_supervisor import NOT_LEADER, READY_S, ProcessSupervisor
from supervisor.processes.spares import SparePool
from supervisor.processes.specs import ChildSpecs, Programs
from supervisor.processes.watchdog import Watchdog
from supervisor.retry import Retried
from supervisor.rundir import write_whole
from supervisor.shards.assignments import ChangeFailed
from supervisor.shards.manager import ShardManager, slots_for
from supervisor.status_publisher import StatusPublisher
from supervisor.topics import RunTopics

_PROGRESS_S = 5.0
_FIND_S = 120.0
"""How long venues may take at the start to state what they list, and live what they know of our accounts, in
seconds.
"""
_SLOT_BYTES = 8192
_LEAVE_S = 5.0
"""How long a host that leaves the cluster waits until its agent has given everything back, in seconds."""
_LAST_S = 15.0
"""How long a host of a cluster that ends waits until the leader has closed its ledger, in seconds."""
_TURN_NS = 5_000_000_000
"""The main loop of a run that is well turns many times within so long, in ns."""


class Timers(NamedTuple):
    """States how often the supervisor repeats its work, in seconds."""

    tick_s: float = 0.125
    """Time between two checks of children, feeds and changes of the universe. The end of a child is not waited for
    so long, because the kernel reports it.
    """
    beat_s: float = 0.125
    """Time between two beats."""
    note_s: float = 0.25
    """Time between two notes for status."""
    busy_tick_s: float = 0.04
    """Time between two checks while a child starts or a pair is moved, and on a host of a cluster."""


class RunObserver(Protocol):
    """Follows what the run does, in addition to the status that the run publishes."""

    def alerted(self, line: str) -> None:
        """Handle an alert: a person should know ``line``."""
        ...

    def state_changed(self, state: RunState) -> None:
        """Handle that the run has come to ``state``."""
        ...

    def universe_changed(self, universe: Universe) -> None:
        """Handle that ``universe`` is in force."""
        ...


class SupervisorPorts(NamedTuple):
    """Holds what a run uses of the world."""

    clock: Clock
    pid: int
    """The pid of the supervisor."""
    cpu_ns: Callable[[], int]
    """Returns the CPU time that the supervisor's loop has used so far."""
    host: ProcessHost
    open_bus: Callable[[str, int], Publisher]
    """Opens a publisher, given the endpoint and how many messages are kept for a subscriber."""
    open_server: OpenServer
    open_ringer: Callable[[Publisher, int], Ringer | None]
    """Opens the doorbell of a shard; None for the one that ``ShardNotifier`` makes itself."""
    opener: Opener
    fetch: Fetch | None
    """How feeds ask over REST; None for HTTP."""
    find_universe: FindUniverse
    read_listings: ReadListings
    note_children: Callable[[Mapping[str, int]], None]
    """Keeps the pids of the children, by name, for a successor of this supervisor. Raises ``OSError``."""
    before_trading: Callable[[], None]
    """Called once everything is up and before the first decision, for what takes tens of milliseconds."""
    observer: RunObserver
    timers: Timers = Timers()
    lease_ns: Callable[[], int] = lease_ns
    """Returns the time of the clock of leases, for a run on several hosts."""


class Defect(RunFailed):
    """Is a mistake of ours; the run is ended in order because of it."""


class Run:
    """Is the supervisor of one instance."""

    def __init__(
        self,
        config: Config,
        files: RunFiles,
        state_dir: Path,
        ports: SupervisorPorts,
        *,
        table: bool = False,
        companions: Sequence[str] = (),
        programs: Programs = Programs(),  # noqa: B008 - it cannot be changed
        keys: dict[str, Keys] | None = None,
        opening: Opening = "any",
        recorder: Sequence[str] | None = None,
    ) -> None:
        """Begin. ``keys``: those of all venues; none on paper. ``opening``: what risk must find at its ledger's
        path.

        ``companions``: the processes beside the run that are wanted, of ``model.notes.COMPANIONS``. ``recorder``:
        the arguments of the process that writes a tape, for a run that has feeds and neither risk nor workers; None
        for a run that trades.
        """
        self.config = config
        self.files = files
        self._state_dir = state_dir
        self._table = table
        self._companions = companions
        self._recorder = recorder
        self._ports = ports
        self._clock = ports.clock
        self._keys = keys or {}
        self._status = StatusPublisher(
            files.supervisor_page,
            config,
            state_dir,
            ports.clock,
            ports.pid,
            ports.timers.note_s,
            only_records=recorder is not None,
        )
        handed_over = (lambda: hand_over(self._keys)) if self._keys else None
        self._specs = ChildSpecs(programs, files, state_dir, opening, handed_over)
        self._ledger = LedgerAlerts(files, state_dir, config, self.alert)
        self._children_noted = Retried("the list of children", self._note_children, self.alert)
        spares = SparePool(config.run, self._specs.spare(), ports.host, self.alert)
        self.processes = ProcessSupervisor(
            config.run, ports.clock, self.alert, self._children_noted.request, ports.host, spares
        )
        self._watchdog = Watchdog(self.processes, config.run, self._why_fenced, ports.host.is_stopped)
        self._closers: list[Callable[[], object]] = [self._status.close, self._ledger.close]
        self._feeds: dict[str, VenueFeed] = {}
        self._frames = 0
        """Number of frames that all feeds had received at the last note."""
        self._attended_for: tuple[bytes, int, int] | None = None
        """Risk's note, the universe and the number of feeds by which the feeds last learned what to confirm."""
        self._control: ControlServer | None = None
        self._shards: ShardManager | None = None
        self._books: BooksWriter | None = None
        self._notifiers: list[ShardNotifier] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._sim = config.sim
        self._cluster: HostRole | None = None
        """What this host does in a run on several; None in a run on one."""
        if config.cluster is not None and recorder is None:
            self._cluster = HostRole(
                config,
                files,
                self._specs,
                self.processes,
                ports.host,
                ports.clock,
                ports.lease_ns,
                self.alert,
                self._status.show,
            )
            self._watchdog.fence_of = self._cluster.fence
            self._closers.append(self._cluster.close)
        self._stop = asyncio.Event()
        self._stops = 0
        self._turned_ns = 0
        """When the main loop last began a turn (monotonic ns)."""
        self.has_started = False
        self.keeps_positions = False
        self._is_last = self._cluster is None
        """Whether no other host goes on when this run ends."""
        self.failure: ArbshardError | None = None

    @property
    def state(self) -> RunState:
        """Return how far the run has come."""
        return self._status.state

    @property
    def is_stopping(self) -> bool:
        """Return whether it was asked to end."""
        return self._stop.is_set()

    def is_well(self) -> bool:
        """Return whether the main loop turns and risk, in a run that trades, answers.

        A watchdog asks this. A run that starts or ends has time-outs of its own, so it is well.
        """
        now_ns = self._clock.monotonic_ns()
        if self.state != "running" or self._stop.is_set():
            return True
        turns = now_ns - self._turned_ns <= _TURN_NS
        decider = "risk" if self._cluster is None else "agent"
        return turns and (self._recorder is not None or self._watchdog.is_beating(decider, now_ns))

    @property
    def shards(self) -> ShardManager | None:
        """Return the manager of shards; None until the run trades."""
        return self._shards

    def alert(self, line: str) -> None:
        """Log, count and show something that a person should know."""
        self._status.alert(line)
        self._ports.observer.alerted(line)

    def request_stop(self, *, keep_positions: bool = False, all_hosts: bool = False) -> None:
        """End in order. A second request ends at once what the first is still waiting for.

        ``all_hosts``: the whole cluster ends. Otherwise a host of several leaves: its positions are kept, for others
        take its shards.
        """
        self._stops += 1
        self._is_last = self._is_last or all_hosts or self._cluster is None
        self.keeps_positions = self.keeps_positions or keep_positions
        self._stop.set()

    async def run(
        self,
        duration_s: float | None,
        progress: Callable[[], None] | None,
        before_removal: Callable[[], Awaitable[None]],
        *,
        keep_positions: bool = False,
    ) -> None:
        """Run from the first child to the last file. Raises ``UsageError`` or another ``ArbshardError``.

        ``progress`` is called every few seconds, in a thread. ``before_removal`` is awaited when all has ended,
        while the pages are still there. ``keep_positions``: they are left open also when the time is over.
        """
        try:
            await self.start()
            self.has_started = True
            await self.serve(duration_s, progress)
            if progress is not None:
                await self.report(progress)
            self.keeps_positions = self.keeps_positions or keep_positions
            await self.drain()
        finally:
            await self.end(before_removal)

    async def start(self) -> None:
        """Start everything. Raises ``UsageError`` or another ``ArbshardError``; ``end`` must follow."""
        self._tasks.append(asyncio.create_task(self._beat(), name="heart"))
        if self.config.data == "sim":
            await self._start_exchanges()
        write_whole(self.files.config, msgspec.json.encode(without_secrets(self.config)))
        if self._cluster is None:
            universe = await self._find_universe()
        else:
            self._open_control()  # A person must be able to end this host also while it waits for a leader.
            await self.processes.until_up(self._start_child(self._specs.agent()))
            found: list[Universe] = []

            async def find() -> Universe:
                found.append(await self._find_universe())
                return found[0]

            universe = await self._cluster.first_universe(find, self._stop.is_set)
            if self.config.mode == "live" and not found:
                # Its checks are made on each host: keys that are wrong here must not be found out at a takeover.
                await self._find_universe()
            self._cluster.universe = universe.serial
        self._status.universe = universe
        write_whole(self.files.universe, msgspec.json.encode(universe))
        # All hosts of a cluster use the same slots, whenever they begin.
        slots = slots_for(len(universe.pairs) if self._cluster is None else PAIRS_MAX)
        books = BooksWriter.create(self.files.books, slots, _SLOT_BYTES, epoch=self._ports.pid)
        self._closers.append(books.close)
        books.beat(self._clock.monotonic_ns())
        self._books = books
        bus = self._open_bus(self.files.bus_endpoint, HIGH_WATER)
        raw = self._open_bus(self.files.raw_endpoint, RAW_HIGH_WATER)
        self._status.topics = RunTopics(bus, self._clock, self._risk_note_text)
        notifiers = self._notifiers = [self._notifier(bus, n) for n in range(self.config.run.shards)]
        if self._control is None:
            self._open_control()
        if self._cluster is not None:
            # Workers and risk follow as the agent shows what this host holds; the markets of their pairs do, too.
            carried = carried_by(universe, frozenset(), None)
            await self._start_feeds(carried, books, notifiers, bus, raw)
            books.set_universe(universe.serial)
        elif self._recorder is None:
            await self._start_trading(universe, books, notifiers, bus, raw)
        else:
            # It subscribes before the first connection is opened, so the tape begins with the first message.
            recorder = self._start_child(self._specs.recorder(self._recorder))
            await self.processes.until_ready(recorder, lambda: raw.wanted(RAW.encode()), READY_S)
            await self._start_feeds(universe, books, notifiers, bus, raw)
        self._open_shards(universe, books)
        self._ports.before_trading()
        self._turned_ns = self._clock.monotonic_ns()
        books.set_phase(Phase.RUNNING)
        self._set_state("running")
        if self._table:
            self._start_child(self._specs.viewer())
        for name in self._companions:
            self._start_companion(name)
        get_logger().info(
            "running",
            name=self.config.name,
            data="SIMULATED exchanges" if self.config.data == "sim" else "public feeds",
            regime=self.config.regime,
            orders=_orders(self.config) if self._recorder is None else "none: it only records",
            pairs=len(universe.pairs),
            shards=self.config.run.shards,
            state_dir=str(self._state_dir),
        )

    async def _find_universe(self) -> Universe:
        """Find what can be traded. Raises ``ArbshardError``."""
        universe = await self._ports.find_universe(self.config, (), _FIND_S, self.alert)
        if self.config.venues.listing_every_s:
            universe = replace(universe, listed_ms=self._clock.wall_ms())
        return universe

    def _open_bus(self, endpoint: str, high_water: int) -> Publisher:
        bus = self._ports.open_bus(endpoint, high_water)
        self._closers.append(bus.close)
        bus.start()
        return bus

    async def _start_trading(
        self,
        universe: Universe,
        books: BooksWriter,
        notifiers: Sequence[ShardNotifier],
        bus: Publisher,
        raw: Publisher,
    ) -> None:
        risk = self._start_child(self._specs.risk())
        if self.config.mode == "live":
            # The check begins only once risk answers, because what the venues state is compared with its ledger.
            await self.processes.until_up(risk)
            await self.processes.until_up(self._start_child(self._specs.accounts()))
        workers = [self._start_child(self._specs.worker(shard)) for shard in range(self.config.run.shards)]
        await self._start_feeds(universe, books, notifiers, bus, raw)
        await self.processes.until_up(risk)
        for worker in workers:
            await self.processes.until_up(worker)
        self._find_unattended(universe)

    async def serve(self, duration_s: float | None, progress: Callable[[], None] | None) -> None:
        """Run until asked to stop, for ``duration_s`` at most, or until the run cannot go on (``failure``)."""
        reports: set[asyncio.Task[None]] = set()
        try:
            await self._serve(duration_s, progress, reports)
        except Exception as error:  # noqa: BLE001 - open positions matter more than a traceback, so it is drained
            self._fail(error)
        finally:
            await asyncio.gather(*reports, return_exceptions=True)

    async def _serve(
        self,
        duration_s: float | None,
        progress: Callable[[], None] | None,
        reports: set[asyncio.Task[None]],
    ) -> None:
        began_ns = reported_ns = self._clock.monotonic_ns()
        while not self._stop.is_set():
            now_ns = self._turned_ns = self._clock.monotonic_ns()
            if duration_s is not None and now_ns - began_ns >= duration_s * 1e9:
                return
            self._follow_cluster()
            self._check_children()
            for feed in self._feeds.values():
                feed.check()
            if self._shards is not None:
                self._shards.step(now_ns)
            if progress is not None and now_ns - reported_ns >= _PROGRESS_S * 1e9 and not reports:
                reported_ns = now_ns
                report = asyncio.create_task(self.report(progress))
                reports.add(report)
                report.add_done_callback(reports.discard)
            await self.processes.until_next(self._tick_s())

    def _tick_s(self) -> float:
        """Return the time until the next check."""
        timers = self._ports.timers
        is_idle = self._shards is None or self._shards.assignments.is_idle
        is_idle = is_idle and self.processes.is_settled and self._cluster is None
        return timers.tick_s if is_idle else timers.busy_tick_s

    def _follow_cluster(self) -> None:
        """Do what the agent shows, in a run on several hosts: run what this host holds, and follow the universe."""
        cluster, shards = self._cluster, self._shards
        if cluster is None or shards is None:
            return
        if not cluster.leads and cluster.view.universe > cluster.universe:
            universe = cluster.read_universe()
            if universe is not None and universe.serial > cluster.universe:
                try:
                    if shards.adopt(universe):
                        cluster.renew_workers()
                except ChangeFailed as error:
                    get_logger().warning("the universe of the cluster is not in force yet", error=str(error))
        cluster.universe = shards.assignments.universe.serial
        cluster.step()
        shards.hold(cluster.markets)
        self._status.away = cluster.away
        if cluster.view.phase and not self._stop.is_set():
            get_logger().warning(
                "the cluster ends", positions="kept" if cluster.view.phase == 2 else "closed"
            )
            self.request_stop(keep_positions=cluster.view.phase == 2, all_hosts=True)

    @staticmethod
    async def report(progress: Callable[[], None]) -> None:
        """Call ``progress`` in a thread: it decodes every book, and no beat and no frame may wait for that."""
        try:
            await asyncio.to_thread(progress)
        except Exception as error:  # noqa: BLE001 - a report that fails must not end a run
            get_logger().error("the progress cannot be reported", exc_info=error)

    async def drain(self) -> None:
        """Enter nothing; close the positions, or keep them if asked to; wait for the workers to end."""
        if self._books is None or self.state != "running" or self._recorder is not None:
            return
        self._set_state("draining")
        self.processes.ending = True
        self.keeps_positions = self.keeps_positions or not self._is_last
        risk = self.processes.get("risk")
        if risk is not None and not risk.pid and self._cluster is None:
            self.alert(f"risk is gone: nothing can be closed; {describe_open(self._risk_note())}")
            return
        if self._shards is not None:
            self._shards.end(self._clock.monotonic_ns())
        self._books.set_phase(Phase.DRAINING_KEEP if self.keeps_positions else Phase.DRAINING)
        self._wake_workers()
        get_logger().info("stopping", positions="kept" if self.keeps_positions else "closed")
        deadline_ns = self._clock.monotonic_ns() + int(self.config.run.stop_timeout_s * 1e9)
        stops = self._stops
        while self._is_at_work():
            try:
                self._follow_cluster()
                self._check_children()
            except RunFailed as error:
                self._fail(error)
                return
            except Exception as error:  # noqa: BLE001 - the workers drain by themselves; a time-out is set
                if not isinstance(self.failure, Defect):  # the same defect is raised again and again
                    self._fail(error)
            if self._clock.monotonic_ns() > deadline_ns:
                self.alert(
                    f"positions not all closed within {self.config.run.stop_timeout_s:g} s"
                    + describe_unclosable(self._risk_note())
                )
                return
            if self._stops > stops + 1:
                self.alert("stopped at once on a second request: positions may be left open")
                return
            await self.processes.until_next(self._ports.timers.busy_tick_s)

    def _is_at_work(self) -> bool:
        """Return whether a worker has not drained yet, here, or on another host where the whole cluster ends."""
        workers = [child for child in self.processes.children if child.shard is not None]
        if any(worker.state in ("starting", "running", "restarting") for worker in workers):
            return True
        return self._is_last and self._cluster is not None and self._are_others_at_work(self._cluster)

    def _are_others_at_work(self, cluster: HostRole) -> bool:
        """Return whether other hosts of a cluster that ends have something left to close or to book.

        Without this host they might be too few to book it, and its summary would be of before.
        """
        if cluster.others_at_work():
            return True
        if not cluster.leader:
            return False  # nothing can be booked
        note = self._risk_note()
        if note.open_intents:
            return True
        stays = self.keeps_positions or (note.halt is not None and note.halt.level == "stopped")
        return bool(note.positions) and not stays

    async def _leave_cluster(self) -> None:
        """Give back what this host holds.

        Where the whole cluster ends, the leader goes first: it needs the others to store its last events.
        """
        cluster = self._cluster
        if cluster is None or self.processes.get("agent") is None:
            return
        cluster.leaves = cluster.is_over = True
        deadline_ns = self._clock.monotonic_ns() + int((_LAST_S if self._is_last else _LEAVE_S) * 1e9)
        while cluster.holds_anything() or (self._is_last and cluster.is_led_elsewhere()):
            cluster.step()
            try:
                self._check_children()
            except RunFailed as error:
                self._fail(error)
                break
            if self._clock.monotonic_ns() > deadline_ns:
                self.alert("the agent has not given back in time what this host holds; it expires by itself")
                break
            await self.processes.until_next(self._ports.timers.busy_tick_s)
        await self.processes.end(["agent"], 5.0)

    async def end(self, before_removal: Callable[[], Awaitable[None]]) -> None:
        """End every child in order, await ``before_removal`` while the pages are still there, close everything."""
        self.processes.ending = True
        if self.processes.spares is not None:
            self.processes.spares.end()
        workers = [child.name for child in self.processes.children if child.shard is not None]
        await self.processes.end(workers, 2.0)
        for feed in self._feeds.values():
            await feed.stop()
        await self.processes.end(["accounts"], 5.0)
        await self._end_risk()
        await self._leave_cluster()
        await self.processes.end(["recorder"], 10.0)
        await self.processes.end(["viewer"], 2.0)
        await self.processes.end(COMPANIONS, 5.0)
        await self.processes.end(["sim"], 3.0)
        try:
            self._status.journal.follow(self._risk_note_text())
            self._set_state("ended")
            self._write_note()
            await before_removal()
        finally:
            self.processes.kill_all()
            for task in self._tasks:
                task.cancel()
            for close in reversed(self._closers):
                close()

    async def _end_risk(self) -> None:
        """End risk. It closes the ledger and reads it back, so how it ends is part of how the run went."""
        risk = self.processes.get("risk")
        if risk is None or not risk.pid:
            return
        pid, was_up = self._risk_pid, risk.is_up
        await self.processes.end(["risk"], 10.0)
        self._ledger.poll(pid)
        code = risk.poll()
        # A host may lead for a moment only, and a risk process that was not up yet has booked nothing.
        if code and code != NOT_LEADER and (was_up or self._cluster is None):
            self.failure = self.failure or ChildFailed(
                f"risk ended with code {code} at the stop: {risk.stderr_tail()}"
            )
            self.alert(str(self.failure))

    def _set_state(self, state: RunState) -> None:
        self._status.state = state
        self._ports.observer.state_changed(state)

    def _fail(self, error: Exception) -> None:
        """Note why the run cannot go on; the first reason counts."""
        if isinstance(error, RunFailed):
            get_logger().error("cannot go on", why=str(error))
        else:
            get_logger().error("cannot go on: a defect in the supervisor", exc_info=error)
            error = Defect(f"a defect in the supervisor: {error!r}")
        self.failure = self.failure or error

    def _start_child(self, spec: ChildSpec) -> Child:
        child = Child(spec, self._ports.host)
        self.processes.start(child)
        return child

    def _start_companion(self, name: str) -> None:
        try:
            self._start_child(self._specs.companion(name))
        except ChildFailed as error:
            self.alert(f"this run has no {name}: {error}")

    def _check_children(self) -> None:
        now_ns = self._clock.monotonic_ns()
        self._watchdog.check(now_ns)
        self.processes.watch()
        self._children_noted.run_if_due(now_ns)

    async def _start_exchanges(self) -> None:
        sim = self._start_child(self._specs.sim(lambda: self._sim))
        await self.processes.until_up(sim)
        self.config, self._sim = with_exchanges(self.config, self.files.sim_ready.read_bytes())
        probe = HttpProbe(self._sim.host, self._sim.port_of(AWAY), lambda: self._frames, self._clock)
        self._watchdog.probe = probe
        self._tasks.append(asyncio.create_task(probe.run(), name="probe"))

    async def _start_feeds(
        self,
        universe: Universe,
        books: BooksWriter,
        notifiers: Sequence[ShardNotifier],
        bus: Publisher,
        raw: Publisher,
    ) -> None:
        self._feeds = {
            name: VenueFeed(
                get_venue(name),
                self.config.venues.get(name),
                universe,
                books,
                notifiers,
                bus,
                self._clock,
                self.config.run.receiver,
                self._ports.opener,
                data_source=self.config.data_source,
                fetch=self._ports.fetch,
                alert=self.alert,
                quality=self.config.data_quality,
                raw=raw,
            )
            for name in self.config.venues.traded
        }
        for feed in self._feeds.values():
            await feed.start()

    def _wake_workers(self) -> None:
        """Let the workers follow a change of the phase or of the universe at once."""
        for notifier in self._notifiers:
            notifier.wake()

    def _notifier(self, bus: Publisher, shard: int) -> ShardNotifier:
        notifier = ShardNotifier.create(self.files.dir, shard, ringer=self._ports.open_ringer(bus, shard))
        self._closers.append(notifier.close)
        return notifier

    def _open_shards(self, universe: Universe, books: BooksWriter) -> None:
        """Allow pairs to be moved, added and removed from now on."""
        self._shards = ShardManager(
            universe,
            config=self.config,
            files=self.files,
            books=books,
            feeds=self._feeds,
            processes=self.processes,
            clock=self._clock,
            alert=self.alert,
            held=lambda: frozenset(position.pair for position in self._risk_note().positions),
            on_universe=self._on_universe,
            find_universe=self._ports.find_universe,
            read_listings=self._ports.read_listings,
            cpu_s=self._ports.host.cpu_s,
            wake_workers=self._wake_workers,
            others=self._cluster,
        )
        self._closers.append(self._shards.close)
        if self._control is not None and self._recorder is None:
            self._shards.register(self._control)

    def _on_universe(self, universe: Universe) -> None:
        self._status.universe = universe
        self._find_unattended(universe)
        self._ports.observer.universe_changed(universe)

    def _open_control(self) -> None:
        server = self._control = ControlServer(
            self.files.control_endpoint, self._on_control_failed, self._ports.open_server
        )
        self._closers.append(server.close)
        server.on(control.Stop, self._on_stop)
        server.on(control.Ping, lambda _: control.ControlDone(self.state))
        server.why_not_yet = self._why_not_yet
        server.start()

    def _waits_for_leader(self) -> bool:
        """Return whether this host of a cluster cannot begin before it knows a leader and the pairs."""
        cluster = self._cluster
        return cluster is not None and self._status.universe is None and not cluster.leads

    def _why_not_yet(self) -> str:
        if self._cluster is not None and self._waits_for_leader():
            why = self._cluster.why_no_leader().removeprefix("waiting for a leader").removeprefix(": ")
            return "this host waits for a leader" + (f": {why}" if why else "")
        return "this run has not begun yet: ask again later" if self._shards is None else ""

    def _on_stop(self, order: control.Stop) -> control.Answer:
        cluster = self._cluster
        if order.host_only and cluster is None:
            raise UsageError("--host-only: this run has no other hosts")
        if self._waits_for_leader():
            self.request_stop(keep_positions=True)
            others = "" if order.host_only else "; other hosts are not stopped by it"
            return control.ControlDone(f"this host waits for a leader and ends at once{others}")
        all_hosts = not order.host_only
        self.request_stop(keep_positions=order.keep_positions, all_hosts=all_hosts)
        if cluster is None:
            return control.ControlDone("stopping")
        if order.host_only:
            return control.ControlDone(
                "this host leaves the cluster; its positions are kept for the other hosts"
            )
        cluster.ordered_phase = 2 if order.keep_positions else 1
        unreached = cluster.unreached()
        if unreached:
            return control.ControlDone(
                f"stopping this host; {', '.join(unreached)} cannot be reached and may go on: stop each of them there"
            )
        return control.ControlDone("stopping all hosts of the cluster")

    def _on_control_failed(self) -> None:
        """End in order, because no person could order this run to end otherwise."""
        self._fail(RunFailed("the control socket ended in a defect"))
        self.request_stop()

    def _note_children(self) -> None:
        self._ports.note_children(self.processes.pids)

    def _risk_note(self) -> RiskNote:
        note = self._risk_note_text()
        return decode_risk_note(note) if note else NO_NOTE

    def _risk_note_text(self) -> bytes:
        try:
            with PageReader.attach(self.files.risk_page) as page:
                return page.note()
        except SharedMemoryError:
            return b""  # risk is being replaced

    @property
    def _risk_pid(self) -> int:
        risk = self.processes.get("risk")
        return risk.pid if risk is not None else 0

    def _why_fenced(self, shard: int) -> str:
        return self._risk_note().fences.get(str(shard), "")

    def _find_unattended(self, universe: Universe) -> None:
        """Alert a person to open positions of pairs that this run does not trade: no worker closes them."""
        mine = {pair.base for pair in universe.pairs}
        unattended = tuple(
            f"{position.pair} {position.position_id}"
            for position in self._risk_note().positions
            if position.pair not in mine
        )
        is_news = unattended != self._status.unattended
        self._status.unattended = unattended
        if unattended and is_news:
            self.alert(f"open positions of pairs this run does not trade: {', '.join(unattended)}")

    async def _beat(self) -> None:
        """Show beats to the children: one that misses them for a second trades nothing until they come again."""
        beat_s, cpu_ns = self._ports.timers.beat_s, self._ports.cpu_ns
        began_ns = began_used_ns = 0

        def turn() -> float:
            nonlocal began_ns, began_used_ns
            now_ns, used_ns = self._clock.monotonic_ns(), cpu_ns()
            if began_ns:
                span_ns = now_ns - began_ns
                late_ns = span_ns - int(beat_s * 1e9)
                if self._status.record_turn(span_ns, late_ns, used_ns - began_used_ns):
                    self.alert(
                        f"the supervisor stood still for {late_ns / 1e9:.1f} s: nothing was traded meanwhile"
                    )
            began_ns, began_used_ns = now_ns, used_ns
            self._beat_once(now_ns)
            return beat_s

        await repeat(turn)

    def _beat_once(self, now_ns: int) -> None:
        if self._books is not None:
            self._books.beat(now_ns)
        if self._status.beat(now_ns):
            self._status.bad_orders = self._control.bad if self._control is not None else 0
            try:
                self._ledger.poll(self._risk_pid)
                self._attend()
                self._write_note()
            except Exception as error:  # noqa: BLE001 - without beats no worker trades, without a note all do
                self._status.postpone_note(now_ns)
                get_logger().error("the supervisor's note cannot be written", exc_info=error)

    def _attend(self) -> None:
        """Make the feeds confirm the quiet books of all pairs whose positions may have to be closed."""
        risk, universe = self.processes.get("risk"), self._status.universe
        health = risk.health if risk is not None else None
        note = health.note(risk.pid) if risk is not None and isinstance(health, PageHealth) else b""
        if self._cluster is not None and not note:
            note = self._risk_note_text()  # of the leader, as the agent shows it
        if not note or universe is None:
            return  # risk is being replaced, and what was open still is
        self._status.journal.follow(note)
        basis = note, universe.serial, len(self._feeds)
        if basis == self._attended_for:
            return
        self._attended_for = basis
        pairs = open_pairs(note)
        slots = {leg.slot for pair in universe.pairs if pair.base in pairs for leg in (pair.home, pair.away)}
        if slots:
            slots.add(universe.fx.slot)
        for feed in self._feeds.values():
            feed.attend(frozenset(slots))

    def _write_note(self) -> None:
        self._status.write(self.processes, self._report_feeds)

    def _report_feeds(self) -> Sequence[VenueNote]:
        notes = tuple(feed.report() for feed in self._feeds.values())
        self._frames = sum(note.frames for note in notes)
        return notes


def _orders(config: Config) -> str:
    if config.mode == "paper":
        return "paper"
    return "DRY RUN: not sent" if config.live.dry_run else "SENT"
