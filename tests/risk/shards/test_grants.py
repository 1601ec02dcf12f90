"""A shard has one host at a time: numbers only grow, and a former holder has certainly stopped."""

from hypothesis import given
from hypothesis import strategies as st

from arbshard.config.cluster import PATIENCE
from arbshard.risk.portfolio.state import GrantedShard
from arbshard.risk.shards.grants import GRANT_MAX, ShardGrants
from arbshard.wire.cluster import Claim, ClaimRefused, Granted, HeldShard, Release

LEASE_NS = 1_000
EXPIRY_NS = int(LEASE_NS * PATIENCE)


class Leader:
    """Keeps the table of grants as the ledger's events would."""

    def __init__(self, table=None, elected_ns=None):
        self.table = dict(table or {})
        self.grants = ShardGrants(self.table, shards=4, lease_ns=LEASE_NS, elected_ns=elected_ns)

    def beat(self, host, now_ns, *held):
        return self.grants.beat(host, [HeldShard(*one, 0, -1) for one in held], now_ns)

    def claim(self, host, shard, number, now_ns):
        answer = self.grants.answer(host, Claim(shard, number), now_ns)
        if isinstance(answer, Granted):
            self.table[shard] = GrantedShard(host, number)
        return answer


def test_a_shard_that_no_host_has_is_granted_to_one_whose_beats_come():
    leader = Leader()
    refused = leader.claim("a", 0, 1, 100)
    assert refused == ClaimRefused(0, 1, "no beat of a has come lately")
    leader.beat("a", 100)
    assert leader.claim("a", 0, 1, 100 + LEASE_NS) == Granted(0, 1)
    assert isinstance(leader.claim("a", 1, 1, 101 + LEASE_NS), ClaimRefused)


def test_a_repeated_claim_has_the_same_answer():
    leader = Leader({2: GrantedShard("a", 5)})
    leader.beat("a", 0)
    assert leader.claim("a", 2, 5, 1) == Granted(2, 5)


def test_a_number_must_grow_and_stay_short():
    leader = Leader({0: GrantedShard("b", 7)})
    leader.beat("a", 0)
    for number in (0, -1, 6, 7, GRANT_MAX + 1):
        refused = leader.claim("a", 0, number, 0)
        assert isinstance(refused, ClaimRefused)
        assert (refused.lowest, refused.is_lasting) == (8, True)
    unknown = leader.claim("a", 4, 1, 0)
    assert unknown == ClaimRefused(4, 1, "there is no shard 4", is_lasting=True)


def test_a_former_holder_is_waited_for_until_its_validity_has_expired():
    leader = Leader({0: GrantedShard("b", 7)})
    leader.beat("b", 500, (0, 7))
    leader.beat("a", 1_000)
    refused = leader.claim("a", 0, 8, 500 + EXPIRY_NS - 1)
    assert refused == ClaimRefused(0, 8, "b may run it for another 0.00 s")
    assert leader.claim("a", 0, 8, 500 + EXPIRY_NS) == Granted(0, 8)


def test_a_new_leader_need_not_wait_for_holders_of_whom_it_has_heard_nothing():
    leader = Leader({0: GrantedShard("b", 7)})
    leader.beat("a", 2_900)
    assert leader.claim("a", 0, 8, 2_900) == Granted(0, 8)


def test_a_second_process_of_a_term_waits_for_what_the_first_may_have_confirmed():
    leader = Leader({0: GrantedShard("b", 7)}, elected_ns=2_000)
    leader.beat("a", 2_900)
    assert isinstance(leader.claim("a", 0, 8, 2_000 + EXPIRY_NS - 1), ClaimRefused)
    assert leader.claim("a", 0, 8, 2_000 + EXPIRY_NS) == Granted(0, 8)


def test_a_holder_whose_beats_do_not_list_the_shard_is_waited_for_no_longer():
    leader = Leader({0: GrantedShard("b", 7)})
    leader.beat("b", 500, (0, 7))
    leader.beat("a", 1_600)
    leader.beat("b", 1_600)
    assert leader.claim("a", 0, 8, 500 + EXPIRY_NS) == Granted(0, 8)


def test_a_new_grant_has_time_to_be_listed():
    leader = Leader()
    for host in "ab":
        leader.beat(host, 0)
    assert leader.claim("b", 0, 1, 0) == Granted(0, 1)
    assert isinstance(leader.claim("a", 0, 2, 500), ClaimRefused)


