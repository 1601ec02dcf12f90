"""Private streams against the embedded exchanges: subscribed, refused, lost and back again."""

import asyncio

import pytest

from arbshard.accounts.stream import PrivateStream, StreamListener
from arbshard.clock import SystemClock
from arbshard.venues.keys import Keys
from arbshard.venues.registry import get_adapter

pytestmark = pytest.mark.integration


class Watcher(StreamListener):
    """Implements ``StreamListener`` and ``Counting``."""

    def __init__(self):
        self.ups = 0
        self.counts = {}

    def on_up(self):
        self.ups += 1

    def on_order(self, report):
        pass

    def on_balances(self, report):
        pass

    def count(self, name):
        self.counts[name] = self.counts.get(name, 0) + 1

    def set(self, name, value):
        self.counts[name] = value


@pytest.fixture
async def open_private(world):
    tasks = []

    def begin(venue, keys=None, ahead_ms=0):
        watcher = Watcher()
        stream = PrivateStream(
            get_adapter(venue).account,
            world.config.venues.get(venue),
            keys or world.keys[venue],
            watcher,
            watcher,
            SystemClock(),
            window_ms=5000,
        )
        stream.ahead_ms = ahead_ms
        tasks.append(asyncio.create_task(stream.run()))
        return stream, watcher

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("venue", ["upbit", "binance"])
async def test_it_comes_up_and_back_after_a_loss(world, open_private, until, venue):
    stream, watcher = open_private(venue)
    await until(lambda: watcher.ups >= 1)
    assert stream.is_up
    assert watcher.counts["stream_up"] == 1
    await world.fault(venue, disconnect={"sockets": "private"})
    await until(lambda: watcher.ups >= 2)
    assert watcher.counts["reconnects"] == 1
    assert stream.why


async def test_a_goodbye_is_obeyed(world, open_private, until):
    """Binance tells of a server's end before it comes."""
    _, watcher = open_private("binance")
    await until(lambda: watcher.ups >= 1)
    await world.fault("binance", shutdown_notice={"sockets": "private", "ms_min": 60_000, "ms_max": 60_000})
    await until(lambda: watcher.ups >= 2)


@pytest.mark.parametrize(
    ("venue", "keys", "words"),
    [
        ("upbit", Keys("upbit", "nobody", "x" * 40), "401"),
        ("upbit", Keys("upbit", "sim-upbit-key", "x" * 40), "401"),
        ("binance", Keys("binance", "nobody", "x"), "-2015"),
        ("binance", Keys("binance", "sim-binance-key", "x"), "-1022"),
    ],
)
async def test_a_key_that_is_refused(open_private, venue, keys, words):
    stream, watcher = open_private(venue, keys)
    async with asyncio.timeout(10):
        await stream.tried.wait()
    assert words in stream.why
    assert watcher.ups == 0
    assert not stream.is_up


async def test_the_venues_clock_is_the_one_to_sign_with(world, open_private, until):
    await world.keep("binance", clock_skew={"times": 1, "ms_min": 0, "ms_max": 0, "skew_ms": 20_000})
    stream, _ = open_private("binance")
    async with asyncio.timeout(10):
        await stream.tried.wait()
    assert "-1021" in stream.why
    _, watcher = open_private("binance", ahead_ms=20_000)
    await until(lambda: watcher.ups >= 1)
