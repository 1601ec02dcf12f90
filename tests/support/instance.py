"""A running arbshard in a folder of its own: started, observed through its pages, given commands, and ended.

Every test that needs a whole run uses ``Instance``. Its state is read in this process, from shared memory and from
the ledger, because a new interpreter for each look takes as long as the run itself. ``do`` carries a command out in
this process; ``call`` starts the command line as a person does, and each command has a test that does so.
"""

import contextlib
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Self, TypeVar
from unittest import mock

import msgspec
import psutil

from arbshard.cli import main
from arbshard.clock import SystemClock
from arbshard.errors import SharedMemoryError
from arbshard.model.notes import ChildNote, SupervisorNote
from arbshard.model.risk_note import NO_NOTE, RiskNote, decode_risk_note
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader
from arbshard.status.collect import Collector
from support.exchanges import set_faults
from support.paper import KIND_PAPER

SMALL = "[sim]\ncoins = 8\nseed = 11\nupdates_per_s = 5.0\n[run]\nshards = 2\n[strategy]\nmax_hold_s = 5.0\n"
"""A configuration that enters and leaves within seconds."""

SIM_SECRET = "opens-nothing-but-this-simulated-exchange-0123456789"
SIM_KEYS = {"ARBSHARD_BINANCE_KEY": "sim-binance-key", "ARBSHARD_BINANCE_SECRET": SIM_SECRET}
"""The environment in which ``--live`` sends orders to the embedded exchanges of ``LIVE``."""
LIVE = f"""
mode = "live"
[sim.accounts]
binance_secret = "{SIM_SECRET}"
[live]
reconcile_every_s = 1.0
"""
"""The head of a configuration with live orders to the embedded exchanges."""

NO_LIMITS = """
[limits]
edge_bps_min = -100
symbol_daily_loss_max = "1e14"
daily_loss_max = "1e14"
drawdown_max = "1e14"
halt_daily_loss = "1e14"
halt_drawdown = "1e14"
position_loss_bps_max = "1e6"
weekly_loss_max = "1e14"
lifetime_loss_max = "1e14"
naked_notional_max = "1e14"
halt_weekly_loss = "1e14"
halt_lifetime_loss = "1e14"
halt_naked_notional = "1e14"
stop_daily_loss = "1e14"
stop_weekly_loss = "1e14"
stop_lifetime_loss = "1e14"
stop_drawdown = "1e14"
stop_naked_notional = "1e14"
loss_streak_max = 100000
tighten_factor = 1
halt_rejects_per_min = 100000
halt_hedges_per_min = 100000
halt_unknown_per_min = 100000
halt_stale_feeds_s = 3600
"""
"""The table of the limits, as the last of a configuration: trades at a loss, without end and at any rate."""

_POLL_S = 0.1
_END_S = 90.0

Found = TypeVar("Found")


_KIND = "".join(f"{key} = {value}\n" for key, value in KIND_PAPER.items() if key != "reject_share")


def for_tests(config: str) -> str:
    """``config`` without rules that need a minute or more, without orders that paper loses sight of by chance, and
    without series, alerts and spare workers.

    The rules: a gap must be known to return, and must have returned after a bad exit. A test of one of them, of
    unkind paper, of series, of alerts or of spares has a section or key of its own. A spare costs a tenth of a small
    run.
    """
    if "spare_workers" not in config:
        if "[run]\n" not in config:
            config = f"{config}\n[run]\n"
        config = config.replace("[run]\n", "[run]\nspare_workers = 0\n", 1)
    if "[sampling]" not in config:
        config = f"{config}\n[sampling]\nenabled = false\n"
    if "[alerts" not in config:
        config = f"{config}\n[alerts]\nenabled = false\n"
    if "unknown_share" not in config:
        if "[paper]\n" not in config:
            config = f"{config}\n[paper]\n"
        config = config.replace("[paper]\n", f"[paper]\n{_KIND}", 1)
    if "[baseline]" not in config:
        config = f"{config}\n[baseline]\nis_required = false\n"
    if "rearm_pause_max_s" in config:
        return config
    if "[strategy]\n" not in config:
        config = f"{config}\n[strategy]\n"
    return config.replace("[strategy]\n", "[strategy]\nrearm_pause_max_s = 0.0\nno_reversion_exits = 0\n", 1)


