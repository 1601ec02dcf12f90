"""The leader's risk answers only what a majority has stored, and every follower has the very same ledger."""

import asyncio
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from decimal import localcontext
from pathlib import Path

import pytest

from arbshard.errors import RequestTimeout
from arbshard.ledger.events import Started
from arbshard.ledger.store import LedgerStore
from arbshard.ledger.verify import verify
from arbshard.model.money import MONEY_CONTEXT
from arbshard.model.refusal import Refusal
from arbshard.risk.assembly import ExitCode
from arbshard.wire.cluster import ClaimRefused, Granted, Joined, StuckWorker
from arbshard.wire.envelope import HostReply
from arbshard.wire.links import HostChannel
from arbshard.wire.messages import (
    Approved,
    Fund,
    Halt,
    Refused,
    Submit,
    Welcome,
    decode_reply,
    encode,
)
from support import world as w
from support.cluster_run import ClusterFiles, Follower, LeaderRun

pytestmark = pytest.mark.integration

EPOCH = 1001
"""The first one of grant 1."""


@pytest.fixture
def directory() -> Iterator[Path]:
    # Short: the path of a socket may have 107 bytes.
    made = Path(tempfile.mkdtemp(prefix="arbl-"))
    yield made
    shutil.rmtree(made)


class Hosts:
    """Three hosts: a leads, b and c follow."""

    def __init__(self, directory: Path, **settings: object) -> None:
        self.files = ClusterFiles(directory, "a", "b", "c", **settings)
        with localcontext(MONEY_CONTEXT):
            self.a = LeaderRun(self.files, "a")
        self.b, self.c = (Follower(self.files, name, "a") for name in "bc")
        self.opened = [self.a, self.b, self.c]

    async def lead(self, *, term: int = 1):
        """Start risk of a, let both others follow, and grant shard 0 to b."""
        process = self.a.lead(term)
        for one in (self.b, self.c):
            one.follow(term=term)
        await self.a.ready(process)
        await self.grant(self.b)
        return process

    async def grant(self, host: Follower, number: int = 1) -> None:
        await self.a.until(lambda: host.valid)
        while host.held.get(0) != number:
            host.claim(0, number)
            await self.pass_s(0.05)

    async def prepare(self) -> None:
        await self.a.hello(EPOCH)
        for base in self.a.world.bases:
            await self.a.ask(Fund(0, EPOCH, base, w.HOME_PRICE))

    async def pass_s(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        await self.a.until(lambda: time.monotonic() > end_s)

    async def same(self, *followers: Follower) -> None:
        await have_the_same(self.a, followers)

    def close(self) -> None:
        for one in self.opened:
            one.close()


async def have_the_same(leader: LeaderRun, followers: Iterable[Follower]) -> None:
    """Wait until ``followers`` have all that ``leader`` has now, and compare every row of it.

    The leader marks the equity by itself now and then, also while a follower is read.
    """
    last = rows(leader.ledger)["events"][-1][0]
    for one in followers:
        await leader.until(lambda one=one: one.replica.position.seq >= last)
        assert rows(one.ledger, last) == rows(leader.ledger, last)


def rows(ledger: Path, last: int = sys.maxsize) -> dict[str, list[tuple[object, ...]]]:
    """Return all that a ledger's tables hold, but for its snapshots, and for events after that of number ``last``."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        found = {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("meta", "events", "postings")
        }
    return found | {"events": [row for row in found["events"] if row[0] <= last]}


@pytest.fixture
async def hosts(directory):
    made = Hosts(directory)
    yield made
    made.close()


async def test_followers_have_the_same_ledger_row_by_row(hosts) -> None:
    process = await hosts.lead()
    await hosts.prepare()
    opened = (await hosts.a.carry_out(hosts.a.entry())).position
    closed = (await hosts.a.carry_out(hosts.a.world.exit_of(opened), done=True)).position
    assert closed.state == "CLOSED"
    await hosts.same(hosts.b, hosts.c)
    process.send_signal(signal.SIGTERM)
    assert await hosts.a.ended(process) == ExitCode.ORDERLY
    assert process.stderr.read() == b""
    for one in (hosts.b, hosts.c):
        assert rows(one.ledger) == rows(hosts.a.ledger)  # the end of the session too
        one.leave()
        report = verify(one.ledger)
        assert report.differences == ()
        assert (report.fills, report.kinds["Stopped"], report.kinds["LeaderBegan"]) == (4, 1, 1)
        log = one.ledger.with_name("ledger.sqlite-wal")
        assert not log.exists() or log.stat().st_size == 0
        assert one.replica.copies == 1  # they began without a ledger


async def test_without_a_majority_nothing_is_approved_and_risk_ends(hosts) -> None:
    process = await hosts.lead()
    await hosts.prepare()
    for one in (hosts.b, hosts.c):
        one.is_mute = True
    with pytest.raises(RequestTimeout):
        await hosts.a.ask(Submit(0, EPOCH, hosts.a.entry()))
    assert await hosts.a.ended(process) == ExitCode.NOT_LEADER
    for one in (hosts.b, hosts.c):
        assert "IntentApproved" not in {row[2] for row in rows(one.ledger)["events"]}


async def test_one_follower_of_two_is_enough(hosts) -> None:
    await hosts.lead()
    await hosts.prepare()
    hosts.c.is_mute = True
    assert isinstance(await hosts.a.ask(Submit(0, EPOCH, hosts.a.entry())), Approved)
    await hosts.same(hosts.b)
    assert rows(hosts.c.ledger) != rows(hosts.a.ledger)
    hosts.c.is_mute = False
    hosts.c.follow()  # it joins behind the others, and gets only what it lacks
    await hosts.same(hosts.b, hosts.c)
    assert hosts.c.replica.copies == 1


async def test_a_reply_is_held_until_a_majority_has_stored_its_events(directory) -> None:
    hosts = Hosts(directory, lease_ms=5000)
    try:
        await hosts.lead()
        await hosts.prepare()
        for one in (hosts.b, hosts.c):
            one.is_mute = True
        intent = hosts.a.entry()
        asked = asyncio.ensure_future(hosts.a.ask(Submit(0, EPOCH, intent)))
        await hosts.pass_s(1.0)  # it is asked again meanwhile
        assert not asked.done()
        assert hosts.a.page("held_replies") == 1
        assert hosts.a.page("approvals") == 1
        await hosts.a.until(lambda: hosts.a.page("uncommitted") > 0)
        hosts.c.is_mute = False
        hosts.c.follow()
        assert isinstance(await asked, Approved)
        assert hosts.a.page("approvals") == 1
    finally:
        hosts.close()


async def test_asynchronous_replies_leave_at_once_until_the_followers_lag(directory) -> None:
    hosts = Hosts(directory, lease_ms=5000, replication="async", async_lag_ms=800)
    try:
        await hosts.lead()
        await hosts.prepare()
        for one in (hosts.b, hosts.c):
            one.is_mute = True
        assert isinstance(await hosts.a.ask(Submit(0, EPOCH, hosts.a.entry())), Approved)
        await hosts.a.until(lambda: hosts.a.page("uncommitted") > 0)
        await hosts.pass_s(1.0)
        asked = asyncio.ensure_future(hosts.a.ask(Submit(0, EPOCH, hosts.a.entry("ETH"))))
        await hosts.pass_s(0.6)
        assert not asked.done()
        hosts.c.is_mute = False
        hosts.c.follow()
        assert isinstance(await asked, Approved)
    finally:
        hosts.close()


async def test_a_leader_without_followers_does_not_begin(hosts) -> None:
    process = hosts.a.lead()
    await hosts.a.until(lambda: hosts.a.page("pid") == process.pid)
    await hosts.pass_s(0.5)
    assert hosts.a.page("ready") == 0
    process.send_signal(signal.SIGTERM)
    assert await hosts.a.ended(process) == ExitCode.NOT_LEADER


async def test_risk_that_is_killed_leads_on_in_the_same_term(hosts) -> None:
    process = await hosts.lead()
    await hosts.prepare()
    intent = hosts.a.entry()
    first = await hosts.a.ask(Submit(0, EPOCH, intent))
    process.kill()
    await hosts.a.ended(process)
    again = hosts.a.lead()
    await hosts.a.ready(again)
    assert await hosts.a.ask(Submit(0, EPOCH, intent)) == first
    await hosts.same(hosts.b, hosts.c)
    kinds = [row[2] for row in rows(hosts.a.ledger)["events"]]
    assert (kinds.count("LeaderBegan"), kinds.count("Started")) == (1, 2)
    hosts.c.claim(0, 2)  # what the first process has confirmed may still be valid
    await hosts.a.until(lambda: any(isinstance(one, ClaimRefused) for one in hosts.c.messages))


async def test_a_term_that_is_over_is_not_led_again(hosts) -> None:
    process = await hosts.lead(term=5)
    process.kill()
    await hosts.a.ended(process)
    assert await hosts.a.ended(hosts.a.lead(4)) == ExitCode.NOT_LEADER


async def test_a_leader_that_its_agent_does_not_allow_ends_within_a_lease(hosts) -> None:
    """Followers that acknowledged it for long would not elect another one."""
    hosts.a.may_lead(-1)
    assert await hosts.a.ended(hosts.a.lead()) == ExitCode.NOT_LEADER
    log = (hosts.a.state_dir / "logs" / "risk.jsonl").read_text()
    assert "the agent does not allow it" in log


async def test_the_agent_ends_a_leadership(hosts) -> None:
    process = await hosts.lead()
    hosts.a.may_lead(-1)
    assert await hosts.a.ended(process) == ExitCode.NOT_LEADER
    assert (hosts.a.page("ready"), hosts.a.page("closed")) == (0, 1)
    for one in (hosts.b, hosts.c):  # the end of the session is stored as any other event
        assert rows(one.ledger)["events"][-1][2] == "Stopped"
        assert rows(one.ledger) == rows(hosts.a.ledger)


async def test_a_leader_whose_followers_are_gone_leaves_its_session_open(hosts) -> None:
    process = await hosts.lead()
    for one in (hosts.b, hosts.c):
        one.leave()
    assert await hosts.a.ended(process) == ExitCode.NOT_LEADER
    assert hosts.a.page("closed") == 0
    assert "Stopped" not in {row[2] for row in rows(hosts.a.ledger)["events"]}


async def test_killed_between_commit_and_acknowledgement(hosts) -> None:
    """What no follower has was not acknowledged; whoever leads next decides without it, and the tail is set aside."""
    process = await hosts.lead()
    await hosts.prepare()
    await hosts.same(hosts.b, hosts.c)
    for one in (hosts.b, hosts.c):
        one.is_mute = True
    intent = hosts.a.entry()
    asked = asyncio.ensure_future(hosts.a.ask(Submit(0, EPOCH, intent)))
    await hosts.a.until(lambda: "IntentApproved" in {row[2] for row in rows(hosts.a.ledger)["events"]})
    process.kill()
    await hosts.a.ended(process)
    with pytest.raises(RequestTimeout):
        await asked
    tail = rows(hosts.a.ledger)
    hosts.b.leave()
    with localcontext(MONEY_CONTEXT):
        b = LeaderRun(hosts.files, "b")
    hosts.opened.append(b)
    second = b.lead(term=2)
    hosts.c.is_mute = False
    hosts.c.follow("b", 2)
    await b.ready(second)
    a = Follower(hosts.files, "a", "b", 2)
    hosts.opened.append(a)
    a.follow()
    await b.until(lambda: a.replica.copies == 1)
    aside = a.ledger.with_name("ledger.diverged-2.sqlite")
    assert rows(aside) == tail
    await have_the_same(b, (a, hosts.c))
    assert "IntentApproved" not in {row[2] for row in rows(b.ledger)["events"]}
    assert hosts.c.replica.copies == 1  # only its first one: it had nothing that b lacks


async def test_a_former_leader_that_wakes_answers_nothing(hosts) -> None:
    process = await hosts.lead()
    await hosts.prepare()
    await hosts.same(hosts.b, hosts.c)
    process.send_signal(signal.SIGSTOP)
    intent = hosts.a.entry()
    asked = asyncio.ensure_future(hosts.a.ask(Submit(0, EPOCH, intent)))
    await hosts.pass_s(1.5)
    last = rows(hosts.b.ledger)["events"][-1][0]
    for one in (hosts.b, hosts.c):  # they have another leader by now
        one.leave()
    process.send_signal(signal.SIGCONT)
    assert await hosts.a.ended(process) == ExitCode.NOT_LEADER
    with pytest.raises(RequestTimeout):
        await asked
    events = rows(hosts.a.ledger)["events"]
    assert [row[2] for row in events if row[0] > last and row[2] == "IntentApproved"] == []


async def test_a_follower_that_was_away_gets_what_it_lacks(hosts) -> None:
    await hosts.lead()
    await hosts.prepare()
    hosts.c.leave()
    opened = (await hosts.a.carry_out(hosts.a.entry())).position
    hosts.c.follow()
    await hosts.same(hosts.b, hosts.c)
    assert hosts.c.replica.copies == 1
    joined = [one for one in hosts.c.messages if isinstance(one, Joined)]
    assert [one.must_copy for one in joined] == [True, False]
    assert opened.state == "OPEN"


async def test_a_ledger_of_another_kind_is_set_aside(hosts) -> None:
    """Host c comes with a ledger that was begun elsewhere."""
    store = LedgerStore.open(hosts.c.ledger, name="default", mode="sim-paper", now_ms=1)
    store.append([Started(at_ms=1, session=1, run="r", mode="sim-paper", version="0", reporting="KRW")])
    store.close()
    before = rows(hosts.c.ledger)
    await hosts.lead()
    await hosts.prepare()
    await hosts.same(hosts.b, hosts.c)
    assert rows(hosts.c.ledger.with_name("ledger.diverged-1.sqlite")) == before


async def test_a_hello_needs_the_grant_of_its_epoch(hosts) -> None:
    await hosts.lead()
    for epoch in (1, 999, 2001):
        reply = await hosts.a.ask(w.Hello(0, epoch, 1, hosts.a.world.bases))
        assert isinstance(reply, Refused), epoch
        assert reply.reason is Refusal.STALE_EPOCH
    assert isinstance(await hosts.a.hello(EPOCH), Welcome)
    other = await hosts.a.ask(w.Hello(1, EPOCH, 1, ()))
    assert isinstance(other, Refused)
    assert "shard 1 is granted to no host" in other.detail


async def test_a_shard_changes_hands_and_the_former_epoch_is_refused(hosts) -> None:
    await hosts.lead()
    await hosts.prepare()
    hosts.c.claim(0, 2)
    await hosts.a.until(lambda: any(isinstance(one, ClaimRefused) for one in hosts.c.messages))
    hosts.b.release(0)
    await hosts.grant(hosts.c, 2)
    assert Granted(0, 2) in hosts.c.messages
    assert hosts.a.page("fence_0") == 2000
    refused = await hosts.a.ask(Submit(0, EPOCH, hosts.a.entry()))
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.STALE_EPOCH
    assert isinstance(await hosts.a.hello(2001), Welcome)


async def test_a_stuck_worker_of_another_host_is_fenced(hosts) -> None:
    await hosts.lead()
    await hosts.prepare()
    hosts.c.send(StuckWorker(0, EPOCH, "not its own"))
    hosts.b.send(StuckWorker(0, 1000 + 7, "not the one that runs"))
    hosts.b.send(StuckWorker(0, EPOCH, "no beat for 1.00 s"))
    await hosts.a.until(lambda: hosts.a.page("fence_0") == EPOCH + 1)
    await hosts.same(hosts.b, hosts.c)
    fenced = [row[5] for row in rows(hosts.a.ledger)["events"] if row[2] == "ShardFenced"]
    assert len(fenced) == 1
    assert "no beat for 1.00 s" in fenced[0]


async def test_followers_see_what_the_page_shows(hosts) -> None:
    await hosts.lead()
    await hosts.prepare()
    await hosts.a.ask(Submit(0, EPOCH, hosts.a.entry()))
    await hosts.a.until(lambda: hosts.b.page.get("approvals") == 1)
    await hosts.a.until(lambda: hosts.b.page["ready"] == 1)
    await hosts.a.until(lambda: b'"portfolio"' in hosts.b.note)
    beat = hosts.b.page["beat_ns"]
    await hosts.a.until(lambda: hosts.b.page["beat_ns"] > beat)


async def test_workers_of_other_hosts_ask_over_the_link(hosts) -> None:
    await hosts.lead()
    replies: list[HostReply | None] = []
    channel = HostChannel(hosts.b.links, "a", hosts.b.cluster.hosts["a"].requests_endpoint, replies.append)
    channel.connect()
    await hosts.pass_s(0.3)
    hosts.a.world.epoch = EPOCH
    channel.send(b"one", encode(hosts.a.world.hello()))
    channel.send(b"two", encode(Halt("from another host", flatten=False)))
    await hosts.a.until(lambda: len(replies) == 2)
    channel.drop()
    by_id = {one.request_id: one for one in replies}
    assert isinstance(decode_reply(by_id[b"one"].payload), Welcome)
    assert hosts.a.page("halted") == 1


async def test_a_reply_to_a_host_that_completes_a_majority_leaves_before_it_has_stored_the_event(
    hosts,
) -> None:
    """That host is told which event it has to store first; a reply on the leader's own host waits."""
    await hosts.lead(term=3)
    await hosts.prepare()
    replies: list[HostReply | None] = []
    channel = HostChannel(hosts.b.links, "a", hosts.b.cluster.hosts["a"].requests_endpoint, replies.append)
    channel.connect()
    await hosts.pass_s(0.3)
    for one in (hosts.b, hosts.c):
        one.is_mute = True
    channel.send(b"one", encode(Submit(0, EPOCH, hosts.a.entry())))
    await hosts.a.until(lambda: replies)
    channel.drop()
    [reply] = replies
    assert isinstance(decode_reply(reply.payload), Approved)
    approved = [row[0] for row in rows(hosts.a.ledger)["events"] if row[2] == "IntentApproved"]
    assert (reply.term, reply.seq) == (3, approved[-1])
    assert hosts.b.stored < reply.seq
