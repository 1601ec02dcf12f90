"""What a leader says to each follower, and what it does about one that says what it may not."""

import asyncio
from types import SimpleNamespace

import pytest

from arbshard.config.cluster import ClusterConfig, HostConfig
from arbshard.errors import LedgerError, SharedMemoryError
from arbshard.ledger.events import LeaderBegan
from arbshard.ledger.store import LedgerStore
from arbshard.risk.leadership import following
from arbshard.risk.leadership.following import Following, digest_of
from arbshard.risk.portfolio.state import GrantedShard
from arbshard.risk.shards.grants import ShardGrants
from arbshard.wire.cluster import (
    VERSION,
    BookSample,
    Claim,
    ClaimRefused,
    CopyPart,
    Events,
    Granted,
    HostBeat,
    Join,
    Joined,
    LogPosition,
    NotJoined,
    PageState,
    Release,
    Samples,
    Stored,
    StuckWorker,
    Valid,
    decode_leader,
    encode,
)

MS = 1_000_000
TERM = 4


class Page:
    def __init__(self):
        self.counters = {"approvals": 1, "beat_ns": 5}
        self.text = b"note"

    def values(self):
        return dict(self.counters)

    def note(self):
        if self.text is None:
            raise SharedMemoryError("no whole note")
        return self.text


class Rig:
    """A leader on a real ledger, whose links and clock are the test's."""

    def __init__(self, path, **settings):
        key = "x" * 40
        hosts = {name: HostConfig("127.0.0.1", key, 7400 + 3 * number) for number, name in enumerate("abc")}
        self.cluster = ClusterConfig("demo", hosts, ("nats://h:4222",), shards=2, host="a", **settings)
        self.store = LedgerStore.open(path, name="default", mode="sim-paper", now_ms=1)
        self.now_ns = 10**12
        self.until_ns = 2**62
        self.granted = {}
        self.fenced = []
        self.errors = []
        self.sent = {}
        self.is_full = False
        self.page = Page()
        self.add(LeaderBegan(at_ms=1, term=2, host="b"), LeaderBegan(at_ms=2, term=TERM, host="a"))
        grants = ShardGrants(self.granted, shards=2, lease_ns=1000 * MS)
        self.follow = Following(
            self.cluster,
            TERM,
            self.store,
            SimpleNamespace(grant=self.grant, fence=self.fence, show_fences=lambda: None),
            grants,
            {0: 1001}.get,
            lambda: self.now_ns,
            lambda: self.until_ns,
            2,
        )
        self.progress = 0

    def add(self, *events):
        self.store.append(events)

    def grant(self, shard, host, number):
        if self.granted.get(shard) != GrantedShard(host, number):
            self.granted[shard] = GrantedShard(host, number)
            self.add(LeaderBegan(at_ms=3, term=100 + self.store.last_seq, host="a"))  # any event
            self.follow.stored(self.store.last_seq)
        return self.store.last_seq

    def fence(self, shard, reason):
        self.fenced.append((shard, reason))

    def start(self):
        self.follow.start(self.send, self.page, self.errors.append)

    def send(self, route, message):
        if not self.is_full:
            self.sent.setdefault(route, []).append(decode_leader(message))
        return not self.is_full

    def tell(self, host, message, route=None):
        self.follow.receive(route or host.encode(), host, encode(message))

    def take(self, route, kind=None):
        """Return what was sent over a route, all or that of a kind, and forget it."""
        got = self.sent.pop(route, [])
        return [one for one in got if kind is None or isinstance(one, kind)]

    def join(self, host="b", seq=None, *, term=None, body=None, **changes):
        seq = self.store.last_seq if seq is None else seq
        body = self.store.bodies(seq - 1, 1)[0] if body is None and seq else body or ""
        position = LogPosition((TERM if seq > 1 else 2) if term is None else term, seq)
        given = {"version": VERSION, "host": host, "term": TERM, **changes}
        digest = digest_of(self.store.tag, body) if seq else b""
        self.tell(host, Join(position=position, digest=digest, **given))
        return self.take(host.encode())


@pytest.fixture
async def rig(tmp_path):
    made = Rig(tmp_path / "ledger.sqlite")
    made.start()
    yield made
    made.follow.close()
    made.store.close()
    assert made.errors == []


