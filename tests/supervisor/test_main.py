"""The signals by which a person ends a run, before the run can end in order."""

import asyncio
import os
import signal

import pytest

from supervisor.main import _EndSignals


class StandIn:
    def __init__(self):
        self.stops = 0

    def request_stop(self):
        self.stops += 1


@pytest.fixture(autouse=True)
def default_handlers():
    """A run inherits whether SIGINT and SIGHUP are ignored, and so do these tests."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_early_one_is_kept_until_the_run_can_end(number):
    one = StandIn()

    async def begin():
        signals.end(one)
        return one.stops

    with _EndSignals() as signals:
        os.kill(os.getpid(), number)
        assert one.stops == 0
        assert asyncio.run(begin()) == 1
    assert signal.getsignal(number) is signal.SIG_DFL


async def test_a_later_one_ends_the_run():
    one = StandIn()
    with _EndSignals() as signals:
        signals.end(one)
        assert one.stops == 0
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(20):
            while not one.stops:
                await asyncio.sleep(0.01)


def test_under_nohup_the_end_of_the_terminal_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with _EndSignals():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