class Ended(NamedTuple):
    """How a process ended, and what it printed."""

    code: int
    out: str
    err: str


class _Program(NamedTuple):
    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path


class Instance:
    """One installation of arbshard. ``config`` is the text of its configuration, top-level keys first."""

    def __init__(
        self,
        folder: Path,
        config: str = SMALL,
        *,
        name: str = "t",
        state: Path | None = None,
        program: Sequence[str] = ("-m", "arbshard", "run"),
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``program``: what the interpreter is given for a run, before ``--config FILE``.

        ``arguments`` are added to each run, ``environment`` to that of each process.
        ``state``: where ledger and logs are; by default below ``folder``.
        """
        self.name = name
        self.folder = folder
        self.run_root = folder / "run"
        self.state = state or folder / "state"
        self.ledger = self.state / "ledger.sqlite"
        self.logs = self.state / "logs"
        self.config = folder / "config.toml"
        self.config.write_text(f'name = "{name}"\nstate_dir = "{self.state}"\n{for_tests(config)}')
        self.files = RunFiles(self.run_root / name)
        self.env = {**os.environ, "ARBSHARD_RUN_ROOT": str(self.run_root), **(environment or {})}
        self._command = tuple(program)
        self._arguments = arguments
        self._programs: list[_Program] = []
        self._run: _Program | None = None
        self._family: set[psutil.Process] = set()
        self._collector = Collector(self.files.dir, SystemClock())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # processes

    def launch(self, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Start ``arbshard ARGUMENTS`` and wait for nothing. What it prints goes to files, so it never blocks."""
        return self._spawn(("-m", "arbshard", *arguments), environment)

    def _spawn(self, arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        number = len(self._programs)
        out, err = self.folder / f"out-{number}.txt", self.folder / f"err-{number}.txt"
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = self._open(
                [sys.executable, *arguments], {**self.env, **environment}, out_file, err_file
            )
        self._programs.append(_Program(process, out, err))
        return process

    def _open(
        self, command: list[str], environment: Mapping[str, str], out: IO[bytes], err: IO[bytes]
    ) -> "subprocess.Popen[bytes]":
        """Start the process itself; others may do so on a terminal of its own."""
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            umask=0,  # what it writes must be private by its own doing
        )

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Start ``arbshard run``."""
        command = (*self._command, "--config", str(self.config), *self._arguments, *arguments)
        process = self._spawn(command, environment)
        self._run = self._programs[-1]
        return process

    def run(self, *arguments: str, timeout_s: float = _END_S, **environment: str) -> Ended:
        """``arbshard run`` from its start to its end."""
        return self.ended(self.start(*arguments, **environment), timeout_s)

    def call(self, *arguments: str, timeout_s: float = _END_S, **environment: str) -> Ended:
        """``arbshard ARGUMENTS --config FILE`` in a process of its own, from its start to its end."""
        return self.ended(self.launch(*arguments, "--config", str(self.config), **environment), timeout_s)

    def do(self, *arguments: str, code: int = 0) -> str:
        """The same in this process. Its exit code must be ``code``; returns what it printed (its errors unless 0)."""
        done = self.carry_out(*arguments)
        assert done.code == code, (arguments, done)
        return done.out if code == 0 else done.err

    def carry_out(self, *arguments: str, configured: bool = True) -> Ended:
        """``arbshard ARGUMENTS --config FILE`` in this process; some commands have no configuration."""
        out, err = io.StringIO(), io.StringIO()
        command = ["arbshard", *arguments, *(("--config", str(self.config)) if configured else ())]
        with (
            mock.patch.dict(os.environ, self.env),
            mock.patch.object(sys, "argv", command),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
                code: object = 0
            except SystemExit as end:
                code = end.code or 0
        assert isinstance(code, int)
        return Ended(code, out.getvalue(), err.getvalue())

    def ended(self, process: "subprocess.Popen[bytes] | None" = None, timeout_s: float = _END_S) -> Ended:
        """Wait until ``process`` (by default the newest run) has ended."""
        program = self._program(process)
        try:
            code = program.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {timeout_s} s: {self._printed(program)}") from None
        return Ended(code, program.out.read_text(), program.err.read_text())

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = _END_S) -> Ended:
        """Send a signal to the newest run, and wait for its end."""
        self.process.send_signal(number)
        return self.ended(timeout_s=timeout_s)

    @property
    def pid(self) -> int:
        """Process id of the supervisor of the newest run."""
        return self.process.pid

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The supervisor of the newest run."""
        return self._program(None).process

    @property
    def output(self) -> str:
        """What the newest run has printed so far, with its errors."""
        return self._printed(self._program(None))

    def remember_children(self) -> list[psutil.Process]:
        """All descendants of the newest run as of now. Whatever is left of them is killed by ``close``."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self._family.update(family)
        return family

    def close(self) -> None:
        """Leave no process behind."""
        for program in self._programs:
            process = program.process
            if process.poll() is None:
                self._family.update(psutil.Process(process.pid).children(recursive=True))
                process.kill()
                process.wait(10)
        for child in self._family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()  # psutil checks that the number still belongs to the same process
        _, alive = psutil.wait_procs(self._family, timeout=10)
        assert not alive, alive

    def leftovers(self) -> list[str]:
        """Files in the run root, and processes that still run there."""
        found = [str(path) for path in self.run_root.rglob("*")] if self.run_root.exists() else []
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            # Not of a folder whose name begins like this one's: "c" and "cluster" are side by side.
            if re.search(rf"{re.escape(str(self.folder))}(?![\w-])", line) and process.pid != os.getpid():
                found.append(line)
        return found

    # what it shows

    def status(self) -> dict[str, Any]:
        """What ``arbshard status --json`` prints; the state is ``not running`` when nothing is shown."""
        found = self._collector.collect()
        return {"state": "not running"} if found is None else dict(msgspec.to_builtins(found))

    def until(self, wanted: Callable[[dict[str, Any]], object], timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait until the status of a run that is alive is as wanted; returns it."""
        status: dict[str, Any] = {}

        def reached() -> bool:
            nonlocal status
            assert self.process.poll() is None, self.output
            status = self.status()
            return status["state"] not in ("not running", "ended", "dead") and bool(wanted(status))

        self.wait_for(reached, timeout_s, lambda: json.dumps(status)[:3000])
        return status

    def wait_for(
        self,
        condition: Callable[[], Found],
        timeout_s: float = 60.0,
        describe: Callable[[], object] = lambda: "",
    ) -> Found:
        """Wait for a true value, and return it."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            found = condition()
            if found:
                return found
            time.sleep(_POLL_S)
        printed = self.output if self._run is not None else ""
        raise AssertionError(f"not reached within {timeout_s} s: {describe()}; it printed: {printed[-2000:]}")

    def until_running(self, timeout_s: float = 60.0) -> SupervisorNote:
        """Wait until the newest run says that it runs, and return its note. Fails when it has ended instead."""

        def running_note() -> SupervisorNote | None:
            assert self.process.poll() is None, self.output
            note = self.note()
            is_its = note is not None and note.pid == self.pid  # not what a predecessor has left
            return note if is_its and note is not None and note.state == "running" else None

        note = self.wait_for(running_note, timeout_s, self.note)
        assert note is not None
        self.remember_children()
        return note

    def note(self) -> SupervisorNote | None:
        """The supervisor's note on its page; None before there is one."""
        raw = self._note(self.files.supervisor_page)
        return msgspec.json.decode(raw, type=SupervisorNote) if raw else None

    def risk_note(self) -> RiskNote:
        """The risk process' note on its page."""
        raw = self._note(self.files.risk_page)
        return decode_risk_note(raw) if raw else NO_NOTE

    def alerts(self) -> str:
        """The supervisor's alerts, in one line."""
        note = self.note()
        return " | ".join(note.alerts) if note is not None else ""

    def set_faults(self, venue: str, order: Mapping[str, object]) -> None:
        """Switch faults of an embedded exchange: ``{"set": {fault: settings}}`` or ``{"clear": [fault]}``."""
        said = json.loads(self.files.sim_ready.read_bytes())
        set_faults(said, venue, order)

    def children(self) -> dict[str, ChildNote]:
        """Children of the run by name."""
        note = self.note()
        return {child.name: child for child in note.children} if note is not None else {}

    def pid_of(self, child: str) -> int:
        """Process id of a child; 0 while it is being replaced."""
        found = self.children().get(child)
        return found.pid if found is not None else 0

    def kill(self, child: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a child as soon as there is one; returns its process id."""
        self.remember_children()
        pid = self.wait_for(lambda: self.pid_of(child))
        os.kill(pid, number)
        return pid

    def until_replaced(self, child: str, pid: int) -> ChildNote:
        """Wait until another process than ``pid`` is the child ``child``, and runs."""

        def successor() -> ChildNote | None:
            found = self.children().get(child)
            is_new = found is not None and found.pid not in (0, pid) and found.state == "running"
            return found if is_new else None

        found = self.wait_for(successor)
        assert found is not None
        self.remember_children()
        return found

    def risk(self) -> dict[str, int]:
        """Counters of the risk process; empty before it has a page."""
        return self.counters(self.files.risk_page)

    def worker(self, shard: int) -> dict[str, int]:
        """Counters of a worker; empty before it has a page."""
        return self.counters(self.files.worker_page(shard))

    @staticmethod
    def counters(page: Path) -> dict[str, int]:
        """All counters of a page; empty before there is one."""
        try:
            with PageReader.attach(page) as reader:
                return dict(reader.values())
        except SharedMemoryError:
            return {}

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Bodies of the ledger's events of one kind."""
        with contextlib.closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as ledger:
            rows = ledger.execute("SELECT body FROM events WHERE kind = ? ORDER BY seq", (kind,)).fetchall()
        return [json.loads(body) for (body,) in rows]

    def log(self, process: str, event: str) -> list[dict[str, Any]]:
        """Entries of one kind in the log of ``process``."""
        lines = (self.logs / f"{process}.jsonl").read_text().splitlines()
        return [one for one in map(json.loads, lines) if one["event"] == event]

    def verify(self) -> None:
        """The ledger must be free of contradictions."""
        done = self.carry_out("ledger", "verify")
        assert done.code == 0, done

    @staticmethod
    def _note(page: Path) -> bytes:
        try:
            with PageReader.attach(page) as reader:
                return reader.note()
        except SharedMemoryError:
            return b""

    def _program(self, process: "subprocess.Popen[bytes] | None") -> _Program:
        if process is None:
            assert self._run is not None, "nothing was started"
            return self._run
        return next(program for program in self._programs if program.process is process)

    @staticmethod
    def _printed(program: _Program) -> str:
        return program.out.read_text(errors="replace") + program.err.read_text(errors="replace")


def running(folder: Path, config: str = SMALL, **options: Any) -> Iterator[Instance]:
    """For fixtures: an instance that runs, and is closed at the end."""
    with Instance(folder, config, **options) as instance:
        instance.start()
        instance.until_running()
        yield instance