async def test_a_follower_that_has_all_is_asked_for_an_acknowledgement_at_once(rig):
    joined, events = rig.join()
    assert joined == Joined(TERM, must_copy=False)
    assert events == Events(TERM, 3, ())
    assert not rig.follow.is_leading
    rig.tell("b", Stored(TERM, 2))
    assert rig.follow.is_leading
    assert rig.follow.safe_seq == 2


async def test_a_follower_that_lacks_events_gets_them(rig):
    joined, events = rig.join(seq=1)
    assert joined == Joined(TERM, must_copy=False)
    assert (events.first, events.bodies) == (2, (rig.store.bodies(1, 1)[0].encode(),))


async def test_long_ways_are_sent_in_bounded_messages_and_no_more_than_are_answered(rig):
    rig.store.append([LeaderBegan(at_ms=1, term=5 + number, host="a") for number in range(40_000)])
    rig.follow.stored(rig.store.last_seq)
    sent = [one for one in rig.join(seq=2) if isinstance(one, Events)]
    assert len(sent) == 64
    assert {len(one.bodies) for one in sent} == {256}
    rig.tell("b", Stored(TERM, 2 + 256))
    (more,) = rig.take(b"b")
    assert more.first == 3 + 64 * 256


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": VERSION + 1}, f"the leader has version {VERSION}"),
        ({"host": "c"}, "the key of this link is that of b"),
        ({"term": TERM - 1}, f"term {TERM} is led here"),
    ],
)
async def test_who_may_not_follow_is_refused(rig, changes, why):
    host = changes.pop("host", "b")
    position = LogPosition(TERM, 2)
    given = {"version": VERSION, "term": TERM, **changes}
    rig.tell("b", Join(host=host, position=position, digest=b"", **given))
    (refused,) = rig.take(b"b")
    assert isinstance(refused, NotJoined)
    assert refused.why.startswith(why)
    assert rig.follow.followers == 0


@pytest.mark.parametrize(
    "position",
    [
        {"seq": 0},
        {"seq": 7, "body": "{}"},
        {"seq": 2, "body": "another event"},
        {"seq": 2, "term": 3},
        {"seq": 1, "term": TERM},
    ],
)
async def test_a_ledger_that_is_not_the_beginning_of_this_one_gets_a_whole_copy(rig, position):
    joined, heartbeat = rig.join(**position)
    assert joined == Joined(TERM, must_copy=True)
    assert heartbeat.bodies == ()
    rig.tell("b", Stored(TERM, 0))  # it lives, and has nothing
    assert rig.follow.is_leading
    assert rig.follow.safe_seq == 0
    parts = []
    async with asyncio.timeout(10):
        while not (parts and parts[-1].is_last):
            await asyncio.sleep(0.005)
            parts += rig.take(b"b", CopyPart)
    assert b"".join(one.data for one in parts)[:15] == b"SQLite format 3"
    rig.tell("b", Stored(TERM, 0))  # for the messages without events that came before the last part
    rig.follow._followers["b"].unanswered.clear()
    rig.follow._followers["b"].unanswered.append((parts[-1].seq, rig.now_ns))
    rig.tell("b", Stored(TERM, parts[-1].seq))
    assert rig.follow.safe_seq == rig.store.last_seq


async def test_a_follower_that_has_all_needs_no_copy_when_all_is_in_archives(rig):
    rig.store.archived_seq = rig.store.last_seq
    joined, _ = rig.join()
    assert joined == Joined(TERM, must_copy=False)
    assert rig.join("c", seq=1)[0] == Joined(TERM, must_copy=True)


async def test_a_leader_whose_agent_is_silent_is_not_followed(rig):
    """Otherwise its followers would wait for it, and elect no other host."""
    rig.until_ns = rig.now_ns
    rig.tell("b", Join(VERSION, "b", TERM, LogPosition(TERM, 2), b""))
    (refused,) = rig.take(b"b")
    assert refused == NotJoined(TERM, "this host may not lead any more")


async def test_an_acknowledgement_of_what_was_not_sent_ends_the_link(rig):
    rig.join()
    rig.tell("b", Stored(TERM, 3))
    assert isinstance(rig.take(b"b")[0], NotJoined)
    rig.tell("b", Stored(TERM, 2))
    (refused,) = rig.take(b"b")
    assert refused.why == "a link begins with Join"
    assert rig.follow.bad == 1
    assert not rig.follow.is_leading


