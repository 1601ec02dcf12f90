"""Risk as a virtual process: the real core, service, ledger replay and liveness, put together as its ``main`` does.

Requests that arrive in one turn are one batch, answered after one commit, as ``wire.serve`` does over sockets.
"""

import asyncio
import signal
from collections.abc import Callable
from typing import Protocol

from arbshard.crashpoint import reach
from arbshard.errors import ArbshardError, LedgerDamaged, LedgerError
from arbshard.ledger.events import Event
from arbshard.ledger.replay import recover
from arbshard.log import get_logger
from arbshard.risk.core import Decision, RiskCore
from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.risk.gaps import GapWatch
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.server import ExitCode
from arbshard.risk.service import RiskService
from arbshard.risk.shards.workers import WorkerWatch
from arbshard.shm.books import BooksReader
from arbshard.shm.pages import PageWriter
from arbshard.shm.universe import UniverseFile
from arbshard.virtual.audit import Audit
from arbshard.virtual.costs import COMMIT_NS, EVENT_NS
from arbshard.virtual.exposure import Stated
from arbshard.virtual.ledger import VERSION, Disk, MemoryLedger
from arbshard.virtual.loop import VirtualProcess
from arbshard.virtual.network import Listener, Waiting
from arbshard.virtual.worker import Surroundings
from arbshard.wire.messages import Command, CommandReply, Reply, Request, Statement
from arbshard.wire.replies import StoredReplies

_STORED_REPLIES = 1024
_ANSWERED = "after_answer"
"""The crash point of ``wire.serve``, in whose place ``_serve`` stands."""
_NOTE_BYTES = 64


class RiskWatch(Protocol):
    """Who is told what risk does: ``oracle.Oracle``."""

    def ended_risk(self) -> None:
        """What was decided under reserve is gone."""
        ...

    def handled(self, request: Request, reply: Reply) -> None:
        """Risk decided, under reserve."""
        ...

    def answers(self, replies: list[bytes]) -> None:
        """These replies are about to leave."""
        ...

    def statement(self, venue: str, *, is_full: bool) -> None:
        """Risk compares a settled statement of a venue with the ledger, under reserve; in full: every currency."""
        ...

    def committed(self, stated: Stated) -> None:
        """All that was decided is stored; risk reckons with ``stated`` from now on."""
        ...


class WatchedCore(RiskCore):
    """Tells the oracle what it decides. ``watch`` is set before the first request."""

    watch: RiskWatch

    def handle(self, request: Request, now_ms: int, phase: int, now_ns: int | None = None) -> Decision:
        """See ``RiskCore``."""
        reply, events = super().handle(request, now_ms, phase, now_ns)
        self.watch.handled(request, reply)
        return reply, events

    def command(
        self, command: Command, now_ms: int, now_ns: int | None = None
    ) -> tuple[CommandReply, list[Event]]:
        """See ``RiskCore``."""
        answer = super().command(command, now_ms, now_ns)
        if isinstance(command, Statement) and self.reconciler is not None:
            heard = self.reconciler.heard(command.venue)
            if heard.settled_ms == command.at_ms:
                self.watch.statement(command.venue, is_full=heard.compared_ms == command.at_ms)
        return answer


