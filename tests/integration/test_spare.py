"""A spare worker takes over a dead shard, with all it held; a quarantined shard comes back. Real processes."""

import os
import signal
import subprocess
import sys
import time
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

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CONFIG = """name = "s"
state_dir = "{state}"
[sim]
coins = 6
seed = 11
[run]
shards = 2
restart_tries = {tries}
"""


class Instance:
    """One run, looked at through its pages."""

    def __init__(self, folder: Path, tries: int) -> None:
        (folder / "c.toml").write_text(CONFIG.format(state=folder / "state", tries=tries))
        self.files = RunFiles(folder / "r" / "s")
        self.env = {**os.environ, "ARBSHARD_RUN_ROOT": str(folder / "r")}
        self.arguments = ["--config", str(folder / "c.toml")]
        self.log = (folder / "out").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "arbshard", "run", *self.arguments],
            env=self.env,
            stdout=self.log,
            stderr=self.log,
        )

    def note(self) -> SupervisorNote | None:
        raw = self._raw(self.files.supervisor_page)
        return msgspec.json.decode(raw, type=SupervisorNote) if raw else None

    def risk(self) -> RiskNote:
        return decode_risk_note(self._raw(self.files.risk_page))

    def _raw(self, path: Path) -> bytes:
        try:
            with PageReader.attach(path) as page:
                return page.note()
        except SharedMemoryError:
            return b""

    def worker(self, shard: int) -> dict[str, int]:
        try:
            with PageReader.attach(self.files.worker_page(shard)) as reader:
                return reader.values()
        except SharedMemoryError:
            return {}

    def until(self, condition, timeout_s: float = 40.0):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(f"not reached within {timeout_s} s: {self.note()}")

    def spare_pid(self) -> int:
        """Of the spare that is ready; 0 without one."""
        note = self.note()
        if note is None or note.state != "running" or "ready" not in note.spares:
            return 0
        at_work = {child.pid for child in note.children}
        family = psutil.Process(self.process.pid).children()
        return next((one.pid for one in family if "--spare" in one.cmdline() and one.pid not in at_work), 0)

    def kill_worker(self, shard: int) -> None:
        os.kill(self.worker(shard)["pid"], signal.SIGKILL)

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
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            self.process.wait(10)
            for child in family:
                if child.is_running():
                    child.kill()
        self.log.close()


@pytest.fixture
def start(tmp_path):
    made = []

    def build(tries=5):
        made.append(Instance(tmp_path, tries))
        return made[-1]

    yield build
    for one in made:
        one.close()


def shard_of(instance, base):
    universe = msgspec.json.decode(instance.files.universe.read_bytes())
    return next(n for n, bases in enumerate(universe["shards"]) if base in bases)


def test_spare_takes_over_what_the_dead_one_held(start):
    one = start()
    spare = one.until(one.spare_pid)
    position = one.until(lambda: next(iter(one.risk().positions), None))
    shard = shard_of(one, position.pair)
    other = one.worker(1 - shard)
    one.kill_worker(shard)
    one.until(lambda: one.worker(shard).get("epoch") == 2 and one.worker(shard).get("ticks"))
    assert one.worker(shard)["pid"] == spare
    one.until(lambda: position.position_id in {closed.position_id for closed in one.risk().closed})
    assert one.worker(1 - shard)["pid"] == other["pid"]
    one.until(lambda: one.spare_pid() not in (0, spare))  # another one stands behind it
    assert one.stop() == 1
    assert one.call("ledger", "verify").returncode == 0
    assert not one.files.dir.exists()


def test_shard_that_is_given_up_leaves_the_other_alone(start):
    one = start(tries=0)
    one.until(one.spare_pid)
    one.kill_worker(0)
    one.until(lambda: "quarantined" in {child.state for child in one.note().children})
    code, status = one.status()
    assert (code, status.state) == (1, "degraded")
    assert [shard.state for shard in status.shards] == ["quarantined", "running"]
    line = next(line for line in status.problems if line.startswith("shard 0 is quarantined"))
    assert "(its worker ended with code -9)" in line
    assert line.endswith("'arbshard shards restart 0' starts it again")
    ticks = one.worker(1)["ticks"]
    one.until(lambda: one.worker(1)["ticks"] > ticks)
    done = one.call("status")
    assert "Spare workers: ready" in done.stdout