async def test_what_comes_over_a_link_that_was_replaced_does_not_count(rig):
    rig.join()
    rig.tell("b", Join(VERSION, "b", TERM, LogPosition(TERM, 2), b""), route=b"new")
    rig.tell("b", Stored(TERM, 2))
    assert not rig.follow.is_leading
    assert isinstance(rig.take(b"b")[0], NotJoined)


async def test_bytes_that_are_no_message_are_counted(rig):
    rig.follow.receive(b"b", "b", b"\xff")
    assert rig.follow.bad == 1


async def test_its_own_agent_gets_no_events_and_counts_for_nothing(rig):
    assert rig.join("a") == [Joined(TERM, must_copy=False)]
    rig.add(LeaderBegan(at_ms=1, term=9, host="a"))
    rig.follow.stored(3)
    assert rig.take(b"a") == []
    assert rig.follow.followers == 0


async def test_beats_are_confirmed_only_while_it_leads_and_for_as_long(rig):
    rig.join()
    rig.tell("b", HostBeat(1, ()))
    assert rig.take(b"b") == []
    rig.tell("b", Stored(TERM, 2))
    rig.now_ns += 300 * MS
    rig.tell("b", HostBeat(2, ()))
    assert rig.take(b"b") == [Valid(TERM, 2, 700 * MS)]
    rig.until_ns = rig.now_ns + 50 * MS
    rig.tell("b", HostBeat(3, ()))
    assert rig.take(b"b") == [Valid(TERM, 3, 50 * MS)]
    rig.now_ns += 50 * MS
    rig.tell("b", HostBeat(4, ()))
    assert rig.take(b"b") == []
    assert not rig.follow.is_leading
    assert rig.follow.safe_seq == -1


async def test_a_grant_leaves_when_a_majority_has_stored_it(rig):
    for host in "bc":
        rig.join(host)
    rig.tell("b", Claim(0, 1))
    assert rig.take(b"b") == []  # it does not lead yet: the host claims it again
    rig.tell("c", Stored(TERM, 2))
    rig.tell("b", Claim(0, 1))
    assert rig.take(b"b", ClaimRefused) == [ClaimRefused(0, 1, "no beat of b has come lately")]
    rig.tell("b", HostBeat(1, ()))
    rig.take(b"b")
    rig.tell("b", Claim(0, 1))
    rig.tell("b", Claim(0, 1))
    assert rig.take(b"b", Granted) == []
    rig.tell("c", Stored(TERM, 3))
    assert rig.take(b"b", Granted) == [Granted(0, 1)]
    rig.tell("b", Claim(0, 1))
    assert rig.take(b"b", Granted) == [Granted(0, 1)]


async def test_a_released_shard_is_given_to_another_host(rig):
    for host in "bc":
        rig.join(host)
        rig.tell(host, Stored(TERM, 2))
        rig.tell(host, HostBeat(1, ()))
    rig.tell("b", Claim(0, 1))
    rig.tell("c", Stored(TERM, 3))
    rig.take(b"c")
    rig.tell("c", Claim(0, 2))
    assert isinstance(rig.take(b"c", ClaimRefused)[0], ClaimRefused)
    rig.tell("b", Release(0, 1))
    rig.tell("c", Claim(0, 2))
    rig.tell("b", Stored(TERM, 3))
    rig.tell("b", Stored(TERM, 4))
    assert rig.take(b"c", Granted) == [Granted(0, 2)]


async def test_only_the_holder_may_call_its_running_worker_stuck(rig):
    for host in "bc":
        rig.join(host)
        rig.tell(host, Stored(TERM, 2))
    rig.granted[0] = GrantedShard("b", 1)
    rig.tell("c", StuckWorker(0, 1001, "not its own"))
    rig.tell("b", StuckWorker(0, 1002, "not the one that runs"))
    rig.tell("b", StuckWorker(0, 1001, "no beat"))
    assert rig.fenced == [(0, "no beat")]