class VirtualRisk:
    """One incarnation of risk."""

    def __init__(
        self,
        around: Surroundings,
        process: VirtualProcess,
        disk: Disk,
        run: str,
        watch: RiskWatch,
        audit: Audit,
        are_feeds_silent: Callable[[], bool],
        tick_s: float,
    ) -> None:
        """``run`` names the supervisor's run."""
        self._around = around
        self.process = process
        self._disk = disk
        self._run_name = run
        self._watch = watch
        self._audit = audit
        self._are_feeds_silent = are_feeds_silent
        self._tick_s = tick_s
        self._sampled_ns = 0
        self._sample_ns = int(around.config.series.sample_ms * 1e6)
        self._waiting: list[Waiting] = []
        self._soon: asyncio.Handle | None = None
        self._replies = StoredReplies(_STORED_REPLIES)
        self._end: asyncio.Future[int] | None = None
        self.core: WatchedCore | None = None
        self.is_ready = False

    def _stop(self, code: ExitCode) -> None:
        assert self._end is not None
        if not self._end.done():
            self._end.set_result(code)

    async def run(self) -> int:
        """Until it ends by itself or is told to; the exit code."""
        around, files = self._around, self._around.files
        end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._end = end
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop, ExitCode.ORDERLY)
        with (
            BooksReader.attach(files.books) as books,
            PageWriter.create(files.risk_page, COUNTERS, HISTOGRAMS) as page,
        ):
            self._page, self._books = page, books
            self._set("pid", self.process.pid)
            store = self._store = MemoryLedger(self._disk)
            codec = PortfolioCodec()
            universes = UniverseFile(books, files.universe)
            universe = universes.load()
            try:
                state = recover(store, codec).state
                self._audit.began(state)
                self._watch.ended_risk()
                core = self.core = WatchedCore(around.config, universe, state, store.tag)
                core.watch = self._watch
                service = self._service = RiskService(core, store, page, books, around.clock, universes)
                service.start(self._run_name, VERSION)
            except LedgerDamaged as error:
                self._audit.damaged(str(error))
                return ExitCode.LEDGER
            except LedgerError:
                return ExitCode.LEDGER  # no room for the first event
            store.keep_snapshots(codec.version, lambda: codec.dump(state))
            age_ns_max = int(around.config.data_quality.max_book_age_ms * 1e6)
            self._gaps = GapWatch(books, universe, around.config.series, age_ns_max)
            service.on_universe = self._gaps.set_universe
            self._workers = WorkerWatch(
                files, around.config.run.shards, int(around.config.run.stuck_after_ms * 1e6)
            )
            around.port.listen(Listener(self.process, self._arrived))
            self._set("ready", 1)
            self.is_ready = True
            self._tick()
            try:
                code = await end
            finally:
                around.port.listen(None)
                self._workers.close()
                self.is_ready = False
            self._set("ready", 0)
            if code in (ExitCode.ORDERLY, ExitCode.ORPHANED):
                try:
                    service.stop()
                except LedgerError:
                    self._rolled_back()
                    return ExitCode.LEDGER
                self._audit.left(core.state)
            return code

    def _arrived(self, request: Waiting) -> None:
        self._waiting.append(request)
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        self._soon = None
        waiting, self._waiting = self._waiting, []
        if self._end is None or self._end.done():
            return
        batch = [(one.request_id, one.payload) for one in waiting]
        before = self._store.last_seq
        try:
            replies = self._replies.answer(batch, self._service.handle)
        except LedgerError as error:
            self._ledger_failed(error)
            return
        except ArbshardError as error:
            get_logger().error("risk ends: a mistake in the program", exc=repr(error))
            self._stop(ExitCode.FAILED)
            return
        self._watch.answers(replies)
        state = self._core_state()
        exposures = state.exposures
        self._watch.committed(
            Stated(state.exposure, exposures["buy_home"], exposures["buy_away"], state.entering)
        )
        stored = self._store.last_seq - before
        if stored:
            self._around.loop.charge(COMMIT_NS + stored * EVENT_NS, f"stores {stored} events")
        for one, reply in zip(waiting, replies, strict=True):
            self._around.port.answer(one, reply)
        reach(_ANSWERED)

    def _tick(self) -> None:
        assert self._end is not None
        if self._end.done():
            return
        asyncio.get_running_loop().call_later(self._tick_s, self._tick)
        now_ns = self._around.clock.monotonic_ns()
        self._page.add(self._page.counter("beat"))
        self._set("beat_ns", now_ns)
        try:
            stuck = self._workers.look(now_ns, self._core_state().shards)
            for shard, reason in stuck.items():
                self._service.fence(shard, reason)
            if stuck:
                self._service.show_fences()
            correlations = None
            if now_ns >= self._sampled_ns + self._sample_ns:
                self._sampled_ns = now_ns
                correlations = self._gaps.look(now_ns)
            self._service.tick(feeds_silent=self._are_feeds_silent(), correlations=correlations)
            self._store.checkpoint_if_due(is_idle=True)
        except LedgerError as error:
            self._ledger_failed(error)
            return
        if self._around.is_orphan():
            self._stop(ExitCode.ORPHANED)

    def _core_state(self) -> PortfolioState:
        assert self.core is not None
        return self.core.state

    def _ledger_failed(self, error: LedgerError) -> None:
        if isinstance(error, LedgerDamaged):  # an event that contradicts the state, not a disk without room
            self._audit.damaged(str(error))
        self._rolled_back()
        self._stop(ExitCode.LEDGER)

    def _rolled_back(self) -> None:
        self._watch.ended_risk()
        self._audit.rolled_back(self._core_state())

    def _set(self, name: str, value: int) -> None:
        self._page.set(self._page.counter(name), value)
