"""Votes: whatever candidates ask and whenever hosts are restarted, a term has one leader, and its ledger suffices."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.cluster.terms import Candidacy, Promise, Voter, times_of
from arbshard.config.cluster import PATIENCE, ClusterConfig, HostConfig
from arbshard.wire.cluster import VERSION, AskVote, LogPosition, Voted

PATIENCE_NS = 1_200
HOSTS = "abc"
POSITIONS = st.builds(LogPosition, st.integers(0, 2), st.integers(0, 3))
ASKS = st.builds(
    AskVote,
    st.just(VERSION),
    st.sampled_from(HOSTS),
    st.integers(1, 4),
    POSITIONS,
    st.booleans(),
)


FIVE = LogPosition(1, 5)
NONE = Promise()


def voter(promise: Promise = NONE, position: LogPosition | None = FIVE) -> Voter:
    made = Voter("b", promise, PATIENCE_NS, 0)
    made.position = position
    return made


def ask(term: int = 4, host: str = "a", seq: int = 5, *, is_trial: bool = False) -> AskVote:
    return AskVote(VERSION, host, term, LogPosition(1, seq), is_trial)


class TestVoter:
    @given(st.lists(st.tuples(ASKS, st.integers(0, 2_000), st.booleans())), POSITIONS)
    def test_it_gives_each_term_one_vote_to_a_ledger_that_has_all_of_its_own(self, events, position):
        one, now_ns = voter(position=position), 0
        given_to: dict[int, str] = {}
        acknowledged_ns = 0
        for asked, passes_ns, is_restarted in events:
            now_ns += passes_ns
            if is_restarted:  # what it has promised is on the disk
                one = Voter("b", one.promise, PATIENCE_NS, now_ns)
                one.position, acknowledged_ns = position, now_ns
            before = one.promise
            voted = one.vote(asked, now_ns)
            assert one.promise.term >= before.term
            assert voted.is_trial == asked.is_trial
            if asked.is_trial:
                assert one.promise == before
            if not voted.granted:
                assert one.promise == before
                assert voted.why
                continue
            assert asked.position >= position
            assert asked.term >= before.term
            if asked.is_trial:
                continue
            assert given_to.setdefault(asked.term, asked.host) == asked.host
            if asked.term > before.term:
                assert now_ns - acknowledged_ns >= PATIENCE_NS
                acknowledged_ns = now_ns

    @given(st.lists(st.tuples(st.sampled_from("vwxyz"), ASKS, st.integers(0, 2_000))))
    def test_no_term_is_won_by_two_hosts(self, events):
        voters = {name: Voter(name, Promise(), PATIENCE_NS, 0) for name in "vwxyz"}
        for one in voters.values():
            one.position = LogPosition(0, 0)
        votes: dict[tuple[int, str], set[str]] = {}
        now_ns = 0
        for name, asked, passes_ns in events:
            now_ns += passes_ns
            if not asked.is_trial and voters[name].vote(asked, now_ns).granted:
                votes.setdefault((asked.term, asked.host), set()).add(name)
        won = [term for (term, _), names in votes.items() if len(names) >= 3]
        assert len(won) == len(set(won))

    def test_it_repeats_a_vote_and_gives_no_second_one(self):
        one = voter()
        assert one.vote(ask(), PATIENCE_NS).granted
        assert one.promise == Promise(4, "a")
        assert one.vote(ask(), PATIENCE_NS + 1).granted, "the first answer may have been lost"
        refused = one.vote(ask(host="c"), 9 * PATIENCE_NS)
        assert (refused.granted, refused.term) == (False, 4)
        assert "to a" in refused.why

    def test_it_waits_after_its_start_and_after_each_sign_of_a_leader(self):
        one = voter()
        assert not one.vote(ask(), PATIENCE_NS - 1).granted
        assert one.vote(ask(is_trial=True), PATIENCE_NS).granted
        one.acknowledge(PATIENCE_NS)
        assert one.patient_until_ns == 2 * PATIENCE_NS
        assert not one.vote(ask(is_trial=True), 2 * PATIENCE_NS - 1).granted
        assert one.vote(ask(), 2 * PATIENCE_NS).granted

    def test_it_gives_no_vote_without_its_ledger(self):
        assert "not open" in voter(position=None).vote(ask(), PATIENCE_NS).why

    def test_following_a_leader_of_a_later_term_is_a_promise(self):
        one = voter(Promise(4, "a"))
        assert not one.follow("a", 4)
        assert one.follow("c", 5)
        assert one.promise == Promise(5, "c")
        assert not one.vote(ask(term=5), 9 * PATIENCE_NS).granted


class TestCandidacy:
    def answer(self, host: str, term: int = 4, *, granted: bool = True, seq: int = 5, is_trial: bool = False):
        return Voted(host, term, granted, LogPosition(1, seq), "" if granted else "no", is_trial)

    def test_it_is_won_by_a_majority_of_different_hosts(self):
        one = Candidacy(ask(), 2)
        for _ in range(3):
            one.add(self.answer("a"))
        assert not one.is_won
        assert one.missing("abc") == ["b", "c"]
        one.add(self.answer("c"))
        assert one.is_won

    def test_votes_of_another_term_and_answers_to_a_trial_do_not_count(self):
        one = Candidacy(ask(), 1)
        one.add(self.answer("b", term=3))
        one.add(self.answer("b", is_trial=True))
        assert not one.votes
        trial = Candidacy(ask(is_trial=True), 1)
        trial.add(self.answer("b"))
        assert not trial.votes

    def test_it_learns_from_a_refusal(self):
        one = Candidacy(ask(), 2)
        one.add(self.answer("b", term=2, granted=False))
        assert (one.later_term, one.is_behind) == (0, False)
        one.add(self.answer("c", term=6, granted=False, seq=6))
        assert (one.later_term, one.is_behind) == (6, True)
        assert one.objections == {"b": "no", "c": "no"}
        one.add(self.answer("b"))
        assert one.objections == {"c": "no"}


def test_the_patience_covers_clocks_that_differ():
    hosts = {name: HostConfig(address=name, key="k" * 40) for name in HOSTS}
    config = ClusterConfig(name="x", hosts=hosts, nats=("nats://n",), lease_ms=1000, beat_ms=100, host="a")
    times = times_of(config)
    assert (times.lease_ns, times.beat_ns) == (10**9, 10**8)
    assert times.patience_ns == PATIENCE * 10**9 > 10**9 * 1.02 / 0.98
    assert times.risk_start_ns == 15 * 10**9
    assert times_of(replace(config, lease_ms=200, beat_ms=20)).risk_start_ns == 15 * 10**9
    assert times_of(replace(config, lease_ms=5000)).risk_start_ns == 75 * 10**9
