"""The pure core of the agent, step by step; ``tests/virtual/cluster`` has several of them with faults."""

import msgspec
import pytest

from arbshard.cluster.actions import (
    Follow,
    Lead,
    Persist,
    PublishView,
    PutLease,
    ReadEntry,
    SendToLeader,
    SendVote,
    StepDown,
    Unfollow,
)
from arbshard.cluster.claims import WorkerUp
from arbshard.cluster.host import HostCore
from arbshard.cluster.leases import RISK_KEY, LeaseValue, shard_key
from arbshard.cluster.terms import Promise
from arbshard.config.cluster import ClusterConfig, HostConfig
from arbshard.model.cluster_note import HostView
from arbshard.wire.cluster import (
    VERSION,
    AskVote,
    Claim,
    ClaimRefused,
    Events,
    Gossip,
    Granted,
    HostBeat,
    Joined,
    LogPosition,
    Placement,
    Release,
    Valid,
    Voted,
)

MS = 1_000_000
KEY = "k" * 40


def config(host: str = "a", hosts: str = "abc", shards: int = 2) -> ClusterConfig:
    return ClusterConfig(
        name="x",
        hosts={name: HostConfig(address=name, key=KEY) for name in hosts},
        nats=("nats://n",),
        shards=shards,
        host=host,
    )


class Driver:
    """One core, a NATS that always works, and everything that the core asked for."""

    def __init__(self, host: str = "a", hosts: str = "abc") -> None:
        self.now_ns = 1_000_000 * MS
        self.core = HostCore(config(host, hosts), Promise(), self.now_ns)
        self.actions: list[object] = []
        self.kv: dict[str, tuple[int, bytes]] = {}
        self.revision = 0
        self.is_nats_up = True
        self.renewing: LeaseValue | None = None
        """The lease of risk that another host renews all the time."""
        self.core.nats_state(connected=True)
        self.core.universe(1, self.now_ns)
        self.add(self.core.replica(LogPosition(0, 5), self.now_ns))

    def add(self, actions) -> None:
        for action in actions:
            self.actions.append(action)
            if isinstance(action, PutLease) and self.is_nats_up:
                found = self.kv.get(action.key, (0, b""))
                if found[0] == action.revision:
                    self.write(action.key, action.value)
                    self.add(self.core.lease_written(action, self.revision, self.now_ns))
                else:
                    self.add(self.core.lease_written(action, None, self.now_ns))
            elif isinstance(action, ReadEntry) and self.is_nats_up:
                revision, value = self.kv.get(action.key, (0, None))
                self.add(self.core.kv_entry(action.key, revision, value, self.now_ns))
            elif isinstance(action, Lead):
                self.add(self.core.replica(None, self.now_ns))

    def gossip(
        self,
        host: str = "b",
        term: int = 3,
        placement: Placement | None = None,
        phase: int = 0,
        universe: int = 1,
    ) -> list[object]:
        view = HostView(host, 0, "1", host == "b", term, 5, (), 1.0, 0.1, nats=True, universe=universe)
        return self.voted(Gossip(host, view, placement, phase))

    def place(self, term: int, serial: int, *hosts: str) -> None:
        self.gossip(placement=Placement(term, serial, hosts))

    def write(self, key: str, value: bytes) -> None:
        self.revision += 1
        self.kv[key] = self.revision, value

    def run(self, ms: int) -> list[object]:
        """Return the actions of so many ms."""
        before = len(self.actions)
        for _ in range(0, ms, 10):
            self.now_ns += 10 * MS
            if self.renewing is not None and self.now_ns % (250 * MS) == 0:
                self.write(RISK_KEY, msgspec.json.encode(self.renewing))
            self.add(self.core.tick(self.now_ns))
        return self.actions[before:]

    def told(self, message, term: int | None = None) -> list[object]:
        before = len(self.actions)
        self.add(self.core.leader_message(self.core.term if term is None else term, message, self.now_ns))
        return self.actions[before:]

    def voted(self, message) -> list[object]:
        before = len(self.actions)
        self.add(self.core.vote_message(message, self.now_ns))
        return self.actions[before:]


