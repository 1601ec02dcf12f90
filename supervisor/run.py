"""Runs from the first child to the last file: starts in order, serves, drains, and ends in order.

``SupervisorPorts`` is all that a run uses of the world. ``main`` gives real ports and the simulation virtual ones,
so the order of start, drain and end exists once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from arbshard.config import Config, without_secrets
from arbshard.config.run import PAIRS_MAX
from arbshard.errors import ArbshardError, ChildFailed, RunFailed, UsageError
from arbshard.execution.live.keys import hand_over
from arbshard.ledger.file import Opening
from arbshard.log import get_logger
from arbshard.model.notes import COMPANIONS, RunState, VenueNote
from arbshard.model.phase import Phase
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.repeat import repeat
from arbshard.venues.keys import Keys
from arbshard.venues.registry import AWAY
from arbshard.wire import control
from arbshard.wire.recording import RAW
from supervisor.cluster.member import OPEN_STAYS, ClusterMember
from supervisor.cluster.role import HostRole
from supervisor.control import ControlServer
from supervisor.exchanges import with_exchanges
from supervisor.feeds.market_feeds import MarketFeeds
from supervisor.ledger import LedgerAlerts, describe_open, describe_unclosable
from supervisor.ports import SupervisorPorts
from supervisor.preflight import HeedingQuestions
from supervisor.processes.child import Child, ChildSpec
from supervisor.processes.probe import HttpProbe
from supervisor.processes.process_supervisor import NOT_LEADER, READY_S, ProcessSupervisor
from supervisor.processes.spares import SparePool
from supervisor.processes.specs import ChildSpecs, Programs
from supervisor.processes.watchdog import Watchdog
from supervisor.retry import Retried
from supervisor.risk_view import RiskView
from supervisor.rundir import write_whole
from supervisor.shards.carried import carried_by
from supervisor.shards.manager import ShardManager, slots_for
from supervisor.status_publisher import StatusPublisher
from supervisor.topics import RunTopics
from supervisor.venue_wait import find_once_reachable

_PROGRESS_S = 5.0
_FIND_S = 120.0
"""How long venues may take at the start to state what they list, and live what they know of our accounts, in
seconds.
"""
_MEMBER_WAIT_S = 120.0
"""How long the start of a host of a cluster waits for the venues, in seconds: it does none of its duties meanwhile,
and another host may reach them. Thirty such starts take more than an hour, so a service manager does not give it up.
"""
_TURN_NS = 5_000_000_000
"""The main loop of a run that is well turns many times within so long, in ns."""


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
        waits_for_venues: bool = False,
    ) -> None:
        """Begin. ``keys``: those of all venues; none on paper. ``opening``: what risk must find at its ledger's
        path.

        ``companions``: the processes beside the run that are wanted, of ``model.notes.COMPANIONS``. ``recorder``:
        the arguments of the process that writes a tape, for a run that has feeds and neither risk nor workers; None
        for a run that trades. ``waits_for_venues``: whether the start waits until the venues answer, because no
        person would start the run again.
        """
        self.config = config
        self.files = files
        self._state_dir = state_dir
        self._table = table
        self._companions = companions
        self._recorder = recorder
        self._waits_for_venues = waits_for_venues
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
        is_member = config.cluster is not None and recorder is None
        self._risk = RiskView(files, self.processes, may_be_elsewhere=is_member)
        self._watchdog = Watchdog(self.processes, config.run, self._risk.why_fenced, ports.host.is_stopped)
        self._closers: list[Callable[[], object]] = [self._status.close, self._ledger.close]
        self._feeds: MarketFeeds | None = None
        self._control: ControlServer | None = None
        self._shards: ShardManager | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._sim = config.sim
        self._member = self._make_member() if is_member else None
        """What this host does in a run on several; None in a run on one."""
        self._stop = asyncio.Event()
        self._stops = 0
        self._turned_ns = 0
        """When the main loop last began a turn (monotonic ns)."""
        self.has_started = False
        self.keeps_positions = False
        self._is_last = self._member is None
        """Whether no other host goes on when this run ends."""
        self.failure: ArbshardError | None = None

    def _make_member(self) -> ClusterMember:
        ports = self._ports
        role = HostRole(
            self.config,
            self.files,
            self._specs,
            self.processes,
            ports.host,
            ports.clock,
            ports.lease_ns,
            self.alert,
            self._status.show,
        )
        self._watchdog.fence_of = role.fence
        self._closers.append(role.close)
        return ClusterMember(
            self.config, role, self.processes, self._status, ports.clock, ports.timers.busy_tick_s, self.alert
        )

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
        decider = "risk" if self._member is None else "agent"
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
        self._is_last = self._is_last or all_hosts or self._member is None
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
        universe = await (self._find_once_reachable() if self._member is None else self._join(self._member))
        self._status.universe = universe
        write_whole(self.files.universe, msgspec.json.encode(universe))
        # All hosts of a cluster use the same slots, whenever they begin.
        slots = slots_for(len(universe.pairs) if self._member is None else PAIRS_MAX)
        feeds = self._feeds = MarketFeeds(self.config, self.files, self._ports, slots, self.alert)
        self._closers.append(feeds.close)
        self._status.topics = RunTopics(feeds.bus, self._clock, self._risk.text)
        if self._control is None:
            self._open_control()
        if self._member is not None:
            # Workers and risk follow as the agent shows what this host holds; the markets of their pairs do, too.
            await feeds.start(carried_by(universe, frozenset(), None))
            feeds.books.set_universe(universe.serial)
        elif self._recorder is None:
            await self._start_trading(universe, feeds)
        else:
            # It subscribes before the first connection is opened, so the tape begins with the first message.
            recorder = self._start_child(self._specs.recorder(self._recorder))
            await self.processes.until_ready(recorder, lambda: feeds.raw.wanted(RAW.encode()), READY_S)
            await feeds.start(universe)
        self._open_shards(universe, feeds)
        self._ports.before_trading()
        self._turned_ns = self._clock.monotonic_ns()
        feeds.books.set_phase(Phase.RUNNING)
        self._set_state("running")
        self.processes.run_has_begun = True
        if self._table:
            self._start_child(self._specs.viewer())
        self._start_companions()
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

    async def _find_once_reachable(self) -> Universe:
        """Find what can be traded, and wait for the venues where that is wanted. Raises ``ArbshardError``."""
        if not self._waits_for_venues:
            return await self._find_universe()
        if self._control is None:
            self._open_control()  # A person must be able to end the run also while it waits.
        limit_s = _MEMBER_WAIT_S if self._member is not None else None
        universe = await find_once_reachable(self._find_universe, self._stop, self._on_wait, limit_s)
        self._status.waits_for = ""
        return universe

    def _on_wait(self, why: str, pause_s: float) -> None:
        if not self._status.waits_for:
            self._start_companions()  # by them a person learns of it
        self._status.waits_for = why
        self.alert(f"the start waits for the venues: {why}; they are asked again in {pause_s:.0f} s")
        self._ports.observer.start_delayed(why, pause_s)

    async def _find_universe(self) -> Universe:
        """Find what can be traded. Raises ``ArbshardError``."""
        universe = await self._ports.find_universe(self.config, (), _FIND_S, self.alert)
        if self.config.venues.listing_every_s:
            universe = replace(universe, listed_ms=self._clock.wall_ms())
        return universe

    async def _join(self, member: ClusterMember) -> Universe:
        """Start the agent, and wait until the cluster has a leader and a universe."""
        self._open_control()  # A person must be able to end this host also while it waits for a leader.
        await self.processes.until_up(self._start_child(self._specs.agent()))
        return await member.join(self._find_once_reachable, self._stop.is_set)

    async def _start_trading(self, universe: Universe, feeds: MarketFeeds) -> None:
        risk = self._start_child(self._specs.risk())
        if self.config.mode == "live":
            # The check begins only once risk answers, because what the venues state is compared with its ledger.
            await self.processes.until_up(risk)
            await self.processes.until_up(self._start_child(self._specs.accounts()))
        workers = [self._start_child(self._specs.worker(shard)) for shard in range(self.config.run.shards)]
        await feeds.start(universe)
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
            if self._feeds is not None:
                self._feeds.check()
            if self._shards is not None:
                self._shards.step(now_ns)
            if progress is not None and now_ns - reported_ns >= _PROGRESS_S * 1e9 and not reports:
                reported_ns = now_ns
                report = asyncio.create_task(self.report(progress))
                reports.add(report)
                report.add_done_callback(reports.discard)
            await self._until_next_check()

    async def _until_next_check(self) -> None:
        """Wait until it is time for the next check, a child has ended, or the cluster's agent shows something new.

        A check takes as long as a few frames, which wait for it meanwhile; a look at the agent's page takes nothing.
        """
        tick_s = self._tick_s()
        if self._member is None:
            await self.processes.until_next(tick_s)
            return
        look_s = min(tick_s, self._ports.timers.busy_tick_s)
        began_ns = self._clock.monotonic_ns()
        while not self._stop.is_set():
            looked_ns = self._clock.monotonic_ns()
            await self.processes.until_next(look_s)
            now_ns = self._clock.monotonic_ns()
            has_died = now_ns - looked_ns < look_s * 1e9
            if has_died or now_ns - began_ns >= tick_s * 1e9 or self._member.role.has_news():
                return

    def _tick_s(self) -> float:
        """Return the time until the next check."""
        timers = self._ports.timers
        is_idle = self._shards is None or self._shards.assignments.is_idle
        is_idle = is_idle and self.processes.is_settled
        return timers.tick_s if is_idle else timers.busy_tick_s

    def _follow_cluster(self) -> None:
        """Do what the agent shows, in a run on several hosts, and end when the cluster ends."""
        member, shards = self._member, self._shards
        if member is None or shards is None:
            return
        member.follow(shards)
        phase = member.role.view.phase
        if phase and not self._stop.is_set():
            get_logger().warning("the cluster ends", positions="kept" if phase == 2 else "closed")
            self.request_stop(keep_positions=phase == 2, all_hosts=True)

    @staticmethod
    async def report(progress: Callable[[], None]) -> None:
        """Call ``progress`` in a thread: it decodes every book, and no beat and no frame may wait for that."""
        try:
            await asyncio.to_thread(progress)
        except Exception as error:  # noqa: BLE001 - a report that fails must not end a run
            get_logger().error("the progress cannot be reported", exc_info=error)

    async def drain(self) -> None:
        """Enter nothing; close the positions, or keep them if asked to; wait for the workers to end."""
        if self._feeds is None or self.state != "running" or self._recorder is not None:
            return
        self._set_state("draining")
        self.processes.ending = True
        self.keeps_positions = self.keeps_positions or not self._is_last
        risk = self.processes.get("risk")
        if risk is not None and not risk.pid and self._member is None:
            self.alert(f"risk is gone: nothing can be closed; {describe_open(self._risk.note())}")
            return
        if self._shards is not None:
            self._shards.end(self._clock.monotonic_ns())
        self._feeds.books.set_phase(Phase.DRAINING_KEEP if self.keeps_positions else Phase.DRAINING)
        self._feeds.wake_workers()
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
                    + describe_unclosable(self._risk.note())
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
        if self._member is None or not self._is_last:
            return False
        return self._member.are_others_at_work(self._risk.note, keeps_positions=self.keeps_positions)

    async def _leave_cluster(self) -> None:
        """Give back what this host holds, and end the agent."""
        if self._member is None or self.processes.get("agent") is None:
            return
        try:
            await self._member.leave(self._check_children, is_last=self._is_last)
        except RunFailed as error:
            self._fail(error)
        await self.processes.end(["agent"], 5.0)

    async def end(self, before_removal: Callable[[], Awaitable[None]]) -> None:
        """End every child in order, await ``before_removal`` while the pages are still there, close everything."""
        self.processes.ending = True
        self.processes.end_spares()
        workers = [child.name for child in self.processes.children if child.shard is not None]
        await self.processes.end(workers, 2.0)
        if self._feeds is not None:
            await self._feeds.stop()
        await self.processes.end(["accounts"], 5.0)
        await self._end_risk()
        await self._leave_cluster()
        await self.processes.end(["recorder"], 10.0)
        await self.processes.end(["viewer"], 2.0)
        await self.processes.end(COMPANIONS, 5.0)
        await self.processes.end(["sim"], 3.0)
        try:
            self._status.journal.follow(self._risk.text())
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
        pid, was_up = self._risk.pid, risk.is_up
        await self.processes.end(["risk"], 10.0)
        self._ledger.poll(pid)
        code = risk.poll()
        # A host may lead for a moment only, and a risk process that was not up yet has booked nothing.
        if code and code != NOT_LEADER and (was_up or self._member is None):
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

    def _start_companions(self) -> None:
        """Start the processes beside the run that were not started yet."""
        for name in self._companions:
            if self.processes.get(name) is not None:
                continue
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
        probe = HttpProbe(self._sim.host, self._sim.port_of(AWAY), self._frames, self._clock)
        self._watchdog.probe = probe
        self._tasks.append(asyncio.create_task(probe.run(), name="probe"))

    def _open_shards(self, universe: Universe, feeds: MarketFeeds) -> None:
        """Allow pairs to be moved, added and removed from now on."""
        blocks = {name: feed.block for name, feed in feeds.venues.items()}
        asked = HeedingQuestions(blocks, self._ports.find_universe, self._ports.read_listings)
        self._shards = ShardManager(
            universe,
            config=self.config,
            files=self.files,
            books=feeds.books,
            feeds=feeds.venues,
            processes=self.processes,
            clock=self._clock,
            alert=self.alert,
            held=self._risk.held,
            open_pairs=self._risk.open_pairs,
            on_universe=self._on_universe,
            find_universe=asked.find_universe,
            read_listings=asked.read_listings,
            cpu_s=self._ports.host.cpu_s,
            wake_workers=feeds.wake_workers,
            others=self._member.role if self._member is not None else None,
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

    def _why_not_yet(self) -> str:
        why = self._member.why_not_yet if self._member is not None else ""
        return why or ("this run has not begun yet: ask again later" if self._shards is None else "")

    def _on_stop(self, order: control.Stop) -> control.ControlAnswer:
        member = self._member
        if member is None:
            if order.host_only:
                raise UsageError("--host-only: this run has no other hosts")
            self.request_stop(keep_positions=order.keep_positions)
            return control.ControlDone("stopping")
        if member.waits_for_leader:
            self.request_stop(keep_positions=True)
            others = "" if order.host_only else "; other hosts are not stopped by it"
            return control.ControlDone(f"this host waits for a leader and ends at once{others}; {OPEN_STAYS}")
        self.request_stop(keep_positions=order.keep_positions, all_hosts=not order.host_only)
        return control.ControlDone(member.order_end(order))

    def _on_control_failed(self) -> None:
        """End in order, because no person could order this run to end otherwise."""
        self._fail(RunFailed("the control socket ended in a defect"))
        self.request_stop()

    def _note_children(self) -> None:
        self._ports.note_children(self.processes.pids)

    def _find_unattended(self, universe: Universe) -> None:
        """Alert a person to open positions of pairs that this run does not trade: no worker closes them."""
        unattended = self._risk.unattended(universe)
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
        if self._feeds is not None:
            self._feeds.books.beat(now_ns)
        if self._status.beat(now_ns):
            self._status.bad_orders = self._control.bad if self._control is not None else 0
            try:
                self._ledger.poll(self._risk.pid)
                self._follow_risk()
                self._write_note()
            except Exception as error:  # noqa: BLE001 - without beats no worker trades, without a note all do
                self._status.postpone_note(now_ns)
                get_logger().error("the supervisor's note cannot be written", exc_info=error)

    def _follow_risk(self) -> None:
        """Read risk's note for the journal, and for the feeds, which confirm the quiet books of open positions."""
        universe = self._status.universe
        note = self._risk.text_in_force()
        if not note or universe is None:
            return  # risk is being replaced, and what was open still is
        self._status.journal.follow(note)
        if self._feeds is not None:
            self._feeds.attend(note, universe)

    def _write_note(self) -> None:
        self._status.write(self.processes, self._report_feeds)

    def _report_feeds(self) -> Sequence[VenueNote]:
        return self._feeds.report() if self._feeds is not None else ()

    def _frames(self) -> int:
        """Return the number of frames that all feeds had received at the last note."""
        return self._feeds.frames if self._feeds is not None else 0


def _orders(config: Config) -> str:
    if config.mode == "paper":
        return "paper"
    return "DRY RUN: not sent" if config.live.dry_run else "SENT"
