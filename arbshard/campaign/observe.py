"""Makes the monitor's samples from the pages, ledger and logs of a run. It never asks the run itself."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import msgspec
import psutil

from arbshard.campaign.rules import BEFORE_EDGE, HeldSample, LogLine, OddOrder, RunSample, VenueSample
from arbshard.clock import Clock
from arbshard.errors import LedgerError, SharedMemoryError
from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.reader import EventRow
from arbshard.ledger.verify import Verifier
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import Histogram, PageReader
from arbshard.status.collect import Collector
from arbshard.status.model import Status

_BYTES_MAX = 1_000_000
"""Bytes of one log that are read at a time; the rest is read at the next sample."""
_LEDGER_EVERY_S = 5.0
_TEXT_MAX = 300
_FORGET_EVERY = 10_000
"""Number of events after which the recomputed accounting removes what has ended."""


class LogTail:
    """Follows the logs of a folder through their rotation, and reads each line once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[tuple[int, int], int] = {}
        """Bytes that were read, by device and inode: a rotated file keeps its inode."""

    def poll(self) -> Iterator[LogLine]:
        """Yield the new lines that show an error."""
        for path in sorted(
            self._folder.glob("*.jsonl*"), reverse=True
        ):  # a rotated file is older than its successor
            yield from self._new_lines(path)

    def _new_lines(self, path: Path) -> Iterator[LogLine]:
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                key = (found.st_dev, found.st_ino)
                begin = self._read.get(key, 0)
                if found.st_size < begin:
                    begin = 0
                file.seek(begin)
                data = file.read(_BYTES_MAX)
        except FileNotFoundError:
            return  # the file was rotated away just now
        end = data.rfind(b"\n") + 1
        if not end and len(data) == _BYTES_MAX:
            end = len(data)  # longer than any line of ours: skip it
        self._read[key] = begin + end
        process = path.name.partition(".")[0]
        for raw in data[:end].splitlines():
            line = error_in(process, raw.decode(errors="replace"))
            if line is not None:
                yield line


def error_in(process: str, raw: str) -> LogLine | None:
    """Return the error that a line of a log shows; None when it shows none."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, object])
    except msgspec.MsgspecError:
        is_trace = raw.startswith(("Traceback (most recent call last)", "Fatal Python error"))
        return LogLine(process, raw[:_TEXT_MAX], raw) if is_trace else None
    if fields.get("level") not in ("error", "critical") and "exception" not in fields:
        return None
    text = str(fields.get("event", ""))
    trace = str(fields.get("exception", "")).strip().splitlines()
    if trace:
        text = f"{text}: {trace[-1]}"
    elif "error" in fields:
        text = f"{text}: {fields['error']}"
    return LogLine(str(fields.get("process", process)), text[:_TEXT_MAX], raw)


class LedgerWatch:
    """Follows the ledger and recomputes its accounting event by event, as ``arbshard ledger verify`` does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._verifier = Verifier()
        self.last_seq = 0
        """The number of the newest event that was read."""
        self._reported = 0
        self._since_forgotten = 0

    def poll(self) -> Iterator[str]:
        """Yield what does not agree with the fills since the last call, one sentence each."""
        if not self._path.is_file():
            return
        try:
            with closing(LedgerHistory(self._path)) as history:
                self._follow(history)
        except LedgerError as error:
            yield str(error)
            return
        new = self._verifier.differences[self._reported :]
        self._reported += len(new)
        yield from new

    def _follow(self, history: LedgerHistory) -> None:
        live = history.live
        if live.first_seq > self.last_seq + 1:  # a period was archived meanwhile
            for archive in history.archives():
                if archive.header.last_seq > self.last_seq:
                    rows = (row for row in archive.rows() if row[0] > self.last_seq)
                    lines = (line for _, line in archive.lines() if line[0] > self.last_seq)
                    for row in self._verifier.walk(rows, lines):
                        self._saw(row)
        for row in self._verifier.walk(live.rows(after=self.last_seq), live.lines(self.last_seq)):
            self._saw(row)

    def _saw(self, row: EventRow) -> None:
        self.last_seq = row[0]
        self._since_forgotten += 1
        if self._since_forgotten >= _FORGET_EVERY and self._verifier.is_settled:
            self._since_forgotten = 0
            self._verifier.forget_ended()


