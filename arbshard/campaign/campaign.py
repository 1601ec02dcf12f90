"""Executes a whole campaign: prepare, run, stop, analyse, run again for the time left, judge, report."""

import fcntl
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from arbshard.campaign.attempt import Attempt, AttemptResult, Paths, Stopping, is_rerun
from arbshard.campaign.facts import TradingFacts
from arbshard.campaign.file import CampaignFile, KeepConfig
from arbshard.campaign.monitor import WatchFile
from arbshard.campaign.progress import Progress
from arbshard.campaign.verdict import CampaignFacts, could_not_run, judge
from arbshard.errors import ArbshardError, RunFailed, UsageError
from arbshard.ledger.lock import writer_of
from arbshard.model.verdict import Anomaly, Verdict
from arbshard.report.write import write_report

_LEFTOVER_S = 60.0
VERDICT = "verdict.json"
RUNNING = "running.json"
_STAMP = "%Y%m%dT%H%M%S"
_FORMS = ("real", "virtual")
_DAY_S = 86_400.0


class AttemptLine(msgspec.Struct, frozen=True):
    """Describes one attempt in the result."""

    folder: str
    cause: str
    why: str
    ran_s: float
    entries: int
    exits: int
    pnl: str


class CampaignResult(msgspec.Struct, frozen=True, kw_only=True):
    """Describes the result of a campaign, which is kept as ``verdict.json`` in its folder."""

    name: str
    form: str
    """``real`` or ``virtual``."""
    began_ms: int
    took_s: float
    wanted_s: float
    ran_s: float
    folder: str
    verdict: Verdict
    attempts: tuple[AttemptLine, ...]
    anomalies: tuple[Anomaly, ...]
    facts: TradingFacts
    not_watched: tuple[str, ...] = ()
    """What this form of the campaign does not watch."""
    reports: tuple[str, ...] = ()
    """One report for each attempt: an HTML file that needs nothing else, with Markdown and JSON beside it."""
    no_report: str = ""
    """Why there is no report."""

    def line(self) -> str:
        """Return the outcome and its reasons as one line."""
        outcome = self.verdict.outcome.replace("_", " ")
        return f"campaign {self.name}: {outcome}: {'; '.join(self.verdict.reasons)}"


class _Outcome(msgspec.Struct, frozen=True):
    """Describes the part of ``verdict.json`` that is read before its folder is removed, whatever version wrote it."""

    verdict: Verdict


class _Running(msgspec.Struct, frozen=True):
    """Identifies a run of a campaign while it is active."""

    pid: int
    started: float


@contextmanager
def new_folder(root: Path, began_ms: int, *, form: str) -> Iterator[Path]:
    """Make a folder for a campaign that begins now, locked while it lasts. Raises ``UsageError``."""
    stamp = datetime.fromtimestamp(began_ms / 1000, UTC).strftime(_STAMP)
    folder = root / f"{stamp}-{form}"
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        raise UsageError(f"{folder}: another campaign began there within the same second") from None
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror}") from error
    with _locked(folder) as is_ours:
        assert is_ours, "nothing else knows the folder yet"
        yield folder


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Lock a campaign's folder; yield whether no other process holds it. The lock ends with its process."""
    # The directory itself is locked, so that the lock needs no file and ends with its process.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def remove_old(root: Path, newest: Path, keep: KeepConfig, now_ms: int) -> Iterator[str]:
    """Remove the folders below ``root`` that ``keep`` does not allow, except ``newest`` and those in use.

    Yield one sentence for each folder of a campaign that did not pass, and for each that cannot be removed; and one
    sentence for all others together.
    """
    found = sorted((began, path) for path in root.iterdir() if (began := _began_of(path)) is not None)
    removed = 0
    for place, (began, folder) in enumerate(reversed(found)):
        age_days = (now_ms / 1000 - began) / _DAY_S
        if folder == newest or (place < keep.count and age_days <= keep.days):
            continue
        outcome = _outcome_of(folder)
        try:
            with _locked(folder) as is_unused:
                if not is_unused or any(map(writer_of, folder.glob("attempt-*/ledger.sqlite"))):
                    continue
                shutil.rmtree(folder)
        except OSError as error:
            yield f"{folder}: an old campaign that cannot be removed: {error}"
            continue
        if outcome == "passed":
            removed += 1
        else:
            yield f"{folder} was removed: {outcome}; it was {age_days:,.1f} days old"
    if removed:
        yield f"{removed} old campaigns that had passed were removed ([keep]: {keep.count}, {keep.days:g} days)"


