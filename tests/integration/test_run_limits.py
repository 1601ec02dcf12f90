"""A run whose sockets are flooded: it holds little more memory, replaces nobody, and trades on."""

import os
import signal
import socket
import struct
import time
from contextlib import ExitStack

import psutil
import pytest
import zmq

from arbshard.wire.sockets import open_socket
from support.instance import Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CONFIG = '[sim]\ncoins = 8\nseed = 11\nregime = "high-win"\n[run]\nshards = 2\n'
MB = 1_000_000
SPARE_MB = 20


class Flooded(Instance):
    """A run whose memory and trading are watched."""

    def identity(self) -> dict[str, tuple[int, int]]:
        """(process id, restarts) of each child."""
        return {name: (child.pid, child.restarts) for name, child in self.children().items()}

    def trades_on(self) -> None:
        before = self.risk()["approvals"]
        self.wait_for(lambda: self.risk()["approvals"] > before)


def megabytes(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / MB


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with Flooded(tmp_path_factory.mktemp("flood"), CONFIG) as one:
        one.start()
        one.until_running()
        one.trades_on()
        yield one


def connected(endpoint: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(endpoint.partition("://")[2])
    peer.settimeout(5)
    return peer


def push(peer: socket.socket, data: bytes) -> bool:
    """Whether the other side took all of it."""
    try:
        peer.sendall(data)
    except OSError:
        return False
    return True


def test_200_megabytes_to_the_control_socket_do_nothing(run):
    children, before = run.identity(), megabytes(run.process.pid)
    with connected(run.files.control_endpoint) as peer:
        assert not push(peer, struct.pack("<IB", 200 * MB, 16) + bytes(200 * MB))
    with open_socket(zmq.XSUB, run.files.bus_endpoint, bind=False, high_water=10) as loud:
        loud.send(
            b"\x02" + bytes(200 * MB)
        )  # a subscription so long would overflow the stack of this process
        time.sleep(1.0)
    assert megabytes(run.process.pid) - before < SPARE_MB
    assert run.identity() == children
    assert run.alerts() == ""
    run.trades_on()


def test_unfinished_messages_to_risk_leave_it_small(run):
    pid, _ = run.identity()["risk"]
    before, bad = megabytes(pid), run.risk()["bad_frames"]
    with ExitStack() as opened:
        for size in (16 * MB, 1_000_000) * 15:
            peer = opened.enter_context(connected(run.files.risk_endpoint))
            push(peer, struct.pack("<IB", size, 16) + bytes(min(size, 990_000)))
        run.wait_for(lambda: run.risk()["bad_frames"] - bad >= 20)
        assert megabytes(pid) - before < SPARE_MB
        run.trades_on()
    assert run.identity()["risk"] == (pid, 0)


def test_idle_connections_do_not_keep_a_worker_out(run):
    with ExitStack() as opened:
        for _ in range(600):
            opened.enter_context(connected(run.files.risk_endpoint))
        run.trades_on()
        pid, restarts = run.identity()["worker-0"]
        os.kill(pid, signal.SIGKILL)
        run.wait_for(lambda: run.identity()["worker-0"][1] > restarts)
        run.trades_on()
        assert psutil.Process(run.identity()["risk"][0]).num_fds() < 400
    assert run.risk()["bad_frames"] >= 300