def of(kind: type, actions: list[object]) -> list:
    return [one for one in actions if isinstance(one, kind)]


def to_leader(kind: type, actions: list[object]) -> list:
    return [one.message for one in of(SendToLeader, actions) if isinstance(one.message, kind)]


@pytest.fixture
def follower() -> Driver:
    """A host that has voted for b in term 3 and was accepted by it."""
    driver = Driver()
    driver.renewing = LeaseValue("b", 1)
    driver.run(1300)
    driver.voted(AskVote(VERSION, "b", 3, LogPosition(0, 5)))
    driver.told(Joined(3, must_copy=False))
    return driver


def keep_valid(driver: Driver, ms: int) -> None:
    for _ in range(0, ms, 50):
        for beat in to_leader(HostBeat, driver.run(50)):
            driver.told(Valid(driver.core.term, beat.number))


def granted(driver: Driver, shard: int = 0) -> int:
    """Place the shard here and grant it; returns the grant."""
    hosts = ["b", "b"]
    hosts[shard] = "a"
    driver.place(3, 1, *hosts)
    for _ in range(50):
        keep_valid(driver, 50)
        claims = to_leader(Claim, driver.actions)
        if claims:
            break
    beat = to_leader(HostBeat, driver.told(Granted(shard, claims[-1].grant)))[-1]
    driver.told(Valid(3, beat.number))
    return claims[-1].grant


def test_a_host_alone_is_elected_after_the_patience_of_its_own_vote():
    driver = Driver(hosts="a")
    driver.run(1190)
    assert not of(Lead, driver.actions)
    actions = driver.run(400)
    kinds = [type(one) for one in actions if isinstance(one, Persist | Lead | Follow)]
    assert kinds[:3] == [Persist, Lead, Follow]
    assert driver.core.leads
    assert driver.core.lead_until_ns > driver.now_ns


def test_a_promise_is_stored_before_the_vote_leaves_and_after_the_old_link_is_closed(follower):
    follower.run(1300)
    actions = follower.voted(AskVote(VERSION, "c", 4, LogPosition(0, 5)))
    assert [type(one) for one in actions] == [Unfollow, Persist, SendVote, Follow]
    assert actions[1].promise == Promise(4, "c")
    assert actions[2].message.granted


@pytest.mark.parametrize(
    ("ask", "objection"),
    [
        (AskVote(VERSION, "c", 3, LogPosition(0, 9)), "promised term 3 to b"),
        (AskVote(VERSION, "c", 2, LogPosition(0, 9)), "promised term 3"),
        (AskVote(VERSION, "c", 4, LogPosition(0, 4)), "more of the ledger"),
        (AskVote(VERSION + 1, "c", 4, LogPosition(0, 9)), "version"),
    ],
)
def test_no_vote_breaks_a_promise_or_goes_to_a_ledger_that_is_behind(follower, ask, objection):
    follower.run(1300)
    (sent,) = of(SendVote, follower.voted(ask))
    assert not sent.message.granted
    assert objection in sent.message.why
    assert follower.core.promise == Promise(3, "b")


def test_no_vote_while_a_leader_was_just_acknowledged(follower):
    follower.run(1190)
    (sent,) = of(SendVote, follower.voted(AskVote(VERSION, "c", 4, LogPosition(0, 9))))
    assert "just acknowledged" in sent.message.why
    follower.told(Events(3, 6, ()))
    follower.run(1190)
    (sent,) = of(SendVote, follower.voted(AskVote(VERSION, "c", 4, LogPosition(0, 9))))
    assert not sent.message.granted


def test_no_vote_while_the_own_risk_has_the_ledger(follower):
    follower.run(1300)
    follower.core.replica(None, follower.now_ns)
    (sent,) = of(SendVote, follower.voted(AskVote(VERSION, "c", 4, LogPosition(0, 9))))
    assert not sent.message.granted


