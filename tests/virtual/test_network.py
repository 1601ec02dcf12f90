"""Requests on the virtual network that come when their sender is gone."""

import asyncio
from random import Random

import pytest

from arbshard.virtual.loop import VirtualLoop, VirtualProcess
from arbshard.virtual.network import PendingRequest, Port, PortServer, Straggler, VirtualConnection
from arbshard.virtual.network_conditions import NetworkConditions
from arbshard.virtual.rates import STRAGGLERS
from arbshard.wire import messages
from arbshard.wire.messages import Fund, Hello, Instructions, encode


class Room:
    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.port = Port(loop, NetworkConditions(Random(1)))
        self.arrived: list[bytes] = []
        self.port.listen(PortServer(loop.new_process("risk.1"), self._arrived))

    def _arrived(self, request: PendingRequest) -> None:
        self.arrived.append(request.request_id)

    def ask(self, process: VirtualProcess, name: bytes, message) -> None:
        self.port.ask(VirtualConnection(lambda _: None, process), name, encode(message))
        self.loop.run_until_complete(asyncio.sleep(0.1))


@pytest.fixture
def room():
    loop = VirtualLoop()
    yield Room(loop)
    loop.finish()


def test_a_straggler_arrives_after_its_senders_successor(room) -> None:
    loop, kept = room.loop, []
    old, other, new = (loop.new_process(name) for name in ("worker-0.1", "worker-1.1", "worker-0.2"))
    straggler = Straggler("worker-0", "Instructions", 1_000, kept.append)
    room.port.stragglers[straggler] = None
    room.ask(other, b"other", Instructions(1, 1))
    room.ask(old, b"another kind", Hello(0, 1, 7, ()))
    room.ask(old, b"kept", Instructions(0, 1))
    room.ask(old, b"only one is kept", Instructions(0, 1))
    assert kept == [old]
    assert not straggler.has_arrived
    loop.kill(old)
    room.ask(other, b"of another shard", Hello(1, 1, 8, ()))
    room.ask(new, b"first", Hello(0, 2, 9, ()))
    room.ask(new, b"again", Hello(0, 2, 9, ()))
    assert straggler.has_arrived
    assert room.arrived == [
        b"other", b"another kind", b"only one is kept", b"of another shard", b"first", b"kept", b"again",
    ]  # fmt: skip


def test_stragglers_are_of_kinds_that_there_are() -> None:
    assert all(hasattr(messages, kind) for kind in STRAGGLERS)


@pytest.mark.parametrize("kind", [Fund, Instructions])
def test_the_kind_of_a_request_stands_at_its_beginning(room, kind: type) -> None:
    """Otherwise a straggler of this kind would be waited for in vain."""
    fields = {"shard": 0, "epoch": 1} | ({"pair": "BTC", "home_price": 5} if kind is Fund else {})
    straggler = Straggler("worker-0", kind.__name__, 0, lambda _: None)
    process = room.loop.new_process("worker-0.1")
    assert straggler.keeps(
        PendingRequest(VirtualConnection(lambda _: None, process), b"1", encode(kind(**fields)))
    )