class RunWatch:
    """Takes samples of one run."""

    def __init__(self, run_dir: Path, state_dir: Path, clock: Clock, max_hold_s: float) -> None:
        self._files = RunFiles(run_dir)
        self._state_dir = state_dir
        self._clock = clock
        self._max_hold_s = max_hold_s
        self._collector = Collector(run_dir, clock)
        self._logs = LogTail(state_dir / "logs")
        self._ledger = LedgerWatch(state_dir / "ledger.sqlite")
        self._began_ns = clock.monotonic_ns()
        self._ledger_ns = self._began_ns
        self._decisions: dict[int, Histogram] = {}

    def sample(self, end_ms: int) -> RunSample | None:
        """Return a sample; None while the run shows nothing. ``end_ms`` is when the campaign ends, in wall time."""
        status = self._collector.collect()
        if status is None or status.state not in ("running", "degraded"):
            # The run starts, or closes its positions: only its logs can be judged, which must be without errors.
            lines = tuple(self._logs.poll())
            return self._bare(status.state if status is not None else "starting", lines) if lines else None
        now_ns = self._clock.monotonic_ns()
        broken = list(identities_broken_in(status))
        if now_ns - self._ledger_ns >= _LEDGER_EVERY_S * 1e9:
            self._ledger_ns = now_ns
            broken += self._ledger.poll()
        return self._sample_of(status, now_ns, tuple(broken), end_ms)

    def last_sample(self) -> RunSample:
        """Return what logs and ledger contain after the run has ended and its pages are gone."""
        return self._bare("ended", tuple(self._logs.poll()), tuple(self._ledger.poll()))

    def _bare(self, state: str, lines: tuple[LogLine, ...], broken: tuple[str, ...] = ()) -> RunSample:
        return RunSample(
            at_ms=self._clock.wall_ms(),
            at_s=(self._clock.monotonic_ns() - self._began_ns) / 1e9,
            state=state,
            lines=lines,
            broken=broken,
            disk_free_mb=shutil.disk_usage(self._state_dir).free / 1e6,
            is_whole=False,
        )

    def _sample_of(self, status: Status, now_ns: int, broken: tuple[str, ...], end_ms: int) -> RunSample:
        refusals = dict(status.risk.refusals)
        for shard in status.shards:
            for reason, count in shard.refusals.items():
                refusals[reason] = refusals.get(reason, 0) + count
        edges = sum(count for reason, count in refusals.items() if reason not in BEFORE_EDGE)
        odd = (("is unknown", status.unknown), ("belongs to no intent", status.strays))
        at_ms = self._clock.wall_ms()
        return RunSample(
            at_ms=at_ms,
            at_s=(now_ns - self._began_ns) / 1e9,
            state=status.state,
            entries=status.portfolio.entries,
            exits=status.portfolio.exits,
            open=status.portfolio.open,
            wins=status.portfolio.wins,
            losses=status.portfolio.losses,
            pnl=status.portfolio.pnl,
            edges=edges + max(0, status.risk.approvals - status.portfolio.exits),
            refusals=refusals,
            venues=tuple(
                VenueSample(one.name, one.is_well, one.state, one.oldest_ms, one.frames)
                for one in status.venues
            ),
            halted=status.halted,
            restarts=status.restarts,
            positions=tuple(
                HeldSample(one.pair, one.position_id, one.opened_ms)
                for one in status.positions
                if not one.closed_ms
            ),
            max_hold_s=self._max_hold_s,
            naked=float(status.equity.naked),
            naked_pairs=", ".join(sorted({one.pair for one in status.equity.naked_by})),
            odd_orders=tuple(
                OddOrder(one.venue, one.client_id, what, one.since_ms) for what, some in odd for one in some
            ),
            differences=tuple(
                f"{one.venue} {one.currency}: the venue says {one.stated}, the ledger {one.booked}"
                for one in status.differences
            ),
            memory_mb=status.memory_mb,
            descriptors=_descriptors_of(status),
            disk_free_mb=shutil.disk_usage(self._state_dir).free / 1e6,
            p99_us=self._p99_us(len(status.shards)),
            lines=tuple(self._logs.poll()),
            broken=broken,
            left_s=max(0.0, (end_ms - at_ms) / 1000),
        )

    def _p99_us(self, shards: int) -> float | None:
        since = Histogram()
        for shard in range(shards):
            try:
                with PageReader.attach(self._files.worker_page(shard)) as page:
                    found = page.histogram("receive_decision")
            except SharedMemoryError:
                continue  # its worker is being replaced
            since = since.merge(found.minus(self._decisions.get(shard, Histogram())))
            self._decisions[shard] = found
        return round(since.percentile_ns(99) / 1000, 1) if since.count else None


def identities_broken_in(status: Status) -> Iterator[str]:
    """Yield which of the sums that risk shows do not add up, and what risk itself has found."""
    tally = status.portfolio
    figures = {
        "realised result": tally.pnl,
        "fees": tally.fees,
        "equity": status.equity.equity,
        "account value": status.equity.account_value,
    }
    for name, text in figures.items():
        if not Decimal(text).is_finite():
            yield f"the {name} is {text}"
            return
    of_symbols = sum((Decimal(one.pnl) for one in status.symbols.values()), Decimal(tally.beside))
    if status.symbols and of_symbols != Decimal(tally.pnl):
        yield f"the results of all symbols come to {of_symbols}, the portfolio says {tally.pnl}"
    if tally.wins + tally.losses > tally.exits:
        yield f"{tally.wins} wins and {tally.losses} losses of {tally.exits} exits"
    yield from (line for line in status.problems if line.startswith("accounting break"))


def _descriptors_of(status: Status) -> int:
    count = 0
    for pid in (status.pid, status.risk.pid, *(shard.pid for shard in status.shards)):
        try:
            count += psutil.Process(pid).num_fds() if pid else 0
        except psutil.Error:
            continue  # it has ended since its pid was read
    return count
