"""A worker that stands still is fenced by risk and replaced; the old one can do nothing any more. Real processes."""

import json
import os
import signal
import time

import psutil
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

QUICK = "stuck_after_ms = 1000.0\nrestart_tries = 20\n"


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.nightly  # in the gate supervision/test_every_process.py and test_fenced.py stop a worker
def test_stuck_worker_is_fenced_replaced_and_ends(start):
    one = start(f"{QUICK}spare_workers = 0\n")
    one.wait_for(lambda: one.decides(0, 1) and one.decides(1, 1))
    pid = one.worker(0)["pid"]
    os.kill(pid, signal.SIGSTOP)
    one.wait_for(lambda: one.decides(0, 2))
    one.wait_for(lambda: "worker-0 was killed: fenced by risk: no beat for" in one.alerts())
    assert not psutil.pid_exists(pid)
    risk = one.risk()
    assert (risk["fenced"], risk["fence_0"], risk["fence_1"]) == (1, 2, 1)
    (event,) = one.events("ShardFenced")
    assert (event["shard"], event["epoch"]) == (0, 1)
    assert one.worker(1)["epoch"] == 1  # the other shard noticed nothing
    assert one.stop().code == 1  # a restart is not a clean run
    one.verify()


def test_fence_holds_over_a_restart_of_risk(start):
    one = start(QUICK)
    one.wait_for(lambda: one.decides(0, 1))
    os.kill(one.worker(0)["pid"], signal.SIGSTOP)
    one.wait_for(lambda: one.decides(0, 2))
    before = one.risk()
    os.kill(before["pid"], signal.SIGKILL)

    def is_back() -> bool:
        risk = one.risk()
        return risk.get("pid") != before["pid"] and risk.get("ready") == 1

    one.wait_for(is_back)
    epoch = one.worker(0)["epoch"]
    assert one.risk()["fence_0"] == epoch >= 2
    ticks = one.worker(0)["ticks"]
    one.wait_for(lambda: one.worker(0)["ticks"] > ticks)
    assert one.worker(0)["epoch"] == epoch


@pytest.mark.nightly  # in the gate supervision/test_every_process.py stops risk
def test_stuck_risk_is_replaced_and_the_workers_carry_on(start):
    one = start(QUICK)
    one.wait_for(lambda: one.decides(0, 1))
    pid = one.risk()["pid"]
    os.kill(pid, signal.SIGSTOP)
    one.wait_for(lambda: one.risk().get("pid") not in (pid, 0, None))
    one.wait_for(lambda: one.risk().get("ready") == 1)
    one.wait_for(lambda: "risk was killed: stuck, no beat for" in one.alerts())
    assert one.worker(0)["epoch"] == one.worker(1)["epoch"] == 1


def test_supervisor_that_stood_still_finds_its_children_alive_and_trading_goes_on(start):
    """Silent is not dead: nothing is traded meanwhile, status says so, and nobody ends for it."""
    one = start(QUICK)
    one.wait_for(lambda: one.decides(0, 1) and one.decides(1, 1) and one.spare_pid())
    family = one.remember_children()
    one.process.send_signal(signal.SIGSTOP)
    one.until(lambda s: s["problems"][:1] and "silent" in s["problems"][0])
    shown = one.carry_out("status", "--json")
    status = json.loads(shown.out)
    assert (shown.code, status["state"]) == (1, "degraded")
    assert status["problems"][0].endswith("s: trading is stopped")
    time.sleep(2.0)
    entries = one.risk()["entries"]
    time.sleep(1.0)
    assert one.risk()["entries"] == entries
    assert all(map(lives, family))
    one.process.send_signal(signal.SIGCONT)
    one.wait_for(lambda: "the supervisor stood still for" in one.alerts())
    one.wait_for(lambda: one.risk()["entries"] > entries)
    assert all(map(lives, family))
    assert all(child.epoch == 1 for child in one.note().children)
    assert one.stop().code == 0


def test_nothing_outlives_a_supervisor_that_is_killed_while_it_is_stopped(start):
    one = start(QUICK)
    one.wait_for(one.spare_pid)
    family = one.remember_children()
    one.process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    assert all(map(lives, family))
    one.process.kill()
    one.process.wait(10)
    one.wait_for(lambda: not any(map(lives, family)), 5.0)


def test_nothing_outlives_a_killed_supervisor(start):
    one = start(QUICK)
    one.wait_for(lambda: one.note().spares == ("ready",))
    family = one.remember_children()
    assert sum("--spare" in child.cmdline() for child in family) == 1
    one.process.kill()
    one.process.wait(10)
    one.wait_for(lambda: not any(map(lives, family)), 5.0)
