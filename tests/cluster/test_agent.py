"""The agent as a process: three hosts with real risk, a real NATS and real sockets; the test is the supervisor."""

import asyncio
import signal
import time
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.cluster.files import PROMISE_FILE, PromiseFile
from arbshard.cluster.relay import KEPT
from arbshard.cluster.terms import Promise
from arbshard.errors import RunDirError, UsageError
from arbshard.ledger.reader import LedgerReader
from arbshard.model.phase import WorkerState
from arbshard.model.universe import Universe
from arbshard.optional import require_libraries
from arbshard.shm.doorbell import ShardFiles
from arbshard.shm.pages import PageWriter
from arbshard.shm.rings import RingWriter
from arbshard.wire.cluster import EPOCHS_PER_GRANT
from arbshard.wire.messages import Done, Halt, Welcome, decode_command_reply, encode
from arbshard.wire.operator_client import send_command
from arbshard.wire.request import RequestClient
from arbshard.worker.counters import counters as worker_counters
from support.agent_rig import AgentRig
from support.effort import effort
from support.nats_server import MISSING, PROGRAM

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("cluster"),
    pytest.mark.skipif(PROGRAM is None, reason=MISSING),
    pytest.mark.timeout(240),
]


@pytest.fixture
async def rig(tmp_path):
    made = AgentRig(tmp_path)
    made.start()
    yield made
    made.close()


def trader(rig):
    """The one host that may trade the shard, and the grant."""
    [(shard, [name])] = rig.traders.items()
    host = rig.hosts[name]
    return host, host.held[shard]


async def hello(rig):
    """Ask risk for a welcome at the socket of whichever host trades."""
    host, grant = trader(rig)
    reply = asyncio.ensure_future(host.hello(grant * EPOCHS_PER_GRANT + 1))
    await rig.until(reply.done)
    return host, reply.result()


@pytest.mark.nightly  # tests/integration/hosts/test_several_hosts.py kills a whole host that leads
async def test_a_leader_is_lost_and_the_shard_is_decided_on_elsewhere(rig):
    leader = await rig.at_work()
    host, reply = await hello(rig)
    assert isinstance(reply, Welcome)
    first = host.held[0]
    stored = leader.page("events")
    leader.kill()
    await rig.until(lambda: rig.leader is not None and rig.leader is not leader, "nobody leads")
    await rig.until(lambda: len(rig.traders) == 1)
    after, reply = await hello(rig)
    assert isinstance(reply, Welcome)
    _, grant = trader(rig)
    # Where the lost host ran the shard, another one runs it, by a later grant; else nothing changed hands.
    assert grant > first if host is leader else grant >= first
    assert rig.leader.value("term") >= 2
    # Nothing that the lost leader had stored is missing.
    assert rig.leader.page("events") >= 1
    assert stored >= 1
    assert after.agent is not None


