"""Provides the system under test as a child process, in a directory of its own and with the errors of a
measurement.

It is the tests' ``Instance``: observed through its pages, and ended by pid. ``load``, ``approval`` and
``startup`` use it. Nothing of the user's is touched: run directory and state are in a temporary directory,
in memory where that is possible.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
from typing_extensions import override

from arbshard.model.notes import SupervisorNote
from arbshard.model.phase import WorkerState
from support.instance import Instance

ROOT = Path(__file__).resolve().parent.parent
NAME = "perf"
_POLL_S = 0.01
_READY_S = 40.0
_END_S = 12.0


class MeasurementFailed(Exception):
    """The system to be measured did not start, or it ended; the message has the end of its output."""


def temporary_place() -> Path:
    """Create a temporary directory, in memory where that is possible; return its path."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="arbperf-", dir=memory if usable else None))


def end_process(process: "subprocess.Popen[bytes]", timeout_s: float = _END_S) -> None:
    """Send SIGTERM, and SIGKILL when the process has not ended in time. Waits for its end."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def as_toml(config: Mapping[str, Any], table: str = "") -> str:
    """Return a configuration of plain values and tables as TOML, whose scalars are written as in JSON."""
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


class System(Instance):
    """Is a running system: ``with System([...], {...}) as system``. The run has ended when the block is
    left.
    """

    def __init__(self, program: Sequence[str], config: Mapping[str, Any]) -> None:
        """Take the arguments of the interpreter, whose program accepts ``--config FILE``, and the
        configuration.

        ``config`` holds what differs from the defaults. Entries do not wait until gaps are known to return.
        """
        super().__init__(
            temporary_place(),
            as_toml({"baseline": {"is_required": False}, **config}),
            name=NAME,
            program=program,
            environment={"PYTHONPATH": str(ROOT)},
        )
        self.started_ns = 0

    @override
    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    @override
    def __exit__(self, *_: object) -> None:
        try:
            if self.process.poll() is None:
                self.remember_children()
            end_process(self.process)
        finally:
            self.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    @override
    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        self.started_ns = time.monotonic_ns()
        return super().start(*arguments, **environment)

    def risk_value(self, counter: str) -> int:
        """Return a counter of risk; 0 before risk has a page."""
        return self.risk().get(counter, 0)

    def end(self, timeout_s: float = _END_S) -> int:
        """End the run in order unless it has ended already; return its exit code."""
        if self.process.poll() is None:
            self.remember_children()
        end_process(self.process, timeout_s)
        return self.process.returncode

    def require_alive(self) -> None:
        """Raise ``MeasurementFailed`` with the end of the system's output when the system has ended."""
        if self.process.poll() is not None:
            raise MeasurementFailed(
                f"the system ended with code {self.process.returncode}: {self.last_words()}"
            )

    @override
    def until_running(self, timeout_s: float = _READY_S) -> SupervisorNote:
        """Wait until the supervisor and all its workers run. Raises ``MeasurementFailed``."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            self.require_alive()
            note = self.note()
            if (
                note is not None
                and note.pid == self.pid  # a predecessor that was killed leaves its note
                and note.state == "running"
                and all(
                    self.worker(shard).get("state") == WorkerState.RUNNING for shard in range(note.shards)
                )
            ):
                self.remember_children()
                return note
            time.sleep(_POLL_S)
        raise MeasurementFailed(f"the system was not running within {timeout_s:g} s: {self.last_words()}")

    def until_deciding(self, timeout_s: float = _READY_S) -> int:
        """Wait until any worker has evaluated a tick; return the nanoseconds since the start of the
        process.

        Raises ``MeasurementFailed``.
        """
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            self.require_alive()
            for path in self.files.dir.glob("page-worker-*"):
                if self.counters(path).get("ticks"):
                    return time.monotonic_ns() - self.started_ns
            time.sleep(_POLL_S / 4)
        raise MeasurementFailed(f"no decision within {timeout_s:g} s: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last three lines that the system printed, in one line."""
        return " | ".join(self.output.strip().splitlines()[-3:]) or "it printed nothing"

    def processes(self) -> dict[str, psutil.Process]:
        """Return every process of the run by name, the supervisor first."""
        found = {"supervisor": psutil.Process(self.pid)}
        for name, child in self.children().items():
            try:
                found[name] = psutil.Process(child.pid)
            except (psutil.NoSuchProcess, ValueError):
                continue
        return found