def test_the_same_host_must_release_its_older_grant_or_wait_too():
    leader = Leader({0: GrantedShard("a", 7)})
    leader.beat("a", 0, (0, 7))
    assert leader.claim("a", 0, 8, 1) == ClaimRefused(0, 8, "a may run it for another 0.00 s")
    leader.grants.release("a", Release(0, 7))
    assert leader.claim("a", 0, 8, 1) == Granted(0, 8)


def test_a_released_shard_is_given_at_once_and_its_number_never_again():
    leader = Leader({0: GrantedShard("b", 7)})
    leader.beat("b", 0, (0, 7))
    leader.beat("a", 0)
    leader.grants.release("a", Release(0, 7))  # not its own
    leader.grants.release("b", Release(0, 6))  # not this one
    assert isinstance(leader.claim("a", 0, 8, 1), ClaimRefused)
    leader.grants.release("b", Release(0, 7))
    again = leader.claim("b", 0, 7, 1)
    assert isinstance(again, ClaimRefused)
    assert again.is_lasting
    assert leader.claim("a", 0, 8, 1) == Granted(0, 8)


def test_a_beat_that_lists_what_the_ledger_does_not_give_is_not_confirmed():
    leader = Leader({0: GrantedShard("b", 7), 1: GrantedShard("a", 3)})
    assert leader.beat("a", 0, (1, 3)).is_valid
    for held in ((0, 7), (1, 2), (2, 1), (9, 1)):
        answer = leader.beat("a", 1, (1, 3), held)
        assert not answer.is_valid
        assert [(one.shard, one.is_lasting) for one in answer.messages] == [(held[0], True)]
    leader.grants.release("a", Release(1, 3))
    assert not leader.beat("a", 2, (1, 3)).is_valid


def test_a_host_that_does_not_know_of_its_grant_is_reminded_once_a_lease():
    leader = Leader({0: GrantedShard("b", 7)})
    reminded = [now_ns for now_ns in range(0, 5_000, 100) if leader.beat("b", now_ns).messages]
    assert reminded == [1_000, 2_000, 3_000, 4_000]
    assert leader.beat("b", 6_000).messages == (Granted(0, 7),)
    assert leader.beat("b", 8_000, (0, 7)).messages == ()
    assert leader.beat("b", 8_100).messages == ()  # the time counts from the beginning again
    leader.grants.release("b", Release(0, 7))
    assert leader.beat("b", 20_000).messages == ()


class Host:
    """Runs what it was granted, as long as beats that list it are confirmed."""

    def __init__(self):
        self.held = {}
        self.valid_until_ns = {}

    def runs(self, shard, now_ns):
        return shard in self.held and now_ns < self.valid_until_ns.get((shard, self.held[shard]), -1)


@given(st.data())
def test_no_two_hosts_ever_run_a_shard_at_the_same_time(data):
    """Hosts pause, forget, release and claim as they like, and messages take their time in both directions."""
    leader = Leader()
    hosts = {name: Host() for name in "abc"}
    now_ns = 0
    steps = st.tuples(
        st.sampled_from("abc"), st.sampled_from(["beat", "claim", "release", "forget"]), st.integers(0, 700)
    )
    for name, what, pause_ns in data.draw(st.lists(steps, max_size=60)):
        host = hosts[name]
        sent_ns, now_ns = now_ns, now_ns + pause_ns
        if what == "beat":
            held = [(shard, number) for shard, number in host.held.items()]
            if leader.beat(name, now_ns, *held).is_valid:
                host.valid_until_ns.update(dict.fromkeys(held, sent_ns + LEASE_NS))
        elif what == "claim":
            known = leader.table.get(0)
            answer = leader.claim(name, 0, known.number + 1 if known else 1, now_ns)
            if isinstance(answer, Granted):
                host.held[0] = answer.grant
        elif what == "release" and 0 in host.held:
            leader.grants.release(name, Release(0, host.held.pop(0)))
        elif what == "forget":
            host.held.clear()
        for at_ns in (now_ns, now_ns + 1):
            assert sum(one.runs(0, at_ns) for one in hosts.values()) <= 1, (now_ns, hosts)
