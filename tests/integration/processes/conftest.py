"""A run of its own for each test, looked at through its pages."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import msgspec
import psutil
import pytest

from arbshard.errors import SharedMemoryError
from arbshard.model.notes import SupervisorNote
from arbshard.model.risk_note import RiskNote, decode_risk_note
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader
from arbshard.status.model import Status

NAME = "p"


class Instance:
    """One run. ``settings``: lines of the section ``[run]``."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.state = folder / "state"
        (folder / "c.toml").write_text(
            f'name = "{NAME}"\nstate_dir = "{self.state}"\n'
            f"[sim]\ncoins = 6\nseed = 11\n[run]\nshards = 2\n{settings}"
        )
        self.files = RunFiles(folder / "r" / NAME)
        self.env = {**os.environ, "ARBSHARD_RUN_ROOT": str(folder / "r")}
        self.arguments = ["--config", str(folder / "c.toml")]
        self.log = (folder / "out").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "arbshard", "run", *self.arguments],
            env=self.env,
            stdout=self.log,
            stderr=self.log,
        )
        self.known: set[psutil.Process] = set()

    # what it shows

    def note(self) -> SupervisorNote | None:
        raw = self._note(self.files.supervisor_page)
        return msgspec.json.decode(raw, type=SupervisorNote) if raw else None

    def risk_note(self) -> RiskNote:
        return decode_risk_note(self._note(self.files.risk_page))

    def alerts(self) -> str:
        return " | ".join(self.note().alerts)

    def risk(self) -> dict[str, int]:
        return self._values(self.files.risk_page)

    def worker(self, shard: int) -> dict[str, int]:
        return self._values(self.files.worker_page(shard))

    def decides(self, shard: int, epoch: int) -> bool:
        values = self.worker(shard)
        return values.get("epoch") == epoch and values.get("ticks", 0) > 0

    def spare_pid(self) -> int:
        """Of the spare that is ready; 0 without one."""
        note = self.note()
        if note is None or note.state != "running" or "ready" not in note.spares:
            return 0
        at_work = {child.pid for child in note.children}
        family = psutil.Process(self.process.pid).children()
        return next((one.pid for one in family if "--spare" in one.cmdline() and one.pid not in at_work), 0)

    def remember(self) -> list[psutil.Process]:
        """All children of now; whatever of them is left is ended at the end."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.known.update(family)
        return family

    def events(self, kind: str) -> list[dict]:
        with closing(sqlite3.connect(f"file:{self.state}/ledger.sqlite?mode=ro", uri=True)) as ledger:
            rows = ledger.execute("SELECT body FROM events WHERE kind = ?", (kind,)).fetchall()
        return [json.loads(body) for (body,) in rows]

    def until(self, condition, timeout_s: float = 40.0):
        """Wait for a true answer; returns it."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(f"not reached within {timeout_s} s: {self.note()}")

    def until_running(self) -> None:
        self.until(lambda: (note := self.note()) is not None and note.state == "running")
        self.remember()

    # what is done to it

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "arbshard", *arguments, *self.arguments],
            env=self.env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def status(self) -> tuple[int, Status]:
        done = self.call("status", "--json")
        return done.returncode, msgspec.json.decode(done.stdout, type=Status)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.remember()
            self.process.kill()
            self.process.wait(10)
        for child in self.known:
            if child.is_running():
                child.kill()
        self.log.close()

    def _note(self, path: Path) -> bytes:
        try:
            with PageReader.attach(path) as page:
                return page.note()
        except SharedMemoryError:
            return b""

    def _values(self, path: Path) -> dict[str, int]:
        try:
            with PageReader.attach(path) as page:
                return page.values()
        except SharedMemoryError:
            return {}


@pytest.fixture
def start(tmp_path):
    """Make a run, and wait until it says that it is one."""
    made = []

    def build(settings: str = "") -> Instance:
        made.append(Instance(tmp_path, settings))
        made[-1].until_running()
        return made[-1]

    yield build
    for one in made:
        one.close()