def test_validity_counts_from_the_sending_of_the_beat_and_ends_with_the_leadership(follower):
    beat = to_leader(HostBeat, follower.run(100))[-1]
    sent_ns = follower.core._link._sent_ns
    follower.run(300)
    follower.told(Valid(3, beat.number))
    assert follower.core.valid_until_ns == sent_ns + 1000 * MS
    beat = to_leader(HostBeat, follower.run(100))[-1]
    follower.told(Valid(3, beat.number, left_ns=800 * MS))
    assert follower.core.valid_until_ns == max(sent_ns + 1000 * MS, follower.core._link._sent_ns + 800 * MS)


def test_a_grant_counts_once_a_beat_that_lists_it_is_confirmed(follower):
    number = granted(follower)
    assert follower.core.grants(follower.now_ns) == {0: number}
    follower.is_nats_up = False  # Nothing depends on NATS.
    keep_valid(follower, 5000)
    assert follower.core.grants(follower.now_ns) == {0: number}
    follower.run(1000)
    assert follower.core.grants(follower.now_ns) == {}


def test_a_lasting_refusal_takes_the_grant_away(follower):
    number = granted(follower)
    follower.told(ClaimRefused(0, number + 4, "another host has it", is_lasting=True))
    assert follower.core.grants(follower.now_ns) == {}
    assert to_leader(Claim, follower.run(300))[-1].grant == number + 4


def test_a_shard_that_moves_away_is_released_once_its_worker_has_ended(follower):
    number = granted(follower)
    follower.core.workers({0: WorkerUp(number * 1000 + 1, 1)})
    follower.place(3, 2, "b", "b")
    assert not to_leader(Release, follower.run(500))
    assert follower.core.grants(follower.now_ns) == {}
    follower.core.workers({})
    assert to_leader(Release, follower.run(50)) == [Release(0, number)]
    assert msgspec.json.decode(follower.kv[shard_key(0)][1], type=LeaseValue).host == ""


def test_a_grant_of_an_earlier_process_is_released_only_after_it_has_expired():
    driver = Driver()
    driver.gossip()
    driver.told(Joined(3, must_copy=False))
    assert not to_leader(Release, driver.told(Granted(1, 7)))
    driver.run(1200)
    assert to_leader(Release, driver.told(Granted(1, 7))) == [Release(1, 7)]


def elected(driver: Driver) -> AskVote:
    """Have b vote on trial and then in earnest."""
    driver.run(1300)
    for _ in range(2):
        ask = of(SendVote, driver.actions)[-1].message
        driver.voted(Voted("b", ask.term, True, LogPosition(0, 0), is_trial=ask.is_trial))
    return ask


def test_a_candidate_asks_on_trial_first_and_promises_nothing_for_that():
    driver = Driver()
    actions = driver.run(1300)
    assert {one.message.is_trial for one in of(SendVote, actions)} == {True}
    assert not of(Persist, actions)
    ask = elected(driver)
    assert not ask.is_trial
    assert driver.core.promise == Promise(ask.term, "a")
    assert driver.core.leads


def test_a_trial_is_answered_by_the_rules_and_promises_nothing(follower):
    follower.run(1300)
    trial = AskVote(VERSION, "c", 4, LogPosition(0, 5), is_trial=True)
    (sent,) = of(SendVote, follower.voted(trial))
    assert sent.message.granted
    assert sent.message.is_trial
    assert follower.core.promise == Promise(3, "b")
    behind = AskVote(VERSION, "c", 4, LogPosition(0, 4), is_trial=True)
    (sent,) = of(SendVote, follower.voted(behind))
    assert not sent.message.granted


