"""The terminal of a run is closed, as a lost SSH session does it: the run ends in order, as by SIGTERM."""

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from typing_extensions import override

from arbshard.ledger.verify import verify
from perf.running import System

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SESSION = """
import os, sys
os.setsid()
terminal = os.open(sys.argv[1], os.O_RDWR)
for descriptor in map(int, sys.argv[2].split(",")):
    os.dup2(terminal, descriptor)
os.close(terminal)
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""
"""Begins a session whose controlling terminal is the first argument, and runs a program in it."""


@pytest.fixture(autouse=True)
def hang_up_is_not_ignored():
    """A run inherits whether SIGHUP is ignored, and so do these tests when they are started under ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class InSession(System):
    """In a session of its own on a terminal. ``master`` is our end of it."""

    descriptors = "0,1,2"
    prefix: tuple[str, ...] = ()
    master = -1

    @override
    def _open(self, command, environment, out, err):
        self.master, slave = pty.openpty()
        session = ["-c", SESSION, os.ttyname(slave), self.descriptors]
        try:
            return super()._open(
                [*self.prefix, sys.executable, *session, *command[1:]],
                {**environment, "TERM": "xterm"},
                out,
                err,
            )
        finally:
            os.close(slave)

    def read(self):
        """Take out what is written to the terminal, so that nobody waits for room."""
        os.set_blocking(self.master, False)
        try:
            return os.read(self.master, 1 << 20)
        except BlockingIOError:
            return b""

    def hang_up(self):
        os.close(self.master)
        self.master = -1

    def __exit__(self, *args):
        super().__exit__(*args)
        if self.master >= 0:
            self.hang_up()


class WithLog(InSession):
    """No table is drawn: the log goes to the terminal."""

    descriptors = "0,2"


class UnderNohup(InSession):
    """Started to outlive its terminal."""

    descriptors = "0,2"
    prefix = ("nohup",)


def until(holds, what, system, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        system.read()
        time.sleep(0.02)


def working(system):
    """Process ids of the children that trade, by name."""
    return {child.name: child.pid for child in system.note().children if child.name not in ("sim", "viewer")}


@pytest.mark.parametrize(
    "kind",
    [pytest.param(InSession, id="table"), pytest.param(WithLog, id="log", marks=pytest.mark.nightly)],
)
def test_it_closes_its_positions_and_leaves_nothing(start, make_config, kind):
    system = start(make_config(strategy={"max_hold_s": 60.0}), kind=kind)
    until(lambda: system.risk_value("open_positions") > 0, "a position is open", system)
    # Somebody sends it to all children that the supervisor has to end: none ends before its turn.
    family = working(system)
    for pid in family.values():
        os.kill(pid, signal.SIGHUP)
    time.sleep(1.0)
    assert working(system) == family
    system.hang_up()
    assert system.ended(timeout_s=60).code == 0, system.output
    assert "Traceback" not in system.output
    found = verify(system.state / "ledger.sqlite")
    assert not found.differences, found.differences
    assert found.positions == found.closed > 0
    assert system.leftovers() == []


def test_nohup_means_that_it_goes_on(start, make_config):
    system = start(make_config(), kind=UnderNohup)
    system.hang_up()
    os.kill(system.pid, signal.SIGHUP)
    beats = system.risk_value("beat")
    time.sleep(1.0)
    system.require_alive()
    assert system.risk_value("beat") > beats
    assert system.end(40.0) == 0, system.output


def test_a_table_whose_terminal_is_gone_ends_well_and_says_why(start, make_config):
    """Its supervisor may learn of the end of the terminal later, and must not take this for a crash."""
    system = start(make_config())
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "arbshard.status", "--run-dir", str(system.files.dir)]
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=subprocess.PIPE, env={**system.env, "TERM": "xterm"}
    ) as table:
        try:
            os.close(slave)
            assert os.read(master, 1)  # it draws
            os.close(master)
            _, said = table.communicate(timeout=60)
        finally:
            table.kill()
    assert (table.returncode, said.decode().strip()) == (
        0,
        "the terminal cannot be written: Input/output error",
    )
