"""``DeskReader``: reads what one instance shows on its pages, and puts it on the instance's board.

It asks no process for what is shown. The ledger is read only for the pairs that somebody has opened.
"""

import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from arbshard.alerts.store import FILE, AlertRecord, AlertsFileError, AlertsReader
from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.engine.series import SpreadSeries
from arbshard.errors import ArbshardError, LedgerError, SharedMemoryError, UsageError
from arbshard.ledger.events import IntentRefused
from arbshard.ledger.reader import LedgerReader
from arbshard.log import get_logger
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.risk_note import NO_NOTE, RiskNote
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.risk.gap_files import GapFiles
from arbshard.shm.books import BooksReader
from arbshard.shm.pages import PageReader
from arbshard.shm.universe import UniverseFile
from arbshard.status.cluster import elsewhere_of
from arbshard.status.collect import Collector
from arbshard.status.model import Status
from arbshard.status.pair_view import read_view
from arbshard.status.why import reasons_of
from arbshard.web import view
from arbshard.web.board import DeskBoard
from arbshard.web.pairs import PairQueue, RefusedTrade, detail_of, row_of, waiting_row

AT_ONCE = 16
"""Pairs that are looked at in each pass beside the watched ones."""
_MINUTE_NS = 60_000_000_000
_SEEK_NS = 2_000_000_000
"""How often it is looked for an instance that does not run."""
_SLOW_NS = 2_000_000_000
"""How often balances and the funnel are shown anew: they are made of thousands of parts."""
_ALERTS_SHOWN, _ALERTS_MAX = 20, 60
"""Alerts that are over, and all alerts, that are shown."""
_REFUSED_SHOWN = 8
_REFUSED_EVERY_NS = 5_000_000_000
_EVENTS_SEARCHED = 20_000
"""Newest events of the ledger in which refusals of a pair are looked for."""
_GAPS_KEPT = 2_400
_GAPS_PAIRS_MAX = 64
"""Pairs whose gaps are followed: the one that was opened first is forgotten for another one."""
_SECTIONS = ("head", "money", "balances", "funnel", "work", "places", "events", "facts")


class _Funnels(msgspec.Struct, frozen=True):
    """The part of a worker's note that is wanted here."""

    funnel: dict[str, EdgeFunnel] = {}


