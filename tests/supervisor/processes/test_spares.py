"""Spare workers: kept ready, handed out, replaced. Real little programs."""

import asyncio
import errno
import os
import sys
import time

import pytest

from arbshard.clock import SystemClock
from arbshard.config import RunConfig
from arbshard.secret import Secret
from supervisor.processes.child import Child, ChildSpec
from supervisor.processes.posix import PosixHost
from supervisor.processes.process_supervisor import ProcessSupervisor
from supervisor.processes.spares import SparePool

pytestmark = pytest.mark.integration

WAITS = """
import sys, time
sys.stdout.write('+'); sys.stdout.flush()
line = sys.stdin.readline()
if line:
    open(r'{folder}/told', 'w').write(line)
    print('taken', file=sys.stderr, flush=True)
    time.sleep(60)
"""


class Room:
    def __init__(self, folder, code=WAITS, **run):
        self.alerts = []
        self.clock = SystemClock()
        command = [sys.executable, "-c", code.format(folder=folder)]
        spec = ChildSpec("spare", lambda _: command, hands_over=run.pop("hands_over", None))
        self.host = PosixHost()
        self.spares = SparePool(RunConfig(**run), spec, self.host, self.alerts.append)
        self.taken = []

    async def keep_until(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                self.spares.maintain(self.clock.monotonic_ns())
                await asyncio.sleep(0.01)

    def assign(self, shard, epoch):
        taken = self.spares.assign((shard, epoch), self.clock.monotonic_ns())
        if taken is not None:
            self.taken.append(taken)
        return taken

    def close(self):
        self.spares.end()
        for process in self.taken:
            process.kill()
            process.wait(10)
            process.close()


@pytest.fixture
def room(tmp_path):
    made = []

    def build(*args, **run):
        made.append(Room(tmp_path, *args, **run))
        return made[-1]

    yield build
    for one in made:
        one.close()


async def test_one_is_started_and_says_that_it_is_ready(room):
    one = room()
    one.spares.maintain(one.clock.monotonic_ns())
    assert one.spares.states in (("starting",), ("ready",))
    await one.keep_until(lambda: one.spares.states == ("ready",))
    assert list(one.spares.pids) == ["spare-1"]


async def test_it_is_told_its_shard_and_another_follows_after_a_moment(room, tmp_path):
    one = room()
    await one.keep_until(lambda: one.spares.states == ("ready",))
    taken = one.assign(3, 7)
    assert taken.poll() is None
    assert one.spares.states == ()
    one.spares.maintain(one.clock.monotonic_ns())
    assert one.spares.states == ()  # its successor would take the CPU from it
    await one.keep_until(lambda: one.spares.states == ("ready",))
    assert (tmp_path / "told").read_text() == "3 7\n"
    assert list(one.spares.pids) == ["spare-2"]


async def test_nobody_is_ready(room):
    one = room("import time; time.sleep(60)")
    one.spares.maintain(one.clock.monotonic_ns())
    assert one.assign(0, 2) is None
    assert one.spares.states == ("starting",)


STARTS = "import sys; sys.stdin.read(0)\n" + WAITS.replace(
    "sys.stdout.write('+'); sys.stdout.flush()",
    """
while not __import__('os').path.exists(r'{folder}/go'):
    time.sleep(0.01)
try:
    sys.stdout.write('+'); sys.stdout.flush()
except BrokenPipeError:
    pass
""",
)


async def test_one_that_still_starts_is_given_away_where_many_are_wanted_at_once(room, tmp_path):
    one = room(STARTS)
    one.spares.gives_starting = True
    one.spares.maintain(one.clock.monotonic_ns())
    taken = one.assign(3, 7)
    assert taken is not None
    assert not taken.is_ready()
    (tmp_path / "go").touch()
    async with asyncio.timeout(20):
        while "taken" not in taken.stderr_text():
            await asyncio.sleep(0.01)
    assert (tmp_path / "told").read_text() == "3 7\n"
    assert one.spares.ended == 0


async def test_of_two_the_one_that_is_ready_is_given_away(room, tmp_path):
    one = room(
        "import os\n" + STARTS.replace("{folder}/go", "{folder}/go-' + str(os.getpid()) + r'"),
        spare_workers=2,
    )
    one.spares.gives_starting = True
    await one.keep_until(lambda: len(one.spares.pids) == 2)
    _, second = one.spares.pids.values()
    (tmp_path / f"go-{second}").touch()
    await one.keep_until(lambda: "ready" in one.spares.states)
    taken = one.assign(3, 7)
    assert taken.pid == second
    assert one.spares.states == ("starting",)


async def test_none_wanted(room):
    one = room(spare_workers=0)
    assert not one.spares.maintain(one.clock.monotonic_ns())
    assert one.assign(0, 2) is None


async def test_one_that_died_is_replaced(room):
    one = room()
    await one.keep_until(lambda: one.spares.states == ("ready",))
    one.spares._spares[0].process.kill()
    await one.keep_until(lambda: one.spares.states == ("ready",) and "spare-2" in one.spares.pids)
    assert one.alerts == []


async def test_one_that_died_unseen_is_not_handed_out(room):
    one = room()
    await one.keep_until(lambda: one.spares.states == ("ready",))
    process = one.spares._spares[0].process
    process.kill()
    process.wait(10)
    assert one.assign(0, 2) is None


async def test_they_are_given_up_when_they_die_too_often(room):
    one = room("raise SystemExit(1)", restart_tries=2)
    await one.keep_until(lambda: one.alerts)
    assert one.alerts == ["spare workers end too often: none is kept any more"]
    assert not one.spares.maintain(one.clock.monotonic_ns() + 10**12)


async def test_one_that_never_gets_ready_is_replaced(room):
    one = room("import time; time.sleep(60)")
    now_ns = one.clock.monotonic_ns()
    one.spares.maintain(now_ns)
    one.spares.maintain(now_ns + 16 * 10**9)
    one.spares.maintain(now_ns + 20 * 10**9)
    assert list(one.spares.pids) == ["spare-2"]


async def test_closing_its_stdin_ends_it(room):
    """As the death of the supervisor does."""
    one = room()
    await one.keep_until(lambda: one.spares.states == ("ready",))
    spare = one.spares._spares[0]
    spare.process._process.stdin.close()
    assert spare.process.wait(10)
    assert spare.process.poll() == 0


async def test_the_end_ends_all(room):
    one = room(spare_workers=2)
    await one.keep_until(lambda: len(one.spares.pids) >= 2)
    processes = [spare.process for spare in one.spares._spares]
    one.spares.end()
    assert all(process.poll() is not None for process in processes)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENOSPC])
