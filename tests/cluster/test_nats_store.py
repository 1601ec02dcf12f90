"""The store at NATS: a real server that is killed, restarted, wiped and stopped. Its twin keeps the same contract."""

import asyncio
import time
from contextlib import asynccontextmanager

import nats.errors
import pytest
from structlog.testing import capture_logs

from arbshard.cluster.nats_store import NatsStore
from arbshard.cluster.store import LEASES, RUN
from arbshard.config.cluster_file import read_host_keys
from support.made_cluster import make_hosts
from support.memory_store import MemoryServer, MemoryStore
from support.nats_server import MISSING, PROGRAM, NatsServer

pytestmark = [pytest.mark.needs("cluster"), pytest.mark.timeout(60)]
real = [pytest.mark.integration, pytest.mark.skipif(PROGRAM is None, reason=MISSING)]


class Seen:
    """A store, and what it has reported."""

    def __init__(self, make):
        self.entries = []
        self.states = []
        self.store = make(self.entries.append, self.states.append)
        self._task = None

    def start(self):
        self._task = asyncio.create_task(self.store.run())

    async def stop(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def newest(self, bucket, key):
        """Revision and value at a key; None before anything was reported."""
        return next(
            ((one.revision, one.value) for one in reversed(self.entries) if one[:2] == (bucket, key)), None
        )


async def until(condition, what=""):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


@pytest.fixture
def server(tmp_path):
    found = NatsServer(tmp_path / "nats")
    found.start()
    yield found
    found.kill()


@asynccontextmanager
async def connected(make, count=2):
    found = [Seen(make) for _ in range(count)]
    for one in found:
        one.start()
    try:
        await until(
            lambda: all(one.store.is_connected for one in found), [one.store.trouble for one in found]
        )
        yield found
    finally:
        for one in found:
            await one.stop()


@pytest.fixture(params=["memory", pytest.param("nats", marks=real)])
def make(request, tmp_path):
    if request.param == "memory":
        common = MemoryServer()
        return lambda *callbacks: MemoryStore(common, *callbacks)
    server = request.getfixturevalue("server")
    return of_nats(server, tmp_path)


def of_nats(server, tmp_path, **changes):
    cluster = make_hosts(tmp_path / "files", "a", (server.address,))["a"]
    keys = read_host_keys(cluster)
    return lambda *callbacks: NatsStore(cluster, keys, *callbacks)


async def test_a_write_reaches_everyone_with_its_revision(make):
    async with connected(make) as (first, second):
        revision = await first.store.put(LEASES, "risk", b"a", 0)
        assert revision >= 1
        await until(lambda: second.newest(LEASES, "risk") == (revision, b"a"))
        await until(lambda: first.newest(LEASES, "risk") == (revision, b"a"))
        assert first.states == second.states == [True]


async def test_only_one_of_two_writers_over_the_same_revision_succeeds(make):
    async with connected(make) as (first, second):
        begun = await first.store.put(LEASES, "shard.0", b"a", 0)
        done = await asyncio.gather(
            first.store.put(LEASES, "shard.0", b"b", begun), second.store.put(LEASES, "shard.0", b"c", begun)
        )
        assert sorted(one is not None for one in done) == [False, True]
        won = b"b" if done[0] is not None else b"c"
        revision = done[0] or done[1]
        # The one that was refused is informed of what is there, without a watch.
        loser = first if done[0] is None else second
        await until(lambda: loser.newest(LEASES, "shard.0") == (revision, won))


async def test_a_key_that_exists_is_not_made_again(make):
    async with connected(make) as (first, second):
        await first.store.put(LEASES, "risk", b"a", 0)
        assert await second.store.put(LEASES, "risk", b"b", 0) is None
        assert await second.store.put(LEASES, "risk", b"b", None) is not None


async def test_a_read_reports_what_has_not_changed_and_what_is_absent(make):
    async with connected(make, 1) as (one,):
        revision = await one.store.put(LEASES, "risk", b"a", 0)
        await until(lambda: one.newest(LEASES, "risk") == (revision, b"a"))
        one.entries.clear()
        await one.store.read(LEASES, "risk")
        await one.store.read(LEASES, "shard.7")
        assert one.newest(LEASES, "risk") == (revision, b"a")
        assert one.newest(LEASES, "shard.7") == (0, None)


async def test_who_comes_later_reads_what_is_there(make):
    async with connected(make, 1) as (first,):
        await first.store.put(LEASES, "risk", b"view", 0)
        await first.store.put(RUN, "universe", b"u" * 200_000, None)
        async with connected(make, 1) as (later,):
            assert later.newest(LEASES, "risk")[1] == b"view"
            assert later.newest(RUN, "universe")[1] == b"u" * 200_000


class Refusing:
    """Stands in for nats-py's client at a server that refuses the password: it reports that, and then raises it."""

    tries = 0

    async def connect(self, *, error_cb, **_):
        type(self).tries += 1
        error = nats.errors.Error("nats: 'Authorization Violation'")
        await error_cb(error)
        raise error

    async def close(self):
        """Do nothing: there is no connection."""


async def test_what_is_reported_before_it_is_raised_is_logged_once_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("arbshard.cluster.nats_store.Client", Refusing)
    monkeypatch.setattr(Refusing, "tries", 0)
    cluster = make_hosts(tmp_path / "files", "a")["a"]
    one = Seen(lambda *callbacks: NatsStore(cluster, read_host_keys(cluster), *callbacks))
    with capture_logs() as logged:
        one.start()
        await until(lambda: Refusing.tries >= 3)
        await one.stop()
    (line,) = logged
    assert (line["event"], line["server"]) == ("NATS cannot be used", cluster.nats[0])
    assert line["why"] == one.store.trouble == "nats: 'Authorization Violation'"
    assert one.states == []


class TestFaults:
    pytestmark = real

    async def test_it_comes_back_after_a_restart_with_what_was_written(self, server, tmp_path):
        async with connected(of_nats(server, tmp_path), 1) as (one,):
            revision = await one.store.put(LEASES, "risk", b"a", 0)
            server.kill()
            await until(lambda: one.states[-1] is False)
            assert one.store.trouble
            assert await one.store.put(LEASES, "risk", b"b", revision) is None
            server.start()
            await until(lambda: one.states[-1] is True)
            assert one.store.trouble == ""
            assert one.newest(LEASES, "risk") == (revision, b"a")
            assert await one.store.put(LEASES, "risk", b"b", revision) == revision + 1

    async def test_what_a_wiped_server_has_lost_is_reported(self, server, tmp_path):
        async with connected(of_nats(server, tmp_path), 1) as (one,):
            for number in range(5):
                await one.store.put(LEASES, f"shard.{number}", b"a", 0)
            server.wipe()
            server.start()
            await until(lambda: one.states[-1] is True and one.states.count(True) == 2)
            assert all(one.newest(LEASES, f"shard.{number}") == (0, None) for number in range(5))
            assert await one.store.put(LEASES, "shard.3", b"b", 0) == 1

    async def test_a_server_that_hangs_blocks_nothing_and_is_given_up(self, server, tmp_path):
        async with connected(of_nats(server, tmp_path), 1) as (one,):
            await one.store.put(LEASES, "risk", b"a", 0)
            server.pause()
            writing = asyncio.create_task(one.store.put(LEASES, "risk", b"b", None))
            for _ in range(100):  # turns are counted and not timed, so that other work does not matter
                await asyncio.sleep(0)
                assert not writing.done(), "the loop went on: the write alone waits"
            assert await writing is None
            await until(lambda: one.states[-1] is False)
            server.wake()
            await until(lambda: one.states[-1] is True)
            assert one.newest(LEASES, "risk")[1] in (
                b"a",
                b"b",
            )  # a write without an answer may have been done

    async def test_another_server_is_taken_when_the_first_hangs(self, server, tmp_path):
        spare = NatsServer(tmp_path / "spare")
        spare.start()
        try:
            cluster = make_hosts(tmp_path / "files", "a", (server.address, spare.address))["a"]
            keys = read_host_keys(cluster)

            def make(*callbacks):
                made = NatsStore(cluster, keys, *callbacks)
                made._replicas = 1  # the two servers are no cluster
                return made

            async with connected(make, 1) as (one,):
                server.pause()
                await until(lambda: one.states == [True, False, True])
        finally:
            spare.kill()

    async def test_a_bucket_that_somebody_deletes_is_made_again(self, server, tmp_path):
        async with connected(of_nats(server, tmp_path), 1) as (one,):
            await one.store.put(LEASES, "risk", b"a", 0)
            await one.store._jetstream.delete_stream("KV_test-leases")
            assert await one.store.put(LEASES, "risk", b"b", None) is None
            await until(lambda: one.states == [True, False, True])
            assert one.newest(LEASES, "risk") == (0, None)
            assert await one.store.put(LEASES, "risk", b"b", 0) == 1

    async def test_a_key_that_a_person_deletes_keeps_a_revision_over_which_it_is_written(
        self, server, tmp_path
    ):
        async with connected(of_nats(server, tmp_path), 1) as (one,):
            revision = await one.store.put(LEASES, "risk", b"a", 0)
            bucket = await one.store._jetstream.key_value("test-leases")
            await bucket.delete("risk")
            await until(lambda: one.newest(LEASES, "risk") == (revision + 1, None))
            one.entries.clear()
            await one.store.read(LEASES, "risk")
            assert one.newest(LEASES, "risk") == (revision + 1, None)
            assert await one.store.put(LEASES, "risk", b"b", 0) is None
            assert await one.store.put(LEASES, "risk", b"b", revision + 1) == revision + 2

    async def test_a_wrong_password_is_stated_and_tried_again(self, server, tmp_path):
        cluster = make_hosts(tmp_path / "files", "a", (server.address,))["a"]
        path = tmp_path / "files" / "a.key"
        path.write_text(path.read_text().replace("a-password-of-tests", "another"))
        keys = read_host_keys(cluster)
        one = Seen(lambda *callbacks: NatsStore(cluster, keys, *callbacks))
        one.start()
        await until(lambda: "uthoriz" in one.store.trouble, one.store.trouble)
        await one.stop()
        assert "another" not in one.store.trouble
        assert one.states == []
