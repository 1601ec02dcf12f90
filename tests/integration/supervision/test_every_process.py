"""Each kind of process killed and stopped while the system trades: the work goes on, and nothing is lost.

How long each takes is shown and not judged, because this machine may be busy with other tests. ``python -m perf
failover`` judges it. Here the work has to be done again within ``perf.breaking.TIMEOUT_S``.
"""

import os
import signal
import time

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def standing_still(system):
    """The supervisor, long enough for trading to stop: its children are all there when it wakes."""
    before = {child.name: child.pid for child in system.note().children}
    os.kill(system.pid, signal.SIGSTOP)
    time.sleep(1.6)
    os.kill(system.pid, signal.SIGCONT)
    deadline = time.monotonic() + 60
    while not any("the supervisor stood still for" in line for line in system.note().alerts):
        assert time.monotonic() < deadline, "nothing is said of it"
        time.sleep(0.05)
    assert {child.name: child.pid for child in system.note().children} == before


def test_every_kind_of_process_is_replaced(start, make_config, on_terminal, breaker, capsys):
    system = start(make_config(), kind=on_terminal)
    breaks = breaker(system)
    took = [
        breaks.worker(0, "SIGKILL"),
        breaks.worker(1, "SIGSTOP"),
        breaks.risk("SIGKILL"),
        breaks.risk("SIGSTOP"),
        breaks.connections(),
        breaks.sim("SIGKILL"),
        breaks.spare("SIGKILL"),
        breaks.child("viewer", "SIGKILL"),
    ]
    with capsys.disabled():
        print("\n" + ", ".join(f"{one.victim} {one.kind} {one.took_ms:.0f} ms" for one in took))
    standing_still(system)
    breaks.settle()
    shown = system.call("status", "--json")
    assert shown.code in (0, 1), shown.err
    assert system.end(40.0) == 1, system.last_words()  # a run with restarts was not a clean one
    verified = system.call("ledger", "verify")
    assert verified.code == 0, verified.out
    assert system.leftovers() == []


@pytest.mark.nightly  # in the gate accounts/test_live_run.py kills it
def test_a_live_run_replaces_its_accounts_process(start, make_config, breaker):
    # It is killed here, not judged: beside other tests its loop may well be late.
    system = start(make_config(mode="live", run={"stuck_after_ms": 10_000.0}), "--live")
    breaker(system).accounts("SIGKILL")
    note = system.note()
    assert [child.restarts for child in note.children if child.name == "accounts"] == [1]
    assert system.end(40.0) == 1, system.last_words()
    verified = system.call("ledger", "verify")
    assert verified.code == 0, verified.out
    assert system.leftovers() == []
