"""The relay over real sockets: a host's Unix socket on one side, the leader's port with keys on the other."""

import asyncio
import time

import pytest

from arbshard.cluster import relay as relaying
from arbshard.cluster.files import KEPT_FILE, KeptCommands
from arbshard.cluster.relay import KEPT, Relay
from arbshard.config.cluster_file import read_host_keys
from arbshard.errors import RequestTimeout, UsageError
from arbshard.model.rundir import RunFiles
from arbshard.wire.links import HostLinks, HostListener
from arbshard.wire.messages import (
    Close,
    Denied,
    Done,
    Halt,
    ShowPositions,
    decode_command,
    decode_command_reply,
    encode,
)
from arbshard.wire.operator_client import send_command
from arbshard.wire.request import RequestClient
from arbshard.wire.serve import HoldingReplyServer, ReplyServer
from support.made_cluster import make_hosts

TERM = 5

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


class Leader:
    """What risk of a leading host answers with; it keeps what it was asked."""

    def __init__(self, cluster, folder, answer=None, rests_on=0):
        self.asked = []
        self._links = HostLinks(cluster, read_host_keys(cluster).curve)
        self._answer = answer or (lambda payload: b"re:" + payload)
        listener = HostListener(self._links, cluster.own.requests_endpoint, TERM)
        endpoint = f"unix://{folder}/leader-{cluster.host}-{time.monotonic_ns()}.sock"
        self.server = HoldingReplyServer(endpoint, self._handle, listeners=[listener])
        self.server.rests_on = lambda: rests_on
        self.server.safe = lambda: 0
        self.server.is_safe_with = lambda host, seq: host == "c"
        self.server.start(self._fail)

    def _handle(self, payloads):
        self.asked += payloads
        return [self._answer(payload) for payload in payloads]

    def _fail(self, error):
        raise error

    def close(self):
        self.server.close()
        self._links.close()


