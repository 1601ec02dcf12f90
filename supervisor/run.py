"""One run, from the first child to the last file: start in order, serve, drain, end in order."""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.data.listings import AWAY, HOME, find_universe
from arbshard.errors import ArbshardError, ProtocolError, RunFailed, SharedMemoryError
from arbshard.log import error_count, get_logger
from arbshard.model.notes import RunState, SupervisorNote, VenueNote
from arbshard.model.phase import Phase, WorkerState
from arbshard.model.risk_note import decode_risk_note
from arbshard.model.universe import Universe
from arbshard.process import keep_what_is_there, pin
from arbshard.shm.books import BooksWriter
from arbshard.shm.doorbell import ShardNotifier
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.venues.registry import get_venue
from arbshard.wire import control
from arbshard.wire.bus import Publisher
from arbshard.wire.doorbell import BusRinger
from arbshard.wire.serve import ReplyServer
from supervisor.child import Child
from supervisor.commands import (
    Programs,
    accounts_command,
    risk_command,
    sim_command,
    viewer_command,
    worker_command,
)
from supervisor.exchanges import with_exchanges
from supervisor.feeds import VenueFeed
from supervisor.fitness import require_fit
from supervisor.rundir import RunDir, write_whole
from supervisor.tree import Tree

COUNTERS = ("pid", "beat", "beat_ns", "errors", "messages")
HISTOGRAMS = ("loop_gap",)
_TICK_S = 0.02
_NOTE_S = 0.25
_READY_S = 15.0
_ALERTS_KEPT = 5
_SLOT_BYTES = 8192


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
    ) -> None:
        self.config = config
        self._programs = programs
        self.files = run_dir.files
        self._run_dir = run_dir
        self._state_dir = state_dir
        self._table = table
        self._clock = SystemClock()
        self._page = PageWriter.create(self.files.supervisor_page, COUNTERS, HISTOGRAMS)
        self._tree = Tree(config.run, self._clock, self.alert, self._children_changed)
        self._closers: list[Callable[[], object]] = [self._page.close]
        self._feeds: list[VenueFeed] = []
        self._venues: tuple[VenueNote, ...] = ()
        self._alerts: deque[str] = deque(maxlen=_ALERTS_KEPT)
        self._alerts_total = 0
        self._unattended: tuple[str, ...] = ()
        self._books: BooksWriter | None = None
        self._bus: Publisher | None = None
        self._universe: Universe | None = None
        self._heart: asyncio.Task[None] | None = None
        self._sim = config.sim
        self._state: RunState = "starting"
        self._started_ms = self._clock.wall_ms()
        self._stop = asyncio.Event()
        self._stops = 0
        self.keeps_positions = False
        self.failure: ArbshardError | None = None

    def alert(self, line: str) -> None:
        """Something a person should know: logged, counted and shown."""
        self._alerts_total += 1
        self._alerts.append(f"{datetime.now(UTC):%H:%M:%S} {line}")
        get_logger().warning("alert", what=line)

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
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.request_stop)
        pin(self.config.run.pin_cores, 0)
        self._heart = asyncio.create_task(self._beat(), name="heart")
        logs = self._state_dir / "logs"
        if self.config.data == "sim":
            await self._start_exchanges(logs)
        universe = await find_universe(self.config, shards=self.config.run.shards)
        self._universe = universe
        if self.config.mode == "live":
            await require_fit(self.config, universe, self.alert)
        write_whole(self.files.config, msgspec.json.encode(self.config))
        write_whole(self.files.universe, msgspec.json.encode(universe))
        self._books = BooksWriter.create(
            self.files.books, 1 + 2 * len(universe.pairs), _SLOT_BYTES, epoch=os.getpid()
        )
        self._closers.append(self._books.close)
        self._books.beat(self._clock.monotonic_ns())
        bus = Publisher(self.files.bus_endpoint)
        self._closers.append(bus.close)
        bus.start()
        self._bus = bus
        notifiers = [self._notifier(bus, shard) for shard in range(self.config.run.shards)]
        server = ReplyServer(self.files.control_endpoint, self._obey)
        self._closers.append(server.close)
        server.start(self._control_failed)
        risk = Child("risk", risk_command(self.files, self._state_dir), logs)
        self._tree.start(risk)
        if self.config.mode == "live":
            await self._start_accounts(risk, logs)
        workers = [
            Child(
                f"worker-{shard}",
                worker_command(self._programs.worker, self.files, self._state_dir, shard),
                logs,
            )
            for shard in range(self.config.run.shards)
        ]
        for worker in workers:
            self._tree.start(worker)
        for name in (HOME, AWAY):
            venue, settings = get_venue(name), self.config.venues.get(name)
            feed = VenueFeed(
                venue,
                settings,
                universe,
                self._books,
                notifiers,
                bus,
                self._clock,
                self.config.run.receiver,
            )
            self._feeds.append(feed)
        await asyncio.gather(*(feed.start() for feed in self._feeds))
        await self._until_risk_answers(risk)
        for shard, worker in enumerate(workers):
            await self._tree.until_ready(worker, partial(self._is_running, shard), _READY_S)
        self._find_unattended(universe)
        self._books.set_phase(Phase.RUNNING)
        self._state = "running"
        if self._table:
            self._tree.start(Child("viewer", viewer_command(self.files), logs, draws=True))
        keep_what_is_there()
        get_logger().info(
            "running",
            name=self.config.name,
            data="SIMULATED exchanges" if self.config.data == "sim" else "public feeds",
            orders=_orders(self.config),
            pairs=len(universe.pairs),
            shards=self.config.run.shards,
            state_dir=str(self._state_dir),
        )

    async def serve(self, duration_s: float | None, progress: Callable[[], None]) -> None:
        """Run until told to stop, for ``duration_s`` at most. ``progress`` is called every few seconds."""
        end_s = asyncio.get_running_loop().time() + duration_s if duration_s is not None else None
        told_s = asyncio.get_running_loop().time()
        while not self._stop.is_set():
            now_s = asyncio.get_running_loop().time()
            if end_s is not None and now_s >= end_s:
                return
            try:
                self._tree.watch()
                for feed in self._feeds:
                    feed.check()
            except RunFailed as error:
                self.failure = error
                get_logger().error("cannot go on", why=str(error))
                return
            if now_s - told_s >= 5:
                told_s = now_s
                progress()
            await asyncio.sleep(_TICK_S)

    async def drain(self) -> None:
        """No new entries; close the positions, or keep them if told to; wait for the workers to end."""
        if self._books is None or self._state != "running":
            return
        self._state = "draining"
        self._tree.ending = True
        if any(child.name == "risk" and not child.pid for child in self._tree.children):
            self.alert("risk is gone: nothing can be closed; the next start takes the positions over")
            return
        self._books.set_phase(Phase.DRAINING_KEEP if self.keeps_positions else Phase.DRAINING)
        get_logger().info("stopping", positions="kept" if self.keeps_positions else "closed")
        deadline_ns = self._clock.monotonic_ns() + int(self.config.run.stop_timeout_s * 1e9)
        stops = self._stops
        workers = [child for child in self._tree.children if child.name.startswith("worker")]
        while any(worker.state in ("starting", "running", "restarting") for worker in workers):
            try:
                self._tree.watch()
            except RunFailed as error:
                self.failure = self.failure or error
                get_logger().error("cannot drain", why=str(error))
                return
            if self._clock.monotonic_ns() > deadline_ns:
                self.alert(f"positions not all closed within {self.config.run.stop_timeout_s:g} s")
                return
            if self._stops > stops + 1:
                self.alert("stopped at once on a second request: positions may be left open")
                return
            await asyncio.sleep(_TICK_S)

    async def end(self, before_removal: Callable[[], Awaitable[None]]) -> None:
        """End every child in order, call ``before_removal`` while the pages still stand, close everything."""
        self._tree.ending = True
        names = [child.name for child in self._tree.children]
        await self._tree.end([name for name in names if name.startswith("worker")], 2.0)
        for feed in self._feeds:
            await feed.stop()
        await self._tree.end(["accounts"], 5.0)
        await self._tree.end(["risk"], 10.0)
        await self._tree.end(["viewer"], 2.0)
        await self._tree.end(["sim"], 3.0)
        self._state = "ended"
        try:
            self._write_note()
            await before_removal()
        finally:
            self._tree.kill_all()
            if self._heart is not None:
                self._heart.cancel()
            for close in reversed(self._closers):
                close()

    async def _start_exchanges(self, logs: Path) -> None:
        sim = Child("sim", sim_command(self._programs.sim, self.files, lambda: self._sim), logs)
        self._tree.start(sim)
        await self._tree.until_ready(sim, self.files.sim_ready.exists, _READY_S)
        self.config, self._sim = with_exchanges(self.config, self.files.sim_ready.read_bytes())

    async def _start_accounts(self, risk: Child, logs: Path) -> None:
        """Only once risk answers: what the venues say is compared with its ledger."""
        await self._until_risk_answers(risk)
        accounts = Child("accounts", accounts_command(self.files, self._state_dir), logs)
        self._tree.start(accounts)
        await self._tree.until_ready(
            accounts, lambda: self._page_value(self.files.accounts_page, "ready") >= 1, _READY_S
        )

    async def _until_risk_answers(self, risk: Child) -> None:
        await self._tree.until_ready(
            risk,
            lambda: self._page_value(self.files.risk_page, "ready") >= 1,
            _READY_S,
            lambda: self._page_value(self.files.risk_page, "beat"),  # it replays a long ledger
        )

    def _notifier(self, bus: Publisher, shard: int) -> ShardNotifier:
        ringer = BusRinger(bus, shard) if self.config.run.doorbell == "zmq" else None
        notifier = ShardNotifier.create(self.files.dir, shard, ringer=ringer)
        self._closers.append(notifier.close)
        return notifier

    def _control_failed(self, error: Exception) -> None:
        get_logger().error("the control socket ended in a defect", exc_info=error)
        self.request_stop()

    def _obey(self, batch: list[bytes]) -> list[bytes]:
        return [self._obey_one(payload) for payload in batch]

    def _obey_one(self, payload: bytes) -> bytes:
        try:
            order = control.decode_order(payload)
        except ProtocolError as error:
            return control.encode(control.Denied(str(error)))
        match order:
            case control.Stop(keep_positions):
                self.request_stop(keep_positions=keep_positions)
                return control.encode(control.Done("stopping"))
            case control.Ping():
                return control.encode(control.Done(self._state))

    def _is_running(self, shard: int) -> bool:
        return self._page_value(self.files.worker_page(shard), "state") >= WorkerState.RUNNING

    def _page_value(self, path: Path, counter: str) -> int:
        try:
            with PageReader.attach(path) as page:
                return page.value(counter)
        except SharedMemoryError:
            return 0  # not made yet

    def _children_changed(self) -> None:
        self._run_dir.note_children({child.name: child.pid for child in self._tree.children if child.pid})

    def _find_unattended(self, universe: Universe) -> None:
        """Positions in the ledger whose pair is not traded in this run have nobody to close them."""
        with PageReader.attach(self.files.risk_page) as page:
            note = decode_risk_note(page.note())
        mine = {pair.base for pair in universe.pairs}
        self._unattended = tuple(
            f"{position.pair} {position.position_id}"
            for position in note.positions
            if position.pair not in mine
        )
        if self._unattended:
            self.alert(f"open positions of pairs this run does not trade: {', '.join(self._unattended)}")

    async def _beat(self) -> None:
        """The heart: children that miss it for a second end themselves."""
        gap = self._page.histogram("loop_gap")
        noted_ns = 0
        while True:
            now_ns = self._clock.monotonic_ns()
            if self._books is not None:
                self._books.beat(now_ns)
            if self._bus is not None:
                self._bus.publish(b"beat", now_ns.to_bytes(8, "little"))
            self._page.set(self._page.counter("beat_ns"), now_ns)
            if now_ns - noted_ns >= _NOTE_S * 1e9:
                noted_ns = now_ns
                self._write_note()
            await asyncio.sleep(_TICK_S)
            self._page.record(gap, self._clock.monotonic_ns() - now_ns - int(_TICK_S * 1e9))

    def _write_note(self) -> None:
        if self._state != "ended":
            self._venues = tuple(feed.report() for feed in self._feeds)
        self._page.set(self._page.counter("pid"), os.getpid())
        self._page.set(self._page.counter("errors"), error_count())
        self._page.set(self._page.counter("messages"), sum(venue.frames for venue in self._venues))
        note = SupervisorNote(
            name=self.config.name,
            mode=self.config.mode,
            data=self.config.data,
            state=self._state,
            pid=os.getpid(),
            started_ms=self._started_ms,
            state_dir=str(self._state_dir),
            shards=self.config.run.shards,
            pairs=len(self._universe.pairs) if self._universe is not None else 0,
            venues=self._venues,
            children=tuple(child.note() for child in self._tree.children),
            alerts=tuple(self._alerts),
            alerts_total=self._alerts_total,
            unattended=self._unattended,
        )
        self._page.write_note(msgspec.json.encode(note))


def _orders(config: Config) -> str:
    if config.mode == "paper":
        return "paper"
    return "DRY RUN: not sent" if config.live.dry_run else "SENT"
