"""A run that a service manager has started: what it is told over its socket, and how the run ends for it."""

import json
import os
import queue
import signal
import socket
import threading
import time
import urllib.request

import psutil
import pytest

from support.exchanges import VENUES, running_exchanges, set_faults
from support.instance import Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

WATCHDOG_S = 2.0


class Manager:
    """Listens as systemd does, and knows who sent what."""

    def __init__(self, path):
        self.address = str(path)
        self.messages = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.settimeout(0.05)
        # In a thread of its own: the queue of a socket holds some ten messages.
        self._heard = queue.SimpleQueue()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        self.environment = {
            "NOTIFY_SOCKET": self.address,
            "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
        }

    def _listen(self):
        while not self._ends.is_set():
            try:
                data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
            except TimeoutError:
                continue
            self._heard.put((int.from_bytes(ancillary[0][2][:4], "little"), data.decode().split("\n")))

    def hear(self):
        """Return what has come since it was last forgotten: (pid of the sender, lines)."""
        time.sleep(0.05)
        while not self._heard.empty():
            self.messages.append(self._heard.get())
        return self.messages

    def lines(self):
        return [line for _, lines in self.hear() for line in lines]

    def until(self, wanted, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while not any(line.startswith(wanted) for line in self.lines()):
            assert time.monotonic() < deadline, f"{wanted} did not come: {self.messages}"

    def forget(self):
        self.hear()
        self.messages.clear()

    def close(self):
        self._ends.set()
        self._thread.join()
        self._socket.close()


@pytest.fixture
def manager(tmp_path):
    listening = Manager(tmp_path / "notify")
    yield listening
    listening.close()


@pytest.fixture
def desk(tmp_path, manager):
    with Instance(tmp_path, arguments=("--service",), environment=manager.environment) as instance:
        instance.start()
        instance.until_running()
        instance.remember_children()
        yield instance


def test_ready_status_watchdog_a_frozen_loop_and_the_end(desk, manager):
    manager.until("READY=1")
    manager.until("WATCHDOG=1")
    manager.until("STATUS=running; ")
    assert "STOPPING=1" not in manager.lines()
    for process in psutil.Process(desk.pid).children(recursive=True):
        assert "NOTIFY_SOCKET" not in process.environ()
    os.kill(desk.pid, signal.SIGSTOP)
    manager.forget()
    time.sleep(WATCHDOG_S)
    assert manager.lines() == []
    os.kill(desk.pid, signal.SIGCONT)
    manager.until("WATCHDOG=1")
    desk.until_replaced("risk", desk.kill("risk"))
    ended = desk.stop()
    assert ended.code == 0, ended  # by 1 the service manager would start it again
    assert "process was restarted" in ended.out
    assert "STOPPING=1" in manager.lines()
    assert {pid for pid, _ in manager.hear()} == {desk.pid}


@pytest.mark.nightly  # in the gate a signal does so
def test_told_to_end_is_0_whatever_was_wrong(desk):
    """An exit code of 1 would have the service manager start it again."""
    desk.until_replaced("risk", desk.kill("risk"))
    assert desk.do("stop")
    ended = desk.ended()
    assert ended.code == 0, ended
    assert "process was restarted" in ended.out


PUBLIC = f"""
data = "public"
[run]
shards = 1
{VENUES}"""


def calls_of(said, venue):
    with urllib.request.urlopen(f"{said[venue]['rest_url']}/sim/stats", timeout=10) as reply:
        return json.load(reply)["venues"][venue]["rest_requests"]


@pytest.fixture
def barred(tmp_path, manager):
    """A service whose start is refused by Binance."""
    folder = tmp_path / "instance"
    folder.mkdir()
    with (
        running_exchanges(tmp_path, coins=4, seed=11) as said,
        Instance(
            folder, PUBLIC.format(**said), arguments=("--service",), environment=manager.environment
        ) as desk,
    ):

        def start(status, retry_after_s):
            fault = {"share": 1.0, "status": status, "calls": "all", "retry_after_s": retry_after_s}
            set_faults(said, "binance", {"set": {"rate_limited": fault}})
            desk.start()
            manager.until("STATUS=waits for the venues: binance: ")
            return said, desk

        yield start


def test_a_start_waits_for_the_venues(barred, manager):
    """Before, each try ended at once, and the service manager gave up after thirty."""
    said, desk = barred(429, 4)
    manager.until("EXTEND_TIMEOUT_USEC=604000000")
    assert "READY=1" not in manager.lines()
    set_faults(said, "binance", {"clear": ["rate_limited"]})
    manager.until("READY=1")
    assert "the start waits for the venues: binance: " in desk.alerts()
    assert desk.stop().code == 0


def test_a_start_asks_nothing_before_the_end_of_a_ban(barred, manager):
    said, desk = barred(418, 600)
    manager.until("EXTEND_TIMEOUT_USEC=1200000000")
    asked = calls_of(said, "binance")
    assert asked == 1
    problems = desk.until(lambda status: "waits" in "".join(status["problems"]))["problems"]
    assert [problem.partition(": ")[0] for problem in problems] == ["the start waits for the venues"]
    assert problems[0].endswith("HTTP 418, the venue wants no question for 600 s")
    time.sleep(5)  # other pauses are of 2 and 4 s
    assert calls_of(said, "binance") == asked
    assert desk.do("stop")
    assert desk.ended().code == 0


def test_a_person_ends_a_start_that_waits(tmp_path, manager):
    folder = tmp_path / "instance"
    folder.mkdir()
    nowhere = {"ws_url": "ws://127.0.0.1:9", "rest_url": "http://127.0.0.1:9"}
    config = PUBLIC.format(upbit=nowhere, binance=nowhere)
    with Instance(folder, config, arguments=("--service",), environment=manager.environment) as desk:
        desk.start()
        manager.until("STATUS=waits for the venues: ")
        assert desk.do("stop")
        assert desk.ended().code == 0


def test_what_cannot_go_on_is_1_all_the_same(desk, manager):
    desk.ledger.unlink()
    assert desk.ended().code == 1
    assert "STOPPING=1" in manager.lines()
