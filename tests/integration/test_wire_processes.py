"""Requests between real processes: servers and clients that are killed, and a bus that outlives its readers."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arbshard.errors import RequestTimeout
from arbshard.wire.bus import Publisher, Subscriber
from arbshard.wire.request import RequestClient
from arbshard.wire.serve import ReplyServer

pytestmark = pytest.mark.integration

Spawn = Callable[..., subprocess.Popen]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    children: list[subprocess.Popen] = []

    def start(program: str, *arguments: str) -> subprocess.Popen:
        child = subprocess.Popen([sys.executable, "-c", program, *arguments])
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.wait(10)


@pytest.fixture
def run_dir() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="arb"))  # short: a socket's path holds 107 bytes
    yield directory
    shutil.rmtree(directory)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


SERVER = """
import asyncio, sys
from pathlib import Path
import uvloop
from arbshard.wire.serve import ReplyServer

async def main(endpoint, journal, silent):
    def handler(batch):
        with journal.open("ab") as file:
            for payload in batch:
                file.write(payload + b"\\n")
        if silent:
            while True:  # stuck before its replies: only a kill ends it
                pass
        return [b"done " + payload for payload in batch]
    failed = asyncio.get_running_loop().create_future()
    server = ReplyServer(endpoint, handler)
    server.start(failed.set_exception)
    await failed

uvloop.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "silent"))
"""


async def test_a_question_outlives_the_death_of_its_server(spawn, run_dir):
    """The first server takes the question and is killed before its reply; the second gets it under the same id."""
    endpoint = f"ipc://{run_dir}/s"
    first = spawn(SERVER, endpoint, str(run_dir / "first"), "silent")
    with RequestClient(endpoint, timeout_ms=100, tries=200) as client:
        asked = asyncio.ensure_future(client.request(b"once"))
        await until((run_dir / "first").exists)
        first.kill()
        first.wait(10)
        spawn(SERVER, endpoint, str(run_dir / "second"), "quick")
        assert await asked == b"done once"
        assert await client.request(b"twice") == b"done twice"
        assert client.retried >= 1
        assert client.sent == 2
    assert (run_dir / "first").read_bytes() == b"once\n"
    assert (run_dir / "second").read_bytes() == b"once\ntwice\n"


SLOW_SERVER = """
import asyncio, sys, time
from pathlib import Path
import uvloop
from arbshard.wire.serve import ReplyServer

async def main(endpoint, journal):
    def handler(batch):
        with journal.open("ab") as file:
            for payload in batch:
                file.write(payload + b"\\n")
        time.sleep(0.1)
        return [b"done " + payload for payload in batch]
    failed = asyncio.get_running_loop().create_future()
    server = ReplyServer(endpoint, handler)
    server.start(failed.set_exception)
    await failed

uvloop.run(main(sys.argv[1], Path(sys.argv[2])))
"""


async def test_a_server_slower_than_the_time_out_acts_once_per_question(spawn, run_dir):
    endpoint = f"ipc://{run_dir}/s"
    spawn(SLOW_SERVER, endpoint, str(run_dir / "journal"))
    with RequestClient(endpoint, timeout_ms=30, tries=500) as client:
        for n in range(5):
            assert await client.request(b"%d" % n) == b"done %d" % n
        assert client.retried >= 5
    assert (run_dir / "journal").read_bytes() == b"0\n1\n2\n3\n4\n"


CLIENT = """
import asyncio, sys
import uvloop
from arbshard.wire.request import RequestClient

async def main(endpoint, name):
    with RequestClient(endpoint, 5000, 2) as client:
        n = 0
        while True:
            n += 1
            payload = f"{name} {n}".encode()
            assert await client.request(payload) == b"re: " + payload

uvloop.run(main(sys.argv[1], sys.argv[2]))
"""


async def test_a_client_that_is_killed_does_not_hold_up_the_others(spawn, run_dir):
    endpoint = f"ipc://{run_dir}/s"
    heard: dict[bytes, int] = {}

    def handler(batch: list[bytes]) -> list[bytes]:
        for payload in batch:
            name, number = payload.split()
            assert int(number) == heard.get(name, 0) + 1
            heard[name] = int(number)
        return [b"re: " + payload for payload in batch]

    with ReplyServer(endpoint, handler) as server:
        server.start(pytest.fail)
        children = {name: spawn(CLIENT, endpoint, name) for name in ("a", "b", "c")}
        await until(lambda: len(heard) == 3 and min(heard.values()) > 50)
        children["a"].kill()
        children["a"].wait(10)
        mark = dict(heard)
        await until(lambda: all(heard[name] > mark[name] + 50 for name in (b"b", b"c")))
        assert all(children[name].poll() is None for name in ("b", "c"))
        assert heard[b"a"] <= mark[b"a"] + 1


async def test_with_its_server_gone_a_question_fails_closed(spawn, run_dir):
    endpoint = f"ipc://{run_dir}/s"
    server = spawn(SERVER, endpoint, str(run_dir / "journal"), "quick")
    with RequestClient(endpoint, timeout_ms=100, tries=100) as client:
        assert await client.request(b"x") == b"done x"
    with RequestClient(endpoint, timeout_ms=30, tries=2) as client:
        server.kill()
        server.wait(10)
        with pytest.raises(RequestTimeout):
            await client.request(b"y")
        assert (client.retried, client.timed_out) == (1, 1)


LISTENER = """
import sys
from arbshard.wire.bus import Subscriber
import select
from pathlib import Path
with Subscriber(sys.argv[1], (b"t",)) as subscriber:
    while True:
        for message in subscriber.drain():
            Path(sys.argv[2]).write_text(f"{message.sequence} {subscriber.lost}")
        select.select([subscriber.fileno()], [], [], 0.01)
"""


async def test_a_bus_notices_its_subscribers_coming_and_being_killed(spawn, run_dir):
    endpoint, heard = f"ipc://{run_dir}/b", run_dir / "heard"
    with Publisher(endpoint) as publisher:
        publisher.start()
        assert not publisher.publish(b"t", b"")
        child = spawn(LISTENER, endpoint, str(heard))
        await until(lambda: publisher.wanted(b"t"))
        for _ in range(100):
            publisher.publish(b"t", b"")
        await until(lambda: heard.exists() and heard.read_text() == "100 0")
        child.kill()
        child.wait(10)
        await until(lambda: not publisher.wanted(b"t"))
        assert not publisher.publish(b"t", b"")


async def test_a_stopped_subscriber_loses_messages_and_knows_how_many(run_dir):
    endpoint = f"ipc://{run_dir}/b"
    with (
        Publisher(endpoint, high_water=5) as publisher,
        Subscriber(endpoint, (b"t",), high_water=5) as subscriber,
    ):
        publisher.start()
        await until(lambda: publisher.wanted(b"t"))
        for _ in range(1000):
            publisher.publish(b"t", bytes(100_000))
        got = []

        def caught_up() -> bool:
            publisher.publish(b"t", b"end")
            got.extend(subscriber.drain())
            return bool(got) and got[-1].parts == [b"end"]

        await until(caught_up)
        assert subscriber.lost == got[-1].sequence - len(got) > 0
