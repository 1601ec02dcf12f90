"""Executes the system on virtual time, fed with the rows of a tape: one worker, risk with a real ledger, the slots
of a run.

Worker and risk are the assemblies of a run (``worker.assembly``, ``risk.assembly``) with the periods of a run.
``feeds`` has the supervisor's part. Requests between worker and risk take no time, unlike in a run, where they take
some hundreds of microseconds.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TypeVarTuple

import msgspec
from typing_extensions import override

from arbshard.backtest.blocks import FeedRow, RowBlock, TapeMark
from arbshard.backtest.decisions import DecisionLog
from arbshard.backtest.feeds import FusedStream, TapeVenueFeed, UnmarkedStream, carried_by
from arbshard.backtest.inner import InnerClient, InnerListener, InnerNotifier, InnerReplyServer
from arbshard.backtest.measured import MeasuredOrders, MeasuredVenues
from arbshard.backtest.recorded import RecordedOrders, RecordedTimes
from arbshard.backtest.resting import REST_ROWS, QuietSpans
from arbshard.backtest.rows import TapeStart, universe_in
from arbshard.backtest.screening import Screen, ScreenedLane
from arbshard.backtest.skipping import BlockScreen
from arbshard.backtest.slots import TapeBooks
from arbshard.backtest.timers import Rhythm, TapeLoop
from arbshard.backtest.universes import TapeUniverses
from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.engine.engine import PairState
from arbshard.errors import ArbshardError
from arbshard.execution.executor import ExecutorFactory
from arbshard.ledger.events import Event
from arbshard.ledger.store import LedgerStore
from arbshard.model.intent import ExitReason
from arbshard.model.notes import FeedState, SupervisorNote, VenueNote
from arbshard.model.phase import Phase
from arbshard.model.rundir import RunFiles
from arbshard.risk.assembly import Risk, RiskPorts
from arbshard.shm.doorbell import ShardNotifier
from arbshard.shm.pages import PageWriter
from arbshard.shm.universe import UniverseFile
from arbshard.tape.format import UNIVERSE
from arbshard.venues.base.fusion import BookFuser
from arbshard.virtual.bells import VirtualBell
from arbshard.virtual.loop import Stalled
from arbshard.worker.assembly import MakeExecutors, Worker, WorkerPorts
from arbshard.worker.spare import Assignment
from supervisor.feeds.routing import route
from supervisor.rundir import write_whole
from supervisor.shards.manager import slots_for

Ts = TypeVarTuple("Ts")

_LEAD_NS = 500_000_000
"""Time in ns by which the system is started before the first frame."""
_BEAT_S = 0.25
"""Interval in seconds at which the supervisor's beat is written, open positions are attended to, and the venues'
states are noted.
"""
_MINUTE_NS = 60_000_000_000
_END_S = 60.0
"""Time in seconds within which what is under way at the end of the tape may end."""
_RISK_TICK_S = 0.1
"""Interval in seconds of risk's tick. Every second tick of a run decides; the others only judge workers."""
_UNSCREENED_SHARE_MAX = 0.2
_SHORT_ROWS = 2048
_SHORT_NS = 3_000_000_000
"""Number of rows, and time in ns, that are fed before a span is looked for again that can be passed over."""
_NOTE_EVERY_NS = 3_600_000_000_000
"""Interval in ns of risk's note, which nothing reads in a backtest."""
_NOW_NS = attrgetter("now_ns")
_PID = 1
_FREE_BYTES = 10**12


class BacktestFailed(ArbshardError):
    """Is raised when a backtest cannot continue: a part of the system has ended with a defect."""


class TapeClock(SystemClock):
    """Provides the clocks of the machine on which the tape was recorded."""

    def __init__(self, loop: TapeLoop, wall_offset_ns: int) -> None:
        self._loop = loop
        self._offset_ns = wall_offset_ns
        # It is read several times for each frame, and this costs half as much as a method.
        self.monotonic_ns = partial(_NOW_NS, loop)

    @override
    def wall_ms(self) -> int:
        return (self._loop.now_ns + self._offset_ns) // 1_000_000

    def wall_ns(self) -> int:
        """Return the wall time in ns."""
        return self._loop.now_ns + self._offset_ns


