"""Assembles risk: puts its parts together over ports, and runs it from replaying the ledger to its end.

``main`` gives real ports and the simulation gives virtual ones. Risk ends in order on SIGTERM and when the
supervisor is gone: without a supervisor nothing watches the workers, and a risk process left over would hold the
ledger against the next run. A ledger that fails ends it too, and its session then has no end.
"""

import asyncio
import errno
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from decimal import Decimal
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from arbshard.clock import Clock
from arbshard.closable import Closable
from arbshard.config import Config
from arbshard.config.cluster import ClusterConfig
from arbshard.errors import LeadershipLost, LedgerError, SharedMemoryError, UsageError
from arbshard.ledger.events import SUPERVISOR_VANISHED
from arbshard.ledger.record import LedgerRecord, read_record, require_same
from arbshard.ledger.replay import recover
from arbshard.ledger.snapshots import SNAPSHOT_OVERDUE
from arbshard.ledger.store import LedgerStore
from arbshard.log import error_count, get_logger
from arbshard.model.market import Pair
from arbshard.model.risk_note import decode_risk_note
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.risk.archivist import Archivist
from arbshard.risk.core import RiskCore
from arbshard.risk.counters import COUNTERS, GAUGES, HISTOGRAMS, NOTE_BYTES
from arbshard.risk.disk import DiskWatch
from arbshard.risk.feed_silence import FeedWatch
from arbshard.risk.gap_files import GapFiles
from arbshard.risk.gap_sampler import GapWatch, SampledSlots
from arbshard.risk.leadership.following import Following
from arbshard.risk.leadership.remote_books import RemoteBooks
from arbshard.risk.note import NoteWriter
from arbshard.risk.portfolio.results import ALL, Totals
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.position_marker import PositionMarker
from arbshard.risk.rest import RestSpan
from arbshard.risk.service import RiskService
from arbshard.risk.shards.grants import ShardGrants
from arbshard.risk.shards.workers import WorkerWatch
from arbshard.shm.books import BooksReader
from arbshard.shm.former import keep_counts
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.shm.universe import UniverseFile
from arbshard.version import __version__
from arbshard.wire.replies import Handler
from arbshard.wire.serve import HoldingReplyServer, ReplyServer

if TYPE_CHECKING:
    from arbshard.wire.links import HostServer

MakeCore = Callable[[Config, Universe, PortfolioState, str], RiskCore]
"""Makes the core from configuration, universe, the state that was replayed, and the ledger's tag."""

# Repeated requests are also recognised by their subject; stored replies only spare the work for those that just
# timed out.
_STORED_REPLIES = 8192
_TICK_S = 0.1
"""How often workers are judged."""
_LEADER_TICK_S = 0.05
"""The same in a cluster, where each tick also asks whether this host still leads."""
_LOOKS = 4
"""Least number of judgements within the time after which a worker counts as stuck."""
_HOUSEKEEPING_NS = 80_000_000
"""Least time between two rounds of what need not be done at every tick of a short period."""
_GAUGES = (
    "session", "requests", "batches", "unsent", "bad_frames", "open_positions", "open_intents", "doubted",
    "entries", "exits", "unviewed", "errors",
)  # fmt: skip
"""What ``_show`` sets on the page, in the order in which it computes them."""
NOTE_EVERY_NS = 200_000_000
_CONFIRMED_S, _CONFIRMED_LEASES = 10.0, 10
"""How long a new leader waits for a majority of the hosts to follow: the longer of both."""
_CONFIRM_S = 0.01


class ExitCode(IntEnum):
    """Says how the process ended."""

    ORDERLY = 0
    FAILED = 1
    USAGE = 2
    LEDGER = 3
    ORPHANED = 4
    NOT_LEADER = 6


def _nothing() -> None:
    """Do nothing."""


