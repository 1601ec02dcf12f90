"""What a service manager is told, over a real socket of the kind that systemd makes."""

import os
import socket
from contextlib import suppress

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from supervisor.service_manager import ServiceManager, sentence_of, take_service_manager
from support.made_status import made_status


@pytest.fixture(params=["path", "abstract"])
def heard(request, tmp_path):
    """The address of a service manager's socket, and what has come to it since it was last asked."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@arbshard-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        listener.setblocking(False)

        def take():
            found = []
            while True:
                try:
                    found.append(listener.recv(4096).decode().split("\n"))
                except BlockingIOError:
                    return found

        yield name, take


def test_states_of_a_run(heard):
    address, take = heard
    manager = ServiceManager(address)
    for state in ("starting", "running", "draining", "ended"):
        manager.change_state(state)
    assert [message[0] for message in take()] == ["STATUS=starting", "READY=1", "STOPPING=1", "STOPPING=1"]
    manager.close()


def test_a_start_that_waits_has_its_whole_time_after_that(heard):
    address, take = heard
    manager = ServiceManager(address)
    manager.change_state("starting")
    manager.delay_start("upbit does\nnot answer", 90.5)
    waits = "STATUS=waits for the venues: upbit does not answer"
    assert take() == [["STATUS=starting"], [waits, "EXTEND_TIMEOUT_USEC=690500000"]]
    manager.close()


def test_status_is_one_line(heard):
    address, take = heard
    manager = ServiceManager(address)
    manager.show(
        replace(made_status(), halted="halted\nby hand", problems=("halted\nby hand", "b"), state="degraded")
    )
    ((line,),) = take()
    assert line.startswith("STATUS=degraded: halted by hand (and 1 more); ")
    manager.close()


def test_sentence_of_a_healthy_run():
    said = sentence_of(replace(made_status(), problems=(), halted="", state="running"))
    assert said.startswith("running; ")
    assert " entries, " in said
    assert said.endswith("KRW since the start")


def test_what_orders_under_way_cause_comes_last():
    said = sentence_of(
        replace(
            made_status(),
            problems=("one leg", "upbit is down"),
            passing=("one leg",),
            halted="",
            state="degraded",
        )
    )
    assert said.startswith("degraded: upbit is down (and 1 more); ")


class TestEnvironment:
    def test_is_taken_away_from_the_children(self):
        environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "8000000", "WATCHDOG_PID": "7", "HOME": "/"}
        manager = take_service_manager(environ, 7)
        assert environ == {"HOME": "/"}
        assert manager.feed_s == 2.0
        manager.close()

    @pytest.mark.parametrize(
        ("usec", "whose", "feed_s"),
        [
            ("8000000", "8", 0.0),
            ("", "", 0.0),
            ("many", "7", 0.0),
            ("600000000", "", 5.0),
            ("1000000", "7", 0.25),
        ],
    )
    def test_watchdog(self, usec, whose, feed_s):
        manager = take_service_manager(
            {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": usec, "WATCHDOG_PID": whose}, 7
        )
        assert manager.feed_s == feed_s
        manager.close()

    @pytest.mark.parametrize("address", ["", "vsock:2:1234"])
    def test_nobody_wants_to_know(self, address):
        manager = take_service_manager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "8000000"}, 7)
        assert manager.feed_s == 0
        manager.feed_watchdog()
        manager.change_state("running")
        manager.close()


def test_a_manager_that_is_gone_is_logged_once_and_ends_nothing(tmp_path):
    manager = ServiceManager(str(tmp_path / "gone"), 10.0)
    with capture_logs() as logs:
        for _ in range(3):
            manager.feed_watchdog()
    assert [line["event"] for line in logs] == ["the service manager takes no message"]
    manager.close()


def test_a_change_of_state_that_was_not_taken_is_sent_again(tmp_path):
    """The queue of a socket holds some ten messages, and READY must not be lost when it is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        manager = ServiceManager(str(tmp_path / "notify"), 10.0)
        with capture_logs() as logs:
            while not logs:
                manager.feed_watchdog()
            manager.change_state("running")
        queued = []
        with suppress(BlockingIOError):
            while True:
                queued.append(listener.recv(100))
        assert set(queued) == {b"WATCHDOG=1"}
        manager.feed_watchdog()
        assert listener.recv(100) == b"READY=1\nSTATUS=running"
        assert listener.recv(100) == b"WATCHDOG=1"
        manager.close()