def _began_of(folder: Path) -> float | None:
    """Return when the campaign with this folder began, in seconds since 1970; None for any other folder or file."""
    stamp, _, form = folder.name.partition("-")
    if form not in _FORMS or not folder.is_dir() or folder.is_symlink():
        return None
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _outcome_of(folder: Path) -> str:
    """Return the outcome of the campaign in ``folder``, for a person."""
    try:
        result = msgspec.json.decode((folder / VERDICT).read_bytes(), type=_Outcome)
    except FileNotFoundError:
        return "a campaign that was killed, so it has no verdict"
    except (OSError, msgspec.MsgspecError) as error:
        return f"its verdict cannot be read ({error})"
    if result.verdict.outcome == "passed":
        return "passed"
    return f"{result.verdict.outcome.replace('_', ' ')}: {'; '.join(result.verdict.reasons)}"


def check_disk(folder: Path, campaign: CampaignFile) -> None:
    """Raise ``UsageError`` when too little disk space is free."""
    free_mb = shutil.disk_usage(folder).free / 1e6
    if free_mb < campaign.disk_free_min_mb:
        raise UsageError(
            f"{folder}: {free_mb:,.0f} MB are free, the campaign needs {campaign.disk_free_min_mb:,.0f}"
            " (disk_free_min_mb)"
        )


def end_leftover(root: Path, running_pid: int | None, instance: str) -> str:
    """End a run that a crashed campaign of this name has left; return a sentence about it, or an empty text.

    Only the very process that the campaign had noted is ended. Raises ``UsageError`` when another one runs.
    """
    if running_pid is None:
        return ""
    try:
        noted = msgspec.json.decode((root / RUNNING).read_bytes(), type=_Running)
        process = psutil.Process(noted.pid)
        is_same = noted.pid == running_pid and abs(process.create_time() - noted.started) < 0.01
    except (OSError, msgspec.MsgspecError, psutil.Error):
        is_same = False
    if not is_same:
        raise UsageError(f"an instance named '{instance}' runs already (process {running_pid})")
    process.terminate()
    try:
        process.wait(_LEFTOVER_S)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(_LEFTOVER_S)
    return f"process {noted.pid}, left by a campaign that had crashed, was ended"


