"""A spare worker takes over a dead shard, with all it held; a quarantined shard comes back. Real processes."""

import json
import os
import signal

import msgspec
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def shard_of(instance, base):
    universe = msgspec.json.decode(instance.files.universe.read_bytes())
    return next(n for n, bases in enumerate(universe["shards"]) if base in bases)


@pytest.mark.nightly  # in the gate supervision/test_every_process.py kills a worker beside a spare
def test_spare_takes_over_what_the_dead_one_held(start):
    one = start()
    spare = one.wait_for(one.spare_pid)
    position = one.wait_for(lambda: next(iter(one.risk_note().positions), None))
    shard = shard_of(one, position.pair)
    other = one.worker(1 - shard)
    os.kill(one.worker(shard)["pid"], signal.SIGKILL)
    one.wait_for(lambda: one.worker(shard).get("epoch", 0) >= 2 and one.worker(shard).get("ticks"))
    assert one.worker(shard)["pid"] == spare
    one.wait_for(lambda: position.position_id in {closed.position_id for closed in one.risk_note().closed})
    assert one.worker(1 - shard)["pid"] == other["pid"]
    one.wait_for(lambda: one.spare_pid() not in (0, spare))  # another one stands behind it
    assert one.stop().code == 1
    one.verify()
    assert not one.files.dir.exists()


def test_shard_that_is_given_up_leaves_the_other_alone(start):
    one = start("restart_tries = 0\n")
    one.wait_for(one.spare_pid)
    os.kill(one.worker(0)["pid"], signal.SIGKILL)
    one.wait_for(lambda: "quarantined" in {child.state for child in one.note().children})
    shown = one.carry_out("status", "--json")
    status = json.loads(shown.out)
    assert (shown.code, status["state"]) == (1, "degraded")
    assert [shard["state"] for shard in status["shards"]] == ["quarantined", "running"]
    line = next(line for line in status["problems"] if line.startswith("shard 0 is quarantined"))
    assert "(its worker ended with code -9)" in line
    assert line.endswith("'arbshard shards restart 0 --name t' starts it again")
    ticks = one.worker(1)["ticks"]
    one.wait_for(lambda: one.worker(1)["ticks"] > ticks)
    assert "Spare workers: ready" in one.carry_out("status").out


@pytest.mark.nightly  # in the gate tests/shm/test_former.py adds what former processes have counted
def test_what_replaced_processes_have_counted_is_in_the_summary(start, tmp_path):
    summary = tmp_path / "summary.json"
    one = start("", "--summary", str(summary))
    one.wait_for(lambda: one.risk_note().portfolio.exits >= 10)
    for child in ("worker-0", "worker-1", "risk"):
        one.until_replaced(child, one.kill(child))
    entries = one.risk_note().portfolio.entries
    one.wait_for(lambda: one.risk_note().portfolio.entries > entries)
    started = one.status()["equity"]["change"]["started"]
    own = sum(one.worker(shard)["orders"] for shard in (0, 1))
    assert one.stop().code == 1
    told = json.loads(summary.read_text())
    ended = {event["client_id"] for event in one.events("OrderReported")}
    # Of a trade that was under way when its worker was killed, some orders are counted by neither or by both.
    assert abs(told["orders"] - len(ended)) <= 3 * 4, (told["orders"], len(ended))
    assert told["orders"] - own > 3 * 4
    change = told["equity"]["change"]
    assert change["started"] == started
    parts = sum(float(change[name]) for name in ("started", "trading", "moved", "fx", "inventory"))
    assert abs(parts - float(told["equity"]["account_value"])) < 0.01
    assert float(told["portfolio"]["pnl"]) == float(told["equity"]["realised"])
