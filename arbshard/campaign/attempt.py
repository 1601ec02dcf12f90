"""Executes one attempt of a campaign: ``arbshard run`` with its monitor, from start to end.

It touches no other process.
"""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from arbshard.campaign.facts import TradingFacts, read_facts
from arbshard.campaign.file import CampaignFile, as_toml, tree_of
from arbshard.campaign.monitor import WatchFile, read_watch
from arbshard.config.environment import PREFIX
from arbshard.errors import RunFailed
from arbshard.model.verdict import Anomaly
from arbshard.status.summary import Summary
from arbshard.version import __version__

_POLL_S = 0.1
_SHOW_S = 0.5
_MARGIN_S = 60.0
"""Seconds after its duration and its stop time-out at which a run that has not ended is killed."""
_MONITOR_END_S = 30.0
_PAUSE_S = 1.0
"""First pause before a monitor that has died is restarted, in seconds; it is doubled each time."""
_PAUSE_MAX_S = 30.0
EARLY_END = "early_end"
"""The cause when the run ended by itself before its time, and no rule stopped it."""
_PACKAGES = ("msgspec", "pyzmq", "uvloop", "websockets", "picows", "ccxt", "pyarrow", "plotly")
_OUTPUT_TAIL = 4000


class Paths:
    """Defines the files of an attempt, all in its state directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.campaign = folder / "campaign.json"
        """The campaign as it is run, including options of the command line."""
        self.config = folder / "config.toml"
        self.versions = folder / "versions.json"
        self.watch = folder / "watch.json"
        self.summary = folder / "summary.json"
        self.output = folder / "run.out"
        self.monitor_output = folder / "monitor.out"
        self.ledger = folder / "ledger.sqlite"


class AttemptResult(NamedTuple):
    """Describes the outcome of an attempt."""

    folder: Path
    cause: str
    """Why it ended before its time: the name of a rule, ``early_end``, or empty when it did not."""
    why: str
    """The cause as a sentence."""
    ran_s: float
    watched_s: float
    anomalies: tuple[Anomaly, ...]
    facts: TradingFacts
    refused: dict[str, int]
    """Number of evaluations that workers or risk refused, by rule; empty without a summary."""
    problems: tuple[str, ...]
    exit_code: int


class Stopping:
    """Collects the signals by which a person wants to end the campaign; the loop reads their number."""

    def __init__(self) -> None:
        self.count = 0

    def request(self, number: int, frame: object) -> None:
        """Count a signal; the loop acts on it."""
        del number, frame
        self.count += 1


def prepare(paths: Paths, campaign: CampaignFile) -> None:
    """Make the state directory, and write down the campaign and the versions. Raises ``OSError``."""
    paths.folder.mkdir(parents=True, mode=0o700)
    paths.campaign.write_bytes(msgspec.json.format(msgspec.json.encode(campaign)) + b"\n")
    paths.config.write_text(as_toml(tree_of(campaign)), encoding="utf-8")
    paths.versions.write_bytes(msgspec.json.format(msgspec.json.encode(versions())) + b"\n")


def versions() -> dict[str, str]:
    """Return the versions of everything that a result may depend on."""
    found = {"arbshard": __version__, "python": sys.version.split()[0], "system": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


class Attempt:
    """Runs an attempt; ``run`` returns when all its processes have ended."""

    def __init__(
        self,
        campaign: CampaignFile,
        paths: Paths,
        run_dir: Path,
        duration_s: float,
        stopping: Stopping,
        show: Callable[[WatchFile], None],
        program: tuple[str, ...],
        on_started: Callable[[int], None],
    ) -> None:
        """Prepare the attempt; ``show`` is called twice a second.

        ``program`` is what the interpreter is given for a run, and ``on_started`` receives the pid of the run.
        """
        self._campaign = campaign
        self._paths = paths
        self._run_dir = run_dir
        self._duration_s = duration_s
        self._stopping = stopping
        self._show = show
        self._program = program
        self._on_started = on_started
        self._monitor: subprocess.Popen[bytes] | None = None
        self._monitor_due_s = 0.0
        self._monitor_pause_s = _PAUSE_S
        self.monitor_deaths = 0

    def run(self) -> AttemptResult:
        """Run from the first process to the last; return the outcome. Raises ``OSError``."""
        prepare(self._paths, self._campaign)
        end_ms = int((time.time() + self._duration_s) * 1000)
        began_s = time.monotonic()
        with self._paths.output.open("wb") as output, self._paths.monitor_output.open("wb") as monitor_output:
            run = self._start(
                (
                    *self._program,
                    "--config",
                    str(self._paths.config),
                    "--state-dir",
                    str(self._paths.folder),
                    "--duration",
                    f"{self._duration_s:.3f}",
                    "--summary",
                    str(self._paths.summary),
                ),
                output,
            )
            stop: Anomaly | None = None
            try:
                self._on_started(run.pid)
                stop = self._follow(run, end_ms, monitor_output)
            finally:
                self._end_run(run)
                self._end_monitor()
        return self._result(run.returncode, stop, time.monotonic() - began_s)

    def _start(self, arguments: tuple[str, ...], output: IO[bytes]) -> "subprocess.Popen[bytes]":
        # In a session of its own: Ctrl-C in the terminal reaches the campaign alone, which ends the run in order.
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # The file of the campaign is complete, so no setting of the environment may change it.
            env={name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
        )

    def _follow(
        self, run: "subprocess.Popen[bytes]", end_ms: int, monitor_output: IO[bytes]
    ) -> Anomaly | None:
        """Wait until the run ends or is to be ended; return why the monitor wants that, or None."""
        shown_s = 0.0
        deadline_s = time.monotonic() + self._duration_s + _MARGIN_S
        while run.poll() is None:
            now_s = time.monotonic()
            self._keep_monitor(end_ms, now_s, monitor_output)
            if self._stopping.count or now_s > deadline_s:
                return None
            if now_s - shown_s >= _SHOW_S:
                shown_s = now_s
                watch = read_watch(self._paths.watch)
                self._show(watch)
                if watch.stop is not None:
                    return watch.stop
            time.sleep(_POLL_S)
        return None

    def _keep_monitor(self, end_ms: int, now_s: float, monitor_output: IO[bytes]) -> None:
        if self._monitor is not None and self._monitor.poll() is not None:
            self._monitor = None
            self.monitor_deaths += 1
            self._monitor_due_s = now_s + self._monitor_pause_s
            self._monitor_pause_s = min(self._monitor_pause_s * 2, _PAUSE_MAX_S)
        if self._monitor is None and now_s >= self._monitor_due_s:
            paths = self._paths
            self._monitor = self._start(
                (
                    "-m",
                    "arbshard.campaign",
                    "--campaign",
                    str(paths.campaign),
                    "--run-dir",
                    str(self._run_dir),
                    "--state-dir",
                    str(paths.folder),
                    "--out",
                    str(paths.watch),
                    "--end-ms",
                    str(end_ms),
                    "--parent-pid",
                    str(os.getpid()),
                ),
                monitor_output,
            )

    def _end_run(self, run: "subprocess.Popen[bytes]") -> None:
        """End the run in order, at once at a further signal of a person, and by force when it does not end."""
        if run.poll() is not None:
            return
        run.send_signal(signal.SIGTERM)
        asked = self._stopping.count
        deadline_s = time.monotonic() + _MARGIN_S
        while run.poll() is None and time.monotonic() < deadline_s:
            if self._stopping.count > max(asked, 1):
                asked = self._stopping.count
                run.send_signal(signal.SIGTERM)
            time.sleep(_POLL_S)
        if run.poll() is None:
            run.kill()  # its children end by themselves within a second
            run.wait(_MARGIN_S)

    def _end_monitor(self) -> None:
        monitor = self._monitor
        if monitor is None or monitor.poll() is not None:
            return
        monitor.send_signal(signal.SIGTERM)
        try:
            monitor.wait(_MONITOR_END_S)
        except subprocess.TimeoutExpired:
            monitor.kill()
            monitor.wait(_MONITOR_END_S)

    def _result(self, code: int, stop: Anomaly | None, took_s: float) -> AttemptResult:
        watch = read_watch(self._paths.watch)
        summary, unread = read_summary(self._paths.summary)
        if summary is None and code == 2 and not self._paths.ledger.exists():
            raise RunFailed(f"the run could not start: {self.last_output()}")
        ran_s = summary.duration_s if summary is not None else took_s
        stop = stop or watch.stop  # the monitor's last sample may have found the reason
        cause, why = ("", "") if stop is None else (stop.rule, stop.text)
        is_early = took_s < 0.95 * self._duration_s and not self._stopping.count
        if stop is None and is_early:
            cause, why = EARLY_END, f"the run ended by itself with code {code}: {self.last_output()}"
        anomalies = watch.anomalies
        if self.monitor_deaths:
            text = f"the monitor died {self.monitor_deaths} times: see {self._paths.monitor_output.name}"
            anomalies += (
                Anomaly(
                    rule="monitor",
                    severity="warn",
                    first_ms=watch.at_ms,
                    last_ms=watch.at_ms,
                    subject="",
                    text=text,
                ),
            )
        return AttemptResult(
            self._paths.folder,
            cause,
            why,
            ran_s,
            watch.watched_s,
            anomalies,
            read_facts(self._paths.ledger),
            summary.data_refusals if summary is not None else {},
            summary.problems if summary is not None else (f"{unread}: {self.last_output()}",),
            code,
        )

    def last_output(self) -> str:
        """Return the last line that the run has printed."""
        data = self._paths.output.read_bytes()[-_OUTPUT_TAIL:]
        lines = [line for line in data.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it printed nothing"


def read_summary(path: Path) -> tuple[Summary | None, str]:
    """Return the summary of a run, or None and why there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Summary), ""
    except FileNotFoundError:
        return None, "the run wrote no summary"
    except msgspec.MsgspecError as error:
        return None, f"the summary of the run cannot be read ({error})"


def is_rerun(cause: str, attempts: int, left_s: float, campaign: CampaignFile) -> bool:
    """Return whether the campaign is run again after an attempt that ended because of ``cause``."""
    if not cause or cause in NEVER_AGAIN:
        return False
    return attempts < campaign.attempts_max and left_s >= campaign.rerun_min_s


NEVER_AGAIN: frozenset[str] = frozenset(("identity", "disk"))
"""Causes after which nothing is run again: broken accounting needs a person, and a full disk stays full."""
