"""The system under test as a child process: started in a place of its own, found through its pages, ended by
pid.

Used by ``load``, ``approval`` and ``startup``. Nothing of the user's is touched: run directory and state stand in
a temporary directory, in memory where there is such a place.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import psutil

from arbshard.errors import SharedMemoryError
from arbshard.model.notes import SupervisorNote
from arbshard.model.phase import WorkerState
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader

ROOT = Path(__file__).resolve().parent.parent
NAME = "perf"
_POLL_S = 0.01
_READY_S = 40.0
_END_S = 12.0


class MeasurementFailed(Exception):
    """The thing to be measured did not come up, or went away; the message says what it said."""


def temporary_place() -> Path:
    """A new directory of our own, in memory where that is possible."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="arbperf-", dir=memory if usable else None))


def end_process(process: "subprocess.Popen[bytes]", timeout_s: float = _END_S) -> None:
    """SIGTERM, and SIGKILL when that has not helped in time."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def as_toml(config: Mapping[str, Any], table: str = "") -> str:
    """A configuration of plain values and tables as TOML: its scalars are those of JSON."""
    lines = [f"[{table}]"] if table else []
    lines += [
        f"{key} = {json.dumps(value)}" for key, value in config.items() if not isinstance(value, Mapping)
    ]
    below = [
        as_toml(value, f"{table}.{key}" if table else key)
        for key, value in config.items()
        if isinstance(value, Mapping)
    ]
    return "\n".join(lines) + "\n" + "".join(below)


class System:
    """A running system. ``with System([...], {...}) as system``; the run has ended when the block is left."""

    def __init__(self, program: Sequence[str], config: Mapping[str, Any]) -> None:
        """``program``: arguments of the interpreter, which takes ``--config FILE``.

        ``config``: what differs from the defaults.
        """
        self._program = tuple(program)
        self._config = config
        self._place = temporary_place()
        self._environment = {**os.environ, "ARBSHARD_RUN_ROOT": str(self._place / "run")}
        self.files = RunFiles(self._place / "run" / NAME)
        self._process: subprocess.Popen[bytes] | None = None
        self._children: dict[str, psutil.Process] = {}
        self.started_ns = 0

    def __enter__(self) -> Self:
        config = {**self._config, "name": NAME, "state_dir": str(self.state_dir)}
        try:
            (self._place / "config.toml").write_text(as_toml(config))
            self._launch("wb")
        except BaseException:
            shutil.rmtree(self._place, ignore_errors=True)
            raise
        return self

    def _launch(self, mode: str) -> None:
        command = [sys.executable, *self._program, "--config", str(self._place / "config.toml")]
        with (self._place / "output").open(mode) as output:
            self.started_ns = time.monotonic_ns()
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._process is not None:
                self._remember_children()
                end_process(self._process)
        finally:
            for child in self._children.values():
                try:
                    child.kill()  # only what outlived the supervisor; psutil checks that the pid is still theirs
                except psutil.NoSuchProcess:
                    continue
            shutil.rmtree(self._place, ignore_errors=True)

    @property
    def state_dir(self) -> Path:
        """Ledger and logs; gone when the block is left."""
        return self._place / "state"

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        assert self._process is not None
        return self._process.pid

    def risk_value(self, counter: str) -> int:
        """A counter of risk; 0 before it has a page."""
        return _value(self.files.risk_page, counter)

    def call(self, *arguments: str, timeout_s: float = 30.0) -> "subprocess.CompletedProcess[str]":
        """``arbshard ARGUMENTS --config FILE`` in the place of this run."""
        command = [sys.executable, "-m", "arbshard", *arguments, "--config", str(self._place / "config.toml")]
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def end(self, timeout_s: float = _END_S) -> int:
        """End it in order, however it has ended before; its exit code."""
        assert self._process is not None
        self._remember_children()
        end_process(self._process, timeout_s)
        return self._process.returncode

    def start_again(self) -> None:
        """After it has ended: the same instance once more, with its ledger."""
        assert self._process is not None
        assert self._process.poll() is not None, "it still runs"
        self._launch("ab")

    def leftovers(self) -> list[str]:
        """What an ended run has left: files in the run root, and processes of this place."""
        found = [str(path) for path in (self._place / "run").rglob("*")]
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            if str(self._place) in line:
                found.append(line)
        return found

    def note(self) -> SupervisorNote | None:
        """What the supervisor says of itself; None before it has a page."""
        try:
            with PageReader.attach(self.files.supervisor_page) as page:
                raw = page.note()
        except SharedMemoryError:
            return None
        return msgspec.json.decode(raw, type=SupervisorNote) if raw else None

    def require_alive(self) -> None:
        """Raises ``MeasurementFailed`` with the system's last words when it has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise MeasurementFailed(
                f"the system ended with code {self._process.returncode}: {self.last_words()}"
            )

    def until_running(self, timeout_s: float = _READY_S) -> SupervisorNote:
        """Wait until it runs. Raises ``MeasurementFailed``."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            self.require_alive()
            note = self.note()
            if (
                note is not None
                and note.pid == self.pid  # not what a predecessor that was killed has left
                and note.state == "running"
                and all(map(self._worker_runs, range(note.shards)))
            ):
                self._remember_children()
                return note
            time.sleep(_POLL_S)
        raise MeasurementFailed(f"the system was not running within {timeout_s:g} s: {self.last_words()}")

    def until_deciding(self, timeout_s: float = _READY_S) -> int:
        """Wait until any worker has evaluated a tick; nanoseconds since the start of the process."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            self.require_alive()
            for path in self.files.dir.glob("page-worker-*"):
                if _value(path, "ticks"):
                    return time.monotonic_ns() - self.started_ns
            time.sleep(_POLL_S / 4)
        raise MeasurementFailed(f"no decision within {timeout_s:g} s: {self.last_words()}")

    def last_words(self) -> str:
        """The end of what it printed."""
        return " | ".join(self.output().strip().splitlines()[-3:]) or "it said nothing"

    def output(self) -> str:
        """All that it printed."""
        path = self._place / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    def processes(self) -> dict[str, psutil.Process]:
        """Every process of the run by name, the supervisor first."""
        assert self._process is not None
        return {"supervisor": psutil.Process(self._process.pid), **self._children}

    def _remember_children(self) -> None:
        note = self.note()
        for child in note.children if note is not None else ():
            try:
                self._children[child.name] = psutil.Process(child.pid)
            except (psutil.NoSuchProcess, ValueError):
                continue

    def _worker_runs(self, shard: int) -> bool:
        return _value(self.files.worker_page(shard), "state") == WorkerState.RUNNING


def _value(path: Path, counter: str) -> int:
    try:
        with PageReader.attach(path) as page:
            return page.value(counter)
    except SharedMemoryError:
        return 0  # not made yet
