"""``zmq`` runs the whole job, also through the deaths of a worker and of risk; other tests run ``local``."""

import json

import pytest

from support.instance import SMALL, Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ZMQ = SMALL.replace("[run]", '[run]\ntransport = "zmq"')


@pytest.mark.nightly  # in the gate the run below is the same until processes are killed
def test_a_run_asks_over_zeromq_alone_trades_and_ends_in_order(tmp_path):
    """It does without the Unix socket for limit checks, which is removed as soon as it runs."""
    with Instance(tmp_path, ZMQ) as instance:
        summary = tmp_path / "out.json"
        instance.start("--summary", str(summary))
        instance.until_running()
        (instance.files.dir / "risk.sock").unlink()
        requests = instance.risk()["requests"]
        instance.wait_for(lambda: instance.risk()["requests"] > requests + 20)
        entries = instance.status()["portfolio"]["entries"]
        instance.until(lambda s: s["portfolio"]["entries"] > entries)
        instance.wait_for(lambda: sum(instance.worker(shard).get("ticks", 0) for shard in (0, 1)) > 300)
        ended = instance.stop()
        assert ended.code == 0, ended.err
        found = json.loads(summary.read_text())
        assert found["portfolio"]["entries"] > 0
        assert found["portfolio"]["exits"] == found["portfolio"]["entries"]
        assert found["ticks"] > 300
        # Without its doorbell a worker would look on its timer alone, every 20 ms.
        assert found["latency_us"]["p50"] < 5000
        instance.verify()
        assert instance.leftovers() == []


def test_zmq_carries_on_after_the_death_of_a_worker_and_of_risk(tmp_path):
    with Instance(tmp_path, ZMQ) as instance:
        summary = tmp_path / "out.json"
        instance.start("--summary", str(summary))
        instance.until_running()
        (instance.files.dir / "risk.sock").unlink()  # of limit checks, which it does without
        instance.until(lambda s: s["portfolio"]["open"] > 0)
        instance.until_replaced("worker-0", instance.kill("worker-0"))
        instance.wait_for(lambda: instance.worker(0).get("ticks", 0) > 20)
        instance.until_replaced("risk", instance.kill("risk"))
        requests = instance.wait_for(lambda: instance.risk().get("requests", 0))
        instance.wait_for(lambda: instance.risk()["requests"] > requests + 20)
        instance.until(lambda s: s["portfolio"]["entries"] > 0)
        ended = instance.stop()
        assert ended.code == 1, ended  # a restart is not a clean run
        assert " 0 open" in ended.out
        # Without its doorbell a worker would look on its timer alone, every 20 ms.
        assert json.loads(summary.read_text())["latency_us"]["p50"] < 5000
        instance.verify()
        assert instance.leftovers() == []
