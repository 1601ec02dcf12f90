"""Provides what the other processes of this host show: the supervisor, the workers, their use of the CPU, and which
workers are to be reported as stuck.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from arbshard.closable import Closable
from arbshard.cluster.claims import WorkerUp
from arbshard.errors import SharedMemoryError
from arbshard.model.notes import SupervisorNote
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader
from arbshard.wire.cluster import StuckWorker

_AGAIN_NS = 100_000_000
"""How often a page that is missing or of another process is opened anew, in ns."""
_ALERTS_FRESH_NS = 5_000_000_000
"""The process of alerts shows at least this often (ns) that it is alive."""
_STUCK_AGAIN_NS = 1_000_000_000
"""Pause in ns between two reports that the same worker is stuck."""


class SupervisorState(NamedTuple):
    """Holds what the supervisor shows to the agent."""

    universe: int = 0
    """Serial of the universe in force on this host; 0 for none."""
    risk_term: int = 0
    """Term of the risk process that exists; 0 for none."""
    risk_ended: int = 0
    """The newest term whose risk has ended and is not started again; 0 for none."""
    leaves: bool = False
    """Whether this host is to leave the cluster."""
    phase: int = 0
    """1: the whole cluster ends; 2: the same, positions kept."""
    epochs: tuple[int, ...] = ()
    """By shard: the epoch of the worker process that exists; 0 for none."""
    backs: tuple[int, ...] = ()
    """By shard: the grant that this host gives back; 0 for none."""


class _OpenPage(Closable):
    """Is the page of whichever process has it now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tried_ns = -_AGAIN_NS
        self.page: PageReader | None = None

    def attach(self, now_ns: int) -> PageReader | None:
        """Open the newest file, at most every ``_AGAIN_NS``."""
        if now_ns - self._tried_ns >= _AGAIN_NS:
            self._tried_ns = now_ns
            try:
                page = PageReader.attach(self._path)
            except SharedMemoryError:
                return self.page  # it is not made yet
            self.close()
            self.page = page
        return self.page

    def close(self) -> None:
        """Close the page. May be called again."""
        if self.page is not None:
            self.page.close()
            self.page = None


class LocalProcesses(Closable):
    """Provides what the pages of this host's processes show."""

    def __init__(self, files: RunFiles, shards: int, monotonic_ns: Callable[[], int]) -> None:
        self._now_ns = monotonic_ns
        self._shards = range(shards)
        self._alerts_page = files.alerts_page
        self._supervisor = _OpenPage(files.supervisor_page)
        self._workers = [_OpenPage(files.worker_page(shard)) for shard in self._shards]
        self._names: frozenset[str] = frozenset()

    def supervisor(self) -> SupervisorState:
        """Return what the supervisor shows; nothing before it has a page."""
        page = self._supervisor.page
        if page is None:
            page = self._supervisor.attach(self._now_ns())
            if page is None:
                return SupervisorState()
            self._names = frozenset(page.counters)
        value = self._value
        return SupervisorState(
            universe=value(page, "universe"),
            risk_term=value(page, "risk_term"),
            risk_ended=value(page, "risk_ended"),  # before ``leaves``, which the supervisor writes first
            leaves=value(page, "leaves") != 0,
            phase=value(page, "phase"),
            epochs=tuple(value(page, f"epoch_{shard}") for shard in self._shards),
            backs=tuple(value(page, f"back_{shard}") for shard in self._shards),
        )

    def workers(self, epochs: Sequence[int]) -> Mapping[int, WorkerUp]:
        """Return the worker processes that exist, by shard. ``epochs``: those that the supervisor shows."""
        return {
            shard: WorkerUp(epoch, self._universe_of(shard, epoch))
            for shard, epoch in enumerate(epochs)
            if epoch
        }

    def note(self) -> SupervisorNote | None:
        """Return the supervisor's note; None while there is none that can be read."""
        page = self._supervisor.page
        try:
            raw = page.note() if page is not None else b""
            return msgspec.json.decode(raw, type=SupervisorNote) if raw else None
        except (SharedMemoryError, msgspec.MsgspecError):
            return None  # it is shown again a moment later

    def sends_alerts(self) -> bool:
        """Return whether the alerts of this host reach a target, as far as their process knows."""
        try:
            with PageReader.attach(self._alerts_page) as page:
                is_fresh = self._now_ns() - page.value("beat_ns") < _ALERTS_FRESH_NS
                return is_fresh and page.value("reaches") == 1
        except (SharedMemoryError, KeyError):
            return False  # there is no such process

    def close(self) -> None:
        """Close all pages. May be called again."""
        for one in (self._supervisor, *self._workers):
            one.close()

    def _value(self, page: PageReader, name: str) -> int:
        return page.value(name) if name in self._names else 0

    def _universe_of(self, shard: int, epoch: int) -> int:
        """Return the serial that this incarnation has carried out; -1 before it shows one."""
        opened = self._workers[shard]
        page = opened.page
        if page is None or page.value("epoch") != epoch:
            page = opened.attach(self._now_ns())
        if page is None or page.value("epoch") != epoch:
            return -1
        return page.value("universe")


class StuckReports:
    """Decides when it is reported to the leader, and reported again, that a worker is stuck. Pure."""

    def __init__(self) -> None:
        self._sent_ns: dict[tuple[int, int], int] = {}
        """When each worker that is stuck was last reported, by shard and epoch."""

    def due(self, stuck: Sequence[StuckWorker], now_ns: int) -> Sequence[StuckWorker]:
        """Return the reports to send now. ``stuck`` has one of each worker that is stuck at present."""
        before, self._sent_ns = self._sent_ns, {}
        reports: list[StuckWorker] = []
        for one in stuck:
            which = one.shard, one.epoch
            sent_ns = before.get(which)
            if sent_ns is None or now_ns - sent_ns >= _STUCK_AGAIN_NS:
                reports.append(one)
                sent_ns = now_ns
            self._sent_ns[which] = sent_ns
        return reports


class CpuMeter:
    """Computes which share of a core the processes of this host use."""

    def __init__(self, monotonic_ns: Callable[[], int]) -> None:
        self._now_ns = monotonic_ns
        self._used: dict[int, float] = {}
        self._at_ns = monotonic_ns()

    def share(self, pids: Sequence[int]) -> float:
        """Return the share since the last call; a process that is new since then counts from now on."""
        now_ns = self._now_ns()
        used: dict[int, float] = {}
        for pid in pids:
            try:
                times = psutil.Process(pid).cpu_times()
            except psutil.Error:
                continue  # it has ended
            used[pid] = times.user + times.system
        spent_s = sum(max(value - self._used.get(pid, value), 0.0) for pid, value in used.items())
        span_s = (now_ns - self._at_ns) / 1e9
        self._used, self._at_ns = used, now_ns
        return spent_s / span_s if span_s > 0 else 0.0
