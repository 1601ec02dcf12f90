"""Reads a running instance's pages into a ``Status``. It sends no requests, so the hot path is not affected."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil
from msgspec.structs import replace

from arbshard.clock import Clock
from arbshard.config.cluster import ClusterConfig
from arbshard.errors import SharedMemoryError
from arbshard.ledger.record import read_record
from arbshard.model.notes import COMPANIONS, RECORDING, ChildNote, SupervisorNote
from arbshard.model.phase import SUPERVISOR_SILENT_NS, WorkerState
from arbshard.model.risk_note import NO_NOTE, RiskNote, decode_risk_note
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksReader
from arbshard.shm.former import read_former
from arbshard.shm.pages import Histogram, PageReader
from arbshard.status.accounts import accounts_of, problems_of, unknown_orders
from arbshard.status.cluster import problems_of_cluster, read_cluster, read_settings
from arbshard.status.companions import alerting_of, metrics_of, series_of, web_of
from arbshard.status.hints import name_instance
from arbshard.status.inventory import line_of_status, problems_of_transfers
from arbshard.status.model import (
    EntriesStatus,
    Latency,
    LedgerStatus,
    Problem,
    RiskStatus,
    RuleWorth,
    ShardStatus,
    Status,
    VenueStatus,
)
from arbshard.status.shards import problems_of_shards, unattended_of
from arbshard.status.standing import (
    exposed_by_orders,
    halted_of,
    iso_of,
    problems_of_standing,
)
from arbshard.status.venues import (
    notices_of_fees,
    notices_of_warnings,
    problems_of_feeds,
    problems_of_orders,
    problems_of_wallets,
)

_REFUSAL = "refusal_"
_BAD = "bad_"
_FOLLOWED = "followed_"
_ANSWER = "answer_"
_SERIES, _METRICS, _ALERTS, _WEB = COMPANIONS
_ALERTS_SHOWN = 5


class _Missing(msgspec.Struct, frozen=True):
    """Holds the part of a worker's note that is needed here; the rest of it is long."""

    missing: dict[str, int] = {}


