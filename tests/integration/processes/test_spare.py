"""A spare worker takes over a dead shard, with all it held; a quarantined shard comes back. Real processes."""

import os
import signal

import msgspec
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def shard_of(instance, base):
    universe = msgspec.json.decode(instance.files.universe.read_bytes())
    return next(n for n, bases in enumerate(universe["shards"]) if base in bases)


def test_spare_takes_over_what_the_dead_one_held(start):
    one = start()
    spare = one.until(one.spare_pid)
    position = one.until(lambda: next(iter(one.risk_note().positions), None))
    shard = shard_of(one, position.pair)
    other = one.worker(1 - shard)
    os.kill(one.worker(shard)["pid"], signal.SIGKILL)
    one.until(lambda: one.worker(shard).get("epoch") == 2 and one.worker(shard).get("ticks"))
    assert one.worker(shard)["pid"] == spare
    one.until(lambda: position.position_id in {closed.position_id for closed in one.risk_note().closed})
    assert one.worker(1 - shard)["pid"] == other["pid"]
    one.until(lambda: one.spare_pid() not in (0, spare))  # another one stands behind it
    assert one.stop() == 1
    assert one.call("ledger", "verify").returncode == 0
    assert not one.files.dir.exists()


def test_shard_that_is_given_up_leaves_the_other_alone(start):
    one = start("restart_tries = 0\n")
    one.until(one.spare_pid)
    os.kill(one.worker(0)["pid"], signal.SIGKILL)
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