async def test_the_last_page_is_sent_at_the_end_with_its_note_though_it_is_not_due(rig):
    rig.join()
    rig.follow._tick()
    rig.take(b"b")
    rig.page.counters["approvals"] = 2
    rig.page.text = b"no position"
    rig.tell("b", Stored(TERM, rig.store.last_seq))
    await rig.follow.drain()
    assert rig.take(b"b", PageState) == [PageState({"approvals": 2}, b"no position")]


async def test_the_page_is_sent_as_far_as_it_has_changed(rig):
    rig.join()
    rig.take(b"b")
    rig.follow._tick()
    (first,) = rig.take(b"b", PageState)
    assert first == PageState({"approvals": 1, "beat_ns": 5}, b"note")
    rig.follow._tick()
    assert rig.take(b"b", PageState) == []
    rig.page.counters["approvals"] = 2
    rig.now_ns += 300 * MS
    rig.is_full = True
    rig.follow._tick()
    rig.is_full = False
    rig.follow._tick()
    assert rig.take(b"b", PageState) == [PageState({"approvals": 2})]
    rig.page.text = b"newer"
    rig.now_ns += 600 * MS
    rig.follow._tick()
    assert rig.take(b"b", PageState) == [PageState({}, b"newer")]
    rig.page.text = None  # the owner writes so fast that it cannot be read: the next one is sent
    rig.now_ns += 600 * MS
    rig.follow._tick()
    assert rig.take(b"b", PageState) == []


async def test_figures_are_sent_four_times_a_second_and_what_others_act_on_at_once(rig):
    rig.join()
    rig.follow._tick()
    rig.take(b"b")
    rig.page.text = None
    sent = []
    for tick in range(20):  # of 50 ms
        rig.page.counters["approvals"] += 1
        rig.page.counters["halted"] = int(tick >= 7)
        rig.page.counters["fence_3"] = 9 if tick >= 13 else 0
        rig.now_ns += 50 * MS
        rig.follow._tick()
        sent += [(tick, message.values) for message in rig.take(b"b", PageState)]
    assert [tick for tick, values in sent if "halted" in values or "fence_3" in values][-2:] == [7, 13]
    assert len(sent) <= 6
    assert all("approvals" in values for _, values in sent)


async def test_without_events_an_acknowledgement_is_asked_for_every_beat(rig):
    rig.join()
    rig.take(b"b")
    rig.follow._tick()
    assert rig.take(b"b", Events) == []
    rig.now_ns += 80 * MS
    rig.follow._tick()
    assert rig.take(b"b", Events) == [Events(TERM, 3, ())]


async def test_a_follower_that_does_not_answer_must_join_again(rig):
    rig.join()
    rig.take(b"b")
    rig.now_ns += 5_001 * MS
    rig.follow._tick()
    assert [type(one) for one in rig.take(b"b")] == [NotJoined]
    assert rig.follow.followers == 0


async def test_when_the_queue_is_full_the_events_are_sent_later(rig):
    rig.join()
    rig.tell("b", Stored(TERM, 2))
    rig.take(b"b")
    rig.is_full = True
    rig.add(LeaderBegan(at_ms=1, term=9, host="a"))
    rig.follow.stored(3)
    rig.is_full = False
    rig.follow._tick()
    (events,) = rig.take(b"b", Events)
    assert (events.first, len(events.bodies)) == (3, 1)


async def test_what_a_message_raises_goes_to_the_owner(rig, monkeypatch):
    rig.join()
    rig.tell("b", Stored(TERM, 2))
    rig.tell("b", HostBeat(1, ()))

    def fail(*_):
        raise LedgerError("no room")

    monkeypatch.setattr(rig.follow._actions, "grant", fail)
    rig.tell("b", Claim(0, 1))
    assert [str(one) for one in rig.errors] == ["no room"]
    rig.errors.clear()


async def test_an_asynchronous_reply_rests_on_the_own_ledger(tmp_path):
    rig = Rig(tmp_path / "ledger.sqlite", replication="async", async_lag_ms=100)
    rig.start()
    rig.join()
    rig.tell("b", Stored(TERM, 2))
    rig.add(LeaderBegan(at_ms=1, term=9, host="a"))
    rig.follow.stored(3)
    assert rig.follow.safe_seq == 3
    rig.now_ns += 101 * MS
    assert rig.follow.safe_seq == 2
    rig.follow.close()
    rig.store.close()


