"""One run, from the first child to the last file: start in order, serve, drain, end in order."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from arbshard.clock import SystemClock
from arbshard.config import Config, without_secrets
from arbshard.data.listings import find_universe
from arbshard.errors import ArbshardError, ChildFailed, RunFailed, SharedMemoryError, VenueUnavailable
from arbshard.execution.live.keys import hand_over
from arbshard.ledger.file import Opening
from arbshard.log import get_logger
from arbshard.model.phase import Phase
from arbshard.model.risk_note import NO_NOTE, RiskNote, decode_risk_note
from arbshard.model.universe import Universe
from arbshard.process import keep_what_is_there, pin
from arbshard.shm.books import BooksWriter
from arbshard.shm.doorbell import ShardNotifier
from arbshard.shm.pages import PageReader
from arbshard.venues.keys import Keys
from arbshard.venues.registry import AWAY
from arbshard.wire import control
from arbshard.wire.bus import Publisher
from arbshard.wire.doorbell import BusRinger
from supervisor.control import ControlServer
from supervisor.exchanges import with_exchanges
from supervisor.feeds.markets import Markets
from supervisor.ledger import LedgerAlerts, describe_open
from supervisor.preflight import run_preflight
from supervisor.processes.commands import Programs
from supervisor.processes.probe import Probe
from supervisor.processes.process_supervisor import ProcessSupervisor
from supervisor.processes.spares import SparePool
from supervisor.processes.specs import ChildSpecs
from supervisor.processes.watchdog import Watchdog
from supervisor.retry import Retried
from supervisor.rundir import RunDir, write_whole
from supervisor.shards.manager import ShardManager, Surroundings, slots_for
from supervisor.status_publisher import StatusPublisher
from supervisor.threads import call_from_thread, run_in_thread

_TICK_S = 0.02
_PROGRESS_S = 5.0
_FIND_S = 120.0
"""How long venues may take at the start to say what they list, and live what they know of our accounts."""
_SLOT_BYTES = 8192


class Defect(RunFailed):
    """A mistake of ours, of which the run is to be ended in order."""


class Run:
    """The supervisor of one instance."""

    def __init__(
        self,
        config: Config,
        run_dir: RunDir,
        state_dir: Path,
        *,
        table: bool,
        programs: Programs,
        keys: dict[str, Keys],
        opening: Opening = "any",
    ) -> None:
        """``keys``: of all venues; empty on paper. ``opening``: what risk must find at its ledger's path."""
        self.config = config
        self.files = run_dir.files
        self._run_dir = run_dir
        self._state_dir = state_dir
        self._table = table
        self._clock = SystemClock()
        self._status = StatusPublisher(self.files.supervisor_page, config, state_dir, self._clock)
        self._keys = keys
        handed_over = (lambda: hand_over(keys)) if keys else None
        self._specs = ChildSpecs(programs, self.files, state_dir, opening, handed_over)
        self._ledger = LedgerAlerts(self.files, state_dir, config, self.alert)
        spares = SparePool(config.run, self._specs.spare(), self.alert, handed_over)
        self._children_noted = Retried("the list of children", self._note_children, self.alert)
        self._processes = ProcessSupervisor(
            config.run, self._clock, self.alert, self._children_noted.request, spares
        )
        self._watchdog = Watchdog(self._processes, config.run, self._why_fenced)
        self._closers: list[Callable[[], object]] = [self._status.close]
        self._markets: Markets | None = None
        self._control: ControlServer | None = None
        self._shards: ShardManager | None = None
        self._books: BooksWriter | None = None
        self._bus: Publisher | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._sim = config.sim
        self._stop = asyncio.Event()
        self._stops = 0
        self.keeps_positions = False
        self.failure: ArbshardError | None = None

    def alert(self, line: str) -> None:
        """Something a person should know: logged, counted and shown."""
        self._status.alert(line)

    def request_stop(self, *, keep_positions: bool = False) -> None:
        """End in order. A second request ends at once what the first is still waiting for."""
        self._stops += 1
        self.keeps_positions = self.keeps_positions or keep_positions
        self._stop.set()

    def keep_positions(self) -> None:
        """Leave the positions open when this run ends."""
        self.keeps_positions = True

    async def start(self) -> None:
        """Bring everything up. Raises ``UsageError`` or another ``ArbshardError``; ``end`` must follow."""
        self._obey_signals()
        pin(self.config.run.pin_cores, 0)
        self._tasks.append(asyncio.create_task(self._beat(), name="heart"))
        if self.config.data == "sim":
            await self._start_exchanges()
        universe = await self._find_universe()
        self._status.pairs = len(universe.pairs)
        write_whole(self.files.config, msgspec.json.encode(without_secrets(self.config)))
        write_whole(self.files.universe, msgspec.json.encode(universe))
        books = BooksWriter.create(
            self.files.books, slots_for(len(universe.pairs)), _SLOT_BYTES, epoch=os.getpid()
        )
        self._closers.append(books.close)
        books.beat(self._clock.monotonic_ns())
        self._books = books
        bus = Publisher(self.files.bus_endpoint)
        self._closers.append(bus.close)
        bus.start()
        self._bus = bus
        notifiers = [self._notifier(bus, shard) for shard in range(self.config.run.shards)]
        self._open_control()
        risk = self._specs.risk()
        self._processes.start(risk)
        if self.config.mode == "live":
            # Only once risk answers: what the venues say is compared with its ledger.
            await self._processes.until_up(risk)
            accounts = self._specs.accounts()
            self._processes.start(accounts)
            await self._processes.until_up(accounts)
        workers = [self._specs.worker(shard) for shard in range(self.config.run.shards)]
        for worker in workers:
            self._processes.start(worker)
        self._markets = Markets(self.config, universe, books, notifiers, bus, self._clock, self.alert)
        await self._markets.start()
        await self._processes.until_up(risk)
        for worker in workers:
            await self._processes.until_up(worker)
        self._find_unattended(universe)
        self._open_shards(universe, books, self._markets)
        keep_what_is_there()  # before anybody trades: it takes tens of milliseconds
        books.set_phase(Phase.RUNNING)
        self._status.state = "running"
        if self._table:
            self._processes.start(self._specs.viewer())
        get_logger().info(
            "running",
            name=self.config.name,
            data="SIMULATED exchanges" if self.config.data == "sim" else "public feeds",
            orders=_orders(self.config),
            pairs=len(universe.pairs),
            shards=self.config.run.shards,
            state_dir=str(self._state_dir),
        )

    async def _find_universe(self) -> Universe:
        """What can be traded; live, only if everything is fit for it. Raises ``ArbshardError``."""
        alert = call_from_thread(self.alert)

        async def find() -> Universe:
            universe = await find_universe(self.config, shards=self.config.run.shards)
            if self.config.mode == "live":
                await run_preflight(self.config, universe, self._keys, alert)
            return universe

        try:
            return await run_in_thread(find, _FIND_S)
        except TimeoutError as error:
            raise VenueUnavailable(f"the venues did not answer within {_FIND_S:g} s") from error

    def _obey_signals(self) -> None:
        """End in order by Ctrl-C, by SIGTERM, and when the terminal is closed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                loop.add_signal_handler(number, self.request_stop)

    async def serve(self, duration_s: float | None, progress: Callable[[], None]) -> None:
        """Run until told to stop, for ``duration_s`` at most, or until the run cannot go on (``failure``).

        ``progress`` is called every few seconds, in a thread.
        """
        reports: set[asyncio.Task[None]] = set()
        try:
            await self._serve(duration_s, progress, reports)
        except Exception as error:  # noqa: BLE001 - open positions are worth more than a traceback: it is drained
            self._fail(error)
        finally:
            await asyncio.gather(*reports, return_exceptions=True)

    async def _serve(
        self, duration_s: float | None, progress: Callable[[], None], reports: set[asyncio.Task[None]]
    ) -> None:
        end_s = asyncio.get_running_loop().time() + duration_s if duration_s is not None else None
        told_s = asyncio.get_running_loop().time()
        while not self._stop.is_set():
            now_s = asyncio.get_running_loop().time()
            if end_s is not None and now_s >= end_s:
                return
            self._look_after_children()
            if self._markets is not None:
                self._markets.check()
            if self._shards is not None:
                self._shards.step(self._clock.monotonic_ns())
            if now_s - told_s >= _PROGRESS_S and not reports:
                told_s = now_s
                report = asyncio.create_task(self.report(progress))
                reports.add(report)
                report.add_done_callback(reports.discard)
            await self._processes.until_next(_TICK_S)

    @staticmethod
    async def report(progress: Callable[[], None]) -> None:
        """Call ``progress`` in a thread: it decodes every book, and no beat and no frame may wait for that."""
        try:
            await asyncio.to_thread(progress)
        except Exception as error:  # noqa: BLE001 - a report that fails must not end a run
            get_logger().error("the progress cannot be told", exc_info=error)

    async def drain(self) -> None:
        """No new entries; close the positions, or keep them if told to; wait for the workers to end."""
        if self._books is None or self._status.state != "running":
            return
        self._status.state = "draining"
        self._processes.ending = True
        risk = self._processes.get("risk")
        if risk is not None and not risk.pid:
            self.alert(f"risk is gone: nothing can be closed; {describe_open(self._risk_note())}")
            return
        if self._shards is not None:
            self._shards.end(self._clock.monotonic_ns())
        self._books.set_phase(Phase.DRAINING_KEEP if self.keeps_positions else Phase.DRAINING)
        get_logger().info("stopping", positions="kept" if self.keeps_positions else "closed")
        deadline_ns = self._clock.monotonic_ns() + int(self.config.run.stop_timeout_s * 1e9)
        stops = self._stops
        workers = [child for child in self._processes.children if child.shard is not None]
        while any(worker.state in ("starting", "running", "restarting") for worker in workers):
            try:
                self._look_after_children()
            except RunFailed as error:
                self._fail(error)
                return
            except Exception as error:  # noqa: BLE001 - the workers drain by themselves; a time-out is set
                if not isinstance(self.failure, Defect):  # the same one comes again and again
                    self._fail(error)
            if self._clock.monotonic_ns() > deadline_ns:
                self.alert(f"positions not all closed within {self.config.run.stop_timeout_s:g} s")
                return
            if self._stops > stops + 1:
                self.alert("stopped at once on a second request: positions may be left open")
                return
            await self._processes.until_next(_TICK_S)

    async def end(self, before_removal: Callable[[], Awaitable[None]]) -> None:
        """End every child in order, call ``before_removal`` while the pages still stand, close everything."""
        self._processes.ending = True
        if self._processes.spares is not None:
            self._processes.spares.end()
        await self._processes.end(
            [child.name for child in self._processes.children if child.shard is not None], 2.0
        )
        if self._markets is not None:
            await self._markets.stop()
        await self._processes.end(["accounts"], 5.0)
        await self._end_risk()
        await self._processes.end(["viewer"], 2.0)
        await self._processes.end(["sim"], 3.0)
        self._status.state = "ended"
        try:
            self._write_note()
            await before_removal()
        finally:
            self._processes.kill_all()
            for task in self._tasks:
                task.cancel()
            for close in reversed(self._closers):
                close()

    async def _end_risk(self) -> None:
        """It closes the ledger and reads it back: how it ends is part of how the run went."""
        risk = self._processes.get("risk")
        if risk is None or not risk.pid:
            return
        await self._processes.end(["risk"], 10.0)
        self._ledger.poll()
        code = risk.poll()
        if code:
            self.failure = self.failure or ChildFailed(
                f"risk ended with code {code} at the stop: {risk.stderr_tail()}"
            )
            self.alert(str(self.failure))

    def _fail(self, error: Exception) -> None:
        """Note why the run cannot go on; the first reason counts."""
        if isinstance(error, RunFailed):
            get_logger().error("cannot go on", why=str(error))
        else:
            get_logger().error("cannot go on: a defect in the supervisor", exc_info=error)
            error = Defect(f"a defect in the supervisor: {error!r}")
        self.failure = self.failure or error

    def _look_after_children(self) -> None:
        self._watchdog.check(self._clock.monotonic_ns())
        self._processes.watch()
        self._children_noted.run_if_due(self._clock.monotonic_ns())

    async def _start_exchanges(self) -> None:
        sim = self._specs.sim(lambda: self._sim)
        self._processes.start(sim)
        await self._processes.until_up(sim)
        self.config, self._sim = with_exchanges(self.config, self.files.sim_ready.read_bytes())
        probe = Probe(self._sim.host, self._sim.port_of(AWAY), self._frames, self._clock)
        self._watchdog.probe = probe
        self._tasks.append(asyncio.create_task(probe.run(), name="probe"))

    def _frames(self) -> int:
        return self._markets.frames if self._markets is not None else 0

    def _notifier(self, bus: Publisher, shard: int) -> ShardNotifier:
        ringer = BusRinger(bus, shard) if self.config.run.doorbell == "zmq" else None
        notifier = ShardNotifier.create(self.files.dir, shard, ringer=ringer)
        self._closers.append(notifier.close)
        return notifier

    def _open_shards(self, universe: Universe, books: BooksWriter, markets: Markets) -> None:
        """From now on pairs can be moved, added and removed."""

        def changed(newer: Universe) -> None:
            self._status.pairs = len(newer.pairs)
            self._find_unattended(newer)

        around = Surroundings(
            self.config,
            self.files,
            books,
            markets,
            self._processes,
            self._clock,
            self.alert,
            lambda: frozenset(position.pair for position in self._risk_note().positions),
            changed,
            self._keys,
        )
        self._shards = ShardManager(universe, around)
        self._closers.append(self._shards.close)
        if self._control is not None:
            self._shards.register(self._control)

    def _open_control(self) -> None:
        desk = self._control = ControlServer(self.files, self.request_stop)
        self._closers.append(desk.close)
        desk.on(control.Stop, self._told_to_stop)
        desk.on(control.Ping, lambda _: control.Done(self._status.state))
        desk.start()

    def _told_to_stop(self, order: control.Stop) -> control.Answer:
        self.request_stop(keep_positions=order.keep_positions)
        return control.Done("stopping")

    def _note_children(self) -> None:
        self._run_dir.note_children(self._processes.pids)

    def _risk_note(self) -> RiskNote:
        try:
            with PageReader.attach(self.files.risk_page) as page:
                note = page.note()
        except SharedMemoryError:
            return NO_NOTE  # risk is just being replaced
        return decode_risk_note(note) if note else NO_NOTE

    def _why_fenced(self, shard: int) -> str:
        return self._risk_note().fences.get(str(shard), "")

    def _find_unattended(self, universe: Universe) -> None:
        """Positions in the ledger whose pair is not traded in this run have nobody to close them."""
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
        """The heart: children that miss it for a second trade nothing until it beats again."""
        while True:
            now_ns = self._clock.monotonic_ns()
            used_ns = time.thread_time_ns()
            if self._books is not None:
                self._books.beat(now_ns)
            if self._bus is not None:
                self._bus.publish(b"beat", now_ns.to_bytes(8, "little"))
            if self._status.beat(now_ns):
                self._status.bad_orders = self._control.bad if self._control is not None else 0
                try:
                    self._ledger.poll()
                    self._write_note()
                except Exception as error:  # noqa: BLE001 - without a heart nobody trades, without a note all do
                    self._status.postpone_note(now_ns)
                    get_logger().error("the supervisor's note cannot be written", exc_info=error)
            await asyncio.sleep(_TICK_S)
            self._status.record_turn(
                self._clock.monotonic_ns() - now_ns - int(_TICK_S * 1e9), time.thread_time_ns() - used_ns
            )

    def _write_note(self) -> None:
        markets = self._markets
        self._status.write(self._processes, markets.report if markets is not None else tuple)


def _orders(config: Config) -> str:
    if config.mode == "paper":
        return "paper"
    return "DRY RUN: not sent" if config.live.dry_run else "SENT"