def test_a_leader_goes_on_without_nats_as_long_as_its_risk_confirms():
    driver = Driver()
    elected(driver)
    driver.is_nats_up = False
    driver.told(Joined(driver.core.term, must_copy=False))
    keep_valid(driver, 5000)
    assert driver.core.leads
    assert driver.core.lead_until_ns > driver.now_ns
    actions = driver.run(1300)
    assert [type(one) for one in actions if isinstance(one, Unfollow | StepDown)] == [Unfollow, StepDown]
    assert not driver.core.leads
    assert driver.core.lead_until_ns == 0


def test_a_leader_steps_down_at_once_when_risk_of_its_term_has_ended():
    driver = Driver()
    term = elected(driver).term
    driver.core.risk_ended(term - 1)
    driver.run(100)
    assert driver.core.leads
    driver.core.risk_ended(term)
    actions = driver.run(10)
    assert [type(one) for one in actions if isinstance(one, Unfollow | StepDown)] == [Unfollow, StepDown]
    assert not driver.core.leads
    assert driver.core.lead_until_ns == 0
    assert not of(StepDown, driver.run(100))


def ms_until_asked(driver: Driver) -> int:
    """Return how long it takes until the host asks for votes; its ledger is open again."""
    driver.add(driver.core.replica(LogPosition(0, 5), driver.now_ns))
    begun_ns = driver.now_ns
    while not of(SendVote, driver.run(10)):
        assert driver.now_ns - begun_ns < 60_000 * MS
    return (driver.now_ns - begun_ns) // MS


def test_a_host_whose_risk_does_not_begin_to_lead_waits_longer_each_time():
    driver = Driver()
    waits = []
    for _ in range(4):
        term = elected(driver).term
        driver.core.risk_ended(term)
        driver.run(10)
        waits.append(ms_until_asked(driver))
    assert waits == pytest.approx([2000, 4000, 4000, 4000], abs=60)
    term = elected(driver).term
    driver.told(Joined(term, must_copy=False))
    keep_valid(driver, 500)
    driver.core.risk_ended(term)
    driver.run(10)
    assert ms_until_asked(driver) < 1300, "it led, so it waits for no longer than others do"


def ms_of_patience(driver: Driver, term: int) -> int:
    """Return for how long a host that hears nothing but the leader's agent gives its vote to no other one."""
    begun_ns = driver.now_ns
    while True:
        driver.run(100)
        driver.gossip("b", term)
        trial = AskVote(VERSION, "c", term + 10, LogPosition(0, 9), is_trial=True)
        (sent,) = of(SendVote, driver.voted(trial))
        if sent.message.granted:
            return (driver.now_ns - begun_ns) // MS


def vote_for(driver: Driver, term: int) -> None:
    driver.voted(AskVote(VERSION, "b", term, LogPosition(0, 9)))
    assert driver.core.term == term


def test_voters_let_risk_start_for_longer_when_that_of_the_last_leader_was_not_heard_of(follower):
    assert ms_of_patience(follower, 3) == pytest.approx(5200, abs=200)
    vote_for(follower, 5)
    assert ms_of_patience(follower, 5) == pytest.approx(9200, abs=200)
    vote_for(follower, 6)
    follower.told(Joined(6, must_copy=False))
    keep_valid(follower, 500)
    follower.run(1300)
    vote_for(follower, 7)
    assert ms_of_patience(follower, 7) == pytest.approx(5200, abs=200)


def test_voters_let_the_first_leader_find_the_pairs(follower):
    follower.core.universe(0, follower.now_ns)
    assert ms_of_patience(follower, 3) == pytest.approx(17_200, abs=200)


def test_the_link_is_opened_anew_less_and_less_often_until_the_leader_answers():
    driver = Driver()
    driver.run(1300)
    vote_for(driver, 3)
    opened = [ms for ms in range(10, 4010, 10) if of(Follow, driver.run(10))]
    assert opened == [250, 750, 1750, 2750, 3750]


def test_a_leader_steps_down_when_a_host_can_follow_it_no_more():
    driver = Driver()
    ask = elected(driver)
    actions = driver.voted(Voted("c", ask.term + 3, False, LogPosition(0, 0)))
    assert of(StepDown, actions)
    assert not driver.core.leads


