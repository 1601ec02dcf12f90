"""What a host shows of its cluster: its hosts, and why it does not trade."""

import pytest

from arbshard.config.cluster import ClusterConfig, HostConfig
from arbshard.model.cluster_note import ClusterNote, HostSight, HostView, ShardPlace
from arbshard.status.cluster import describe, elsewhere_of, problems_of_cluster

CLUSTER = ClusterConfig(
    "c",
    {name: HostConfig("127.0.0.1", "k" * 40) for name in "abc"},
    ("nats://127.0.0.1:4222",),
    shards=3,
    host="a",
)
NOW_NS, LEASE_NS = 5_000_000_000, 7_000_000_000
ALIVE = {
    "beat_ns": NOW_NS,
    "term": 4,
    "valid_until_ns": LEASE_NS + 1,
    "grant_0": 9,
    "grant_1": 0,
    "grant_2": 0,
}


def view(host, *shards, seq=50, version="1", **others):
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
    return HostView(host, 0, version, seq=seq, shards=places, **given)


def note(*views, **others):
    heard = {one.host: HostSight(100.0, 30.0) for one in views if one.host != "a"} | others.pop("sights", {})
    given = {"leader": "b", "term": 4, "nats": True, "contact_ms": 20.0, "sights": heard, **others}
    return ClusterNote("c", "a", hosts=views, **given)


ALL = (view("a", 0), view("b", 1, seq=60), view("c", 2, seq=58))


def found(counters=None, shown=None):
    return describe(CLUSTER, ALIVE if counters is None else counters, shown or note(*ALL), NOW_NS, LEASE_NS)


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
        (
            {**ALIVE, "beat_ns": NOW_NS - 2_000_000_000},
            note(*ALL),
            "host",
            "the cluster agent of this host does not run",
        ),
        (ALIVE, note(*ALL, leader="", why="1 of 3 hosts votes"), "leader", "has no leader"),
        (ALIVE, note(*ALL, nats=False), "nats", "not connected to NATS"),
        (
            ALIVE,
            note(view("a", 0), view("b", 1, 2), view("c"), sights={"c": HostSight(9_000.0, 30.0)}),
            "host",
            "host c has not been seen for 9 s",
        ),
        (ALIVE, note(view("a", 0), view("b", 1, 2)), "host", "host c was never seen: see whether it runs, "),
        (
            ALIVE,
            note(*ALL, sights={"c": HostSight(100.0, -600_000.0)}),
            "clock",
            "the wall clock of host c is 600 s behind that of this host: set both by NTP",
        ),
        (
            ALIVE,
            note(*ALL, sights={"b": HostSight(100.0, 2_100.0)}),
            "clock",
            "host b is 2 s ahead of that of",
        ),
        (
            ALIVE,
            note(*ALL[:2], view("c", 2, version="2")),
            "version",
            "host c runs arbshard 2 and this host 1: use one version on all hosts",
        ),
        (
            ALIVE,
            note(view("a", 0), view("b", 1, 2), refused=("host c is refused: its file differs",)),
            "host",
            "host c is refused: its file differs",
        ),
        (ALIVE, note(*ALL, refused=("host d is refused: why",)), "host", "host d is refused: why"),
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


def test_a_host_that_is_away_runs_nothing_any_more():
    status = found(shown=note(*ALL, sights={"c": HostSight(9_000.0, 30.0)}))
    assert [host.shards for host in status.hosts] == [(0,), (1,), ()]
    assert [kind for kind, _ in problems(status)] == ["host", "unplaced"]


def test_a_leader_that_is_away_is_none():
    shown = note(*ALL, sights={"b": HostSight(9_000.0, 30.0)}, why="waiting for votes")
    status = found({**ALIVE, "valid_until_ns": LEASE_NS}, shown)
    assert (status.leader, status.lost, status.term) == ("", "b", 4)
    assert problems(status) == [
        (
            "leader",
            "the cluster has no leader that this host knows: host b, which led last, is away; waiting for votes",
        ),
        ("host", "host b has not been seen for 9 s"),
    ]


def test_a_host_tells_while_it_follows_the_leader_and_its_alerts_reach_someone():
    views = view("a", 0, alerts=True), view("b", 1), view("c", 2, alerts=True, term=0)
    assert [host.tells for host in found(shown=note(*views)).hosts] == [True, False, False]


def test_where_a_shard_is_run():
    status = found()
    assert elsewhere_of(None, 1) == elsewhere_of(status, 0) == ""
    assert elsewhere_of(status, 1) == "host b runs it and has its books"
    assert elsewhere_of(status, 7) == "no host runs it now"


def test_what_a_silent_agent_knew_grows_old():
    status = found({**ALIVE, "beat_ns": NOW_NS - 4_920_000_000})
    assert [(host.age_s, host.away) for host in status.hosts] == [(4.9, False), (5.0, True), (5.0, True)]


def test_a_host_that_has_left_is_no_problem():
    shown = note(
        view("a", 0, 2), view("b", 1), view("c", leaving=True), sights={"c": HostSight(60_000.0, 0.0)}
    )
    assert problems(found(shown=shown)) == []


def test_a_run_that_ends_has_none():
    status = found(shown=note(leader="", nats=False))
    assert list(problems_of_cluster(status, is_ending=True)) == []
