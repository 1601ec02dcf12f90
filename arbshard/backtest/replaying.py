"""Executes the system on virtual time, fed with the rows of a tape: one worker, risk with a real ledger, the slots
of a run.

Worker and risk are the assemblies of a run (``worker.assembly``, ``risk.assembly``) with the periods of a run.
``feeds`` has the supervisor's part, and ``feeding`` hands the rows to it. Requests between worker and risk take no
time, unlike in a run, where they take some hundreds of microseconds.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal
from functools import partial
from operator import attrgetter
from pathlib import Path

import msgspec
from typing_extensions import override

from arbshard.backtest.blocks import FeedRow, RowBlock
from arbshard.backtest.decisions import DecisionLog
from arbshard.backtest.feeding import RowFeeder
from arbshard.backtest.feeds import TapeVenueFeed
from arbshard.backtest.inner import InnerClient, InnerListener, InnerNotifier, InnerReplyServer
from arbshard.backtest.measured import MeasuredOrders, MeasuredVenues
from arbshard.backtest.recorded import RecordedOrders, RecordedTimes
from arbshard.backtest.resting import QuietSpans
from arbshard.backtest.rows import TapeStart, universe_in
from arbshard.backtest.screening import Screen
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
from arbshard.virtual.bells import VirtualBell
from arbshard.virtual.loop import Stalled
from arbshard.worker.assembly import MakeExecutors, Worker, WorkerPorts
from arbshard.worker.spare import Assignment
from supervisor.feeds.routing import route
from supervisor.rundir import write_whole
from supervisor.shards.manager import slots_for

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
        self._feeds: dict[str, TapeVenueFeed] = {}
        self.feeder = RowFeeder(
            self.loop, self.clock, self._feeds, start.recording, lambda: self._universes.now
        )
        self._states: tuple[FeedState, ...] = ()
        self._attended: frozenset[int] = frozenset()
        self._risk: Risk | None = None
        self._minute_ns = 0
        self.equity: list[tuple[int, Decimal]] = []
        """(wall time in ns, equity), once a minute."""

    def run(self, batches: Iterator[list[FeedRow] | RowBlock]) -> None:
        """Feed the system with all of ``batches``. Blocks with glances are screened as a whole.

        Raises ``BacktestFailed`` and other ``ArbshardError``.
        """
        try:
            self.loop.run_until_complete(self._run(batches))
        except Stalled as error:
            raise BacktestFailed(self._why(str(error))) from error
        finally:
            self.loop.finish()
        if self.loop.defects:
            raise BacktestFailed(self._why(""))

    def _why(self, otherwise: str) -> str:
        first = self.loop.defects[0] if self.loop.defects else otherwise
        return f"the backtest ended in a defect: {first}"

    async def _run(self, batches: Iterator[list[FeedRow] | RowBlock]) -> None:
        config, universe, files, feeder = self._config, self._universes.now, self._files, self.feeder
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
                feeder.screen = Screen(worker.engine, worker.feed, universe, books, config)
                listener.on_reply = feeder.plan_recheck
            notifiers = (InnerNotifier(worker),)
            if self._times is not None:
                worker.loop.may_act = self._may_act
                for decided_ns, base, ordered in self._times.decisions:
                    # After the frames of this very instant, and before those that were not seen (``as_seen``).
                    self.loop.deliver(None, decided_ns + 1, self._decide, worker, base, ordered)
            for name in config.venues.traded:
                feed = TapeVenueFeed(name, config, universe, books, notifiers, self.clock, feeder.screen)
                self._feeds[name] = feed
                feed.start()
            beating = Rhythm(partial(self._beat, books, page), _BEAT_S, first_after_s=0.0)
            if feeder.screen is not None:
                feeder.rest = QuietSpans(
                    config, feeder.screen, risk, worker, tuple(self._feeds.values()), self.loop, self.clock,
                    feeder.resting_lane, beating, partial(self._pass_beats, books), feeder.feed_due,
                )  # fmt: skip
            feeder.follow_universe = partial(self._set_universe, books, bell)
            feeder.is_settled = lambda: worker.is_settled and risk.is_settled
            books.set_phase(Phase.RUNNING)
            feeding = asyncio.ensure_future(feeder.feed(batches))
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

    def _set_universe(self, books: TapeBooks, bell: VirtualBell, data: bytes) -> None:
        """Trade other pairs from now on, or by other rules and fees, as ``ShardManager.publish`` does. Raises
        ``TapeError`` and ``UsageError``.
        """
        before = self._universes.now
        after = self._universes.advance(universe_in(data, "a change of the pairs"), self._feeds.keys())
        if after is None:
            return
        if self.feeder.screen is not None:
            self.feeder.screen.suspend()
        write_whole(self._files.universe, msgspec.json.encode(after))
        books.grow(1 + max(leg.slot for leg in after.legs()))
        for venue, feed in self._feeds.items():
            route(venue, feed, before, after)
            for name in () if feed.carries_all else feed.connections:
                self.feeder.take_by(name, feed.unmarked(name, self.feeder.intakes[name]))
        named = {leg.slot for leg in after.legs()}
        for leg in before.legs():
            if leg.slot not in named:
                books.clear(leg.slot)
        books.set_universe(after.serial)
        bell.ring()


def _never() -> bool:
    """Return False: the supervisor of a backtest does not die."""
    return False