def test_a_host_without_the_lease_competes_later_and_sooner_when_nats_is_out():
    asked = {}
    for is_nats_up in (True, False):
        driver = Driver()
        driver.is_nats_up = is_nats_up
        driver.renewing = LeaseValue("c", 1)
        begun_ns = driver.now_ns
        while not of(SendVote, driver.run(10)):
            driver.gossip("c", 0)
            assert driver.now_ns - begun_ns < 3000 * MS
        asked[is_nats_up] = (driver.now_ns - begun_ns) // MS
    assert asked == {True: 1700, False: 1200}


def test_a_candidate_without_a_majority_leaves_the_lease_to_others():
    driver = Driver()
    driver.run(2000)
    assert "1 of 3 hosts votes, 2 are needed" in driver.core.why(driver.now_ns)
    driver.run(1600)
    assert of(SendVote, driver.actions)
    assert not of(Lead, driver.actions)
    assert msgspec.json.decode(driver.kv[RISK_KEY][1], type=LeaseValue).host == ""


def test_why_there_is_no_leader_does_not_change_with_each_attempt():
    driver = Driver()
    whys = set()
    for _ in range(1000):
        for message in of(SendVote, driver.run(10)):
            if message.host == "b":
                refused = Voted("b", 0, granted=False, position=LogPosition(0, 5), why="just acknowledged")
                driver.voted(msgspec.structs.replace(refused, is_trial=message.message.is_trial))
        whys.add(driver.core.why(driver.now_ns))
    assert driver.core.why(driver.now_ns).endswith("2 are needed (b: just acknowledged)")
    assert len(of(SendVote, driver.actions)) > 50
    assert len(whys) <= 3, "what is said before the first attempt, before its answers, and ever since"


def test_a_host_that_was_paused_and_follows_again_waits_for_no_leader(follower):
    follower.renewing = None
    keep_valid(follower, 500)
    follower.now_ns += 5000 * MS
    follower.run(10)  # it asks for votes at once, and joins its leader anew
    assert of(SendVote, follower.actions)[-1].message.is_trial
    follower.told(Joined(3, must_copy=False))
    keep_valid(follower, 500)
    assert "waiting for a leader" not in follower.core.why(follower.now_ns)


def test_the_leader_places_every_shard_and_the_shards_of_a_silent_host_anew():
    driver = Driver()
    term = elected(driver).term
    driver.told(Joined(term, must_copy=False))
    for _ in range(20):
        keep_valid(driver, 100)
        driver.gossip("b", term)
        driver.gossip("c", term)
    assert {host for _, host in driver.core.placement} == {"a", "b"}
    for _ in range(15):
        keep_valid(driver, 100)
        driver.gossip("c", term)
    assert {host for _, host in driver.core.placement} == {"a", "c"}


def test_shards_of_a_silent_host_are_placed_anew_and_that_is_stated_at_once():
    driver = Driver()
    term = elected(driver).term
    driver.told(Joined(term, must_copy=False))
    beside(driver, term, 3000)
    before, heard_ns = driver.core.placement, driver.now_ns
    while driver.core.placement == before:
        actions = driver.run(10)
        for beat in to_leader(HostBeat, actions):
            driver.told(Valid(term, beat.number))
        driver.gossip("c", term)
        assert driver.now_ns - heard_ns <= 1210 * MS
    assert of(PublishView, actions)
    assert hosts_of_shards(driver) == {"a", "c"}


def test_the_lease_of_a_shard_that_is_placed_here_is_taken_at_once(follower):
    keep_valid(follower, 300)
    follower.run(10)
    follower.place(3, 1, "a", "b")
    actions = follower.run(20)
    assert [one.key for one in of(ReadEntry, actions)].count(shard_key(0)) == 1
    assert [one.key for one in of(PutLease, actions)] == [shard_key(0)]


def hosts_of_shards(driver: Driver) -> set[str]:
    return {host for _, host in driver.core.placement}


