"""What people type on any host of a cluster: real agents, risk processes and NATS servers on loopback addresses."""

import json
import re

import pytest

from support.cluster import Cluster
from support.nats_server import MISSING, PROGRAM

pytestmark = [pytest.mark.integration, pytest.mark.skipif(PROGRAM is None, reason=MISSING)]


@pytest.fixture
def cluster(tmp_path):
    with Cluster(tmp_path) as one:
        one.start()
        one.until_deciding()
        yield one


def universe(run):
    return json.loads(run.files.universe.read_bytes())


def terms_led(run):
    return set(re.findall(r"this host leads the cluster from now on \(term (\d+)\)", run.output))


def test_orders_from_any_host_and_an_end_of_one_and_of_all(cluster):
    leader = cluster.runs[cluster.leader()]
    members = [run for run in cluster.runs.values() if run is not leader]

    assert "halted" in members[0].do("halt", "--reason", "typed on a member")
    for run in cluster.runs.values():
        run.until(lambda one: "typed on a member" in one["halted"])
    assert "resumed" in members[1].do("resume")

    name = leader.host.name
    refused = members[0].do("symbols", "remove", "XRP", code=2)
    assert f"type it on host '{name}'" in refused
    assert "removed XRP" in leader.do("symbols", "remove", "XRP")
    for run in members:
        run.wait_for(lambda run=run: universe(run)["serial"] == universe(leader)["serial"])
        assert not any("XRP" in bases for bases in universe(run)["shards"])

    assert "leaves the cluster" in leader.do("stop", "--host-only", "--wait", "60")
    assert leader.ended().code in (0, 1)  # its entries were halted meanwhile
    cluster.until_deciding([run.host.name for run in members])
    for run in members:
        assert not [line for line in run.status()["problems"] if "seen" in line]

    successor = cluster.runs[cluster.wait_for(cluster.leader, 10)]
    successor.wait_for(lambda: successor.risk_note().positions)
    before = [terms_led(run) for run in members]
    follower = next(run for run in members if run is not successor)
    assert "stopping all hosts" in follower.do("stop", "--wait", "0")
    for run in members:
        end = run.ended()
        assert end.code in (0, 1)
        assert "left open" not in str(end)
        assert "was killed" not in str(end)
    assert [terms_led(run) for run in members] == before, "no host begins to lead while the cluster ends"
    said = [run.do("ledger", "verify").split(": ", 1)[1] for run in members]
    assert said[0] == said[1]
    assert not leader.leftovers()


def test_a_host_that_waits_for_a_leader_says_so_and_is_stopped_by_a_command(tmp_path):
    with Cluster(tmp_path) as lonely:
        lonely.start("a")
        run = lonely.runs["a"]
        run.wait_for(lambda: (note := run.cluster_note()) and note.why)
        for command in ("symbols", "shards"):
            said = run.do(command, code=2)
            assert re.search(r"this host waits for a leader: [12] of 3 hosts .*are needed", said)
        said = run.do("positions", code=2)
        assert (
            "nothing was done: no leader is known on this host, so risk cannot be asked: waiting for" in said
        )
        assert ".sock" not in said
        answer = run.do("stop", "--wait", "20")
        assert "this host waits for a leader and ends at once" in answer
        assert "what is open stays open" in answer
        assert "the run was stopped while it waited for a leader" in str(run.ended())
        assert not run.leftovers()


@pytest.mark.nightly  # the test of orders from any host ends with two hosts that hold positions
def test_no_host_begins_to_lead_while_three_hosts_end(cluster):
    leader = cluster.leader()
    cluster.runs[leader].wait_for(lambda: cluster.runs[leader].risk_note().positions)
    follower = next(run for name, run in cluster.runs.items() if name != leader)
    before = {name: terms_led(run) for name, run in cluster.runs.items()}
    follower.do("stop", "--wait", "0")
    for name, run in cluster.runs.items():
        end = run.ended()
        assert end.code == 0, end
        assert "left open" not in str(end)
        assert "was killed" not in str(end)
        assert terms_led(run) == before[name], name