class WatchedLedger(LedgerStore):
    """Is a real ledger that also passes every event to ``on_events``."""

    on_events: Callable[[Sequence[Event]], None]

    @override
    def append(self, events: Sequence[Event]) -> None:
        super().append(events)
        self.on_events(events)

    @override
    def keep_reserve(self) -> bool:
        return True  # decisions must not depend on the disk of this machine

    @override
    def check_files(self) -> None:
        """Do nothing: no other process knows of this ledger yet, and the check costs as much as many frames."""

    @override
    def free_bytes(self) -> int:
        return _FREE_BYTES


class TapeSystem:
    """Executes one run of the system over a tape. Call ``run`` once."""

    def __init__(
        self,
        config: Config,
        start: TapeStart,
        run_dir: Path,
        ledger: Path,
        log: DecisionLog,
        *,
        is_screened: bool,
        times: RecordedTimes | None = None,
        measured: MeasuredVenues | None = None,
    ) -> None:
        """Make the system. ``config`` is the one that it uses, and ``start`` is the beginning of the tape.

        ``times`` are the recorded times; None for the system's own. ``measured`` is how orders are treated; None for
        the treatment in ``[paper]``.
        """
        self._measured = measured
        self._times = times
        self._deciding = ""
        self.unrecorded = 0
        """Number of turns on which something would have been decided at other instants than recorded, with recorded
        times.
        """
        self.is_screened = is_screened
        self._config = config
        self._universes = TapeUniverses(start.universe, closes=times is None)
        self._files = RunFiles(run_dir)
        self._ledger_path = ledger
        self._log = log
        self.loop = TapeLoop(start.first_ns - _LEAD_NS)  # type: ignore[abstract]  # what it lacks raises
        self.clock = TapeClock(self.loop, start.wall_offset_ns)
        self._intakes: dict[str, Callable[[bytes, int], None]] = {}
        self._screened: dict[str, ScreenedLane | UnmarkedStream] = {}
        """Intakes that use the glance at a frame, by connection."""
        self._feeds: dict[str, TapeVenueFeed] = {}
        self._recording = start.recording
        self._states: tuple[FeedState, ...] = ()
        self._attended: frozenset[int] = frozenset()
        self._venues_of: dict[str, str] = {}
        self._failure: BaseException | None = None
        self._batches: Iterator[list[FeedRow] | RowBlock] = iter(())
        self._rows: Iterator[FeedRow] = iter(())
        self._row: FeedRow | None = None
        self._ahead: RowBlock | None = None
        """Rows that were read, and come after those that are fed."""
        self._rest: QuietSpans | None = None
        self._block: BlockScreen | None = None
        """Rest of the block that is being fed, where its frames may be skipped; otherwise None."""
        self._is_recheck_due = False
        self._pumps = 0
        """Number of the newest plan to feed rows; an older one is out of date."""
        self._planned_ns = 0
        self._fed: asyncio.Future[None] = self.loop.create_future()
        """Is done when all rows have been fed."""
        self._risk: Risk | None = None
        self.screen: Screen | None = None
        self._follow_universe: Callable[[bytes], None] = _ignore
        """Trades what a row of the tape says. This and the next attribute are set when the system runs."""
        self._is_settled: Callable[[], bool] = _never
        """Returns whether worker and risk use the newest universe."""
        self._minute_ns = 0
        self.frames = 0
        self.first_ns = self.last_ns = 0
        """Wall time of the first and the last row."""
        self.equity: list[tuple[int, Decimal]] = []
        """(wall time in ns, equity), once a minute."""

    def run(self, batches: Iterator[list[FeedRow] | RowBlock]) -> None:
        """Feed the system with all of ``batches``. Blocks with glances are screened as a whole.

        Raises ``BacktestFailed`` and other ``ArbshardError``.
        """
        self._batches = batches
        try:
            self.loop.run_until_complete(self._run())
        except Stalled as error:
            raise BacktestFailed(self._why(str(error))) from error
        finally:
            self.loop.finish()
        if self.loop.defects:
            raise BacktestFailed(self._why(""))

    def _why(self, otherwise: str) -> str:
        first = self.loop.defects[0] if self.loop.defects else otherwise
        return f"the backtest ended in a defect: {first}"

    async def _run(self) -> None:
        config, universe, files = self._config, self._universes.now, self._files
        with ExitStack() as opened:
            write_whole(files.config, msgspec.json.encode(config))
            write_whole(files.universe, msgspec.json.encode(universe))
            slots = max(slots_for(len(universe.pairs)), 1 + max(leg.slot for leg in universe.legs()))
            books = TapeBooks(slots, _PID)
            books.beat(self.clock.monotonic_ns())
            page = opened.enter_context(PageWriter.create(files.supervisor_page, ("pid",)))
            bell = VirtualBell(self.loop)
            opened.enter_context(ShardNotifier.create(files.dir, 0, ringer=bell))  # the worker attaches to it
            listener = InnerListener()
            risk = self._risk = opened.enter_context(self._open_risk(books, listener))
            risk_task = asyncio.ensure_future(risk.run())
            worker = opened.enter_context(self._open_worker(books, bell, listener))
            # At recorded times, what the worker refuses is compared with what the workers of the run refused.
            worker.engine.follows = self._times is not None
            worker_task = asyncio.ensure_future(worker.run())
            if self.is_screened:
                self.screen = Screen(worker.engine, worker.feed, universe, books, config)
                listener.on_reply = self._plan_recheck
            notifiers = (InnerNotifier(worker),)
            if self._times is not None:
                worker.loop.may_act = self._may_act
                for decided_ns, base, ordered in self._times.decisions:
                    # After the frames of this very instant, and before those that were not seen (``as_seen``).
                    self.loop.deliver(None, decided_ns + 1, self._decide, worker, base, ordered)
            for name in config.venues.traded:
                feed = TapeVenueFeed(name, config, universe, books, notifiers, self.clock, self.screen)
                self._feeds[name] = feed
                feed.start()
            beating = Rhythm(partial(self._beat, books, page), _BEAT_S, first_after_s=0.0)
            if self.screen is not None:
                self._rest = QuietSpans(
                    config, self.screen, risk, worker, tuple(self._feeds.values()), self.loop, self.clock,
                    self._resting_lane, beating, partial(self._pass_beats, books), self._pump,
                )  # fmt: skip
            self._follow_universe = partial(self._set_universe, books, bell)
            self._is_settled = lambda: worker.is_settled and risk.is_settled
            books.set_phase(Phase.RUNNING)
            feeding = asyncio.ensure_future(self._feed())
            await asyncio.wait((risk_task, worker_task, feeding), return_when=asyncio.FIRST_COMPLETED)
            if feeding.done():
                await feeding
                books.set_phase(Phase.DRAINING_KEEP)
                await asyncio.wait(
                    (risk_task, worker_task), timeout=_END_S, return_when=asyncio.FIRST_COMPLETED
                )
            self.equity.append((self.clock.wall_ns(), risk.core.valuation.equity))
            for feed in self._feeds.values():
                await feed.stop()
            beating.stop()
            await self._end(risk, risk_task, worker_task)

    async def _end(
        self,
        risk: Risk,
        risk_task: "asyncio.Task[int]",
        worker_task: "asyncio.Task[int]",
    ) -> None:
        """End both processes in order. Raises what either of them raised."""
        self.loop.terminate(worker_task)
        code = await worker_task
        self.loop.terminate(risk_task)
        risk_code = await risk_task
        if code:
            raise BacktestFailed(f"the worker ended with code {code}: see the log")
        if risk_code or risk.failure is not None:
            raise BacktestFailed(f"risk ended with code {int(risk_code)}: {risk.failure or 'see the log'}")

    def _may_act(self, state: PairState) -> bool:
        """Return whether this is the instant of a recorded decision on the pair. It is used with recorded times."""
        is_due = state.pair.base == self._deciding
        self.unrecorded += not is_due
        return is_due

    def _decide(self, worker: Worker, base: str, ordered: ExitReason | None) -> None:
        """Decide now on a pair, as the recorded run did."""
        if base not in worker.engine.pairs:
            return  # the tape does not say that it was traded; the comparison shows the difference
        self._deciding = base
        try:
            worker.loop.decide(base, ordered)
        finally:
            self._deciding = ""

    def _open_risk(self, reader: TapeBooks, listener: InnerListener) -> Risk:
        ports = RiskPorts(
            clock=self.clock,
            files=self._files,
            pid=_PID,
            run="backtest",
            is_orphan=_never,
            open_ledger=self._open_ledger,
            listen=partial(InnerReplyServer, listener),
            tick_s=_RISK_TICK_S,
            note_every_ns=_NOTE_EVERY_NS,
        )
        return Risk(ports, self._config, UniverseFile(reader, self._files.universe).load(), reader)

    def _open_ledger(self) -> LedgerStore:
        ledger = WatchedLedger.open(
            self._ledger_path,
            name=self._config.name,
            mode="backtest",
            now_ms=self.clock.wall_ms(),
            opening="new",
        )
        ledger.on_events = self._log.add
        return ledger

    def _open_worker(self, reader: TapeBooks, bell: VirtualBell, listener: InnerListener) -> Worker:
        ports = WorkerPorts(
            clock=self.clock,
            files=self._files,
            pid=_PID,
            is_orphan=_never,
            connect=partial(InnerClient, listener),
            bell=bell,
            make_executors=self._executors(),
        )
        return Worker(ports, self._config, self._universes.now, reader, Assignment(0, 1))

    def _executors(self) -> MakeExecutors:
        if self._times is not None:
            return partial(RecordedOrders, self._times, self.loop, self._log)
        return partial(MeasuredOrders, self._measured) if self._measured is not None else ExecutorFactory

    def _beat(self, books: TapeBooks, page: PageWriter) -> float:
        """Do what the supervisor does regularly in addition to its feeds; return the pause after it in s."""
        now_ns = self.clock.monotonic_ns()
        books.beat(now_ns)
        self._note_states(page, now_ns)
        self._attend()
        self._mark_minute(now_ns)
        return _BEAT_S

    def _mark_minute(self, now_ns: int) -> None:
        if now_ns - self._minute_ns >= _MINUTE_NS and self._risk is not None:
            self._minute_ns = now_ns
            wall_ns = self.clock.wall_ns() - self.clock.monotonic_ns() + now_ns
            self.equity.append((wall_ns, self._risk.core.valuation.equity))

    def _pass_beats(self, books: TapeBooks, beats: Sequence[int]) -> None:
        """Do what is left of the beats in a span that is passed over: no state has changed, and nothing is open."""
        for now_ns in beats:
            books.beat(now_ns)
            self._mark_minute(now_ns)

    def _note_states(self, page: PageWriter, now_ns: int) -> None:
        states = tuple(feed.state(now_ns) for feed in self._feeds.values())
        if states == self._states:
            return
        self._states = states
        venues = tuple(
            VenueNote(name, state, 1, 0, 0, 0.0, 0, 0)
            for name, state in zip(self._feeds, states, strict=True)
        )
        config = self._config
        note = SupervisorNote(
            config.name, config.mode, config.data, "running", _PID, self.clock.wall_ms(), "", 1,
            len(self._universes.now.pairs), venues,
        )  # fmt: skip
        page.write_note(msgspec.json.encode(note))

    def _attend(self) -> None:
        """Confirm the quiet books of open positions, as the supervisor does by risk's note."""
        if self._risk is None:
            return
        state = self._risk.core.state
        open_pairs = {one.pair for one in state.positions.values()} | state.busy.keys()
        slots = {
            leg.slot
            for pair in self._universes.now.pairs
            if pair.base in open_pairs
            for leg in (pair.home, pair.away)
        }
        if slots:
            slots.add(self._universes.now.fx.slot)
        if slots != self._attended:
            self._attended = frozenset(slots)
            for feed in self._feeds.values():
                feed.attend(self._attended)

    async def _feed(self) -> None:
        """Feed all rows."""
        self._next()
        self._plan_pump()
        await self._fed

    def _plan_pump(self) -> None:
        """Plan to feed rows when the next of them is due, and not at the time planned before."""
        if self._block is not None:
            self._planned_ns = self._block.due_ns
        else:
            self._planned_ns = self._row[0] if self._row is not None else self.loop.now_ns
        self._pumps += 1
        self.loop.deliver(None, self._planned_ns, self._pump, self._pumps)

    def _pump(self, number: int) -> None:
        """Feed rows until another event must come first."""
        if number != self._pumps:
            return
        try:
            # Other events that are due at this instant come before rows, whenever they were planned.
            if not self.loop.can_skip_to(self.loop.now_ns) or self._pump_some():
                self._plan_pump()
            else:
                self._fed.set_result(None)
        except Exception as error:  # noqa: BLE001 - whoever waits for the end of the tape gets it
            self._fed.set_exception(error)

    def _pump_some(self) -> bool:
        """Feed rows until another event is due. Returns whether there are more rows."""
        while self._block is not None or self._row is not None:
            if self._hand_in_rows() if self._block is None else self._hand_in_block(self._block):
                return True
        return False

    def _hand_in_rows(self) -> bool:
        """Feed rows one by one until another event is due. Returns whether one is."""
        loop, row = self.loop, self._row
        while row is not None:
            due_ns = row[0]
            if due_ns > loop.now_ns:
                if not loop.can_skip_to(due_ns):
                    self._row = row
                    return True
                loop.now_ns = due_ns
            self._hand_in(row)
            row = next(self._rows, None)
        self._next()
        return False

    def _hand_in_block(self, block: BlockScreen) -> bool:
        """Feed those rows of a block that must be fed until another event is due. Returns whether one is."""
        loop = self.loop
        while True:
            due_ns = block.due_ns
            if due_ns > loop.now_ns:
                if not loop.can_skip_to(due_ns):
                    block.received(loop.now_ns)
                    return True
                loop.now_ns = due_ns
            if block.is_over:
                block.received(due_ns)
                self._end_block(block)
                self._next()
                return False
            number = block.next
            block.approach()
            self._hand_in(block.block.row(number))
            if not block.fed():
                continue
            self._end_block(block)
            rest = block.block.rest(number + 1)
            if rest is None:
                self._next()
            else:
                self._take_up(rest)
            return False

    def _hand_in(self, row: FeedRow) -> None:
        """Feed one row."""
        mark = row[4]
        if mark is not None:
            self._mark(row, mark)
            return
        lane = self._screened.get(row[2])
        if lane is not None:
            lane(row[3], row[1], row[6])
            return
        intake = self._intakes.get(row[2])
        if intake is None:
            intake = self._unmarked(row)
        intake(row[3], row[1])

    def _next(self) -> None:
        """Continue with the next rows of the tape."""
        self._row = None
        if self.screen is not None and self.screen.is_suspended and self._is_settled():
            assert self._rest is not None
            self.screen.renew(self._universes.now)
            self._rest.renew()
        while self._block is None and self._row is None:
            batch = self._read_on()
            if batch is None:
                return
            if isinstance(batch, RowBlock):
                rest = self._pass_over(batch)
                if rest is not None:
                    count = min(max(rest.count_within(_SHORT_NS), 1), _SHORT_ROWS)
                    self._ahead = rest.rest(count)
                    self._take_up(rest.head(count))
            else:
                self._rows = iter(batch)
                self._row = next(self._rows, None)

    def _read_on(self) -> list[FeedRow] | RowBlock | None:
        """Return the next rows of the tape; None at its end."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        batch = next(self._batches, None)
        if isinstance(batch, RowBlock):
            self.frames += batch.frames
        elif batch is not None:
            self.frames += sum(row[4] is None for row in batch)
        return batch

    def _pass_over(self, block: RowBlock) -> RowBlock | None:
        """Pass over what is quiet at the beginning of ``block`` and of those after it; return the rows from there on,
        None at the end of the tape.
        """
        rest, found = self._rest, block
        if rest is None or not block.has_glances or not rest.may_begin():
            return block
        while True:
            further: list[RowBlock] = []
            size = len(found.table)
            while size < REST_ROWS and isinstance(read := self._read_on(), RowBlock):
                further.append(read)
                size += len(read.table)
            found = found.followed_by(further)
            count = rest.pass_over(found)
            left = found.rest(count)
            if not count or left is None or not rest.may_begin():
                rest.end()
                return left
            found = left

    def _take_up(self, block: RowBlock) -> None:
        """Continue with the rows of a block: under a screen, or one by one."""
        is_screened = self.screen is not None and not self.screen.is_suspended
        if is_screened and block.has_glances and not self._is_unscreened(block):
            self._screen_block(block)
        else:
            self._rows = iter(block.rows())
            self._row = next(self._rows, None)

    def _is_unscreened(self, block: RowBlock) -> bool:
        """Return whether to feed a block row by row because most of its frames are not screened anyway."""
        unscreened = [name for name in self._intakes if name not in self._screened]
        return block.frames_without_market(unscreened) > _UNSCREENED_SHARE_MAX * block.frames

    def _screen_block(self, block: RowBlock) -> None:
        assert self.screen is not None
        self._block = self.screen.books.pending = BlockScreen(
            block, self.screen, self._lane_of, self.clock.monotonic_ns
        )

    def _end_block(self, block: BlockScreen) -> None:
        assert self.screen is not None
        block.bring_all()
        self._block = self.screen.books.pending = None

    def _lane_of(self, connection: str, symbol: str) -> ScreenedLane | None:
        """Return the lane of the frames of a stream and a market; None where they may not be skipped."""
        lane = self._screened.get(connection)
        return lane.screened(symbol) if lane is not None else None

    def _resting_lane(self, connection: str, symbol: str) -> tuple[ScreenedLane | None, BookFuser | None]:
        """Return the lane of the frames of a stream and a market, also of the FX market, and what joins levels and
        touches before it; no lane where there is none that takes the frames and does nothing else.
        """
        intake = self._intakes.get(connection)
        if isinstance(intake, UnmarkedStream):
            intake = intake.intake_of(symbol)
        if isinstance(intake, FusedStream):
            return intake.unfused(), intake.fuser
        return (intake if isinstance(intake, ScreenedLane) else None), None

    def _plan_recheck(self) -> None:
        """Plan to check again what may be skipped, since risk has answered. The check follows when the worker has
        processed the answer.
        """
        if self._block is not None and not self._is_recheck_due:
            self._is_recheck_due = True
            self.loop.deliver(None, self.loop.now_ns, self._recheck)

    def _recheck(self) -> None:
        self._is_recheck_due = False
        if self._block is not None:
            self._block.recheck()
            if self._block.due_ns != self._planned_ns:
                self._plan_pump()

    def _unmarked(self, row: FeedRow) -> Callable[[bytes, int], None]:
        """Return the function that takes the frames of a stream whose beginning is not in this part of the tape."""
        feed = self._feeds.get(row[5])
        intake: Callable[[bytes, int], None] = _ignore_frame
        if feed is not None:
            intake = feed.open_unmarked(row[2])
        self._take_by(row[2], intake)
        return intake

    def _mark(self, row: FeedRow, mark: TapeMark) -> None:
        _, received_ns, connection, data, _, venue, _ = row
        if self.screen is not None:
            self.screen.settle()
        if mark.recording != self._recording:
            self._recording = mark.recording
            self._intakes.clear()
            self._screened.clear()
            for feed in self._feeds.values():
                feed.close_all()
        own = self._feeds.get(venue)
        if mark.kind == UNIVERSE:
            self._follow_universe(data)
        elif own is not None and mark.kind == "connect":
            self._take_by(connection, own.open(connection, carried_by(mark.detail)))
        elif own is not None:
            if mark.kind == "disconnect":
                self._intakes.pop(connection, None)
                self._screened.pop(connection, None)
            own.mark(mark, connection, received_ns, data)
        if self.screen is not None:
            self.screen.refresh()

    def _set_universe(self, books: TapeBooks, bell: VirtualBell, data: bytes) -> None:
        """Trade other pairs from now on, or by other rules and fees, as ``ShardManager.publish`` does. Raises
        ``TapeError`` and ``UsageError``.
        """
        before = self._universes.now
        after = self._universes.advance(universe_in(data, "a change of the pairs"), self._feeds.keys())
        if after is None:
            return
        if self.screen is not None:
            self.screen.suspend()
        write_whole(self._files.universe, msgspec.json.encode(after))
        books.grow(1 + max(leg.slot for leg in after.legs()))
        for venue, feed in self._feeds.items():
            route(venue, feed, before, after)
            for name in () if feed.carries_all else feed.connections:
                self._take_by(name, feed.unmarked(name, self._intakes[name]))
        named = {leg.slot for leg in after.legs()}
        for leg in before.legs():
            if leg.slot not in named:
                books.clear(leg.slot)
        books.set_universe(after.serial)
        bell.ring()

    def _take_by(self, connection: str, intake: Callable[[bytes, int], None]) -> None:
        """Give the frames of a stream to ``intake``."""
        self._intakes[connection] = intake
        self._screened.pop(connection, None)
        if isinstance(intake, ScreenedLane) or (isinstance(intake, UnmarkedStream) and not intake.is_fused):
            self._screened[connection] = intake


def _never() -> bool:
    """Return False: the supervisor of a backtest does not die."""
    return False


def _ignore(data: bytes) -> None:
    """Do nothing: there is no system yet."""
    del data


def _ignore_frame(frame: bytes, received_ns: int) -> None:
    """Do nothing: the tape has frames of a venue that the recorded run did not trade."""
    del frame, received_ns
