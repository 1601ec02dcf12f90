"""Leases at NATS: one holder at a time as long as NATS tells the truth, and all is written again when it does not."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.cluster.actions import PutLease, ReadEntry
from arbshard.cluster.leases import RISK_KEY, HostLeases, LeaseKeeper, LeaseValue, shard_key
from arbshard.cluster.terms import LeaseTimes

LEASE_NS, PATIENCE_NS = 1_000, 1_200


def keeper(host: str = "a", *, is_free_when_absent: bool = False) -> LeaseKeeper:
    made = LeaseKeeper("k", host, LEASE_NS, PATIENCE_NS, is_free_when_absent=is_free_when_absent)
    made.is_wanted = True
    return made


def value(host: str, serial: int = 1) -> bytes:
    return msgspec.json.encode(LeaseValue(host, serial))


def holding(now_ns: int = 0) -> LeaseKeeper:
    """A keeper that has written revision 1."""
    one = keeper(is_free_when_absent=True)
    one.entry(0, None, now_ns)
    put = one.tick(now_ns)
    one.written(put, 1, now_ns)
    return one


class Store:
    """NATS that tells the truth: compare-and-set, and each answer late or lost."""

    def __init__(self) -> None:
        self.revision = 0
        self.value: bytes | None = None

    def write(self, put: PutLease) -> int | None:
        if put.revision != self.revision:
            return None
        self.revision += 1
        self.value = put.value
        return self.revision


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.integers(0, 600),
            st.sampled_from(["answered", "lost on the way", "answer lost", "read", "given up", "restarted"]),
        ),
        max_size=60,
    )
)
def test_one_host_at_a_time_holds_the_lease(events):
    store = Store()
    keepers = {name: keeper(name, is_free_when_absent=True) for name in "abc"}
    now_ns = 0
    for name, passes_ns, what in events:
        now_ns += passes_ns
        one = keepers[name]
        one.is_wanted = what != "given up"
        if what == "restarted":
            one = keepers[name] = keeper(name, is_free_when_absent=True)
        if what == "read" or one.wants_entry:
            one.entry(store.revision, store.value, now_ns)
        put = one.tick(now_ns)
        if put is not None and what != "lost on the way":
            revision = store.write(put)
            if what != "answer lost":
                one.written(put, revision, now_ns)
        assert sum(one.is_held(now_ns) for one in keepers.values()) <= 1


def test_nothing_is_written_before_the_key_is_known():
    one = keeper()
    assert one.wants_entry
    assert one.tick(0) is None
    one.entry(7, value("b"), 0)
    assert one.tick(0) is None
    assert one.wants_entry, "the holder may have written again"


def test_another_host_is_waited_for_until_its_lease_has_expired():
    one = keeper()
    one.entry(7, value("b"), 0)
    one.entry(8, value("b", 2), 500)
    assert one.tick(500 + PATIENCE_NS - 1) is None
    put = one.tick(500 + PATIENCE_NS)
    assert (put.revision, msgspec.json.decode(put.value, type=LeaseValue).host) == (8, "a")


@pytest.mark.parametrize(
    ("revision", "data", "is_free_when_absent", "is_taken"),
    [
        (7, value(""), False, True),
        (7, value("a"), False, True),
        (7, value("b"), False, False),
        (0, None, False, False),
        (0, None, True, True),
        (7, None, True, False),
        (7, b"{", True, False),
    ],
    ids=["given up", "own", "another's", "absent", "absent and free", "deleted", "unreadable"],
)
def test_what_is_taken_at_once(revision, data, is_free_when_absent, is_taken):
    one = keeper(is_free_when_absent=is_free_when_absent)
    one.entry(revision, data, 0)
    assert (one.tick(0) is not None) == is_taken


def test_a_host_that_is_gone_is_not_waited_for():
    one = keeper()
    one.entry(7, value("b"), 0)
    assert one.tick(1, holder_is_gone=True) is not None


def test_the_lease_counts_from_the_sending_and_is_renewed_in_time():
    one = keeper(is_free_when_absent=True)
    one.entry(0, None, 0)
    put = one.tick(0)
    one.written(put, 1, 400)
    assert one.is_held(LEASE_NS - 1)
    assert not one.is_held(LEASE_NS)
    assert one.tick(LEASE_NS // 4 - 1) is None
    assert one.tick(LEASE_NS // 4).revision == 1


def test_a_refused_write_and_one_without_an_answer_make_it_read_the_key():
    one = holding()
    one.written(one.tick(300), None, 310)
    assert one.wants_entry
    assert one.tick(600) is None, "it does not know whose the key is"
    other = holding()
    late = other.tick(300)
    assert other.tick(300 + LEASE_NS // 2 - 1) is None
    assert not other.wants_entry
    other.tick(300 + LEASE_NS // 2)
    assert other.wants_entry
    other.written(late, 2, 900)
    assert other.wants_entry, "the answer came too late to be counted"


def test_an_old_entry_does_not_take_the_lease_away():
    one = holding()
    one.entry(0, None, 100)
    assert one.is_held(100)
    assert one.tick(300).revision == 1


def test_a_lease_that_is_not_wanted_is_given_up_at_once():
    one = holding()
    one.is_wanted = False
    put = one.tick(10)
    assert msgspec.json.decode(put.value, type=LeaseValue).host == ""
    assert not one.is_held(10)
    one.written(put, 2, 20)
    assert one.tick(2_000) is None


class TestHostLeases:
    def made(self) -> tuple[HostLeases, list]:
        actions: list = []
        return HostLeases("a", 2, LeaseTimes(LEASE_NS, 100, PATIENCE_NS), actions, 0), actions

    def test_it_reads_what_is_in_doubt_and_writes_what_is_free(self):
        leases, actions = self.made()
        assert [one.key for one in (leases.risk, *leases.shards)] == [RISK_KEY, shard_key(0), shard_key(1)]
        one = leases.shards[1]
        one.is_wanted = True
        leases.keep(one, 0, holder_is_gone=False, may_read=False)
        assert not actions
        leases.keep(one, 0, holder_is_gone=False, may_read=True)
        assert actions == [ReadEntry(shard_key(1))]
        leases.entry(shard_key(1), 0, None, 10)
        leases.entry("leases/shard.9", 3, None, 10)
        leases.keep(one, 10, holder_is_gone=False, may_read=True)
        put = actions[-1]
        assert isinstance(put, PutLease)
        leases.written(put, 4, 20)
        assert one.is_held(20)

    def test_nats_is_out_when_it_has_not_answered_for_a_lease(self):
        leases, actions = self.made()
        assert not leases.is_out(LEASE_NS - 1)
        assert leases.is_out(LEASE_NS)
        leases.entry(RISK_KEY, 0, None, 500)
        assert not leases.is_out(LEASE_NS)
        one = leases.shards[0]
        one.is_wanted = True
        one.entry(0, None, 600)
        leases.keep(one, 600, holder_is_gone=False, may_read=True)
        leases.written(actions[-1], None, 900)
        assert leases.is_out(1_500), "a write without an outcome is no answer"
