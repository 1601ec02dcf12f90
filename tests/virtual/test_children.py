"""Children on the virtual machine: started, killed, replaced by spares, as the supervisor's real parts ask for it."""

import asyncio
import signal

import pytest

from arbshard.clock import Clock
from arbshard.config import RunConfig
from arbshard.virtual.children import KILLED, VirtualHost
from arbshard.virtual.clock import VirtualClock
from arbshard.virtual.loop import VirtualLoop
from supervisor.processes.child import Child, ChildSpec
from supervisor.processes.process_supervisor import ProcessSupervisor
from supervisor.processes.spares import SparePool


class Sleeper:
    """A program that does nothing until SIGTERM."""

    async def run(self) -> int:
        end = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set_result, 0)
        return await end


class Room:
    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.clock: Clock = VirtualClock(self.loop)
        self.supervisor = self.loop.new_process("supervisor")
        self.ended: list[tuple[str, int, int]] = []
        self.alerts: list[str] = []
        self.host = VirtualHost(
            self.loop,
            self.supervisor,
            lambda *_: Sleeper(),
            lambda _: 0.3,
            lambda *end: self.ended.append(end),
        )
        run = RunConfig()
        spares = SparePool(run, ChildSpec("spare", lambda _: ()), self.host, self.alerts.append)
        self.processes = ProcessSupervisor(
            run, self.clock, self.alerts.append, lambda: None, self.host, spares
        )
        self.worker = Child(ChildSpec("worker-0", lambda _: (), shard=0), self.host)

    async def watch(self) -> None:
        self.processes.start(self.worker)
        while True:
            self.processes.watch()
            await self.processes.until_next(0.2)

    def run(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))


@pytest.fixture
def room():
    one = Room()
    one.loop.spawn(one.supervisor, one.watch())
    yield one
    one.loop.finish()
    assert one.loop.defects == []


def test_a_worker_that_dies_is_replaced_by_the_spare_at_once(room) -> None:
    room.run(2.0)
    (spare,) = room.host.spares
    first = room.host.children["worker-0"]
    first.die()
    room.run(0.01)  # its death is noticed, and a spare needs no time to boot
    second = room.host.children["worker-0"]
    assert second is spare
    assert (second.process.name, second.epoch, room.worker.epoch) == ("worker-0.2", 2, 2)
    assert second.program is not None
    assert second.pid == room.worker.pid != 0
    assert room.ended == [("worker-0", 1, KILLED)]
    room.run(3.0)
    assert len(room.host.spares) == 1, "there is another one"


def test_a_spare_that_dies_is_no_childs_end(room) -> None:
    room.run(2.0)
    (spare,) = room.host.spares
    spare.die()
    room.run(3.0)
    assert room.ended == []
    assert spare not in room.host.spares
    assert len(room.host.spares) == 1


def test_a_machine_without_room_refuses_and_is_asked_again(room) -> None:
    room.run(2.0)
    room.loop.has_no_room = True
    for spare in tuple(room.host.spares):
        spare.die()
    room.host.children["worker-0"].die()
    room.run(1.0)
    assert room.worker.state == "restarting"
    assert room.worker.pid == 0
    room.loop.has_no_room = False
    room.run(6.0)
    assert room.worker.epoch == 2
    assert room.worker.pid


def test_sigterm_goes_to_the_handler_and_ends_a_program_without_one(room) -> None:
    room.run(0.1)  # it has not come to its first line
    room.host.children["worker-0"].terminate()
    room.run(0.1)
    assert room.ended == [("worker-0", 1, -signal.SIGTERM)]
    room.run(2.0)
    room.host.children["worker-0"].terminate()
    room.run(0.1)
    assert room.ended[1:] == [("worker-0", 2, 0)]


def test_a_supervisor_that_was_killed_kills_and_terminates_no_child(room) -> None:
    room.run(2.0)
    room.loop.kill(room.supervisor)
    child = room.host.children["worker-0"]
    (spare,) = room.host.spares
    child.terminate()
    child.kill()
    room.processes.spares.end()
    room.run(1.0)
    assert child.pid
    assert spare.pid
    assert room.ended == []


def test_a_stopped_child_is_known_to_be_stopped(room) -> None:
    room.run(2.0)
    child = room.host.children["worker-0"]
    assert not room.host.is_stopped(child.pid)
    room.loop.stop_process(child.process)
    assert room.host.is_stopped(child.pid)