class Collector:
    """Reads the pages of one instance. Rates are those between two calls of ``collect``."""

    def __init__(self, run_dir: Path, clock: Clock) -> None:
        self._files = RunFiles(run_dir)
        self._clock = clock
        self._last: dict[int, tuple[int, int]] = {}
        self._universe_version: tuple[int, int, int] | None = None
        """Inode, time and size of the file that ``_known_universe`` was read from."""
        self._known_universe: tuple[Universe | None, Mapping[str, Sequence[int]]] = None, {}
        self._cluster: tuple[int, ClusterConfig | None] = 0, None
        """The supervisor's pid, and the cluster of its run."""
        self.risk_note = NO_NOTE
        """Risk's newest note at the last call of ``collect``."""

    def collect(self) -> Status | None:
        """Return the current status; None when nothing runs here, or the run has not made its page yet."""
        now_ns = self._clock.monotonic_ns()
        try:
            with PageReader.attach(self._files.supervisor_page) as page:
                raw = page.note()
                beat_ns, errors, messages, bad_orders = (
                    page.value(n) for n in ("beat_ns", "errors", "messages", "bad_orders")
                )
                late, cpu = page.histogram("loop_gap"), page.histogram("loop_cpu")
        except SharedMemoryError:
            return None
        if not raw:
            return None
        note = msgspec.json.decode(raw, type=SupervisorNote)
        silent_ns = now_ns - beat_ns if note.state != "ended" else 0
        is_silent = silent_ns > SUPERVISOR_SILENT_NS
        is_dead = is_silent and not _lives(note.pid)
        if is_dead:
            note = _without_supervisor(note)
        children = {child.name: child for child in note.children}
        risk_note, risk, risk_counters = self._risk(children.get("risk"))
        self.risk_note = risk_note
        cluster_config = self._cluster_of(note.pid)
        cluster = (
            read_cluster(self._files, cluster_config, self._clock, risk_counters) if cluster_config else None
        )
        is_mirrored = cluster is not None and "risk" not in children
        is_fresh = now_ns - risk_counters.get("beat_ns", 0) <= SUPERVISOR_SILENT_NS
        if is_mirrored and note.state != "ended":
            state = "elsewhere" if is_fresh else "silent"
            reason = "" if is_fresh else "nothing comes from that of the leader"
            risk = replace(risk, state=state, pid=None, reason=reason)
        decisions, approvals, answers, shards = self._shards(
            note, children, risk_counters, cluster.unplaced if cluster is not None else (), now_ns
        )
        universe, markets = self._universe()
        oldest = self._oldest_books(markets, now_ns)
        unattended = (*note.unattended, *unattended_of(shards, universe, risk_note.positions))
        venues = tuple(
            VenueStatus(
                **{name: getattr(venue, name) for name in venue.__struct_fields__ if name != "bad_frames"},
                bad_frames=venue.bad_frames + sum(shard.bad_frames.get(venue.name, 0) for shard in shards),
                simulated=note.data == "sim",
                oldest_ms=oldest.get(venue.name, 0.0),
                answer_us=_latency(answers.get(venue.name, Histogram())),
            )
            for venue in note.venues
        )
        accounts = accounts_of(risk_note, now_ns)
        is_current = (
            is_fresh if is_mirrored else _is_current(children.get("risk"), risk_counters, is_dead=is_dead)
        )
        as_of = "" if is_current or (is_mirrored and note.state == "ended") else iso_of(risk_note.at_ms)
        is_ending = is_dead or note.state in ("draining", "ended")
        passing = (*exposed_by_orders(risk_note), *unknown_orders(risk_note))
        found = (
            *(
                [
                    Problem(
                        "vanished",
                        "",
                        f"the supervisor vanished {silent_ns / 1e9:.0f} s ago: the run was cut off",
                    )
                ]
                if is_dead
                else [
                    Problem(
                        "silent",
                        "",
                        f"the supervisor is silent for {silent_ns / 1e9:.0f} s: trading is stopped",
                    )
                ]
                if is_silent
                else ()
            ),
            *(problems_of_cluster(cluster, is_ending=is_ending) if cluster is not None else ()),
            *(
                # No child that trades was started yet.
                [Problem("start", "", f"the start waits for the venues: {note.waits_for}")]
                if note.waits_for
                else problems_of_shards(shards, universe, is_ending=is_ending)
            ),
            *_problems(
                unattended,
                venues,
                risk,
                trades=note.mode != RECORDING and not note.waits_for,
                is_ending=is_ending,
            ),
            *([Problem("old", "", f"portfolio, balances and positions are as of {as_of}")] if as_of else []),
            *_disk_problems(risk_counters),
            *problems_of_standing(risk_note),
            *problems_of_orders(risk_note),
            *notices_of_fees(risk_note),
            *problems_of_wallets(risk_note),
            *problems_of(risk_note, accounts),
            *problems_of_transfers(risk_note),
            *passing,
        )
        causes = tuple(_named(cause, note.name) for cause in found)
        problems = tuple(cause.text for cause in causes)
        state = "dead" if is_dead else note.state
        missing: Counter[str] = Counter()
        for shard in shards:
            missing.update(shard.missing)
        return Status(
            name=note.name,
            state="degraded" if state == "running" and problems else state,
            mode=note.mode,
            data=note.data,
            regime=note.regime,
            pid=None if is_dead else note.pid,
            uptime_s=round((self._clock.wall_ms() - note.started_ms) / 1000, 1),
            state_dir=note.state_dir,
            shards=shards,
            venues=venues,
            risk=risk,
            portfolio=risk_note.portfolio,
            lifetime=risk_note.lifetime,
            equity=risk_note.equity,
            fx=risk_note.fx,
            symbols=risk_note.symbols,
            reasons=risk_note.reasons,
            balances=risk_note.balances,
            positions=risk_note.positions,
            latency_us=_latency(decisions),
            approval_us=_latency(approvals),
            messages=messages,
            bad_requests=bad_orders + risk_counters.get("bad", 0) + risk_counters.get("bad_frames", 0),
            errors=errors + risk_counters.get("errors", 0) + sum(shard.errors for shard in shards),
            restarts=sum(child.restarts for child in note.children if child.name not in COMPANIONS),
            alerts=note.alerts[-_ALERTS_SHOWN:],
            unattended=unattended,
            memory_mb=_memory_mb([note.pid, *(child.pid for child in note.children)]),
            problems=problems,
            causes=causes,
            passing=tuple(_named(cause, note.name).text for cause in passing),
            warnings=tuple(name_instance(line, note.name) for line in notices_of_warnings(risk_note)),
            halted=name_instance(halted_of(risk_note), note.name),
            halt=risk_note.halt,
            halts=note.halts,
            journal=note.journal,
            order_mode=risk_note.orders or note.mode,
            accounts=accounts,
            differences=risk_note.differences,
            strays=risk_note.strays,
            unknown=risk_note.unknown,
            spares=note.spares,
            spares_wanted=note.spares_wanted,
            loop_late_ms=round(late.max_ns / 1e6, 1),
            loop_cpu_ms=round(cpu.max_ns / 1e6, 1),
            as_of=as_of,
            missing=dict(missing),
            inventory=name_instance(line_of_status(risk_note, missing, self._clock.wall_ms()), note.name),
            under_way_worth=risk_note.under_way_worth,
            series=series_of(self._files, children.get(_SERIES)),
            metrics=metrics_of(self._files, children.get(_METRICS)),
            alerting=alerting_of(self._files, children.get(_ALERTS)),
            web=web_of(self._files, children.get(_WEB)),
            ledger=self._ledger(note, risk_counters),
            cluster=cluster,
        )

    def _cluster_of(self, pid: int) -> ClusterConfig | None:
        """Return the cluster of the run whose supervisor is ``pid``; it does not change while that runs."""
        known, cluster = self._cluster
        if known != pid:
            cluster = read_settings(self._files)
            self._cluster = pid, cluster
        return cluster

    def _ledger(self, note: SupervisorNote, risk: dict[str, int]) -> LedgerStatus | None:
        noted = read_record(self._files.ledger_page)
        if noted is None:
            return None
        path = Path(note.state_dir) / "ledger.sqlite"
        return LedgerStatus(
            path=str(path),
            tag=noted.identity.tag,
            last_seq=noted.identity.last_seq,
            begun=iso_of(noted.began_ms),
            is_new=noted.is_new,
            is_there=path.is_file(),
            is_closed=bool(risk.get("closed", 0)),
            disk_free_mb=risk.get("disk_free_mb", 0),
            reserve_kept=bool(risk.get("reserve_kept", 0)),
        )

    def _risk(self, child: ChildNote | None) -> tuple[RiskNote, RiskStatus, dict[str, int]]:
        note = NO_NOTE
        counters: dict[str, int] = {}
        commit = Histogram()
        try:
            with PageReader.attach(self._files.risk_page) as page:
                former = read_former(self._files.risk_page)
                counters = former.total(page)
                commit = former.total_of(page, "commit")
                if raw := page.note():
                    note = decode_risk_note(raw)
        except SharedMemoryError:
            counters = {}  # not started yet: shown as such
        status = RiskStatus(
            state=child.state if child is not None else "starting",
            pid=_pid_of(child),
            restarts=child.restarts if child is not None else 0,
            approvals=counters.get("approvals", 0),
            refusals=note.refusals,
            commit_us=_latency(commit),
            session=note.session,
            reason=child.reason if child is not None else "",
            unviewed=counters.get("unviewed", 0),
            entries=_entries_of(note),
        )
        return note, status, counters

    def _shards(
        self,
        note: SupervisorNote,
        children: dict[str, ChildNote],
        risk: dict[str, int],
        unplaced: Sequence[int],
        now_ns: int,
    ) -> tuple[Histogram, Histogram, dict[str, Histogram], tuple[ShardStatus, ...]]:
        decisions, approvals = Histogram(), Histogram()
        answers: dict[str, Histogram] = {}
        shards = []
        for shard in range(note.shards):
            child = children.get(f"worker-{shard}") or ChildNote(f"worker-{shard}", "starting", 0, 0, 0)
            is_away = shard in note.away and not child.pid
            try:
                with PageReader.attach(self._files.worker_page(shard)) as page:
                    raw = page.note()
                    former = read_former(self._files.worker_page(shard))
                    counters = former.total(page)
                    decision, approval = (
                        former.total_of(page, "receive_decision"),
                        former.total_of(page, "decision_approval"),
                    )
                    for name in _answers_of(page):
                        venue = name.removeprefix(_ANSWER)
                        answers[venue] = answers.get(venue, Histogram()).merge(former.total_of(page, name))
            except SharedMemoryError:
                counters, decision, approval, raw = {}, Histogram(), Histogram(), b""
            decisions, approvals = decisions.merge(decision), approvals.merge(approval)
            shards.append(
                self._shard(shard, child, counters, decision, approval, risk.get(f"fence_{shard}", 0), now_ns)
            )
            if is_away:
                state = "unplaced" if shard in unplaced else "elsewhere"
                shards[-1] = replace(shards[-1], state=state, pairs=0)
            if raw:
                missing = msgspec.json.decode(raw, type=_Missing).missing
                shards[-1] = replace(shards[-1], missing=missing)
        return decisions, approvals, answers, tuple(shards)

    def _shard(
        self,
        shard: int,
        child: ChildNote,
        counters: dict[str, int],
        decision: Histogram,
        approval: Histogram,
        lowest_epoch: int,
        now_ns: int,
    ) -> ShardStatus:
        ticks = counters.get("ticks", 0)
        then_ns, then_ticks = self._last.get(shard, (now_ns, ticks))
        self._last[shard] = (now_ns, ticks)
        span_s = (now_ns - then_ns) / 1e9
        state: str = child.state
        if child.state == "running":
            state = WorkerState(counters.get("state", 0)).name.lower()
            if child.epoch < lowest_epoch:
                state = "fenced"
        return ShardStatus(
            id=shard,
            state=state,
            pid=_pid_of(child),
            epoch=child.epoch,
            restarts=child.restarts,
            pairs=counters.get("pairs", 0),
            msg_s=round((ticks - then_ticks) / span_s, 1) if span_s > 0 and ticks >= then_ticks else 0.0,
            latency_us=_latency(decision),
            approval_us=_latency(approval),
            ticks=ticks,
            frames=counters.get("frames", 0),
            conflated=counters.get("conflated", 0),
            bad_frames={
                name.removeprefix(_BAD): value for name, value in counters.items() if name.startswith(_BAD)
            },
            refusals={
                name.removeprefix(_REFUSAL): value
                for name, value in counters.items()
                if name.startswith(_REFUSAL) and value
            },
            orders=counters.get("orders", 0),
            rejected=counters.get("rejected", 0),
            partial=counters.get("partial", 0),
            errors=counters.get("errors", 0),
            again_in_s=child.again_in_s,
            reason=child.reason,
            followed={
                name.removeprefix(_FOLLOWED): RuleWorth(
                    value,
                    counters[f"would_win_{name.removeprefix(_FOLLOWED)}"],
                    counters[f"would_bring_{name.removeprefix(_FOLLOWED)}"],
                )
                for name, value in counters.items()
                if name.startswith(_FOLLOWED) and value
            },
        )

    def _universe(self) -> tuple[Universe | None, Mapping[str, Sequence[int]]]:
        """Return the universe, and the slots of each venue. They are read again when the file was replaced."""
        try:
            found = self._files.universe.stat()
            version = found.st_ino, found.st_mtime_ns, found.st_size
            if version != self._universe_version:
                universe = msgspec.json.decode(self._files.universe.read_bytes(), type=Universe)
                markets: dict[str, list[int]] = {}
                for leg in universe.legs():
                    markets.setdefault(leg.market.venue, []).append(leg.slot)
                self._known_universe = universe, markets
                self._universe_version = version
        except OSError:
            return None, {}  # not written yet
        return self._known_universe

    def _oldest_books(self, markets: Mapping[str, Sequence[int]], now_ns: int) -> dict[str, float]:
        """Return the age of each venue's oldest live book in ms."""
        try:
            with BooksReader.attach(self._files.books) as books:
                oldest = {venue: books.oldest_live_ns(slots) for venue, slots in markets.items()}
        except (SharedMemoryError, IndexError):
            return {}  # the feed is not there yet, or the one of an earlier run is
        return {venue: round((now_ns - at_ns) / 1e6, 1) for venue, at_ns in oldest.items() if at_ns}


