"""Periods are archived under the real ``arbshard run``, while processes are killed."""

import os

import psutil
import pytest

from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.prove import prove
from arbshard.ledger.verify import verify, verify_archive
from support.instance import NO_LIMITS, Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]

CONFIG = (
    """
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
[ledger]
archive_events = 200
"""
    + NO_LIMITS
)


@pytest.fixture
def run(tmp_path):
    with Instance(tmp_path, CONFIG) as one:
        one.start()
        yield one


def archived(run: Instance) -> int:
    """How often risk has gone on in a new file."""
    log = run.logs / "risk.jsonl"
    return log.read_text().count('"period archived"') if log.exists() else 0


def archiver_of(run: Instance) -> psutil.Process | None:
    """The process that writes an archive, while there is one."""
    for one in run.remember_children():
        try:
            if "arbshard.ledger.archiver" in one.cmdline():
                return one
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return None


@pytest.mark.nightly  # in the gate test_archivist.py and test_take_over.py end processes at each step
def test_periods_are_archived_while_trading_goes_on_and_processes_are_killed(run) -> None:
    run.wait_for(lambda: archived(run) >= 1, 100)
    run.until_replaced("risk", run.kill("risk"))
    before = archived(run)
    archiver = run.wait_for(lambda: archiver_of(run), 100)
    run.kill("risk")  # the archiver ends by itself, or its successor waits for it
    run.wait_for(lambda: archived(run) >= before + 2, 100)
    run.stop()
    assert not archiver.is_running() or archiver.status() == psutil.STATUS_ZOMBIE
    links = list(prove(run.ledger))
    assert len(links) >= 3
    with LedgerHistory(run.ledger) as history:
        rows = list(history.rows())
        archives = [one.path for one in history.archives()]
    assert [row[0] for row in rows] == list(range(1, links[-1].last_seq + 1))
    assert sum(row[2] == "Started" for row in rows) >= 3
    for one in archives:
        assert verify_archive(one).differences == ()
    assert verify(run.ledger).differences == ()
    found = run.log("risk", "period archived")
    assert found
    print("longest pauses in ms:", [one["longest_pause_ms"] for one in found], "load", os.getloadavg()[0])
