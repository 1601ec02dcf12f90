"""A worker that stands still is fenced by risk and replaced; the old one can do nothing any more. Real processes."""

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
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CONFIG = """name = "f"
state_dir = "{state}"
[sim]
coins = 6
seed = 11
[run]
shards = 2
stuck_after_ms = 400.0
spare_workers = {spares}
restart_tries = 20
"""


class Instance:
    """One run, looked at through its pages."""

    def __init__(self, folder: Path, spares: int) -> None:
        self.state = folder / "state"
        self.root = folder / "r"
        (folder / "c.toml").write_text(CONFIG.format(state=self.state, spares=spares))
        self.files = RunFiles(self.root / "f")
        self.env = {**os.environ, "ARBSHARD_RUN_ROOT": str(self.root)}
        self.arguments = ["--config", str(folder / "c.toml")]
        self.log = (folder / "out").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "arbshard", "run", *self.arguments],
            env=self.env,
            stdout=self.log,
            stderr=self.log,
        )
        self.known: set[psutil.Process] = set()

    def note(self) -> SupervisorNote | None:
        try:
            with PageReader.attach(self.files.supervisor_page) as page:
                raw = page.note()
        except SharedMemoryError:
            return None
        return msgspec.json.decode(raw, type=SupervisorNote) if raw else None

    def values(self, page: Path) -> dict[str, int]:
        try:
            with PageReader.attach(page) as reader:
                return reader.values()
        except SharedMemoryError:
            return {}

    def worker(self, shard: int) -> dict[str, int]:
        return self.values(self.files.worker_page(shard))

    def until(self, condition, timeout_s: float = 40.0):
        """Wait for a true answer; returns it."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(f"not reached within {timeout_s} s: {self.note()}")

    def is_running(self) -> bool:
        note = self.note()
        return note is not None and note.state == "running"

    def decides(self, shard: int, epoch: int) -> bool:
        values = self.worker(shard)
        return values.get("epoch") == epoch and values.get("ticks", 0) > 0

    def remember(self) -> list[psutil.Process]:
        """All children of now; whatever of them is left is ended at the end."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.known.update(family)
        return family

    def events(self, kind: str) -> list[dict]:
        with closing(sqlite3.connect(f"file:{self.state}/ledger.sqlite?mode=ro", uri=True)) as ledger:
            rows = ledger.execute("SELECT body FROM events WHERE kind = ?", (kind,)).fetchall()
        return [json.loads(body) for (body,) in rows]

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


@pytest.fixture
def start(tmp_path):
    made = []

    def build(spares=1):
        made.append(Instance(tmp_path, spares))
        made[-1].until(made[-1].is_running)
        made[-1].remember()
        return made[-1]

    yield build
    for one in made:
        one.close()


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def alerts(instance) -> str:
    return " | ".join(instance.note().alerts)


def test_stuck_worker_is_fenced_replaced_and_ends(start):
    one = start(spares=0)
    one.until(lambda: one.decides(0, 1) and one.decides(1, 1))
    pid = one.worker(0)["pid"]
    os.kill(pid, signal.SIGSTOP)
    one.until(lambda: one.decides(0, 2))
    one.until(lambda: "worker-0 was killed: fenced by risk: no beat for" in alerts(one))
    assert not psutil.pid_exists(pid)
    risk = one.values(one.files.risk_page)
    assert (risk["fenced"], risk["fence_0"], risk["fence_1"]) == (1, 2, 1)
    (event,) = one.events("ShardFenced")
    assert (event["shard"], event["epoch"]) == (0, 1)
    assert one.worker(1)["epoch"] == 1  # the other shard noticed nothing
    assert one.stop() == 1  # a restart is not a clean run
    done = subprocess.run(
        [sys.executable, "-m", "arbshard", "ledger", "verify", *one.arguments],
        env=one.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_fence_holds_over_a_restart_of_risk(start):
    one = start()
    one.until(lambda: one.decides(0, 1))
    os.kill(one.worker(0)["pid"], signal.SIGSTOP)
    one.until(lambda: one.decides(0, 2))
    before = one.values(one.files.risk_page)
    os.kill(before["pid"], signal.SIGKILL)

    def is_back() -> bool:
        risk = one.values(one.files.risk_page)
        return risk.get("pid") != before["pid"] and risk.get("ready") == 1

    one.until(is_back)
    assert one.values(one.files.risk_page)["fence_0"] == 2
    ticks = one.worker(0)["ticks"]
    one.until(lambda: one.worker(0)["ticks"] > ticks)
    assert one.worker(0)["epoch"] == 2


def test_stuck_risk_is_replaced_and_the_workers_carry_on(start):
    one = start()
    one.until(lambda: one.decides(0, 1))
    pid = one.values(one.files.risk_page)["pid"]
    os.kill(pid, signal.SIGSTOP)
    one.until(lambda: one.values(one.files.risk_page).get("pid") not in (pid, 0, None))
    one.until(lambda: one.values(one.files.risk_page).get("ready") == 1)
    one.until(lambda: "risk was killed: stuck, no beat for" in alerts(one))
    assert one.worker(0)["epoch"] == one.worker(1)["epoch"] == 1


def test_supervisor_that_stood_still_starts_its_children_again(start):
    one = start()
    one.until(lambda: one.decides(0, 1))
    workers = [child for child in one.remember() if "arbshard.worker" in child.cmdline()]
    one.process.send_signal(signal.SIGSTOP)
    one.until(lambda: not any(map(lives, workers)))
    one.process.send_signal(signal.SIGCONT)
    one.until(lambda: one.decides(0, 2) and one.decides(1, 2))
    one.until(lambda: "the supervisor stood still for" in alerts(one))
    assert one.stop() == 1


def test_nothing_outlives_a_killed_supervisor(start):
    one = start()
    one.until(lambda: one.note().spares == ("ready",))
    family = one.remember()
    assert sum("--spare" in child.cmdline() for child in family) == 1
    one.process.kill()
    one.process.wait(10)
    one.until(lambda: not any(map(lives, family)), 5.0)
