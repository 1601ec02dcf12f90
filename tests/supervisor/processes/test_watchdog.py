"""Who is put down, and who is not."""

import asyncio
from types import SimpleNamespace

import pytest

from arbshard.clock import SystemClock
from arbshard.config import RunConfig
from arbshard.shm.pages import PageWriter
from supervisor.processes.health import PageHealth
from supervisor.processes.probe import HttpProbe
from supervisor.processes.watchdog import Watchdog, stuck_ns

MS = 1_000_000


class Child:
    """One that runs."""

    def __init__(self, name, health=None, shard=None, epoch=1):
        self.name, self.health, self.shard, self.epoch = name, health, shard, epoch
        self.pid, self.state, self.kill_reason = 7, "running", ""

    def kill(self, why):
        self.kill_reason = why


class Room:
    def __init__(self, path):
        self.page = PageWriter.create(path, ("pid", "ready", "beat_ns", "fence_0", "fence_1"), (), 0)
        self.page.set(self.page.counter("pid"), 7)
        self.health = PageHealth(path, "ready", 1)
        self.health.is_up(7)
        self.risk = Child("risk", self.health)
        self.workers = [Child("worker-0", shard=0), Child("worker-1", shard=1, epoch=4)]
        self.children = [self.risk, *self.workers]
        self.now_ns = 10**12
        processes = SimpleNamespace(children=self.children, get=lambda _: self.risk)
        self.stopped = False
        self.dog = Watchdog(
            processes,
            RunConfig(),
            lambda shard: "" if shard else "no beat for 1.02 s",
            lambda _: self.stopped,
        )

    def run(self, ms, *, beats=True, step_ms=20):
        for _ in range(ms // step_ms):
            self.now_ns += step_ms * MS
            if beats:
                self.page.set(self.page.counter("beat_ns"), self.now_ns)
            self.dog.check(self.now_ns)


@pytest.fixture
def room(tmp_path):
    one = Room(tmp_path / "page")
    yield one
    one.health.close()
    one.page.close()


def test_who_is_held_by_a_signal_waits_for_nothing(room):
    room.run(100)
    room.stopped = True
    room.run(980, beats=False)
    assert not room.risk.kill_reason
    room.run(60, beats=False)
    assert room.risk.kill_reason.startswith("stuck, no beat for 1.0")


def test_nobody_is_put_down_who_works(room):
    room.run(10_000)
    assert [child.kill_reason for child in room.children] == ["", "", ""]


def test_a_fenced_worker_and_only_that_incarnation(room):
    room.page.set(room.page.counter("fence_0"), 2)
    room.page.set(room.page.counter("fence_1"), 4)
    room.run(20)
    assert [child.kill_reason for child in room.workers] == ["fenced by risk: no beat for 1.02 s", ""]
    room.workers[0] = room.children[1] = Child("worker-0", shard=0, epoch=2)
    room.run(20)
    assert room.workers[0].kill_reason == ""


def test_a_reason_that_is_not_known_yet_is_left_out(room):
    room.page.set(room.page.counter("fence_1"), 5)
    room.run(20)
    assert room.workers[1].kill_reason == "fenced by risk"


def test_risk_without_beats(room):
    room.run(500)
    room.run(2900, beats=False)
    assert room.risk.kill_reason == ""
    room.run(200, beats=False)
    assert room.risk.kill_reason.startswith("stuck, no beat for 3.0")


def test_risk_that_is_starting_is_left_to_its_time_out(room):
    room.risk.state = "starting"
    room.run(20_000, beats=False)
    assert room.risk.kill_reason == ""


def test_a_pause_of_ours_is_nobodys_fault(room):
    room.run(500)
    room.run(60_000, beats=False, step_ms=60_000)
    assert room.risk.kill_reason == ""
    room.run(2500, beats=False)
    assert room.risk.kill_reason == ""
    room.run(1000, beats=False)
    assert room.risk.kill_reason != ""


@pytest.mark.parametrize(("stuck_after_ms", "wanted_s"), [(1000.0, 3.0), (100.0, 0.5)])
def test_how_long_others_than_workers_may_stand_still(stuck_after_ms, wanted_s):
    assert stuck_ns(RunConfig(stuck_after_ms=stuck_after_ms)) == wanted_s * 1e9


def test_simulated_exchanges_that_neither_send_nor_answer(room):
    sim = Child("sim")
    room.children.append(sim)
    silent = SimpleNamespace(ns=0, silent_ns=lambda pid, now_ns: silent.ns)
    room.dog.probe = silent
    room.run(5000)
    assert sim.kill_reason == ""
    silent.ns = 4_000 * MS
    room.run(100)
    assert sim.kill_reason == "stuck, no answer and no data for 4.0 s"


class Server:
    """Answers, or takes in and says nothing."""

    def __init__(self, *, answers):
        self.answers = answers
        self.asked = 0
        self.writers = []

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        self.asked += 1
        self.writers.append(writer)
        await reader.read(10)
        if self.answers:
            writer.write(b"HTTP/1.1 404 Not Found\r\n\r\n")
            writer.close()

    async def close(self):
        for writer in self.writers:
            writer.close()
        self.server.close()
        await self.server.wait_closed()


@pytest.mark.integration
@pytest.mark.parametrize("answers", [True, False])
async def test_probe_asks_when_nothing_comes(answers):
    server, clock = Server(answers=answers), SystemClock()
    probe = HttpProbe("127.0.0.1", await server.start(), lambda: 5, clock)
    probe.silent_ns(7, clock.monotonic_ns())
    probe._answered_ns -= 10 * 10**9
    before_ns = probe._answered_ns
    running = asyncio.create_task(probe.run())
    try:
        async with asyncio.timeout(20):
            while not server.asked or (answers and probe._answered_ns == before_ns):
                await asyncio.sleep(0.01)
        assert (probe.silent_ns(7, clock.monotonic_ns()) < 5 * 10**9) is answers
        assert probe.silent_ns(8, clock.monotonic_ns()) == 0  # another one has all its time before it
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.close()


async def test_probe_asks_nobody_while_frames_come(clock):
    frames = iter(range(1, 100))
    probe = HttpProbe("127.0.0.1", 1, lambda: next(frames), clock)
    for _ in range(50):
        clock.advance_ms(1000)
        assert probe.silent_ns(7, clock.monotonic_ns()) == 0