def _problems(
    unattended: tuple[str, ...],
    venues: tuple[VenueStatus, ...],
    risk: RiskStatus,
    *,
    trades: bool,
    is_ending: bool,
) -> Iterator[Problem]:
    yield from problems_of_feeds(venues)
    if trades and risk.state not in ("running", "elsewhere") and not (is_ending and risk.state == "ended"):
        yield Problem("risk", "", f"risk is {risk.state}{f': {risk.reason}' if risk.reason else ''}")
    for position in unattended:
        yield Problem("unattended", position, f"open position without a worker: {position}")


def _is_current(child: ChildNote | None, shown: dict[str, int], *, is_dead: bool) -> bool:
    """Return whether risk's note is current, or the last one after it closed the ledger in order."""
    if shown.get("closed", 0):
        return True
    runs = child is not None and child.pid != 0 and child.pid == shown.get("pid", 0)
    return runs and not is_dead and bool(shown.get("ready", 0))


def _disk_problems(shown: dict[str, int]) -> Iterator[Problem]:
    if shown.get("disk_room", 0):
        what = "; nothing is entered" if shown["disk_room"] > 1 else ""
        yield Problem("disk", "", f"{shown['disk_free_mb']} MB are free on the ledger's disk{what}")


def _named(cause: Problem, name: str) -> Problem:
    """Return ``cause`` with the commands in its text as they are for the instance ``name``."""
    return replace(cause, text=name_instance(cause.text, name))


