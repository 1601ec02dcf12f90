"""Three hosts trade together, each with a NATS server; hosts are killed, cut off and paused, NATS is lost.

The tests at the top need nothing but ``nats-server``. Those that cut hosts off from each other run in network
namespaces and are nightly.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster
from support.namespaces import NamespaceNetwork, why_impossible

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _nats_server() -> None:
    if shutil.which("nats-server") is None:
        pytest.skip("nats-server is not installed")


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose hosts are namespaces, 1 ms from each other; all shards are decided on."""
    why = why_impossible()
    if why:
        pytest.skip(why)
    with Cluster(tmp_path, NamespaceNetwork("abc")) as cluster:
        cluster.start()
        cluster.until_deciding()
        yield cluster


def network_of(cluster: Cluster) -> NamespaceNetwork:
    assert isinstance(cluster.network, NamespaceNetwork)
    return cluster.network


def hosts_of(cluster: Cluster) -> set[str]:
    """The hosts that decide on a shard."""
    return {one.host for one in cluster.deciding().values()}


def test_shards_of_a_lost_host_go_to_the_others_and_so_does_the_lead(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.start()
        before = cluster.until_deciding()
        leader = cluster.wait_for(cluster.leader, 10)
        assert {one.host for one in before.values()} == {"a", "b", "c"}

        lost = next(name for name in cluster.names if name != leader)
        cluster.kill_host(lost)
        rest = [name for name in cluster.names if name != lost]
        after = cluster.until_deciding(rest, 30)
        for shard, one in before.items():
            assert (after[shard].epoch > one.epoch) is (one.host == lost), (shard, one, after[shard])
        assert cluster.leader() == leader

        cluster.restart_host(lost)
        cluster.wait_for(lambda: lost in hosts_of(cluster), 60)

        cluster.runs[leader].until(lambda status: status["portfolio"]["exits"] > 0, 60)
        cluster.kill_host(leader)
        rest = [name for name in cluster.names if name != leader]
        cluster.until_deciding(rest, 30)
        successor = cluster.wait_for(cluster.leader, 10)
        assert successor in rest
        entries = cluster.runs[successor].risk()["entries"]
        assert entries > 0, "what the former leader has answered is in the ledger of the new one"
        cluster.runs[successor].until(lambda status: status["portfolio"]["entries"] > entries, 60)
        for name in rest:  # a host counts as lost once it has not been seen for some seconds
            cluster.runs[name].until(
                lambda status: any(f"host {leader} has not been seen" in one for one in status["problems"]),
                30,
            )
        for name, ended in cluster.stop().items():
            assert ended.code == 1, (name, ended.out[-1500:])
            (why,) = [line for line in ended.out.splitlines() if line.startswith("Not a clean run")]
            assert f"host {leader}" in why or "not connected to NATS" in why, "nothing else was wrong"
        assert "everything agrees" in cluster.runs[successor].do("ledger", "verify")


@pytest.mark.nightly
def test_a_host_that_is_cut_off_sends_nothing_and_comes_back(apart: Cluster) -> None:
    leader = apart.wait_for(apart.leader, 10)
    lost = next(name for name in apart.names if name != leader)
    network_of(apart).isolate(lost)  # it still reaches the exchanges
    apart.until_deciding([name for name in apart.names if name != lost], 30)
    assert not apart.deciding([lost])
    network_of(apart).heal()
    apart.wait_for(lambda: lost in hosts_of(apart), 60)


@pytest.mark.nightly
def test_a_paused_leader_wakes_as_a_follower(apart: Cluster) -> None:
    former = apart.wait_for(apart.leader, 10)
    apart.pause_host(former)
    apart.until_deciding([name for name in apart.names if name != former], 30)
    leader = apart.leader()
    assert leader != former
    apart.wake_host(former)
    apart.wait_for(lambda: not apart.runs[former].agent().get("leads"), 10)
    apart.wait_for(lambda: former in hosts_of(apart), 60)
    assert apart.leader() == leader
    unclean = {name: ended.out[-800:] for name, ended in apart.stop().items() if ended.code}
    assert unclean.keys() <= {former}, unclean  # its run was degraded while it was paused
    assert "everything agrees" in apart.runs[leader].do("ledger", "verify")


@pytest.mark.nightly
def test_the_loss_of_nats_stops_no_host(apart: Cluster) -> None:
    before = apart.deciding()
    for name in apart.names:
        apart.kill_nats(name)
    time.sleep(6.0)
    assert apart.deciding() == before
    for name in apart.names:
        apart.wipe_nats(name)
        apart.start_nats(name)
    time.sleep(10.0)
    assert apart.deciding() == before
