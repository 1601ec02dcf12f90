"""Takes samples of everything that a run shows, as rows for the tables of the series.

``RunSampler`` reads what ``arbshard status`` reads, with the same code, and asks no process of the run. ``main``
calls it.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec
import psutil
from msgspec.structs import replace

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.errors import SharedMemoryError
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.notes import SupervisorNote, WorkerNote
from arbshard.model.risk_note import RiskNote, decode_risk_note
from arbshard.model.rundir import RunFiles
from arbshard.series import SeriesRow, Value
from arbshard.series.pairs import PairSampler
from arbshard.shm.books import BooksReader
from arbshard.shm.pages import Histogram, PageReader
from arbshard.shm.universe import UniverseFile
from arbshard.status.collect import Collector, answers_on
from arbshard.status.model import ShardStatus, Status, VenueStatus

AddRow = Callable[[str, int, SeriesRow], None]
"""Is called with the name of a table, the wall time and a row."""

FUNNEL_COLUMNS = (
    "sampled",
    *(name for stage in ("gross", "net", "deep", "sound") for name in (stage, f"{stage}_bps")),
    *EdgeFunnel.__struct_fields__,
)
_FUNNEL_EVERY_NS = 10_000_000_000
_LATENCIES = ("receive_decision", "decision_approval", "loop_gap")


class RunSampler:
    """Takes samples of one run."""

    def __init__(
        self,
        files: RunFiles,
        config: Config,
        books: BooksReader,
        clock: Clock,
        add: AddRow,
        funnel: Mapping[str, Mapping[str, float]],
    ) -> None:
        """Attach to the run; ``funnel`` is what an earlier writer of the same run had counted, by pair."""
        self._files = files
        self._clock = clock
        self._add = add
        self._books = books
        self._collector = Collector(files.dir, clock)
        self._universe_file = UniverseFile(books, files.universe)
        universe = self._universe_file.load()
        self._serial = universe.serial
        self._pairs = PairSampler(books, universe, config)
        self._latencies: dict[int, tuple[int, tuple[Histogram, ...]]] = {}
        """(process id, last histograms) by shard."""
        self._answers: dict[int, tuple[int, dict[str, Histogram]]] = {}
        """(process id, each venue's times to execute an order as read last) by shard."""
        self._counts: dict[tuple[str, str], tuple[Value, ...]] = {}
        """The last row of tables that have a row on a change only, by table and key."""
        self._processes: dict[int, tuple[psutil.Process, float, int]] = {}
        """(process, seconds of CPU so far, time of reading) by process id."""
        self._funnels = {base: dict(counts) for base, counts in funnel.items()}
        self._worker_funnels: dict[tuple[int, int, str], EdgeFunnel] = {}
        self._is_successor = bool(funnel)
        self._funnel_ns = 0

    def sample(self, *, is_last: bool = False) -> None:
        """Add the present rows. With ``is_last`` the processes of the run have ended, and problems are ignored.

        Raises ``SharedMemoryError`` when a page of the run cannot be read.
        """
        at_ms, now_ns = self._clock.wall_ms(), self._clock.monotonic_ns()
        status = self._collector.collect()
        if status is None:
            return
        note, risk_note = self._supervisor_note(), self._risk_note()
        if is_last:
            state = "draining" if status.state == "degraded" else status.state
            status = replace(status, state=state, problems=())
        self._add("system", at_ms, system_row(status))
        for shard in status.shards:
            self._add("shards", at_ms, {**shard_row(shard), **self._interval_of(shard.id)})
            self._add_changed("refusals", at_ms, f"worker-{shard.id}", shard.refusals)
        self._add_changed("refusals", at_ms, "risk", status.risk.refusals)
        self._add_followed(at_ms, status)
        for process in self._process_rows(note, now_ns):
            self._add("processes", at_ms, process)
        if not is_last:  # the feeds have stopped by then, and their books are old
            answers = self._answers_since(len(status.shards))
            for venue in status.venues:
                answer = answers.get(venue.name, Histogram())
                row = {"answer_p50_us": _us(answer, 50), "answer_p99_us": _us(answer, 99)}
                self._add("venues", at_ms, {**venue_row(venue), **row})
            self._sample_pairs(at_ms, now_ns, risk_note)
        self._count_workers(note)
        if is_last or now_ns - self._funnel_ns >= _FUNNEL_EVERY_NS:
            self._funnel_ns = now_ns
            self._add_funnels(at_ms)

    def _supervisor_note(self) -> SupervisorNote:
        with PageReader.attach(self._files.supervisor_page) as page:
            return msgspec.json.decode(page.note(), type=SupervisorNote)

    def _risk_note(self) -> RiskNote | None:
        try:
            with PageReader.attach(self._files.risk_page) as page:
                return decode_risk_note(raw) if (raw := page.note()) else None
        except SharedMemoryError:
            return None  # risk is being replaced

    def _sample_pairs(self, at_ms: int, now_ns: int, note: RiskNote | None) -> None:
        if self._universe_file.serial > self._serial:
            universe = self._universe_file.load()
            self._serial = universe.serial
            self._pairs.set_universe(universe)
        levels = {base: one.level_bps for base, one in note.entries.items()} if note is not None else {}
        for row in self._pairs.sample(now_ns, levels):
            self._add("pairs", at_ms, row)

    def _interval_of(self, shard: int) -> SeriesRow:
        """Return what a worker's page shows for the time since the last sample."""
        try:
            with PageReader.attach(self._files.worker_page(shard)) as page:
                pid, opportunities = page.value("pid"), page.value("opportunities")
                now = tuple(page.histogram(name) for name in _LATENCIES)
        except SharedMemoryError:
            return {}
        before_pid, before = self._latencies.get(shard, (0, now))
        self._latencies[shard] = pid, now
        if before_pid != pid:
            return {"opportunities": opportunities}  # it is not known what time its latencies cover
        decision, approval, gap = (a.minus(b) for a, b in zip(now, before, strict=True))
        return {
            "opportunities": opportunities,
            "decision_p50_us": _us(decision, 50),
            "decision_p99_us": _us(decision, 99),
            "decision_max_us": _us(decision, 100),
            "decision_count": decision.count,
            "approval_p50_us": _us(approval, 50),
            "approval_p99_us": _us(approval, 99),
            "approval_count": approval.count,
            "loop_gap_max_us": _us(gap, 100),
        }

    def _answers_since(self, shards: int) -> dict[str, Histogram]:
        """Return how long venues took to execute orders since the last sample, by venue, over all shards."""
        since: dict[str, Histogram] = {}
        for shard in range(shards):
            try:
                with PageReader.attach(self._files.worker_page(shard)) as page:
                    pid, now = page.value("pid"), answers_on(page)
            except SharedMemoryError:
                continue  # its worker is being replaced
            before_pid, before = self._answers.get(shard, (0, {}))
            self._answers[shard] = pid, now
            if before_pid != pid:
                continue  # when these orders were executed is not known
            for venue, answer in now.items():
                recent = answer.minus(before.get(venue, Histogram()))
                since[venue] = since.get(venue, Histogram()).merge(recent)
        return since

    def _add_changed(self, table: str, at_ms: int, source: str, counts: Mapping[str, int]) -> None:
        for reason, count in counts.items():
            if self._is_new(table, f"{source} {reason}", (count,)):
                self._add(table, at_ms, {"source": source, "reason": reason, "count": count})

    def _add_followed(self, at_ms: int, status: Status) -> None:
        for reason in sorted({reason for shard in status.shards for reason in shard.followed}):
            found = [shard.followed[reason] for shard in status.shards if reason in shard.followed]
            values = (
                sum(one.followed for one in found),
                sum(one.won for one in found),
                float(sum(one.pnl for one in found)),
            )
            if self._is_new("followed", reason, values):
                row = dict(zip(("followed", "won", "pnl"), values, strict=True))
                self._add("followed", at_ms, {"reason": reason, **row})

    def _is_new(self, table: str, key: str, values: tuple[Value, ...]) -> bool:
        is_new = self._counts.get((table, key)) != values
        self._counts[table, key] = values
        return is_new

    def _process_rows(self, note: SupervisorNote, now_ns: int) -> Iterator[SeriesRow]:
        pids = {note.pid: "supervisor"} | {child.pid: child.name for child in note.children if child.pid}
        for pid in self._processes.keys() - pids.keys():
            del self._processes[pid]
        for pid, name in pids.items():
            try:
                known = self._processes.get(pid)
                process = known[0] if known is not None else psutil.Process(pid)
                with process.oneshot():
                    if process.status() == psutil.STATUS_ZOMBIE:  # it has ended and holds no resources
                        continue
                    times = process.cpu_times()
                    row: dict[str, Value] = {
                        "name": name,
                        "pid": pid,
                        "rss_mb": process.memory_info().rss / 1e6,
                        "threads": process.num_threads(),
                    }
                cpu_s = times.user + times.system
                if known is not None and now_ns > known[2]:
                    row["cpu_pct"] = (cpu_s - known[1]) / ((now_ns - known[2]) / 1e9) * 100
                self._processes[pid] = process, cpu_s, now_ns
                row["fds"] = _descriptors(process)
            except psutil.NoSuchProcess:
                self._processes.pop(pid, None)
                continue
            yield row

    def _count_workers(self, note: SupervisorNote) -> None:
        """Add what the workers have counted of their pairs' edges since the last sample."""
        seen = set()
        for shard in range(note.shards):
            try:
                with PageReader.attach(self._files.worker_page(shard)) as page:
                    pid, raw = page.value("pid"), page.note()
            except SharedMemoryError:
                continue  # its worker is being replaced
            if not raw:
                continue
            for base, now in msgspec.json.decode(raw, type=WorkerNote).funnel.items():
                key = shard, pid, base
                seen.add(key)
                before = self._worker_funnels.get(key)
                self._worker_funnels[key] = now
                if before is None and self._is_successor:
                    continue  # an earlier writer may have counted them
                if before is None or now.wanted < before.wanted:
                    before = EdgeFunnel()  # a new worker, or a pair that came back to it, counts from 0
                totals = self._totals_of(base)
                for name in EdgeFunnel.__struct_fields__:
                    totals[name] += getattr(now, name) - getattr(before, name)
        self._worker_funnels = {key: self._worker_funnels[key] for key in seen}
        self._is_successor = False

    def _add_funnels(self, at_ms: int) -> None:
        for base, counts in self._pairs.funnel.items():
            totals = self._totals_of(base)
            for name, value in counts.items():
                totals[name] += value
            counts.update(dict.fromkeys(counts, 0))
        for base, totals in self._funnels.items():
            row = tuple(
                int(totals[name]) if not name.endswith("_bps") else totals[name] for name in FUNNEL_COLUMNS
            )
            if self._is_new("funnel", base, row):
                self._add("funnel", at_ms, {"pair": base, **dict(zip(FUNNEL_COLUMNS, row, strict=True))})

    def _totals_of(self, base: str) -> dict[str, float]:
        return self._funnels.setdefault(base, dict.fromkeys(FUNNEL_COLUMNS, 0))


def system_row(status: Status) -> SeriesRow:
    """Return the row of the table ``system``."""
    equity, portfolio, ledger = status.equity, status.portfolio, status.ledger
    return {
        "state": status.state,
        "problems": "\n".join(status.problems),
        "equity": float(equity.equity),
        "realised": float(equity.realised),
        "unrealised": float(equity.unrealised),
        "drawdown": float(equity.drawdown),
        "exposure": float(portfolio.exposure),
        "naked": float(equity.naked),
        "account_value": float(equity.account_value),
        "fx_rate": status.fx.rate or None,
        "fx_premium_bps": status.fx.premium_bps,
        "fees": float(portfolio.fees),
        "fx_pnl": float(portfolio.fx),
        "beside": float(portfolio.beside),
        "entries": portfolio.entries,
        "exits": portfolio.exits,
        "open": portfolio.open,
        "wins": portfolio.wins,
        "losses": portfolio.losses,
        "messages": status.messages,
        "errors": status.errors,
        "restarts": status.restarts,
        "approvals": status.risk.approvals,
        "refused": sum(status.risk.refusals.values()),
        "memory_mb": status.memory_mb,
        "disk_free_mb": float(ledger.disk_free_mb) if ledger is not None else None,
    }


def shard_row(shard: ShardStatus) -> SeriesRow:
    """Return the row of the table ``shards``, without latencies."""
    return {
        "shard": shard.id,
        "state": shard.state,
        "pairs": shard.pairs,
        "msg_s": shard.msg_s,
        "ticks": shard.ticks,
        "conflated": shard.conflated,
        "orders": shard.orders,
        "rejected": shard.rejected,
        "partial": shard.partial,
        "errors": shard.errors,
        "restarts": shard.restarts,
    }


def venue_row(venue: VenueStatus) -> SeriesRow:
    """Return the row of the table ``venues``."""
    return {
        "venue": venue.name,
        "state": venue.state,
        "msg_s": venue.msg_s,
        "frames": venue.frames,
        "reconnects": venue.reconnects,
        "planned": venue.planned,
        "stalls": venue.stalls,
        "resyncs": venue.resyncs,
        "bad_frames": venue.bad_frames,
        "refusals": venue.refusals,
        "oldest_ms": venue.oldest_ms,
        "lag_ms": float(venue.lag_ms) if venue.lag_ms is not None else None,
    }


def _us(histogram: Histogram, percent: float) -> float | None:
    return histogram.percentile_ns(percent) / 1000 if histogram.count else None


def _descriptors(process: psutil.Process) -> int | None:
    """Return the number of open file descriptors; None for a process whose list only root may read."""
    try:
        return int(process.num_fds())
    except psutil.AccessDenied:
        return None
