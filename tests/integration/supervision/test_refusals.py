"""What the system refuses while a child is replaced costs this child, and never the run.

Positions are closed in order at its end.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from arbshard.ledger.verify import verify

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

LONG = {"max_hold_s": 60.0}
"""Positions stay open until they are closed at the end."""


def until(holds, what, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)
    return found


def child(system, name):
    note = system.note()
    return next((one for one in note.children if one.name == name), None) if note is not None else None


def kill(system, name):
    """The child of this name; its epoch of before."""
    one = until(lambda: (found := child(system, name)) and found.pid and found, f"{name} runs")
    os.kill(one.pid, signal.SIGKILL)
    return one.epoch


def until_replaced(system, name, epoch):
    until(
        lambda: (found := child(system, name)).epoch > epoch and found.state == "running", f"{name} is back"
    )


def until_holding(system):
    until(lambda: system.risk_value("open_positions") > 0, "a position is open")


def end_flat(system):
    """It ends in order, with every position closed."""
    code = system.end(60.0)
    words = system.output
    assert "Traceback" not in words, words
    assert code == 1, words  # a restart is not a clean run
    found = verify(system.state / "ledger.sqlite")
    assert not found.differences, found.differences
    assert found.positions == found.closed > 0, found


@pytest.mark.nightly  # tests/test_log.py shows what a process does then
def test_log_directory_removed(start, make_config):
    system = start(make_config(strategy=LONG))
    until_holding(system)
    shutil.rmtree(system.state / "logs")
    for name in ("worker-0", "risk"):
        until_replaced(system, name, kill(system, name))
    assert (system.state / "logs").is_dir()
    end_flat(system)


@pytest.mark.nightly  # tests/test_log.py shows what a process does then
def test_log_directory_that_cannot_be_made_again(start, make_config):
    """A file stands in its place: processes go on without a log."""
    system = start(make_config(strategy=LONG))
    until_holding(system)
    shutil.rmtree(system.state / "logs")
    (system.state / "logs").write_text("in the way")
    for name in ("worker-0", "risk"):
        until_replaced(system, name, kill(system, name))
    end_flat(system)


def test_run_directory_removed(start, make_config):
    """No child can come up again; the worker that is left closes what it holds, and the run ends in order."""
    system = start(make_config(strategy=LONG, run={"restart_tries": 1}))
    until_holding(system)
    shutil.rmtree(system.files.dir)
    family = psutil.Process(system.pid).children()
    pid = next(one.pid for one in family if "--shard 0" in " ".join(one.cmdline()))
    os.kill(pid, signal.SIGKILL)
    time.sleep(3.0)
    system.require_alive()
    code = system.end(60.0)
    assert "Traceback" not in system.output, system.output
    assert code == 1, system.output
    assert not verify(system.state / "ledger.sqlite").differences


@pytest.fixture
def small_disk(tmp_path):
    """16 MB in memory, that somebody else may fill."""
    place = tmp_path / "m"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "arbshard-test", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> None:
    with (place / "filling").open("wb", buffering=0) as filling:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    filling.write(b"x" * size)
            except OSError:
                continue


@pytest.mark.nightly  # in the gate a run directory is removed
def test_run_directory_full(start, make_config, small_disk, on_disk):
    """A worker's page finds no room: the worker is started again until there is some."""
    system = start(make_config(strategy=LONG, run={"restart_tries": 50}), kind=on_disk(small_disk))
    until_holding(system)
    fill(small_disk)
    epoch = kill(system, "worker-0")
    until(lambda: any("list of children" in line for line in system.note().alerts), "an alert")
    system.require_alive()
    (small_disk / "filling").unlink()
    until_replaced(system, "worker-0", epoch)
    end_flat(system)
