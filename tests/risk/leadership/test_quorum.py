"""What a majority has stored never shrinks, and the leader's time to commit counts from what it sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.risk.leadership.quorum import CommitQuorum

LEASE_NS = 1_000
HOSTS = ("a", "b", "c")


def make(hosts=HOSTS, **settings):
    return CommitQuorum("a", hosts, lease_ns=LEASE_NS, **settings)


def test_one_host_is_its_own_majority():
    quorum = make(("a",))
    assert quorum.may_commit(10**18)
    quorum.store(5, 0)
    assert quorum.committed == quorum.released(0) == 5


@pytest.mark.parametrize(("hosts", "needed"), [("ab", 1), ("abc", 1), ("abcd", 2), ("abcde", 2)])
def test_an_event_is_committed_when_a_majority_has_stored_it(hosts, needed):
    quorum = make(tuple(hosts), seq=3)
    quorum.store(7, 100)
    for count, host in enumerate(hosts[1:], 1):
        assert quorum.committed == (7 if count > needed else 0)
        quorum.acknowledge(host, 7, 100)
    assert quorum.committed == 7


def test_a_leader_that_has_heard_from_nobody_may_not_commit():
    assert not make().may_commit(0)


def test_the_lease_counts_from_when_the_leader_sent_what_was_acknowledged():
    quorum = make()
    quorum.acknowledge("b", 0, 5_000)
    assert quorum.may_commit(5_999)
    assert not quorum.may_commit(6_000)
    quorum.acknowledge("b", 0, 4_000)  # an answer to something older changes nothing
    assert quorum.until_ns == 6_000
    quorum.acknowledge("c", 0, 5_500)  # one of two others is enough, so the newer one counts
    assert quorum.until_ns == 6_500


def test_of_five_hosts_two_others_must_be_heard():
    quorum = make(tuple("abcde"))
    quorum.acknowledge("b", 0, 9_000)
    assert not quorum.may_commit(9_001)
    quorum.acknowledge("c", 0, 8_000)
    assert quorum.until_ns == 9_000


def test_events_of_earlier_leaders_count_only_with_one_of_this_leader():
    quorum = make(seq=12, first=11)
    quorum.acknowledge("b", 10, 0)
    assert quorum.committed == 0
    quorum.acknowledge("b", 11, 0)
    assert quorum.committed == 11


def test_a_late_acknowledgement_of_less_takes_nothing_back():
    quorum = make(seq=9)
    quorum.acknowledge("b", 9, 1)
    quorum.acknowledge("b", 4, 2)
    assert quorum.committed == quorum.stored_by("b") == 9


def test_synchronous_replies_wait_for_the_majority():
    quorum = make()
    quorum.store(4, 0)
    assert quorum.released(0) == 0
    quorum.acknowledge("c", 3, 0)
    assert quorum.released(0) == 3


def test_asynchronous_replies_wait_only_when_the_followers_lag():
    quorum = make(lag_ns=50)
    quorum.store(4, 100)
    quorum.store(6, 140)
    assert quorum.released(150) == 6
    assert quorum.released(151) == 0
    quorum.acknowledge("b", 4, 100)
    assert quorum.released(151) == 6
    assert quorum.released(191) == 4
    quorum.acknowledge("b", 6, 140)
    assert quorum.released(10_000) == 6


@given(
    st.integers(1, 7),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 50), st.integers(0, 10_000)), max_size=60),
)
def test_it_is_what_counting_the_hosts_says(size, steps):
    hosts = tuple(f"h{number}" for number in range(size))
    quorum = CommitQuorum("h0", hosts, lease_ns=LEASE_NS)
    stored = dict.fromkeys(hosts, 0)
    sent = dict.fromkeys(hosts[1:], -(10**9))
    majority = size // 2 + 1
    for number, seq, time_ns in steps:
        host = hosts[number % size]
        before = quorum.committed
        if host == "h0":
            stored[host] = max(stored[host], seq)
            quorum.store(stored[host], time_ns)
        else:
            stored[host] = max(stored[host], seq)
            sent[host] = max(sent[host], time_ns)
            quorum.acknowledge(host, seq, time_ns)
        assert quorum.committed >= before
        assert sum(one >= quorum.committed for one in stored.values()) >= majority
        assert sum(one >= quorum.committed + 1 for one in stored.values()) < majority
        for now_ns in (0, time_ns, time_ns + LEASE_NS - 1, time_ns + LEASE_NS):
            heard = 1 + sum(now_ns < one + LEASE_NS for one in sent.values())
            assert quorum.may_commit(now_ns) is (heard >= majority)


@pytest.mark.parametrize(
    ("hosts", "stored", "is_completed"),
    [
        ("ab", {}, True),
        ("abc", {}, True),
        ("abcd", {}, False),
        ("abcd", {"c": 7}, True),
        ("abcde", {"b": 7}, False),
        ("abcde", {"c": 7}, True),
        ("abcde", {"c": 6}, False),
    ],
)
def test_one_more_host_completes_a_majority(hosts, stored, is_completed):
    quorum = make(tuple(hosts), seq=3)
    quorum.store(7, 100)
    for host, seq in stored.items():
        quorum.acknowledge(host, seq, 100)
    assert quorum.is_completed_by("b", 7) is is_completed
    assert not quorum.is_completed_by("b", 8)


def test_no_host_completes_a_majority_of_events_of_earlier_leaders():
    quorum = make(seq=12, first=12)
    assert not quorum.is_completed_by("b", 11)
    assert quorum.is_completed_by("b", 12)