def pass_half_a_lease(rig, seq):
    """Host c answers that it has stored the events up to ``seq``, and host b sends a beat."""
    rig.now_ns += 500 * MS
    rig.follow._tick()
    rig.tell("c", Stored(TERM, seq))
    rig.tell("b", HostBeat(2, ()))


async def test_a_reminder_of_a_grant_leaves_only_when_a_majority_has_stored_it(rig):
    """Otherwise the host would trade on a grant that the next leader does not know."""
    for host in "bc":
        rig.join(host)
        rig.tell(host, Stored(TERM, 2))
        rig.tell(host, HostBeat(1, ()))
    rig.tell("b", Claim(0, 1))
    for _ in range(5):
        pass_half_a_lease(rig, 2)
    assert rig.follow.is_leading
    assert rig.take(b"b", Granted) == []
    rig.tell("c", Stored(TERM, 3))
    assert rig.take(b"b", Granted) == [Granted(0, 1)]
    for _ in range(2):
        pass_half_a_lease(rig, 3)
    assert rig.take(b"b", Granted) == [Granted(0, 1)]


async def test_a_grant_of_a_former_leader_counts_only_with_the_beginning_of_this_one(rig):
    """A majority that has stored only what came before may still lose it to another leader."""
    rig.granted[0] = GrantedShard("b", 1)
    for host in "bc":
        rig.join(host, seq=1)
    rig.tell("c", Stored(TERM, 1))
    rig.tell("b", HostBeat(1, ()))
    for _ in range(4):
        pass_half_a_lease(rig, 1)
    assert rig.follow.is_leading
    assert rig.take(b"b", Granted) == []
    for _ in range(2):
        pass_half_a_lease(rig, 2)
    assert rig.take(b"b", Granted) == [Granted(0, 1)]


async def test_an_acknowledgement_of_another_term_ends_the_link(rig):
    rig.join()
    rig.tell("b", Stored(TERM - 1, 2))
    (refused,) = rig.take(b"b")
    assert refused == NotJoined(TERM, "it acknowledges what was not sent")
    assert not rig.follow.is_leading


async def test_a_host_whose_link_takes_nothing_has_not_joined(rig):
    rig.is_full = True
    assert rig.join() == []
    assert rig.follow.followers == 0


async def test_a_follower_that_lacks_what_is_in_archives_by_now_must_join_again(rig):
    rig.join()
    rig.tell("b", Stored(TERM, 2))
    rig.take(b"b")
    rig.add(LeaderBegan(at_ms=1, term=9, host="a"))
    rig.store.archived_seq = 3
    rig.follow.stored(3)
    (refused,) = rig.take(b"b")
    assert refused == NotJoined(TERM, "what follows its last event is in archives by now")
    assert rig.follow.followers == 0


async def test_books_of_other_hosts_are_kept_where_risk_values_by_them(rig):
    kept = []
    rig.join()
    samples = Samples(1, (BookSample(0, 5, b"book"),))
    rig.tell("b", samples)
    rig.follow.remote = SimpleNamespace(add=kept.append)
    rig.tell("b", samples)
    assert kept == [samples]


