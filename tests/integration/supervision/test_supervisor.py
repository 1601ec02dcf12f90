"""The supervisor itself: killed, its children stop trading and end; the next start cleans up and carries on."""

import os
import signal
import time

import psutil
import pytest

from arbshard.ledger.verify import verify

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

GONE_S = 1.0


def family_of(pid):
    return psutil.Process(pid).children(recursive=True)


def alive(processes):
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_its_children_end_and_the_next_start_carries_on(start, make_config):
    system = start(make_config(strategy={"max_hold_s": 30.0}))
    deadline = time.monotonic() + 60
    while not system.risk_value("open_positions"):
        assert time.monotonic() < deadline, "nothing was entered"
        time.sleep(0.05)
    family = family_of(system.pid)
    assert len(family) >= 5  # exchanges, risk, two workers, a spare
    os.kill(system.pid, signal.SIGKILL)
    began = time.monotonic()
    while left := alive(family):
        assert time.monotonic() - began < 3 * GONE_S, f"still there: {[one.cmdline() for one in left]}"
        time.sleep(0.005)
    print(f"children gone after {time.monotonic() - began:.2f} s")
    assert system.end() == -signal.SIGKILL
    found = verify(system.state / "ledger.sqlite")
    assert not found.differences, found.differences

    system.start()
    system.until_running()
    assert system.risk_value("session") == 2
    assert system.end(40.0) == 0, system.last_words()  # flat: what was open is closed
    verified = system.call("ledger", "verify")
    assert verified.code == 0, verified.out
    assert system.leftovers() == []