class DeskReader:
    """One instance. ``watched`` and ``opened`` are set by those who look at it."""

    def __init__(self, name: str, find: Callable[[], Path], clock: Clock) -> None:
        """Make a reader. ``find`` returns where the run directory is or would be; it raises ``ArbshardError``."""
        self.name = name
        self.board = DeskBoard()
        self.watched: frozenset[str] = frozenset()
        """Bases of the rows that somebody sees."""
        self.opened: frozenset[str] = frozenset()
        """Bases of which somebody sees the detail."""
        self.status: Status | None = None
        self.note: RiskNote = NO_NOTE
        self.config = Config()
        self.universe: Universe | None = None
        self.failures = 0
        self._find = find
        self._clock = clock
        self._sought_ns = -_SEEK_NS
        self._files: RunFiles | None = None
        self._collector: Collector | None = None
        self._config_version = (0, 0)
        self._universe_version: tuple[int, int] | None = None
        self._queue = PairQueue(AT_ONCE)
        self._funnels: dict[str, EdgeFunnel] = {}
        self._minute: deque[tuple[int, EdgeFunnel]] = deque(maxlen=240)
        self._slow_ns = -_SLOW_NS
        self._gaps: dict[str, deque[tuple[int, float]]] = {}
        self._refused: dict[str, tuple[int, tuple[RefusedTrade, ...]]] = {}

    @property
    def files(self) -> RunFiles:
        """Return where the instance runs. Raises ``UsageError`` when it does not."""
        if self._files is None or self.status is None or self.status.state in ("ended", "dead"):
            raise UsageError(f"{self.name} is not running")
        return self._files

    def read(self) -> None:
        """Look at the instance once."""
        try:
            self._read()
        except (ArbshardError, OSError, msgspec.MsgspecError) as error:
            self.failures += 1
            get_logger().warning("an instance cannot be read", instance=self.name, error=str(error))
            self._show_absent(f"its pages cannot be read: {error}")

    def _read(self) -> None:
        now_ns, now_ms = self._clock.monotonic_ns(), self._clock.wall_ms()
        if self.status is None:
            if now_ns - self._sought_ns < _SEEK_NS:
                return
            self._sought_ns = now_ns
            self._files = RunFiles(self._find())
            self._collector = Collector(self._files.dir, self._clock)
        assert self._files is not None
        assert self._collector is not None
        self.status = status = self._collector.collect()
        if status is None:
            self._show_absent("")
            return
        self._read_config(self._files)
        self.note = note = self._collector.risk_note
        board = self.board
        board.put("head", view.head_of(status))
        board.put("money", view.money_of(status, note, self.config))
        if now_ns - self._slow_ns >= _SLOW_NS:
            self._slow_ns = now_ns
            board.put("balances", view.balances_of(status, note))
            self._put_funnel(self._files, status, now_ns)
            board.put("events", view.events_of(status, self._read_alerts(Path(status.state_dir) / FILE)))
        board.put("work", view.work_of(status, note))
        board.put("places", view.places_of(status))
        board.put("facts", view.facts_of(status))
        self._read_pairs(self._files, status, now_ns, now_ms)
        board.keep_sections(frozenset((*_SECTIONS, *(f"detail {base}" for base in self.opened))))

    def _read_alerts(self, path: Path) -> list[AlertRecord]:
        """Return the alerts that hold and the newest that are over; none where no alerts are kept."""
        if not path.is_file():
            return []
        try:
            with AlertsReader(path) as reader:
                return reader.records(_ALERTS_SHOWN)[:_ALERTS_MAX]
        except (AlertsFileError, sqlite3.Error) as error:
            self.failures += 1
            get_logger().warning("the alerts cannot be read", instance=self.name, error=str(error))
            return []

    def _put_funnel(self, files: RunFiles, status: Status, now_ns: int) -> None:
        self._funnels = self._read_funnels(files, status)
        total = view.total_of(self._funnels.values())
        while self._minute and now_ns - self._minute[0][0] > _MINUTE_NS:
            self._minute.popleft()
        before = self._minute[0][1] if self._minute else total
        self._minute.append((now_ns, total))
        self.board.put("funnel", view.funnel_of(status, total, before))

    def _show_absent(self, why: str) -> None:
        self.status, self.universe, self._universe_version = None, None, None
        self.board.put("head", view.absent(self.name, why))

    def _read_config(self, files: RunFiles) -> None:
        """Read the configuration again when the run directory has another one: a new run has begun."""
        try:
            found = files.config.stat()
        except FileNotFoundError:
            return  # a run that has ended takes its files away one after the other
        version = found.st_ino, found.st_mtime_ns
        if version != self._config_version:
            self.config = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
            self._config_version = version
            self._minute.clear()

    def _read_funnels(self, files: RunFiles, status: Status) -> dict[str, EdgeFunnel]:
        funnels: dict[str, EdgeFunnel] = {}
        for shard in status.shards:
            with (
                contextlib.suppress(SharedMemoryError),
                PageReader.attach(files.worker_page(shard.id)) as page,
            ):
                if raw := page.note():
                    funnels.update(msgspec.json.decode(raw, type=_Funnels).funnel)
        return funnels

    def _read_pairs(self, files: RunFiles, status: Status, now_ns: int, now_ms: int) -> None:
        try:
            books = BooksReader.attach(files.books)
        except SharedMemoryError:
            return  # the feed is not there yet, or has ended
        with books:
            file = UniverseFile(books, files.universe)
            try:
                version = file.serial, files.universe.stat().st_ino
                if self.universe is None or version != self._universe_version:
                    self.universe, self._universe_version = file.load(), version
            except (FileNotFoundError, SharedMemoryError):
                return  # it is not written yet
            self._put_rows(books, self.universe, status, now_ns, now_ms)

    def _put_rows(
        self, books: BooksReader, universe: Universe, status: Status, now_ns: int, now_ms: int
    ) -> None:
        pairs = {pair.base: pair for pair in universe.pairs}
        bases, owners, board = tuple(pairs), universe.owners(), self.board
        board.keep_rows(frozenset(bases))
        for base in board.rows_missing(bases):
            board.put_row(base, waiting_row(pairs[base], owners.get(base, -1), now_ms))
        fx = read_view(books, universe.fx)
        for base in self._queue.choose(bases, self.watched | self.opened):
            pair = pairs[base]
            views = read_view(books, pair.home), read_view(books, pair.away), fx
            shard = owners.get(base, -1)
            elsewhere = elsewhere_of(status.cluster, shard)
            found = reasons_of(pair, shard, views, now_ns, self.config, self.note, status.halted, elsewhere)
            board.put_row(base, row_of(found, pair, self.note, now_ms))
            points = self._gaps.get(base)
            if found.gap_bps is not None and points is not None:
                points.append((now_ms, found.gap_bps))
            if base in self.opened:
                refused = self._refused_of(base, Path(status.state_dir), now_ns)
                detail = detail_of(found, pair, views, self.note, self._funnels, refused, now_ms)
                board.put(f"detail {base}", detail)

    def gaps_of(self, base: str) -> list[tuple[int, float]]:
        """Return the gap of a pair as (wall time, basis points), the oldest first, and follow it from now on.

        What risk has kept of it over the last minutes comes first.
        """
        universe, status = self.universe, self.status  # another thread reads, and may set both to None
        if universe is None or status is None:
            return []
        if base not in self._gaps and any(pair.base == base for pair in universe.pairs):
            while len(self._gaps) >= _GAPS_PAIRS_MAX:
                self._gaps.pop(next(iter(self._gaps)))
            self._gaps[base] = deque(self._kept_gaps(base, Path(status.state_dir)), maxlen=_GAPS_KEPT)
        return list(self._gaps.get(base, ()))

    def _kept_gaps(self, base: str, state_dir: Path) -> Iterator[tuple[int, float]]:
        settings = self.config.series
        series = SpreadSeries(window=settings.window, sample_ms=settings.sample_ms)
        GapFiles(state_dir / "gaps", self._clock).load(base, series)
        oldest, values = series.intervals()
        now_ns, now_ms = self._clock.monotonic_ns(), self._clock.wall_ms()
        for number, value in enumerate(values, oldest):
            if value == value:  # noqa: PLR0124 - not NaN
                yield now_ms - round((now_ns - number * settings.sample_ms * 1e6) / 1e6), round(value, 2)

    def _refused_of(self, base: str, state_dir: Path, now_ns: int) -> tuple[RefusedTrade, ...]:
        """Return the newest refusals of a pair, looked up in the ledger every few seconds."""
        read_ns, known = self._refused.get(base, (-_REFUSED_EVERY_NS, ()))
        if now_ns - read_ns < _REFUSED_EVERY_NS:
            return known
        try:
            known = tuple(_refusals_in(state_dir / "ledger.sqlite", base))
        except (LedgerError, UsageError) as error:
            self.failures += 1
            get_logger().warning("the ledger cannot be read", instance=self.name, error=str(error))
        self._refused = {one: what for one, what in self._refused.items() if one in self.opened}
        self._refused[base] = now_ns, known
        return known


def _refusals_in(ledger: Path, base: str) -> Iterator[RefusedTrade]:
    with LedgerReader(ledger) as reader:
        newest: deque[RefusedTrade] = deque(maxlen=_REFUSED_SHOWN)
        for seq, at_ms, _, pair, _, body in reader.rows(
            ("IntentRefused",), after=max(reader.last_seq - _EVENTS_SEARCHED, 0)
        ):
            if pair == base:
                event = reader.decode(seq, body)
                assert isinstance(event, IntentRefused), event
                newest.append(RefusedTrade(at_ms, event.reason.name, event.detail))
    yield from reversed(newest)