class ClusterPorts(NamedTuple):
    """What risk of a cluster's leader needs beside ``RiskPorts``."""

    cluster: ClusterConfig
    term: int
    lease_ns: Callable[[], int]
    """The clock of leases."""
    lead_until_ns: Callable[[], int]
    """Until when this host's agent allows it to lead, by the clock of leases."""
    serve: Callable[[Callable[[bytes, str, bytes], None]], "HostServer"]
    """Opens the server of followers, which calls its argument with route, host and message."""
    refused: Callable[[], int]
    """Number of connections refused because their key is not in the cluster file."""


class RiskPorts(NamedTuple):
    """What risk needs from the process that it runs in."""

    clock: Clock
    files: RunFiles
    pid: int
    run: str
    """The name of the supervisor's run, by which a restart of risk within a run differs from a new run."""
    is_orphan: Callable[[], bool]
    """Whether the supervisor has died."""
    open_ledger: Callable[[], LedgerStore]
    """Opens the ledger that may be written in this run. Raises ``LedgerError``, ``UsageError``."""
    listen: Callable[[Handler, int], ReplyServer]
    """Makes the server of requests and commands, from their handler and the number of replies to store."""
    gap_folder: Path | None = None
    """Where the gaps of pairs are kept over restarts; None keeps nothing."""
    environ: Mapping[str, str] = {}
    """The environment, of which the archiver gets a part."""
    on_ready: Callable[[], None] = _nothing
    """Called once, just before requests are answered."""
    make_core: MakeCore = RiskCore
    tick_s: float | None = None
    """The period of the timer on which workers are judged; None for the one that ``run.stuck_after_ms`` asks for."""
    note_every_ns: int = NOTE_EVERY_NS
    """The least time between two notes on the page, in ns."""
    cluster: ClusterPorts | None = None
    """None for a run on one host."""