async def test_what_hosts_know_of_each_other_from_the_start_to_an_ordered_end(rig):
    leader = await rig.at_work()
    await hello(rig)
    others = [host for host in rig.hosts.values() if host is not leader]

    # Each keeps the leader's ledger, and shows its page and who is where.
    def is_level():
        last = last_event(leader.ledger)
        return all(host.value("stored_seq") == last for host in others)

    await rig.until(is_level, "the ledgers are not level")
    for host in others:
        await rig.until(lambda host=host: host.page("session") == leader.page("session"))
        await rig.until(lambda host=host: host.page("fence_0") == leader.page("fence_0") > 0)
        assert host.page("pid") == host.agent.pid
        assert host.note().at_ms > 0
        await rig.until(lambda host=host: host.cluster_note().why == "")
        note = host.cluster_note()
        assert note.leader == leader.name
        assert {view.host for view in note.hosts} == set("abc")
        assert set(note.sights) == set("abc") - {host.name}
        assert all(one.age_ms < 30_000 and abs(one.ahead_ms) < 30_000 for one in note.sights.values())
        assert note.refused == ()
        assert sum(view.leads for view in note.hosts) == 1
        assert note.nats

    # What the leader's supervisor trades reaches them, and an agent that is started later.
    await rig.until(lambda: all(host.value("universe") == 1 for host in rig.hosts.values()))
    changed = replace(msgspec.json.decode(leader.files.universe.read_bytes(), type=Universe), serial=7)
    leader.files.universe.write_bytes(msgspec.json.encode(changed))
    leader.show("universe", 7)
    await rig.until(lambda: all(host.value("universe") == 7 for host in rig.hosts.values()))
    for host in others:
        assert msgspec.json.decode(host.files.cluster_universe.read_bytes(), type=Universe) == changed
    host = others[0]
    host.kill()
    host.files.cluster_universe.unlink()
    rig.nats.kill()  # the host has it from its own disk alone
    host.start()
    await rig.until(lambda: host.value("universe") == 7)
    assert msgspec.json.decode(host.files.cluster_universe.read_bytes(), type=Universe) == changed

    # Without NATS, too, the leader leaves, another host leads, and all know that the whole cluster is to end.
    await rig.at_work()
    leader.show("leaves", 1)
    await rig.until(lambda: not leader.value("leads") and not leader.value("grant_0"))
    await rig.until(lambda: rig.leader is not None and rig.leader is not leader, "nobody else leads")
    await rig.until(lambda: len(rig.traders) == 1 and trader(rig)[0] is not leader)
    leader.agent.terminate()
    await rig.until(lambda: leader.agent.poll() is not None)
    assert leader.agent.returncode == 0
    assert leader.stderr_of_agent() == ""
    others[0].show("phase", 2)
    await rig.until(lambda: all(host.value("phase") == 2 for host in others))

    # After that end neither a host nor NATS has pairs, so that those of the configuration count again.
    rig.nats.start()
    await rig.until(lambda: all(host.cluster_note().nats for host in others))
    for host in others:
        host.agent.terminate()
    await rig.until(lambda: not rig.living)
    assert not any((host.state_dir / "cluster-universe.json").exists() for host in rig.hosts.values())
    host = others[0]
    host.show("phase", 0)
    host.show("universe", 0)
    host.start()
    await rig.until(lambda: host.value("ready") and (note := host.cluster_note()) and note.nats)
    assert host.value("universe") == 0


def last_event(path: Path) -> int:
    with LedgerReader(path) as reader:
        return reader.last_seq


async def test_a_halt_given_without_a_leader_is_kept_and_delivered(rig):
    leader = await rig.at_work()
    survivor = next(host for host in rig.hosts.values() if host is not leader)
    others = [host for host in rig.hosts.values() if host is not leader]
    last = next(host for host in others if host is not survivor)
    leader.kill()
    last.kill()  # so that nobody is elected meanwhile
    asking = asyncio.ensure_future(
        asyncio.to_thread(send_command, survivor.files, Halt("look", flatten=False), "a test")
    )
    await rig.until(asking.done)
    assert "kept" in asking.result().text
    await rig.until(lambda: survivor.cluster_note().kept)
    last.start()
    await rig.until(lambda: rig.leader is not None and rig.leader.page("halted") == 1, "it is not halted")
    await rig.until(lambda: not survivor.cluster_note().kept)


async def test_hosts_trade_on_while_nats_is_killed_wiped_or_hangs(rig):
    await rig.at_work()
    faults = (("wipe", "start"), ("kill", "start"), ("pause", "wake"))
    for fault, mend in faults[: effort(1, len(faults))]:
        host, grant = trader(rig)
        getattr(rig.nats, fault)()
        await rig.until(lambda host=host: not host.cluster_note().nats)
        until_s = time.monotonic() + effort(3, 5)  # a lease is over after two seconds
        await rig.until(lambda until_s=until_s: time.monotonic() > until_s)
        await hello(rig)
        assert trader(rig) == (host, grant)
        getattr(rig.nats, mend)()
        await rig.until(lambda: all(one.cluster_note().nats for one in rig.hosts.values()))
    assert trader(rig) == (host, grant)


