"""What a defect, or a page that cannot be written, does to a run: it is drained, and its heart goes on."""

import asyncio
import re
import time

import pytest
from structlog.testing import capture_logs

from arbshard.config import Config
from arbshard.errors import RunFailed, SharedMemoryError
from supervisor.main import real_ports
from supervisor.run import Run
from supervisor.rundir import RunDir


@pytest.fixture
def run(run_root, tmp_path):
    run_root.mkdir(parents=True, mode=0o700)
    run_dir = RunDir.acquire("t")
    one = Run(Config(), run_dir.files, tmp_path, real_ports(Config(), run_dir, {}))
    yield one
    one._status.close()
    run_dir.release()


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("a mistake"), KeyError("x")])
async def test_a_defect_is_the_reason_of_an_orderly_end(run, monkeypatch, error):
    def check():
        raise error

    monkeypatch.setattr(run, "_check_children", check)
    async with asyncio.timeout(10):
        await run.serve(None, lambda: None)
    assert isinstance(run.failure, RunFailed)
    assert repr(error) in str(run.failure)


async def test_a_run_that_cannot_go_on_says_why_in_its_own_words(run, monkeypatch):
    def check():
        raise RunFailed("risk cannot be kept running")

    monkeypatch.setattr(run, "_check_children", check)
    async with asyncio.timeout(10):
        await run.serve(None, lambda: None)
    assert str(run.failure) == "risk cannot be kept running"


async def test_a_report_that_fails_ends_nothing(run):
    def progress():
        raise ValueError("a page is damaged")

    with capture_logs() as logs:
        await run.report(progress)
    assert run.failure is None
    assert [(line["log_level"], line["event"]) for line in logs] == [
        ("error", "the progress cannot be reported")
    ]


async def test_the_heart_beats_on_when_the_note_cannot_be_written(run, monkeypatch):
    tries = []

    def write(*_):
        tries.append(1)
        raise SharedMemoryError("no room for the note")

    monkeypatch.setattr(run._status, "write", write)
    beats = []
    beat = run._status.beat

    def count(now_ns):
        beats.append(now_ns)
        return beat(now_ns)

    monkeypatch.setattr(run._status, "beat", count)
    heart = asyncio.create_task(run._beat())
    async with asyncio.timeout(10):
        while len(beats) < 20:
            await asyncio.sleep(0.01)
    heart.cancel()
    assert len(tries) == 1  # and again after a pause, not with every beat


async def test_a_pause_that_stopped_the_trading_is_an_alert_with_its_length(run, monkeypatch):
    alerts = []
    monkeypatch.setattr(run, "alert", alerts.append)
    heart = asyncio.create_task(run._beat())
    await asyncio.sleep(0)
    time.sleep(1.1)
    async with asyncio.timeout(10):
        while not alerts:
            await asyncio.sleep(0.01)
    heart.cancel()
    (line,) = alerts
    assert re.fullmatch(r"the supervisor stood still for 1\.\d s: nothing was traded meanwhile", line)


class TestIsWell:
    """What a watchdog is fed by."""

    @pytest.fixture
    def trading(self, run, monkeypatch):
        """A run that trades, as far as ``is_well`` can see."""
        monkeypatch.setattr(run._watchdog, "is_beating", lambda name, _now_ns: name == "risk")
        run._status.state = "running"
        run._turned_ns = time.monotonic_ns()
        return run

    def test_while_its_loop_turns_and_risk_answers(self, trading):
        assert trading.is_well()

    def test_not_while_the_loop_stands_still(self, trading):
        trading._turned_ns -= 6_000_000_000
        assert not trading.is_well()

    def test_not_while_risk_is_silent_or_gone(self, trading, monkeypatch):
        monkeypatch.setattr(trading._watchdog, "is_beating", lambda _name, _now_ns: False)
        assert not trading.is_well()
        trading.request_stop()  # its end has time-outs of its own
        assert trading.is_well()

    async def test_every_turn_of_the_main_loop_counts(self, run, monkeypatch):
        monkeypatch.setattr(run, "_check_children", lambda: None)
        async with asyncio.timeout(10):
            await run.serve(0.2, None)
        assert time.monotonic_ns() - run._turned_ns < 5_000_000_000

    def test_a_run_that_has_not_started_has_no_risk(self, run):
        assert not run._watchdog.is_beating("risk", time.monotonic_ns())
        assert run.is_well()

    def test_a_defect_of_the_control_socket_is_no_order_to_end(self, run):
        run._on_control_failed()
        assert run.is_stopping
        assert isinstance(run.failure, RunFailed)