class Risk(Closable):
    """Is one incarnation of risk. ``run`` it once, and close it."""

    def __init__(self, ports: RiskPorts, config: Config, universe: Universe, books: BooksReader) -> None:
        """Replay the ledger and begin a session.

        Raises ``LedgerError``, ``UsageError``, ``SharedMemoryError``.
        """
        self._ports = ports
        self.is_ready = False
        """Whether requests are answered."""
        self.failure: LedgerError | None = None
        """Why the ledger can no longer be written, once that is so."""
        files = ports.files
        with ExitStack() as opened:
            page, last_note = _open_page(files.risk_page)
            self._page = opened.enter_context(page)
            page.set(page.counter("pid"), ports.pid)
            self._pulse = page.counter("beat"), page.counter("beat_ns"), page.histogram("loop_gap")
            self._gauges = tuple(map(page.counter, _GAUGES))
            self._store = store = ports.open_ledger()
            opened.callback(store.abandon)
            # In a cluster another host may have led since, and a tail that no majority had stored is gone.
            noted = read_record(files.ledger_page) if ports.cluster is None else None
            if noted is not None:
                require_same(noted, store)
            is_new = store.last_seq == 0
            self._service = service = self._begin_session(config, universe, books, last_note)
            self._record(opened, service, is_new=is_new, is_first=noted is None)
            self._watch_books(config, universe, books)
            self._note = NoteWriter(self.core, config.reporting)
            self._disk = DiskWatch(store, config.run, self.core.guard, page)
            self._archivist = Archivist(store, config.ledger.archive_events, ports.environ, self._archived)
            self._feeds = opened.enter_context(closing(FeedWatch(files.supervisor_page)))
            stuck_after_ns = int(config.run.stuck_after_ms * 1e6)
            self._workers = opened.enter_context(
                closing(WorkerWatch(files, config.run.shards, stuck_after_ns))
            )
            tick_s = _TICK_S if ports.cluster is None else _LEADER_TICK_S
            self._tick_s = ports.tick_s or min(tick_s, config.run.stuck_after_ms / 1000 / _LOOKS)
            handler = service.handle if self._follow is None else self._handle_as_leader
            self._transport = opened.enter_context(ports.listen(handler, _STORED_REPLIES))
            self._begin_following = self._serve_followers(opened)
            self._opened = opened.pop_all()
        self._kept_ns = self._noted_ns = self._due_ns = 0
        self._seen_batches = 0
        self._timer: asyncio.TimerHandle | None = None
        self._end: asyncio.Future[ExitCode] = asyncio.get_running_loop().create_future()

    def _record(self, opened: ExitStack, service: RiskService, *, is_new: bool, is_first: bool) -> None:
        """Record from now on which ledger this is, and which event is its last."""
        path, store = self._ports.files.ledger_page, self._store
        record = LedgerRecord.begin(path, store, is_new=is_new) if is_first else LedgerRecord.go_on(path)
        opened.callback(record.close)
        record.note(store.last_seq)
        service.on_stored = record.note
        if self._follow is not None:
            service.on_stored = partial(_note_both, record.note, self._follow.stored)

    def _begin_session(
        self, config: Config, universe: Universe, books: BooksReader, last_note: bytes
    ) -> RiskService:
        """Replay the ledger, and begin a session with what it leads to. Raises ``LedgerError``.

        ``last_note`` is the note of the predecessor in this run; empty for the first.
        """
        ports, store, clock = self._ports, self._store, self._ports.clock
        began_ns = clock.monotonic_ns()
        codec = PortfolioCodec()
        found = recover(store, codec, self._beat)
        state = found.state
        took_ms = (clock.monotonic_ns() - began_ns) // 1_000_000
        for why in found.ignored:
            get_logger().warning("snapshot ignored", why=why)
        self.core = ports.make_core(config, universe, state, store.tag)
        change = decode_risk_note(last_note).equity.change if last_note else None
        if change is not None:
            self.core.valuation.go_on(
                *map(Decimal, (change.started, change.moved, change.fx, change.equity_started))
            )
        universes = UniverseFile(books, ports.files.universe)
        service = RiskService(self.core, store, self._page, books, clock, universes)
        was_stopped = state.is_stopped
        first = store.last_seq + 1
        before = (state.term, state.leader)
        if ports.cluster is not None:
            _begin_term(ports.cluster, service, state)
        service.start(ports.run, __version__)
        self._follow = None
        if ports.cluster is not None:
            is_again = before == (state.term, state.leader)
            self._follow = self._lead(ports.cluster, service, first, is_again=is_again)
        overdue = min(SNAPSHOT_OVERDUE, config.ledger.archive_events or SNAPSHOT_OVERDUE)
        store.keep_snapshots(codec.version, lambda: codec.dump(state), overdue)
        get_logger().info(
            "risk started",
            session=state.session,
            events=store.last_seq,
            replayed=found.replayed,
            snapshot=found.snapshot_seq,
            took_ms=took_ms,
            after_crash=not was_stopped,
        )
        warn_of_untraded(state, universe)
        return service

    def _watch_books(self, config: Config, universe: Universe, books: BooksReader) -> None:
        """Sample the books of all pairs; in a cluster those of other hosts too."""
        ports, follow = self._ports, self._follow
        age_ns_max = int(config.data_quality.max_book_age_ms * 1e6)
        self._gap_files = GapFiles(ports.gap_folder, ports.clock)
        slots: SampledSlots = books
        if follow is not None:
            slots = follow.remote = RemoteBooks(books, universe, ports.clock.monotonic_ns)
        self._gaps = GapWatch(
            slots, universe, config.series, age_ns_max, config.baseline, self._gap_files.load
        )
        self._gaps.on_fx = self.core.valuation.set_fx
        self._gaps.on_prices = self._set_prices
        self._gaps.on_gap = self.core.note_gap
        self._gaps.on_rate = self.core.guard.fx.set_rate
        self._positions = PositionMarker(slots, universe, self.core.valuation)
        self._service.on_universe = self._set_universe
        self.core.guard.set_views(self._gaps.views)
        self.core.use_baselines(self._gaps.baselines)

    def _lead(self, cluster: ClusterPorts, service: RiskService, first: int, *, is_again: bool) -> Following:
        """Return what serves the followers; ``first`` is the first event of this leadership.

        ``is_again``: another process has led in this term before.
        """
        state = self.core.state

        def epoch_of(shard: int) -> int | None:
            known = state.shards.get(shard)
            return known.epoch if known is not None else None

        config = cluster.cluster
        grants = ShardGrants(
            state.grants,
            shards=config.shards,
            lease_ns=config.lease_ms * 1_000_000,
            elected_ns=cluster.lease_ns() if is_again else None,
        )
        return Following(
            config,
            cluster.term,
            self._store,
            service,
            grants,
            epoch_of,
            cluster.lease_ns,
            cluster.lead_until_ns,
            first,
        )

    def _serve_followers(self, opened: ExitStack) -> Callable[[], None]:
        """Open what serves the followers. Return the function that begins to serve them."""
        follow, cluster, transport = self._follow, self._ports.cluster, self._transport
        if follow is None or cluster is None:
            return _nothing
        assert isinstance(transport, HoldingReplyServer)
        transport.rests_on = lambda: self._store.last_seq
        transport.safe = lambda: follow.safe_seq
        transport.is_safe_with = follow.is_safe_with
        follow.on_progress = transport.release
        server = opened.enter_context(cluster.serve(follow.receive))
        page = opened.enter_context(PageReader.attach(self._ports.files.risk_page))
        opened.callback(follow.close)
        return partial(follow.start, server.send, page, self._fail)

    def _handle_as_leader(self, payloads: list[bytes]) -> list[bytes]:
        self._require_leadership()
        return self._service.handle(payloads)

    def _require_leadership(self) -> None:
        """Raise ``LeadershipLost`` when another host may lead by now."""
        if self._follow is not None and not self._follow.is_leading:
            raise LeadershipLost("no majority of the hosts has confirmed lately that this one leads")

    async def _is_confirmed(self, follow: Following) -> bool:
        """Wait until a majority of the hosts follows. Return whether it does; not when the process is to end."""
        loop, clock, cluster = asyncio.get_running_loop(), self._ports.clock, self._ports.cluster
        assert cluster is not None
        lease_s = cluster.cluster.lease_ms / 1000
        end_s = loop.time() + max(_CONFIRMED_S, _CONFIRMED_LEASES * lease_s)
        allowed_s = loop.time()
        while not follow.is_leading and not self._end.done():
            now_s = loop.time()
            if cluster.lease_ns() < cluster.lead_until_ns():
                allowed_s = now_s
            if now_s > end_s or now_s - allowed_s > lease_s:
                why = "no majority of the hosts follows" if now_s > end_s else "the agent does not allow it"
                get_logger().error("this host does not begin to lead", why=why, followers=follow.followers)
                self._stop(ExitCode.NOT_LEADER)
            elif self._ports.is_orphan():
                self._stop(ExitCode.ORPHANED)
            self._beat()
            self._show(clock.monotonic_ns())
            await asyncio.sleep(_CONFIRM_S)
        return not self._end.done()

    async def run(self) -> ExitCode:
        """Serve until there is a reason to end, and end the session unless the ledger has failed. Return how it
        ended.

        Raises ``LedgerError`` when the end cannot be stored, and whatever else a batch or a tick raised.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop, ExitCode.ORDERLY)
        try:
            code = await self._end_in_order(await self._serve())
        finally:  # a signal that comes during the end does not cut it off
            loop.remove_signal_handler(signal.SIGTERM)
        get_logger().info("risk ended", code=int(code))
        return code

    async def _serve(self) -> ExitCode:
        clock = self._ports.clock
        self._ports.on_ready()
        self._disk.poll(clock.monotonic_ns())
        self._begin_following()
        try:
            if self._follow is None or await self._is_confirmed(self._follow):
                self._transport.start(self._fail)
                self._show(clock.monotonic_ns())
                self._set_ready(is_ready=True)  # from here on the note is risk's own
                self._plan_tick()
            return await self._end
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._transport.close()
            self._set_ready(is_ready=False)
            self._archivist.stop()

    async def _end_in_order(self, code: ExitCode) -> ExitCode:
        """End the session and close the ledger, as far as that is possible. Return the code of the process."""
        self._gap_files.save_all(self._gaps.series.items())
        is_ended = code is not ExitCode.LEDGER
        if self._follow is not None:
            code, is_ended = await self._end_leadership(self._follow, code)
        elif is_ended:
            self._end_session(code)
        if is_ended:
            self._show_last()
            self._store.close()
            self._set("closed", 1)
        elif code is ExitCode.NOT_LEADER:
            self._store.close()
        return code

    def _show_last(self) -> None:
        """Show how the session has ended."""
        now_ns = self._ports.clock.monotonic_ns()
        self.core.valuation.look_at_naked(now_ns)  # The last valuation may be older than the last fills.
        self._show(now_ns, is_last=True)

    def _end_session(self, code: ExitCode) -> None:
        self._service.stop(SUPERVISOR_VANISHED if code is ExitCode.ORPHANED else "")

    async def _end_leadership(self, follow: Following, code: ExitCode) -> tuple[ExitCode, bool]:
        """End the session if a majority still follows, and let the followers have it.

        Return the code, and whether the session was ended. This host's agent may have given up the leadership: that
        ends the answers, but the last event can still be stored like any other.
        """
        if code is not ExitCode.LEDGER and follow.has_majority:
            self._end_session(code)
            self._show_last()
            await follow.drain()
            follow.close()
            return code, True
        follow.close()
        return code if code is ExitCode.LEDGER else ExitCode.NOT_LEADER, False

    def close(self) -> None:
        """Close what was opened; a ledger that was not closed in order is abandoned."""
        self._opened.close()

    @property
    def gaps(self) -> GapWatch:
        """Return the sampler of the gaps of all pairs."""
        return self._gaps

    @property
    def is_settled(self) -> bool:
        """Return whether the newest universe is in use."""
        return self._service.is_settled

    @property
    def timer(self) -> asyncio.TimerHandle | None:
        """Return the timer of the next tick; None before the first is planned."""
        return self._timer

    @property
    def tick_s(self) -> float:
        """Return the period of the ticks in seconds."""
        return self._tick_s

    def keeps_house(self, ticks: Sequence[int]) -> list[int]:
        """Return those of successive ``ticks`` that do more than judge workers."""
        kept_ns, found = self._kept_ns, []
        for now_ns in ticks:
            if now_ns - kept_ns >= _HOUSEKEEPING_NS:
                kept_ns = now_ns
                found.append(now_ns)
        return found

    def settling_ns(self) -> int:
        """Return how long the ticks must have gone on, after a span of rest, until everything is as without it: a
        round over the baselines, one over the terms of entry, and the questions of the worker.
        """
        tick_ns = int(self._tick_s * 1e9)
        return self._gaps.baselines.round_ns(tick_ns) + self.core.terms.round_ns(tick_ns) + _HOUSEKEEPING_NS

    def rest(self, span: RestSpan) -> None:
        """Continue as if there had been the ticks of a span of rest (``risk.rest``). The caller moves the timer."""
        self._kept_ns = span.ticks[-1]
        self._page.set(self._pulse[1], span.ticks[-1])
        self._positions.rest(span.ticks)
        self._feeds.rest(span.ticks)
        self._gaps.rest(span)
        self.core.rest(span)
        self._service.rest(span.ticks)

    def _stop(self, code: ExitCode) -> None:
        if not self._end.done():
            self._end.set_result(code)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, LeadershipLost):
            get_logger().error("this host leads no more", why=str(error))
            self._stop(ExitCode.NOT_LEADER)
        elif isinstance(error, LedgerError):
            get_logger().error("the ledger cannot be trusted or written", error=str(error))
            self.failure = error
            self._stop(ExitCode.LEDGER)
        elif not self._end.done():
            self._end.set_exception(error)

    def _plan_tick(self) -> None:
        self._due_ns = self._ports.clock.monotonic_ns() + int(self._tick_s * 1e9)
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._on_timer)

    def _on_timer(self) -> None:
        self._transport.serve()  # a tick takes longer than an answer, and the loop calls timers first
        if self._end.done():
            return
        try:
            self._require_leadership()
            self._tick(self._ports.clock.monotonic_ns())
        except Exception as error:  # noqa: BLE001 -- handed to ``run``, which raises it
            self._fail(error)
            return
        if self._ports.is_orphan():
            get_logger().error("the supervisor is gone")
            self._stop(ExitCode.ORPHANED)
            return
        self._plan_tick()

    def _tick(self, now_ns: int) -> None:
        page = self._page
        beat, beat_ns, loop_gap = self._pulse
        page.add(beat)
        page.set(beat_ns, now_ns)
        page.record(loop_gap, now_ns - self._due_ns)
        self._look_at_workers(now_ns)
        if now_ns - self._kept_ns < _HOUSEKEEPING_NS:
            return
        self._kept_ns = now_ns
        self._store.check_files()
        self._disk.poll(now_ns)
        self._show(now_ns)
        if self._positions.mark(now_ns, self._ports.clock.wall_ms()):
            self._service.is_changed = True  # so that the new values are shown
        feeds_silent = self._feeds.poll(now_ns)
        self._service.set_lost_feeds(self._feeds.lost)
        self._gaps.sample(now_ns)
        self._service.tick(feeds_silent=feeds_silent)
        self._gap_files.save_next(self._gaps.series.items())
        moved = self._store.checkpoint_if_due(is_idle=self._transport.batches == self._seen_batches)
        if not moved:  # never two pauses at once
            self._archivist.poll(now_ns, self._ports.clock.monotonic_ns)
        self._page.add(self._page.counter("checkpoints"), int(moved))
        self._seen_batches = self._transport.batches

    def _set_prices(self, pair: Pair, bids: tuple[float, float], rate: float) -> None:
        self.core.valuation.set_prices(pair, bids, rate)
        now_ns = self._ports.clock.monotonic_ns()
        self.core.identity.set_ratio(pair.base, bids[0] / (bids[1] * rate), now_ns)

    def _set_universe(self, universe: Universe) -> None:
        if self._follow is not None and self._follow.remote is not None:
            self._follow.remote.set_universe(universe)
        self._gaps.set_universe(universe)
        self.core.guard.correlations.set_series(self._gaps.series)
        self._positions.set_universe(universe)

    def _look_at_workers(self, now_ns: int) -> None:
        """Fence workers that do not run: in the ledger, then why, then the epoch on which others act.

        Raises ``LedgerError``.
        """
        stuck = self._workers.judge(now_ns, self.core.state.shards)
        for shard, reason in stuck.items():
            self._service.fence(shard, reason)
        if stuck:
            self._noted_ns = 0
            self._show(now_ns)
            self._service.show_fences()

    def _show(self, now_ns: int, *, is_last: bool = False) -> None:
        """Bring the page up to date, and its note when it is due or the last one."""
        state = self.core.state
        session = state.results.run.get(ALL, Totals())
        transport = self._transport
        values = (
            state.session, transport.requests, transport.batches, transport.unsent, transport.bad,
            len(state.positions), len(state.trades), sum(state.results.doubted.values()), session.entries,
            session.exits, self.core.guard.unviewed, error_count(),
        )  # fmt: skip
        for gauge, value in zip(self._gauges, values, strict=True):
            self._page.set(gauge, value)
        if self._follow is not None:
            self._show_followers(self._follow)
        if self._service.is_changed and (is_last or now_ns - self._noted_ns >= self._ports.note_every_ns):
            try:
                self._page.write_note(
                    self._note.encode(self._ports.clock.wall_ms(), self._ports.clock.monotonic_ns())
                )
            except SharedMemoryError as error:
                get_logger().error("the note cannot be written", error=str(error))
                self._set("errors", error_count())
            self._service.is_changed = False
            self._noted_ns = now_ns

    def _show_followers(self, follow: Following) -> None:
        transport, cluster = self._transport, self._ports.cluster
        assert isinstance(transport, HoldingReplyServer)
        assert cluster is not None
        self._set("followers", follow.followers)
        self._set("uncommitted", self._store.last_seq - follow.quorum.committed)
        self._set("held_replies", transport.held)
        self._set("unanswered", transport.unanswered)
        self._set("link_refused", cluster.refused())
        self._set("link_bad", follow.bad)
        self._set("samples_ignored", follow.remote.ignored if follow.remote is not None else 0)

    def _set_ready(self, *, is_ready: bool) -> None:
        self.is_ready = is_ready
        self._set("ready", int(is_ready))

    def _set(self, name: str, value: int) -> None:
        self._page.set(self._page.counter(name), value)

    def _beat(self) -> None:
        """Show that the replay goes on."""
        self._page.add(self._page.counter("beat"))
        self._page.set(self._page.counter("beat_ns"), self._ports.clock.monotonic_ns())

    def _archived(self, done: bool) -> None:
        self._page.add(self._page.counter("archived" if done else "archive_failures"))


def _begin_term(cluster: ClusterPorts, service: RiskService, state: PortfolioState) -> None:
    """Begin a leadership, unless this host has begun it already. Raises ``LeadershipLost``, ``LedgerError``."""
    term, host = cluster.term, cluster.cluster.host
    if state.term > term or (state.term == term and state.leader != host):
        raise LeadershipLost(
            f"the ledger has term {state.term} of host {state.leader} already, this is {term}"
        )
    if state.term < term:
        service.lead(term, host)


def _note_both(note: Callable[[int], None], also: Callable[[int], None], last_seq: int) -> None:
    note(last_seq)
    also(last_seq)


def warn_of_untraded(state: PortfolioState, universe: Universe) -> None:
    """Log positions and intents of pairs that are not traded in this run: they wait for one in which they are."""
    traded = {pair.base for pair in universe.pairs}
    positions = sorted(one.position_id for one in state.positions.values() if one.pair not in traded)
    intents = sorted(trade for pair, trade in state.busy.items() if pair not in traded)
    if positions or intents:
        get_logger().warning("of pairs not traded now", positions=positions, intents=intents)


def exit_code_of(error: Exception) -> ExitCode:
    """Return the exit code of a risk process that ends because of ``error``."""
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, LedgerError) or is_full:
        return ExitCode.LEDGER
    if isinstance(error, LeadershipLost):
        return ExitCode.NOT_LEADER
    return ExitCode.USAGE if isinstance(error, UsageError) else ExitCode.FAILED


def _open_page(path: Path) -> tuple[PageWriter, bytes]:
    """Make the page anew, and return it with the note of the predecessor in this run; that is empty for the first.

    The page shows that note, the last that is known, until there is something newer.
    """
    note = b""
    try:
        with PageReader.attach(path) as former:
            note = former.note()
    except SharedMemoryError:
        pass  # there is no predecessor
    keep_counts(path, GAUGES)
    page = PageWriter.create(path, COUNTERS, HISTOGRAMS, NOTE_BYTES)
    if note:
        page.write_note(note)
    return page, note