async def test_a_paused_agent_makes_its_host_stop_by_itself(rig):
    await rig.at_work()
    host, grant = trader(rig)
    host.agent.send_signal(signal.SIGSTOP)
    await rig.until(lambda: not host.held)
    await rig.until(lambda: len(rig.traders) == 1)  # asserts at each look that no two hosts trade
    host.agent.send_signal(signal.SIGCONT)
    await rig.until(lambda: host.cluster_note().why == "")
    await rig.at_work()
    assert trader(rig)[1] > grant


async def test_a_host_that_follows_uses_a_reply_as_soon_as_it_has_stored_what_it_rests_on(rig):
    """A halt is an event, so the leader hands its reply over. A halt without a reply would be kept on the host."""
    leader = await rig.at_work()
    follower = next(one for one in rig.hosts.values() if one is not leader)
    with RequestClient(follower.files.risk_endpoint, timeout_ms=60_000, tries=1) as client:
        asking = client.request(encode(Halt("look", flatten=False)))
        await rig.until(asking.done)
    answer = decode_command_reply(asking.result())
    assert isinstance(answer, Done)
    assert answer.text != KEPT
    assert leader.page("halted") == 1


async def test_a_stuck_worker_of_a_host_that_follows_is_fenced(tmp_path):
    rig = AgentRig(tmp_path, shards=3)
    rig.start()
    try:
        leader = await rig.at_work()
        host, shard = next(
            (host, shard) for host in rig.hosts.values() if host is not leader for shard in host.held
        )
        epoch = host.held[shard] * EPOCHS_PER_GRANT + 1
        ring = RingWriter.create(ShardFiles(host.files.dir, shard).ring)
        page = PageWriter.create(host.files.worker_page(shard), worker_counters(), (), 0)
        page.set(page.counter("epoch"), epoch)
        page.set(page.counter("state"), WorkerState.RUNNING)
        host.world.epoch = epoch
        joined = asyncio.ensure_future(host.ask(replace(host.world.hello(), shard=shard)))
        await rig.until(joined.done)
        assert isinstance(joined.result(), Welcome)

        def quoted():
            ring.push(0)  # quotes come, and the worker does nothing about them
            return leader.page(f"fence_{shard}") > epoch

        await rig.until(quoted, "it is not fenced")
        await rig.until(lambda: host.page(f"fence_{shard}") > epoch, "its own host does not show it")
        ring.close()
        page.close()
    finally:
        rig.close()


class TestRefusals:
    def started(self, folder, **changes):
        rig = AgentRig(folder, "a")
        host = rig.hosts["a"]
        for change in changes.values():
            change(host)
        host.start()
        try:
            _, line = host.agent.communicate(timeout=30)
            return host.agent.returncode, line.decode().strip()
        finally:
            rig.close()

    async def test_a_key_file_that_others_may_read(self, tmp_path):
        code, line = self.started(tmp_path, key=lambda host: Path(host.cluster.key_file).chmod(0o644))
        assert (code, line.count("\n")) == (2, 0)
        assert line.endswith(f"chmod 600 {tmp_path}/files/a.key")

    async def test_a_damaged_promise(self, tmp_path):
        code, line = self.started(
            tmp_path, vote=lambda host: (host.state_dir / PROMISE_FILE).write_bytes(b'{"term": ')
        )
        assert (code, line.count("\n")) == (2, 0)
        assert "Stop all hosts of the cluster before you remove it" in line

    async def test_without_the_library_of_nats(self, monkeypatch):
        monkeypatch.setattr("arbshard.optional.find_spec", lambda _: None)
        with pytest.raises(UsageError, match=r"a cluster needs nats, .*: pip install nats-py"):
            require_libraries("a cluster", "nats")


class TestPromise:
    def test_it_is_what_was_saved_last(self, tmp_path):
        file = PromiseFile(tmp_path)
        assert file.load() == Promise()
        file.save(Promise(3, "a"))
        file.save(Promise(4, "b"))
        assert PromiseFile(tmp_path).load() == Promise(4, "b")
        assert [path.name for path in tmp_path.iterdir()] == [PROMISE_FILE]

    def test_a_damaged_one_is_refused(self, tmp_path):
        (tmp_path / PROMISE_FILE).write_bytes(b"")
        with pytest.raises(RunDirError, match="cannot be read"):
            PromiseFile(tmp_path).load()
