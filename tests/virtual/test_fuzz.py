import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arbshard.virtual.fuzz import fresh_seed, run_many
from arbshard.virtual.settings import SEED_MAX, Settings


def test_seeds_are_fresh_and_can_be_given_to_the_command() -> None:
    seeds = {fresh_seed() for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed <= SEED_MAX for seed in seeds)


def test_so_many_seeds_are_run_and_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_many(Settings(0, hours=0.01, pairs=1, shards=1, faults="none"), count=2, jobs=2) == 0
    said = capfd.readouterr().out.splitlines()
    assert sum(line.endswith("ok") for line in said) == 2
    assert said[-1] == "2 seeds, 0 failed"


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
def test_an_interrupt_ends_all_of_it_and_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    # A shell that starts the tests in its background has them ignore SIGINT, and what they start inherits that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    smallest = ["--hours", "0.01", "--pairs", "1", "--mode", "paper"]
    running = subprocess.Popen(
        [sys.executable, "-m", "arbshard.virtual.fuzz", "--jobs", "1", *smallest],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "ARBSHARD_RUN_ROOT": str(tmp_path)},
    )
    signal.signal(signal.SIGINT, before)
    try:
        assert running.stdout is not None
        assert running.stdout.readline().rstrip().endswith("ok")
        # A process that is ended while it makes or removes its directory leaves it to the next simulation.
        deadline_s = time.monotonic() + 60
        while not list(tmp_path.glob("*/run-1/books")):
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
        running.send_signal(number)
        rest, said = running.communicate(timeout=30)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
    assert running.returncode == 0
    assert "0 failed" in rest
    assert said == ""
    assert not list(tmp_path.iterdir())