def test_what_the_system_refuses_is_tried_again(room, refuse, code):
    one = room()
    refuse(code, times=3)
    now_ns, tried = one.clock.monotonic_ns(), []
    for step in range(40):
        refused = one.spares._refused
        if one.spares.maintain(now_ns + step * 50_000_000) or one.spares._refused != refused:
            tried.append(step * 50)
    assert tried[:4] == [0, 100, 300, 700]
    assert list(one.spares.pids) == ["spare-1"]
    assert one.alerts == [
        f"a spare worker cannot be started: [Errno {code}] {os.strerror(code)}; this is tried again"
    ]


async def test_one_that_is_buried_is_not_waited_for(room, monkeypatch):
    """A process that the system cannot end at once holds up nobody."""
    one = room("import time; time.sleep(60)")
    now_ns = one.clock.monotonic_ns()
    one.spares.maintain(now_ns)
    process = one.spares._spares[0].process
    monkeypatch.setattr(process, "wait", lambda *_: pytest.fail("it is waited for"))
    one.spares.maintain(now_ns + 16 * 10**9)
    await one.keep_until(lambda: process.poll() is not None)


async def test_a_dead_worker_is_followed_by_the_spare(room, tmp_path):
    one = room()
    changes = []
    processes = ProcessSupervisor(
        RunConfig(),
        one.clock,
        one.alerts.append,
        lambda: changes.append(time.monotonic()),
        one.host,
        one.spares,
    )
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    child = Child(ChildSpec("worker-3", lambda _: command, shard=3), one.host)
    try:
        processes.start(child)
        processes.watch()
        await one.keep_until(lambda: one.spares.states == ("ready",))
        (spare,) = one.spares.pids.values()
        child.kill("for the test")
        async with asyncio.timeout(20):
            while child.epoch == 1:
                processes.watch()
                await asyncio.sleep(0.005)
            assert child.pid == spare
            while child.stderr_tail() != "taken":
                await asyncio.sleep(0.01)
        assert (tmp_path / "told").read_text() == "3 2\n"
        assert processes.pids == {"worker-3": spare}
    finally:
        processes.kill_all()


async def test_what_is_handed_over_comes_before_the_shard(room, tmp_path):
    code = WAITS.replace(
        "sys.stdout.write", "open(r'{folder}/heard', 'w').write(sys.stdin.readline());sys.stdout.write"
    )
    one = room(code, hands_over=lambda: Secret("for your eyes only"))
    await one.keep_until(lambda: one.spares.states == ("ready",))
    assert (tmp_path / "heard").read_text() == "for your eyes only\n"
    assert one.assign(3, 7) is not None
    await one.keep_until(lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_text())
    assert (tmp_path / "told").read_text() == "3 7\n"


async def test_one_that_has_ended_before_it_is_handed_anything(room):
    one = room("raise SystemExit(3)", hands_over=lambda: Secret("x" * 100_000))
    await one.keep_until(lambda: "spare-2" in one.spares.pids)


async def test_more_are_prepared_at_once_and_ended_when_they_are_not_wanted(room):
    one = room()
    await one.keep_until(lambda: one.spares.states == ("ready",))
    one.spares.prepare(2, one.clock.monotonic_ns())
    await one.keep_until(lambda: one.spares.states == ("ready",) * 3)
    assert one.assign(0, 1001) is not None
    assert len(one.spares.states) == 2  # one for the other shard that is expected, and the usual one
    later_ns = one.clock.monotonic_ns() + 20_000_000_000
    one.spares.maintain(later_ns)
    assert one.spares.states == ("ready",)
    one.spares.maintain(later_ns)
    assert one.spares.states == ("ready",)


async def test_where_none_are_kept_none_are_prepared(room):
    one = room(spare_workers=0)
    one.spares.prepare(2, one.clock.monotonic_ns())
    assert not one.spares.maintain(one.clock.monotonic_ns())