def _entries_of(note: RiskNote) -> EntriesStatus:
    barred = Counter(reason for one in note.entries.values() for reason in {bar.reason for bar in one.bars})
    free = sum(not one.bars for one in note.entries.values())
    return EntriesStatus(len(note.entries), free, dict(barred.most_common()))


def answers_on(page: PageReader) -> dict[str, Histogram]:
    """Return the times that venues took to execute orders, by venue, as a worker's page has them."""
    return {name.removeprefix(_ANSWER): page.histogram(name) for name in _answers_of(page)}


def _answers_of(page: PageReader) -> Iterator[str]:
    return (name for name in page.histograms if name.startswith(_ANSWER))


def _latency(histogram: Histogram) -> Latency:
    if not histogram.count:
        return Latency()
    p50, p90, p99, p999 = (round(histogram.percentile_ns(p) / 1000, 1) for p in (50, 90, 99, 99.9))
    return Latency(p50, p90, p99, p999, round(histogram.max_ns / 1000, 1), histogram.count)


def _pid_of(child: ChildNote | None) -> int | None:
    return child.pid or None if child is not None else None


def _without_supervisor(note: SupervisorNote) -> SupervisorNote:
    """Return the note of a run whose supervisor vanished: nothing trades, and the remaining processes are about to
    end.
    """
    children = (
        replace(child, state="ending")
        if child.pid and _lives(child.pid)
        else replace(child, state="ended", pid=0)
        for child in note.children
    )
    venues = (replace(venue, state="down", connections=0, msg_s=0.0) for venue in note.venues)
    return replace(note, children=tuple(children), venues=tuple(venues), spares=(), spares_wanted=0)


def _lives(pid: int) -> bool:
    """Return whether there is such a process, stopped or not; an ended one whose exit code was not read does not
    count.
    """
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _memory_mb(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        try:
            total += psutil.Process(pid).memory_info().rss if pid else 0
        except (psutil.Error, OSError):
            continue  # it ended between the note and now, or no file descriptor is left to read its state
    return round(total / 1e6, 1)