class Rig:
    def __init__(self, folder):
        self.folder = folder
        self.hosts = make_hosts(folder / "files")
        self.files = RunFiles(folder)
        self.errors = []
        self.links = HostLinks(self.hosts["c"], read_host_keys(self.hosts["c"]).curve)
        self.leaders = []
        self.relay = self.new_relay()

    def new_relay(self):
        made = Relay(
            self.links,
            self.hosts["c"],
            self.files.risk_endpoint,
            KeptCommands(self.folder),
            lambda: "waiting for votes",
            self.errors.append,
        )
        made.open()
        return made

    def lead(self, host, answer=None, rests_on=0):
        leader = Leader(self.hosts[host], self.folder, answer, rests_on)
        self.leaders.append(leader)
        return leader

    def client(self, timeout_ms=5000, tries=1):
        return RequestClient(self.files.risk_endpoint, timeout_ms, tries)

    async def send(self, command):
        return await asyncio.to_thread(send_command, self.files, command, "a test")

    async def until(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    async def close(self):
        await self.relay.end()
        self.links.close()
        for leader in self.leaders:
            leader.close()
        assert self.errors == []


@pytest.fixture
async def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    await made.close()


def done(payload):
    return encode(Done(f"done {type(decode_command(payload)).__name__}"))


async def test_requests_reach_the_leader_and_their_replies_come_back(rig):
    leader = rig.lead("a")
    rig.relay.set_leader("a")
    with rig.client() as client:
        replies = await asyncio.gather(*(client.request(b"%d" % number) for number in range(200)))
    assert replies == [b"re:%d" % number for number in range(200)]
    assert len(leader.asked) == 200
    assert (rig.relay.relayed, rig.relay.unrelayed, rig.relay.waiting) == (200, 0, 0)


async def test_while_nothing_waits_there_are_no_turns(rig, monkeypatch):
    turns = []
    before = Relay._turn
    monkeypatch.setattr(Relay, "_turn", lambda self, now_s: turns.append(now_s) or before(self, now_s))
    rig.lead("a")
    rig.relay.set_leader("a")
    with rig.client() as client:
        await client.request(b"x")
        await asyncio.sleep(2 * relaying._LATE_TURN_S)
        seen = len(turns)
        await asyncio.sleep(10 * relaying._TURN_S)
        assert len(turns) == seen
        assert await client.request(b"y") == b"re:y"


async def test_a_reply_that_was_handed_over_waits_until_its_event_is_stored(rig):
    leader = rig.lead("a", rests_on=7)
    rig.relay.set_leader("a")
    with rig.client() as client:
        asking = client.request(b"x")
        await rig.until(lambda: leader.asked)
        rig.relay.stored(TERM, 6)
        rig.relay.stored(TERM + 1, 7)  # of another leader
        await asyncio.sleep(0.1)
        assert not asking.done()
        rig.relay.stored(TERM, 7)
        assert await asking == b"re:x"
        assert await client.request(b"y") == b"re:y"  # it is stored already
    assert (rig.relay.relayed, rig.relay.waiting) == (2, 0)


async def test_a_reply_of_a_leader_that_is_followed_no_more_is_not_used(rig):
    leader = rig.lead("a", rests_on=7)
    rig.relay.set_leader("a")
    with rig.client(timeout_ms=600) as client:
        asking = client.request(b"x")
        await rig.until(lambda: len(rig.relay._held) == 1)
        rig.relay.unfollow()
        rig.relay.stored(TERM, 7)
        with pytest.raises(RequestTimeout):
            await asking
    assert leader.asked == [b"x"]


async def test_a_repeated_id_is_asked_once(rig):
    leader = rig.lead("a")
    rig.relay.set_leader("a")
    with rig.client() as client:
        for _ in range(3):
            assert await client.request(b"x", request_id=b"the same") == b"re:x"
    assert leader.asked == [b"x"]


async def test_a_request_waits_for_a_leader(rig):
    with rig.client() as client:
        asking = client.request(b"x")
        await rig.until(lambda: rig.relay.waiting == 1)
        rig.relay.set_leader("a")
        await asyncio.sleep(0.2)  # there is a leader by name, and nobody listens yet
        rig.lead("a")
        assert await asking == b"re:x"


async def test_after_a_change_of_leader_the_next_one_answers(rig):
    silent = rig.lead("a")
    silent.server.close()  # it lost its risk, and its port with it
    rig.relay.set_leader("a")
    with rig.client() as client:
        asking = client.request(b"x")
        await asyncio.sleep(0.1)
        rig.lead("b")
        rig.relay.set_leader("b")
        assert await asking == b"re:x"


async def test_without_a_leader_no_worker_is_answered(rig, monkeypatch):
    monkeypatch.setattr(relaying, "HOLD_S", 0.2)
    monkeypatch.setattr(relaying, "_DENY_S", 0.1)
    with rig.client(timeout_ms=400) as client, pytest.raises(RequestTimeout):
        await client.request(b"x")
    assert (rig.relay.relayed, rig.relay.unrelayed, rig.relay.waiting) == (0, 1, 0)


@pytest.mark.parametrize(
    ("leader", "why"),
    [
        ("", "no leader is known on this host, so risk cannot be asked: waiting for votes"),
        ("a", "this host does not reach the risk of host a, which led last"),
    ],
)
async def test_an_operator_is_informed_that_nothing_was_done(rig, monkeypatch, leader, why):
    monkeypatch.setattr(relaying, "_DENY_S", 0.2)
    rig.relay.set_leader(leader)  # nobody listens there
    for command in (Close(("BTC",)), ShowPositions()):
        with pytest.raises(UsageError, match=f"^nothing was done: {why}$"):
            await rig.send(command)
    assert (rig.relay.unrelayed, rig.relay.waiting) == (2, 0)


async def test_a_command_that_a_leader_may_have_got_is_not_said_to_be_undone(rig, monkeypatch):
    monkeypatch.setattr(relaying, "_DENY_S", 0.1)
    monkeypatch.setattr(relaying, "HOLD_S", 0.4)
    leader = rig.lead("a", leader_is_stuck)
    leader.server._listeners[0].receive = lambda limit: []  # it is up and hangs
    rig.relay.set_leader("a")
    with rig.client(timeout_ms=600) as client:
        asking = client.request(encode(Close(("BTC",))))
        await rig.until(lambda: any(one.was_sent for one in rig.relay._waiting.values()))
        rig.relay.set_leader("")
        with pytest.raises(RequestTimeout):
            await asking


async def test_the_table_is_bounded(rig, monkeypatch):
    monkeypatch.setattr(relaying, "OUT_MAX", 3)
    with rig.client() as client:
        asking = [client.request(b"%d" % number) for number in range(5)]
        await rig.until(lambda: rig.relay.unrelayed == 2)
        assert rig.relay.waiting == 3
        rig.lead("a")
        rig.relay.set_leader("a")
        await asyncio.gather(*asking[:3])
        assert not any(one.done() for one in asking[3:])
        for one in asking[3:]:
            one.cancel()


async def test_operators_commands_pass(rig):
    rig.lead("a", done)
    rig.relay.set_leader("a")
    assert (await rig.send(Close(("BTC",)))).text == "done Close"
    assert (await rig.send(Halt("look", flatten=False))).text == "done Halt"
    assert rig.relay._kept.texts == ()


class TestHaltWithoutALeader:
    async def test_it_is_kept_and_said_so_and_delivered_first(self, rig):
        answer = await rig.send(Halt("look at it", flatten=True))
        assert answer == Done(KEPT)
        assert rig.relay._kept.texts == ("halt by a test: look at it",)
        with rig.client(timeout_ms=20_000) as client:
            asking = [client.request(b"%d" % number) for number in range(3)]
            await rig.until(lambda: rig.relay.waiting == 3)
            leader = rig.lead("a")
            rig.relay.set_leader("a")
            await asyncio.gather(*asking)
        halt = decode_command(leader.asked[0])
        assert (halt.reason, halt.flatten, halt.by) == ("look at it", True, "a test")
        assert leader.asked[1:] == [b"0", b"1", b"2"]
        await rig.until(lambda: rig.relay._kept.texts == ())
        assert KeptCommands(rig.folder).texts == ()

    async def test_it_outlives_the_agent(self, rig):
        await rig.send(Halt("look", flatten=False))
        await rig.relay.end()
        rig.relay = rig.new_relay()
        assert len(rig.relay._kept.texts) == 1
        assert (rig.folder / KEPT_FILE).stat().st_mode & 0o777 == 0o600
        leader = rig.lead("b", done)
        rig.relay.set_leader("b")
        await rig.until(lambda: leader.asked)
        assert decode_command(leader.asked[0]).reason == "look"

    async def test_one_that_reaches_a_leader_which_does_not_answer_is_kept_too(self, rig, monkeypatch):
        monkeypatch.setattr(relaying, "_AGAIN_S", 0.1)
        leader = rig.lead("a", leader_is_stuck)
        rig.relay.set_leader("a")
        leader.server._listeners[0].receive = lambda limit: []  # it is up and hangs
        assert await rig.send(Halt("look", flatten=False)) == Done(KEPT)
        after = rig.lead("b", done)
        rig.relay.set_leader("b")
        await rig.until(lambda: after.asked and not rig.relay._kept.texts)

    async def test_other_commands_are_not_kept(self, rig, monkeypatch):
        monkeypatch.setattr(relaying, "HOLD_S", 0.3)
        with rig.client(timeout_ms=600) as client, pytest.raises(RequestTimeout):
            await client.request(encode(Close(("Halt",))))
        assert rig.relay._kept.texts == ()

    async def test_a_host_that_is_elected_delivers_to_its_own_risk(self, rig):
        await rig.send(Halt("look", flatten=False))
        rig.relay.close()
        asked = []

        def answer(payloads):
            asked.extend(payloads)
            return [done(one) for one in payloads]

        server = ReplyServer(rig.files.risk_endpoint, answer)
        server.start(rig.errors.append)
        try:
            rig.relay.deliver_here()
            await rig.until(lambda: rig.relay._kept.texts == ())
            assert decode_command(asked[0]).reason == "look"
        finally:
            server.close()

    async def test_so_many_are_kept_and_no_more(self, rig):
        for number in range(KeptCommands.LIMIT):
            rig.relay._kept.add(b"%d" % number, b"", "earlier")
        with rig.client() as client:
            answer = decode_command_reply(await client.request(encode(Halt("one more", flatten=False))))
            assert isinstance(answer, Denied)
            # The last one is kept, but its answer was lost: whoever ordered it asks again.
            again = encode(Halt("earlier", flatten=False))
            answer = decode_command_reply(await client.request(again, request_id=b"15"))
        assert answer == Done(KEPT)
        assert len(rig.relay._kept.texts) == KeptCommands.LIMIT


def leader_is_stuck(payload):
    raise AssertionError("it must not be asked")
