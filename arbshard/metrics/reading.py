"""Collects what a run shows at one moment, as families of figures. It reads pages and asks no process."""

from collections.abc import Iterator
from contextlib import closing
from threading import Lock

import msgspec
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.errors import SharedMemoryError
from arbshard.metrics.families import ProcessPages, families
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.notes import WorkerNote
from arbshard.model.risk_note import RiskNote, decode_risk_note
from arbshard.model.rundir import RunFiles
from arbshard.shm.budget import Budget
from arbshard.shm.pages import Histogram, PageReader
from arbshard.status.collect import Collector as StatusCollector
from arbshard.status.collect import answers_on
from arbshard.status.model import Status
from arbshard.venues.registry import rate_windows

_SKEW = "skew_ms_"
_OF_WORKERS = {
    "receive_decision": "arbshard_decision_latency_seconds",
    "decision_approval": "arbshard_approval_latency_seconds",
    "decision_wire": "arbshard_order_wire_latency_seconds",
}


class RunReader(Collector):
    """Implements prometheus-client's ``Collector``. Several threads may use it."""

    def __init__(self, files: RunFiles, config: Config, clock: Clock) -> None:
        self._files = files
        self._config = config
        self._clock = clock
        self._status = StatusCollector(files.dir, clock)
        self._lock = Lock()
        self._shown: dict[str, None] = {}
        """Pairs that have figures of their own. A pair stays once it is shown: figures that come and go mislead."""

    def status(self) -> Status | None:
        """Return the current status; None when nothing runs."""
        with self._lock:
            return self._status.collect()

    def collect(self) -> Iterator[Metric]:
        """Yield the current figures; none when nothing runs.

        Raises ``SharedMemoryError`` for a page that is damaged.
        """
        with self._lock:
            status = self._status.collect()
            if status is None:
                return
            self._choose_pairs(status)
            note, pages = self._risk_note(), self._pages(status)
            yield from families(status, note, pages, self._config, tuple(self._shown))

    def _choose_pairs(self, status: Status) -> None:
        busiest = sorted(status.symbols, key=lambda base: (-status.symbols[base].entries, base))
        for base in busiest:
            if len(self._shown) >= self._config.metrics.per_symbol:
                return
            if status.symbols[base].entries:
                self._shown[base] = None

    def _risk_note(self) -> RiskNote | None:
        try:
            with PageReader.attach(self._files.risk_page) as page:
                return decode_risk_note(raw) if (raw := page.note()) else None
        except SharedMemoryError:
            return None  # risk is being replaced

    def _pages(self, status: Status) -> ProcessPages:
        latencies: dict[tuple[str, str, str], Histogram] = {}
        funnels: dict[str, EdgeFunnel] = {}
        for shard in status.shards:
            try:
                with PageReader.attach(self._files.worker_page(shard.id)) as page:
                    for name, family in _OF_WORKERS.items():
                        latencies[family, "shard", str(shard.id)] = page.histogram(name)
                    delay = ("arbshard_loop_delay_seconds", "process", f"worker-{shard.id}")
                    latencies[delay] = page.histogram("loop_gap")
                    for venue, answer in answers_on(page).items():
                        key = ("arbshard_order_answer_seconds", "venue", venue)
                        latencies[key] = latencies.get(key, Histogram()).merge(answer)
                    if raw := page.note():
                        funnels.update(msgspec.json.decode(raw, type=WorkerNote).funnel)
            except SharedMemoryError:
                continue  # its worker is being replaced
        for process, path, names in (
            ("risk", self._files.risk_page, {"commit": "arbshard_ledger_commit_seconds"}),
            ("supervisor", self._files.supervisor_page, {}),
        ):
            try:
                with PageReader.attach(path) as page:
                    latencies["arbshard_loop_delay_seconds", "process", process] = page.histogram("loop_gap")
                    for name, family in names.items():
                        latencies[family, "process", process] = page.histogram(name)
            except SharedMemoryError:
                continue
        return ProcessPages(latencies, funnels, self._skews(), self._budget())

    def _skews(self) -> dict[str, int]:
        try:
            with PageReader.attach(self._files.accounts_page) as page:
                values = page.values()
        except SharedMemoryError:
            return {}  # on paper there are no accounts
        return {name.removeprefix(_SKEW): ms for name, ms in values.items() if name.startswith(_SKEW)}

    def _budget(self) -> dict[tuple[str, str], float]:
        windows = rate_windows(self._config.venues.traded)
        try:
            with closing(Budget.attach(self._files.dir, "accounts", windows)) as budget:
                now_ns = self._clock.monotonic_ns()
                usages = {window: budget.usage(window.name, now_ns) for window in windows}
        except SharedMemoryError:
            return {}  # on paper no requests are counted
        return {(window.venue, window.name): usage.used / usage.limit for window, usage in usages.items()}