def beside(driver: Driver, term: int, ms: int, **universes: int) -> None:
    """Let time pass in which other hosts say which universe they have."""
    for _ in range(0, ms, 100):
        driver.core.universe(universes.get("a", 1), driver.now_ns)
        keep_valid(driver, 100)
        for host in "bc":
            driver.gossip(host, term, universe=universes.get(host, 1))


def leading() -> tuple[Driver, int]:
    driver = Driver()
    driver.core.universe(0, driver.now_ns)
    term = elected(driver).term
    driver.told(Joined(term, must_copy=False))
    return driver, term


def test_no_shard_is_placed_before_a_host_has_the_pairs_and_none_on_a_host_without_them():
    driver, term = leading()
    beside(driver, term, 8000, a=0, b=0, c=0)
    assert driver.core.placement == ()
    assert "leads, and its supervisor has not got the pairs" in driver.core.why(driver.now_ns)
    beside(driver, term, 3000, b=0, c=0)
    assert driver.core.placement == (), "the other hosts get the pairs once the leader has them"
    beside(driver, term, 200, b=0)
    assert driver.core.placement == ()
    beside(driver, term, 3000, b=0)
    assert hosts_of_shards(driver) == {"a", "c"}
    beside(driver, term, 30_000, b=0)
    assert hosts_of_shards(driver) == {"a", "c"}


def test_all_hosts_get_shards_as_soon_as_all_have_the_pairs():
    driver, term = leading()
    beside(driver, term, 3000, b=0, c=0)
    beside(driver, term, 600)
    assert len(hosts_of_shards(driver)) == 2


def test_shards_are_placed_on_other_hosts_while_the_leader_has_no_pairs():
    driver, term = leading()
    beside(driver, term, 7000, a=0)
    assert hosts_of_shards(driver) == {"b", "c"}


def test_a_host_that_loses_the_pairs_loses_its_shards_after_some_leases():
    driver, term = leading()
    beside(driver, term, 3000)
    assert hosts_of_shards(driver) == {"a", "b"}
    beside(driver, term, 4500, b=0)
    assert hosts_of_shards(driver) == {"a", "b"}, "its supervisor may have been restarted"
    beside(driver, term, 1500, b=0)
    assert hosts_of_shards(driver) == {"a", "c"}


def test_a_host_without_the_pairs_says_why(follower):
    follower.core.universe(0, follower.now_ns)
    follower.core.nats_state(connected=False, trouble="nats: 'Authorization Violation'")
    keep_valid(follower, 200)
    text = (
        "this host has not got the pairs of the cluster: NATS cannot be used: nats: 'Authorization Violation'"
    )
    gossip = follower.core.gossip(at_ms=0, version="1", frames_s=1.0, cpu=0.1, now_ns=follower.now_ns)
    assert (gossip.view.universe, gossip.view.note) == (0, text)
    follower.core.nats_state(connected=True)
    assert "the leader writes them to NATS" in follower.core.why(follower.now_ns)
    follower.core.universe(7, follower.now_ns)
    assert follower.core.why(follower.now_ns) == ""


def test_an_order_to_end_reaches_every_host_and_stays(follower):
    follower.gossip(phase=2)
    follower.gossip(phase=0)
    assert follower.core.phase == 2
    follower.core.order_phase(1)
    gossip = follower.core.gossip(at_ms=0, version="1", frames_s=1.0, cpu=0.1, now_ns=follower.now_ns)
    assert gossip.phase == 2


@pytest.mark.parametrize(
    ("phase", "is_concluded", "competes"), [(1, True, False), (1, False, True), (0, True, True)]
)
def test_no_host_competes_once_a_cluster_that_ends_has_closed_its_ledger(
    follower, phase, is_concluded, competes
):
    follower.gossip(phase=phase)
    follower.core.is_concluded = is_concluded
    follower.renewing = None
    actions = follower.run(8000)
    assert any(isinstance(one.message, AskVote) for one in of(SendVote, actions)) == competes
