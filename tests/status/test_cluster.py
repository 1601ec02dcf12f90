"""What a host shows of its cluster: its hosts, and why it does not trade."""

import pytest

from arbshard.config.cluster import ClusterConfig, HostConfig
from arbshard.model.cluster_note import ClusterNote, HostView, ShardPlace
from arbshard.status.cluster import describe, problems_of_cluster

CLUSTER = ClusterConfig(
    "c",
    {name: HostConfig("127.0.0.1", "k" * 40) for name in "abc"},
    ("nats://127.0.0.1:4222",),
    shards=3,
    host="a",
)
NOW_MS, NOW_NS, LEASE_NS = 1_000_000, 5_000_000_000, 7_000_000_000
ALIVE = {
    "beat_ns": NOW_NS,
    "term": 4,
    "valid_until_ns": LEASE_NS + 1,
    "grant_0": 9,
    "grant_1": 0,
    "grant_2": 0,
}


def view(host, *shards, age_ms=100, seq=50, **others):
    places = tuple(ShardPlace(shard, 3, 3001, 1) for shard in shards)
    given = {
        "leads": host == "b",
        "term": 4,
        "frames_s": 1.0,
        "cpu": 0.1,
        "nats": True,
        "universe": 1,
        **others,
    }
    return HostView(host, NOW_MS - age_ms, "1", seq=seq, shards=places, **given)


def note(*views, **others):
    given = {"leader": "b", "term": 4, "nats": True, "contact_ms": 20.0, **others}
    return ClusterNote("c", "a", hosts=views, **given)


ALL = (view("a", 0), view("b", 1, seq=60), view("c", 2, seq=58))


def found(counters=None, shown=None):
    return describe(
        CLUSTER, ALIVE if counters is None else counters, shown or note(*ALL), NOW_MS, NOW_NS, LEASE_NS
    )


def problems(status):
    return [(one.kind, one.text) for one in problems_of_cluster(status, is_ending=False)]


def test_a_cluster_that_is_well():
    status = found()
    assert problems(status) == []
    assert (status.leader, status.term, status.may_trade, status.unplaced) == ("b", 4, True, ())
    assert [(host.name, host.shards, host.behind) for host in status.hosts] == [
        ("a", (0,), 10),
        ("b", (1,), None),
        ("c", (2,), 2),
    ]


@pytest.mark.parametrize(
    ("counters", "shown", "kind", "text"),
    [
        (
            {**ALIVE, "valid_until_ns": LEASE_NS},
            note(*ALL, why="no contact"),
            "host",
            "does not trade: no contact",
        ),
        ({**ALIVE, "beat_ns": 0}, note(*ALL), "host", "the cluster agent of this host does not run"),
        (ALIVE, note(*ALL, leader="", why="1 of 3 hosts votes"), "leader", "has no leader"),
        (ALIVE, note(*ALL, nats=False), "nats", "not connected to NATS"),
        (ALIVE, note(*ALL[:2], view("c", 2, age_ms=9_000)), "host", "host c has not been seen for 9 s"),
        (ALIVE, note(view("a", 0), view("b", 1), view("c")), "unplaced", "no host holds shard 2"),
        (
            ALIVE,
            note(*ALL[:2], view("c", 2, universe=0, note="this host has not got the pairs")),
            "host",
            "host c does not trade: this host has not got the pairs",
        ),
        (
            ALIVE,
            note(view("a", universe=0), *ALL[1:]),
            "host",
            "host a does not trade: it has not got the pairs of the cluster",
        ),
        (ALIVE, note(*ALL, kept=("halt",)), "kept", "waits until the leader can be reached: halt"),
    ],
)
def test_what_is_wrong_is_said(counters, shown, kind, text):
    (one,) = problems(found(counters, shown))
    assert one[0] == kind
    assert text in one[1]


def test_a_host_that_has_left_is_no_problem():
    shown = note(view("a", 0, 2), view("b", 1), view("c", age_ms=60_000, leaving=True))
    assert problems(found(shown=shown)) == []


def test_a_run_that_ends_has_none():
    status = found(shown=note(leader="", nats=False))
    assert list(problems_of_cluster(status, is_ending=True)) == []