class TestCopy:
    """The whole ledger of the leader, on its way to a host that has another one."""

    async def kept(self, rig):
        """Have host b join without a ledger over a link that is full by then, and wait until the copy is made."""
        rig.join(seq=0)
        rig.is_full = True
        async with asyncio.timeout(10):
            while not rig.follow._followers["b"].copy.is_made:
                await asyncio.sleep(0.005)

    async def parts(self, rig):
        parts = []
        async with asyncio.timeout(10):
            while not (parts and parts[-1].is_last):
                await asyncio.sleep(0.005)
                parts += rig.take(b"b", CopyPart)
        return parts

    async def test_it_goes_on_with_the_same_part_when_the_queue_was_full(self, rig, monkeypatch):
        monkeypatch.setattr(following, "_PART_BYTES", 4096)
        monkeypatch.setattr(following, "_PARTS", 2)
        await self.kept(rig)
        turns = 0

        def take_every_third(route, message):
            nonlocal turns
            turns += 1
            rig.is_full = turns % 3 != 0
            return rig.send(route, message)

        rig.follow._send = take_every_third
        parts = await self.parts(rig)
        assert len(parts) > 2
        offset = 0
        for part in parts:
            assert part.offset == offset
            offset += len(part.data)
        assert rig.follow._followers["b"].copy is None
        assert not list(rig.store.path.parent.glob("*.copy-b"))

    @pytest.mark.parametrize(
        ("copy", "why"),
        [
            ({"problem": LedgerError("no room")}, "its copy cannot be made: no room"),
            ({"problem": None}, "its copy cannot be read: it was cut"),
        ],
    )
    async def test_one_that_fails_makes_the_follower_join_again(self, rig, monkeypatch, copy, why):
        def part(_size):
            raise OSError("it was cut")

        closed = []
        made = SimpleNamespace(is_made=True, part=part, close=lambda: closed.append(1), **copy)
        monkeypatch.setattr(following, "LedgerCopy", lambda *_: made)
        rig.join(seq=0)
        refused = []
        async with asyncio.timeout(10):
            while not refused:
                await asyncio.sleep(0.005)
                refused = rig.take(b"b", NotJoined)
        assert refused == [NotJoined(TERM, why)]
        assert rig.follow.followers == 0
        assert closed == [1]

    async def test_a_defect_goes_to_the_owner(self, rig, monkeypatch):
        def part(_size):
            raise ValueError("a defect")

        made = SimpleNamespace(is_made=True, problem=None, part=part, close=lambda: None)
        monkeypatch.setattr(following, "LedgerCopy", lambda *_: made)
        rig.join(seq=0)
        async with asyncio.timeout(10):
            while not rig.errors:
                await asyncio.sleep(0.005)
        assert [str(one) for one in rig.errors] == ["a defect"]
        rig.errors.clear()

    async def test_a_new_join_and_the_end_remove_what_was_begun(self, rig):
        await self.kept(rig)
        first = rig.follow._followers["b"].copy
        rig.is_full = False
        rig.join(seq=0)
        assert rig.follow._followers["b"].copy is not first
        rig.follow.close()
        assert not list(rig.store.path.parent.glob("*.copy-b"))


async def test_a_defect_of_the_timer_goes_to_the_owner(rig, monkeypatch):
    def values():
        raise ValueError("a defect")

    monkeypatch.setattr(rig.page, "values", values)
    rig.follow._timer.cancel()
    rig.follow._on_timer()
    assert [str(one) for one in rig.errors] == ["a defect"]
    rig.errors.clear()


async def test_the_end_waits_for_a_follower_for_one_lease_at_most(rig, monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    rig.join()
    monkeypatch.setattr(following.asyncio, "sleep", sleep)
    await rig.follow.drain()
    assert sum(pauses) == pytest.approx(rig.cluster.lease_ms / 1000)


async def test_a_host_that_was_sent_all_events_completes_a_majority(rig):
    rig.join()
    rig.tell("b", Stored(TERM, 2))
    rig.add(LeaderBegan(at_ms=3, term=TERM + 1, host="a"))
    assert not rig.follow.is_safe_with("b", 3)
    rig.follow.stored(3)
    assert rig.follow.safe_seq == 2
    assert rig.follow.is_safe_with("b", 3)
    assert not rig.follow.is_safe_with("c", 3)  # it does not follow
    rig.now_ns += 1000 * MS
    assert not rig.follow.is_safe_with("b", 3)  # another host may lead by now


async def test_a_host_to_which_an_event_could_not_be_sent_completes_no_majority(rig):
    rig.join()
    rig.tell("b", Stored(TERM, 2))
    rig.is_full = True
    rig.add(LeaderBegan(at_ms=3, term=TERM + 1, host="a"))
    rig.follow.stored(3)
    assert not rig.follow.is_safe_with("b", 3)


async def test_a_host_that_gets_a_whole_copy_completes_no_majority(rig):
    rig.join("c")
    rig.tell("c", Stored(TERM, 2))
    rig.join(seq=2, body="another event")
    assert rig.follow.is_leading
    assert not rig.follow.is_safe_with("b", 2)


async def test_the_agent_of_the_leader_completes_no_majority(rig):
    rig.join()
    rig.tell("b", Stored(TERM, 2))
    rig.join("a", seq=0)
    assert not rig.follow.is_safe_with("a", 2)
