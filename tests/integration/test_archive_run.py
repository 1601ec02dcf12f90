"""Periods are archived under the real ``arbshard run``, while processes are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.prove import prove
from arbshard.ledger.verify import verify, verify_archive

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]

CONFIG = """
name = "t"
state_dir = "{state}"
[sim]
coins = 8
seed = 11
[run]
shards = 1
stop_timeout_s = 5.0
restart_tries = 50
[strategy]
max_hold_s = 2.0
cooldown_ms = 50
entry_bps = -100
min_edge_bps = -100
round_trip_bps = -1000
stop_room_bps = 0
[limits]
symbol_daily_loss_max = "1e14"
daily_loss_max = "1e14"
drawdown_max = "1e14"
halt_daily_loss = "1e14"
halt_drawdown = "1e14"
loss_streak_max = 100000
tighten_factor = 1
[ledger]
archive_events = 200
"""


@pytest.fixture
def state(tmp_path) -> Path:
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "config.toml").write_text(CONFIG.format(state=state))
    return state


@pytest.fixture
def run(state, tmp_path):
    """A run that is ended at last, however the test ends."""
    env = {**os.environ, "ARBSHARD_RUN_ROOT": str(tmp_path / "run")}
    command = [sys.executable, "-m", "arbshard", "run", "--config", str(tmp_path / "config.toml")]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield psutil.Process(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def archived(state: Path) -> int:
    """How often risk has gone on in a new file."""
    log = state / "logs" / "risk.jsonl"
    return log.read_text().count('"period archived"') if log.exists() else 0


def until(wanted, limit_s: float = 100.0) -> None:
    end = time.monotonic() + limit_s
    while not wanted():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.05)


def child(run: psutil.Process, module: str) -> psutil.Process | None:
    for one in run.children(recursive=True):
        try:
            if f"arbshard.{module}" in one.cmdline():
                return one
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return None


def lines(state: Path) -> list[dict]:
    return [json.loads(line) for line in (state / "logs" / "risk.jsonl").read_text().splitlines()]


def test_periods_are_archived_while_trading_goes_on_and_processes_are_killed(state, run) -> None:
    until(lambda: archived(state) >= 1)
    risk = child(run, "risk")
    assert risk is not None
    risk.kill()
    until(lambda: (one := child(run, "risk")) is not None and one.pid != risk.pid)
    before = archived(state)
    until(lambda: child(run, "ledger.archiver") is not None)
    archiver, risk = child(run, "ledger.archiver"), child(run, "risk")
    if risk is not None:
        risk.kill()  # the archiver ends by itself, or its successor waits for it
    until(lambda: archived(state) >= before + 2)
    run.terminate()
    assert run.wait(60) is not None
    assert archiver is None or not archiver.is_running() or archiver.status() == psutil.STATUS_ZOMBIE
    ledger = state / "ledger.sqlite"
    links = list(prove(ledger))
    assert len(links) >= 3
    with LedgerHistory(ledger) as history:
        rows = list(history.rows())
        archives = [one.path for one in history.archives()]
    assert [row[0] for row in rows] == list(range(1, links[-1].last_seq + 1))
    assert sum(row[2] == "Started" for row in rows) >= 3
    for one in archives:
        assert verify_archive(one).differences == ()
    assert verify(ledger).differences == ()
    told = [one for one in lines(state) if one["event"] == "period archived"]
    assert told
    print("longest pauses in ms:", [one["longest_pause_ms"] for one in told], "load", os.getloadavg()[0])