@contextmanager
def obeying_signals(stopping: Stopping) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal end the campaign in order, with a report of what was done."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stopping.request) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Campaign:
    """Carries out a campaign over real processes."""

    def __init__(
        self,
        campaign: CampaignFile,
        root: Path,
        run_dir_of: Callable[[str], Path],
        running_pid: Callable[[str], int | None],
        program: tuple[str, ...] = ("-m", "arbshard", "run"),
    ) -> None:
        """Prepare the campaign; ``root`` is the folder of all campaigns of this name.

        ``run_dir_of`` and ``running_pid`` return the run directory and the pid of an instance.
        """
        self._campaign = campaign
        self._root = root
        self._run_dir_of = run_dir_of
        self._running_pid = running_pid
        self._program = program
        self._results: list[AttemptResult] = []
        self._stopping = Stopping()

    def run(self) -> CampaignResult:
        """Run from the preparation to the report. Raises ``UsageError`` for what the person must change."""
        began_ms = time.time_ns() // 1_000_000
        began_s = time.monotonic()
        leftover = end_leftover(
            self._root, self._running_pid(self._campaign.instance), self._campaign.instance
        )
        with new_folder(self._root, began_ms, form="real") as folder:
            with obeying_signals(self._stopping), Progress(self._campaign) as progress:
                if leftover:
                    progress.print_line(leftover)
                for line in remove_old(self._root, folder, self._campaign.keep, began_ms):
                    progress.print_line(line)
                check_disk(folder, self._campaign)
                progress.print_line(f"its files are in {folder}")
                progress.print_line(f"'arbshard status --name {self._campaign.instance}' shows its run")
                why = self._run_attempts(folder, began_s, progress)
            return self._close(folder, began_ms, time.monotonic() - began_s, why)

    def _run_attempts(self, folder: Path, began_s: float, progress: Progress) -> str:
        """Run attempts until the time is over or no further run is allowed; return why it could not run, or an empty
        text.
        """
        cause = ""
        while True:
            number = len(self._results) + 1
            left_s = self._campaign.duration_s - (time.monotonic() - began_s)
            if number == 1:
                left_s = self._campaign.duration_s
            paths = Paths(folder / (f"attempt-{number}" + f"-after-{cause}" * bool(cause)))
            attempt = Attempt(
                self._campaign,
                paths,
                self._run_dir_of(self._campaign.instance),
                left_s,
                self._stopping,
                lambda watch: progress.show(self._so_far(watch)),
                self._program,
                self._note_run,
            )
            progress.print_line(f"attempt {number}: {left_s:,.0f} s")
            try:
                result = attempt.run()
            except RunFailed as error:
                return str(error)
            self._results.append(result)
            left_s = self._campaign.duration_s - (time.monotonic() - began_s)
            cause = result.cause
            if cause:
                progress.print_line(f"attempt {number} ended early ({cause}): {result.why}")
                written, why_not = report_on(paths.folder, result.anomalies, self._campaign.name, None)
                progress.print_line(
                    f"its analysis is in {written}" if written else f"it has no analysis: {why_not}"
                )
            if self._stopping.count or not is_rerun(cause, number, left_s, self._campaign):
                return ""

    def _note_run(self, pid: int) -> None:
        started = psutil.Process(pid).create_time()
        (self._root / RUNNING).write_bytes(msgspec.json.encode(_Running(pid, started)))

    def _so_far(self, watch: WatchFile) -> WatchFile:
        """Return ``watch`` with the figures of the earlier attempts added."""
        facts = _sum(self._results)
        return msgspec.structs.replace(
            watch,
            entries=watch.entries + facts.entries,
            exits=watch.exits + facts.exits,
            wins=watch.wins + facts.wins,
            losses=watch.losses + facts.losses,
            pnl=str(float(watch.pnl) + float(facts.pnl)),
            anomalies=tuple(one for result in self._results for one in result.anomalies) + watch.anomalies,
        )

    def _close(self, folder: Path, began_ms: int, took_s: float, why: str) -> CampaignResult:
        results = self._results
        facts = _sum(results)
        anomalies = tuple(one for result in results for one in result.anomalies)
        ran_s = sum(result.ran_s for result in results)
        if why:
            verdict = could_not_run(why)
        else:
            verdict = judge(
                CampaignFacts(
                    ledger=facts,
                    wanted_s=self._campaign.duration_s,
                    ran_s=ran_s,
                    watched_s=sum(result.watched_s for result in results),
                    is_paper=self._campaign.config.get("mode", "paper") == "paper",
                    stopped=tuple(f"{one.cause}: {one.why}" for one in results if one.cause),
                    anomalies=anomalies,
                    refused=dict(sum((Counter(one.refused) for one in results), Counter())),
                    run_problems=results[-1].problems,
                    interrupted=bool(self._stopping.count),
                ),
                self._campaign.verdict,
            )
        reports = [report_on(one.folder, one.anomalies, self._campaign.name, verdict) for one in results]
        result = CampaignResult(
            name=self._campaign.name,
            form="real",
            began_ms=began_ms,
            took_s=round(took_s, 1),
            wanted_s=self._campaign.duration_s,
            ran_s=round(ran_s, 1),
            folder=str(folder),
            verdict=verdict,
            attempts=tuple(map(_line_of, results)),
            anomalies=anomalies,
            facts=facts,
            reports=tuple(str(written) for written, _ in reports if written is not None),
            no_report="; ".join(dict.fromkeys(why_not for _, why_not in reports if why_not)),
        )
        write_result(folder, result)
        return result


def _sum(results: list[AttemptResult]) -> TradingFacts:
    facts = TradingFacts()
    for result in results:
        facts = facts.add(result.facts)
    return facts


def _line_of(result: AttemptResult) -> AttemptLine:
    facts = result.facts
    return AttemptLine(
        str(result.folder),
        result.cause,
        result.why,
        round(result.ran_s, 1),
        facts.entries,
        facts.exits,
        str(facts.pnl),
    )


def report_on(
    attempt: Path, anomalies: tuple[Anomaly, ...], name: str, verdict: Verdict | None
) -> tuple[Path | None, str]:
    """Write the report of an attempt into its folder; return its path, or None and why it could not be written."""
    title = f"campaign {name}, {attempt.name}"
    try:
        paths = write_report(attempt, attempt / "report", verdict=verdict, anomalies=anomalies, title=title)
    except ArbshardError as error:
        return None, str(error)
    except Exception as error:  # noqa: BLE001 - the verdict must be given even when the ledger cannot be reported
        return None, f"no report can be made of this ledger: {error!r}"
    return paths.html, ""


def write_result(folder: Path, result: CampaignResult) -> None:
    """Keep the result beside the attempts. Raises ``OSError``."""
    encoded = msgspec.json.Encoder(decimal_format="string").encode(result)
    (folder / VERDICT).write_bytes(msgspec.json.format(encoded) + b"\n")


def past_results(root: Path) -> Iterator[CampaignResult]:
    """Yield the results below ``root``, newest first."""
    for path in sorted(root.glob(f"*/{VERDICT}"), reverse=True):
        yield msgspec.json.decode(path.read_bytes(), type=CampaignResult)
