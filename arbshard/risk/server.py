"""The risk process's loop: answers on its socket, shows itself on its page, and knows when to end.

``main`` builds it. It ends in order on SIGTERM, when the ledger fails, and when the supervisor is gone: without one
nobody watches the workers, and a risk process left over would hold the ledger against the next run.
"""

import asyncio
import signal
from collections.abc import Callable
from enum import IntEnum

from arbshard.clock import Clock
from arbshard.errors import LedgerError, SharedMemoryError
from arbshard.ledger.store import LedgerStore
from arbshard.log import error_count, get_logger
from arbshard.risk.archivist import Archivist
from arbshard.risk.disk import DiskWatch
from arbshard.risk.feeds import FeedWatch
from arbshard.risk.gaps import GapWatch
from arbshard.risk.note import NoteWriter
from arbshard.risk.portfolio.results import ALL, Totals
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.service import RiskService
from arbshard.risk.shards.workers import WorkerWatch
from arbshard.shm.pages import PageWriter
from arbshard.wire.serve import ReplyServer

_TICK_S = 0.05
"""How often workers are looked at, and at least so often within what is called stuck:"""
_LOOKS = 4
_HOUSEKEEPING_NS = 100_000_000
_NOTE_EVERY_NS = 200_000_000


class ExitCode(IntEnum):
    """How the process ended."""

    ORDERLY = 0
    FAILED = 1
    USAGE = 2
    LEDGER = 3
    ORPHANED = 4


class RiskServer:
    """Runs until there is a reason to end."""

    def __init__(
        self,
        service: RiskService,
        state: PortfolioState,
        store: LedgerStore,
        page: PageWriter,
        transport: ReplyServer,
        is_orphan: Callable[[], bool],
        feeds: FeedWatch,
        gaps: GapWatch,
        note: NoteWriter,
        workers: WorkerWatch,
        disk: DiskWatch,
        stuck_after_ms: float,
        clock: Clock,
        archivist: Archivist,
    ) -> None:
        """``is_orphan``: whether the supervisor has died."""
        self._archivist = archivist
        self._service = service
        self._state = state
        self._store = store
        self._page = page
        self._transport = transport
        self._is_orphan = is_orphan
        self._feeds = feeds
        self._gaps = gaps
        self._note = note
        self._workers = workers
        self._disk = disk
        self._tick_s = min(_TICK_S, stuck_after_ms / 1000 / _LOOKS)
        self._clock = clock
        self._kept_ns = 0
        self._noted_ns = 0
        self._seen_batches = 0
        self._failure: Exception | None = None
        self._end = asyncio.Event()

    async def run(self) -> ExitCode:
        """Serve; how it ended. Raises what the handler of a batch raised, unless it was the ledger."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end.set)
        self._disk.look(self._clock.monotonic_ns())
        self._transport.start(self._failed)
        self._show(self._clock.monotonic_ns())
        self._set("ready", 1)  # from here on the note is risk's own
        try:
            code = await self._watch()
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            self._transport.close()
            self._set("ready", 0)
            self._archivist.stop()
        if code is not ExitCode.LEDGER:
            self._service.stop()
            self._show(self._clock.monotonic_ns(), is_last=True)
        return code

    async def _watch(self) -> ExitCode:
        while not self._end.is_set():
            due_ns = self._clock.monotonic_ns() + int(self._tick_s * 1e9)
            try:
                await asyncio.wait_for(self._end.wait(), self._tick_s)
                break
            except TimeoutError:
                now_ns = self._clock.monotonic_ns()
            self._tick(now_ns, due_ns)
            if self._is_orphan():
                get_logger().error("the supervisor is gone")
                return ExitCode.ORPHANED
        if self._failure is None:
            return ExitCode.ORDERLY
        if isinstance(self._failure, LedgerError):
            get_logger().error("the ledger cannot be trusted or written", error=str(self._failure))
            return ExitCode.LEDGER
        raise self._failure

    def _failed(self, error: Exception) -> None:
        self._failure = error
        self._end.set()

    def _tick(self, now_ns: int, due_ns: int) -> None:
        self._page.add(self._page.counter("beat"))
        self._set("beat_ns", now_ns)
        self._page.record(self._page.histogram("loop_gap"), now_ns - due_ns)
        try:
            self._look_at_workers(now_ns)
            if now_ns - self._kept_ns < _HOUSEKEEPING_NS:
                return
            self._kept_ns = now_ns
            self._store.look()
            self._disk.look(now_ns)
            self._show(now_ns)
            self._service.tick(feeds_silent=self._feeds.look(now_ns), correlations=self._gaps.look(now_ns))
            moved = self._store.checkpoint_if_due(is_idle=self._transport.batches == self._seen_batches)
            if not moved:  # never two pauses at once
                self._archivist.look(now_ns, self._clock.monotonic_ns)
        except LedgerError as error:
            self._failed(error)
            return
        self._page.add(self._page.counter("checkpoints"), int(moved))
        self._seen_batches = self._transport.batches

    def _look_at_workers(self, now_ns: int) -> None:
        """Ledger first, then why, then the word on which workers and supervisor act. Raises ``LedgerError``."""
        stuck = self._workers.look(now_ns, self._state.shards)
        for shard, reason in stuck.items():
            self._service.fence(shard, reason)
        if stuck:
            self._noted_ns = 0
            self._show(now_ns)
            self._service.show_fences()

    def _show(self, now_ns: int, *, is_last: bool = False) -> None:
        """Bring the page up to date, and its note when it is due or the last one."""
        session = self._state.results.run.get(ALL, Totals())
        self._set("session", self._state.session)
        self._set("requests", self._transport.requests)
        self._set("batches", self._transport.batches)
        self._set("unsent", self._transport.unsent)
        self._set("bad_frames", self._transport.bad)
        self._set("open_positions", len(self._state.positions))
        self._set("open_intents", len(self._state.trades))
        self._set("doubted", sum(self._state.results.doubted.values()))
        self._set("entries", session.entries)
        self._set("exits", session.exits)
        if self._service.is_changed and (is_last or now_ns - self._noted_ns >= _NOTE_EVERY_NS):
            try:
                self._page.write_note(self._note.encode(self._clock.wall_ms()))
            except SharedMemoryError as error:
                get_logger().error("the note cannot be written", error=str(error))
            self._service.is_changed = False
            self._noted_ns = now_ns
        self._set("errors", error_count())

    def _set(self, name: str, value: int) -> None:
        self._page.set(self._page.counter(name), value)
