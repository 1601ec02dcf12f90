"""A run whose sockets are flooded: it holds little more memory, replaces nobody, and trades on."""

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec
import psutil
import pytest
import zmq

from arbshard.errors import SharedMemoryError
from arbshard.model.notes import SupervisorNote
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader
from arbshard.wire.sockets import open_socket

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CONFIG = 'name = "t"\nstate_dir = "{}/state"\n[sim]\ncoins = 8\nseed = 11\nregime = "high-win"\n[run]\nshards = 2\n'
MB = 1_000_000
SPARE_MB = 20


class Run:
    """``arbshard run`` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.files = RunFiles(folder / "run" / "t")
        config = folder / "config.toml"
        config.write_text(CONFIG.format(folder))
        self.output = (folder / "out.txt").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "arbshard", "run", "--config", str(config)],
            env={**os.environ, "ARBSHARD_RUN_ROOT": str(folder / "run")},
            stdout=self.output,
            stderr=self.output,
        )

    def note(self) -> SupervisorNote | None:
        try:
            with PageReader.attach(self.files.supervisor_page) as page:
                text = page.note()
        except SharedMemoryError:
            return None
        return msgspec.json.decode(text, type=SupervisorNote) if text else None

    def risk(self, counter: str) -> int:
        with PageReader.attach(self.files.risk_page) as page:
            return page.value(counter)

    def until(self, wanted, seconds: float = 60) -> None:
        deadline_s = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < deadline_s, self.note()
            assert self.process.poll() is None
            time.sleep(0.05)

    def is_running(self) -> bool:
        note = self.note()
        return note is not None and note.state == "running"

    def children(self) -> dict[str, tuple[int, int]]:
        note = self.note()
        assert note is not None
        return {child.name: (child.pid, child.restarts) for child in note.children}

    def alerts(self) -> tuple[str, ...]:
        note = self.note()
        assert note is not None
        return note.alerts

    def megabytes(self, pid: int) -> float:
        return psutil.Process(pid).memory_info().rss / MB

    def trades_on(self) -> None:
        before = self.risk("approvals")
        self.until(lambda: self.risk("approvals") > before)

    def close(self) -> None:
        if self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            self.process.wait()
            for child in family:
                if child.is_running():
                    child.kill()
        self.output.close()


@pytest.fixture(scope="module")
def run():
    folder = Path(tempfile.mkdtemp(prefix="arb"))
    one = Run(folder)
    try:
        one.until(one.is_running)
        one.trades_on()
        yield one
    finally:
        one.close()
        shutil.rmtree(folder)


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
    children, before = run.children(), run.megabytes(run.process.pid)
    with connected(run.files.control_endpoint) as peer:
        assert not push(peer, struct.pack("<IB", 200 * MB, 16) + bytes(200 * MB))
    with open_socket(zmq.XSUB, run.files.bus_endpoint, bind=False, high_water=10) as loud:
        loud.send(
            b"\x02" + bytes(200 * MB)
        )  # a subscription so long would overflow the stack of this process
        time.sleep(1.0)
    assert run.megabytes(run.process.pid) - before < SPARE_MB
    assert run.children() == children
    assert run.alerts() == ()
    run.trades_on()


def test_unfinished_messages_to_risk_leave_it_small(run):
    pid, _ = run.children()["risk"]
    before, bad = run.megabytes(pid), run.risk("bad_frames")
    with ExitStack() as opened:
        for size in (16 * MB, 1_000_000) * 15:
            peer = opened.enter_context(connected(run.files.risk_endpoint))
            push(peer, struct.pack("<IB", size, 16) + bytes(min(size, 990_000)))
        run.until(lambda: run.risk("bad_frames") - bad >= 20)
        assert run.megabytes(pid) - before < SPARE_MB
        run.trades_on()
    assert run.children()["risk"] == (pid, 0)


def test_idle_connections_do_not_keep_a_worker_out(run):
    with ExitStack() as opened:
        for _ in range(600):
            opened.enter_context(connected(run.files.risk_endpoint))
        run.trades_on()
        pid, restarts = run.children()["worker-0"]
        os.kill(pid, signal.SIGKILL)
        run.until(lambda: run.children()["worker-0"][1] == restarts + 1 and run.is_running())
        run.trades_on()
        assert psutil.Process(run.children()["risk"][0]).num_fds() < 400
    assert run.risk("bad_frames") >= 300
