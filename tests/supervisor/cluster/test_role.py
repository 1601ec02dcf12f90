"""How many workers a host of a cluster prepares when the time for which it may trade is over."""

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from arbshard.clock import ManualClock
from arbshard.config import Config, RunConfig
from arbshard.config.cluster import ClusterConfig, HostConfig
from arbshard.model.cluster_note import ClusterNote, HostView, ShardPlace
from arbshard.model.rundir import RunFiles
from supervisor.cluster.held import AgentView
from supervisor.cluster.role import HostRole

NOW = 1_000


class Spares:
    wanted = 1
    gives_starting = False

    def __init__(self):
        self.prepared = []

    def prepare(self, count, now_ns):
        del now_ns
        self.prepared.append(count)


class Role(HostRole):
    """A host whose agent shows ``note``."""

    note = None


def view_of(host, shards):
    places = tuple(ShardPlace(shard, 1, 1001, 1) for shard in range(shards))
    return HostView(
        host, 0, "1", leads=host == "a", term=1, seq=1, shards=places, frames_s=9.0, cpu=0.1, nats=True
    )


def make(tmp_path, *, own="c", lost=5, others=3, has_note=True, has_spares=True):
    """Return a host that could trade until now, and its spares. Host a leads, and holds ``lost`` shards."""
    names = "abcdefg"[:others]
    hosts = {name: HostConfig("127.0.0.1", "k" * 40) for name in names}
    cluster = ClusterConfig("demo", hosts, ("nats://h:4222",), shards=9, host=own)
    spares = Spares()
    role = Role(
        replace(Config(), cluster=cluster, run=RunConfig()),
        RunFiles(tmp_path),
        SimpleNamespace(ready_risk=lambda: SimpleNamespace(name="ready risk")),
        SimpleNamespace(spares=spares if has_spares else None, waits=None, restarts_fenced=True),
        None,
        ManualClock(),
        lambda: NOW,
        lambda _: None,
        lambda _: None,
    )
    if has_note:
        seen = tuple(view_of(name, lost if name == "a" else 1) for name in names)
        role.note = ClusterNote(
            cluster="demo", host=own, leader="a", term=1, nats=True, contact_ms=1.0, hosts=seen
        )
    role.view = AgentView(valid_until_ns=NOW + 1)
    role._prepare_workers(0)
    role.view = AgentView(valid_until_ns=NOW)
    return role, spares


@pytest.mark.parametrize(
    ("lost", "others", "expected"),
    [
        (5, 3, 2),  # its part is three, and one is kept anyway
        (4, 3, 1),
        (2, 3, 0),
        (0, 3, 0),
        (5, 2, 4),
        (5, 5, 1),
    ],
)
def test_a_host_prepares_its_part_of_the_workers_of_a_lost_leader(tmp_path, lost, others, expected):
    role, spares = make(tmp_path, own="b", lost=lost, others=others)
    role._prepare_workers(0)
    assert spares.prepared == [expected]


def test_the_part_of_a_lost_leader_is_prepared_once_and_each_worker_that_ends_later(tmp_path):
    role, spares = make(tmp_path)
    for ended in (1, 2, 0):
        role._prepare_workers(ended)
    assert spares.prepared == [2 + 1, 2, 0]


def test_the_host_of_the_leader_prepares_only_for_its_own_workers(tmp_path):
    role, spares = make(tmp_path, own="a")
    role._prepare_workers(2)
    assert spares.prepared == [2]


def test_without_a_note_it_prepares_for_the_workers_that_end(tmp_path):
    role, spares = make(tmp_path, has_note=False)
    role._prepare_workers(1)
    assert spares.prepared == [1]


def test_nothing_is_prepared_while_it_may_trade(tmp_path):
    role, spares = make(tmp_path)
    role.view = AgentView(valid_until_ns=NOW + 1)
    role._prepare_workers(3)
    assert spares.prepared == []


def test_the_next_lost_leader_counts_again(tmp_path):
    role, spares = make(tmp_path)
    for valid_until_ns in (NOW, NOW + 1, NOW):
        role.view = AgentView(valid_until_ns=valid_until_ns)
        role._prepare_workers(0)
    assert spares.prepared == [2, 2]


def test_without_spares_none_are_prepared(tmp_path):
    role, _ = make(tmp_path, has_spares=False)
    role._prepare_workers(3)
