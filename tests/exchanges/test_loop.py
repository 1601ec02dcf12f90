"""The clockwork on a clock that jumps: prices catch up, sends are skipped and counted, nothing is queued."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from arbshard.clock import ManualClock
from arbshard.config import SimConfig
from arbshard.exchanges.binance.frames import BinanceFeed
from arbshard.exchanges.counters import Counters
from arbshard.exchanges.hub import Hub
from arbshard.exchanges.loop import run_world
from arbshard.exchanges.session import Feed, SharedStream
from arbshard.exchanges.upbit.frames import UpbitFeed
from arbshard.exchanges.world import FX_SYMBOL, SimWorld
from arbshard.exchanges.wsframe import WsFrame


class Client:
    def __init__(self) -> None:
        self.count = 0

    def send(self, frame: WsFrame) -> None:
        self.count += 1


class Rig:
    """Three markets, ten steps a second; one client of the FX book."""

    def __init__(self) -> None:
        self.world = SimWorld(SimConfig(coins=1))
        self.clock, self.counters, self.client = ManualClock(), Counters(), Client()
        hubs = {"upbit": Hub(binary=True), "binance": Hub(binary=False)}
        stream = SharedStream(FX_SYMBOL, "orderbook", 5, slow=False, form="DEFAULT", name=FX_SYMBOL)
        hubs["upbit"].change(self.client, (), [stream])
        markets = {"upbit": self.world.upbit, "binance": self.world.binance}
        feeds: dict[str, dict[str, Feed]] = {
            venue: {symbol: UpbitFeed(market) for symbol, market in listed.items()}
            for venue, listed in markets.items()
        }
        self.desk: list[tuple[str, int]] = []
        desks = {"upbit": lambda symbol, now_ms: self.desk.append((symbol, now_ms))}
        self.task = asyncio.create_task(run_world(self.world, feeds, hubs, self.clock, self.counters, desks))

    async def advance(self, milliseconds: float) -> None:
        self.clock.advance_ms(milliseconds)
        await asyncio.sleep(0.06)  # the loop wakes at least once

    def seen(self) -> tuple[int, int, int, int]:
        fx_steps = self.world.upbit[FX_SYMBOL].steps
        return fx_steps, self.client.count, self.counters.skipped_sends, self.counters.time_jumps


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    rig.task.cancel()
    await asyncio.gather(rig.task, return_exceptions=True)


async def test_in_time_everything_is_sent(rig: Rig) -> None:
    await rig.advance(0)
    assert rig.seen() == (1, 1, 0, 0)
    await rig.advance(99)
    assert rig.seen() == (1, 1, 0, 0)
    await rig.advance(1)
    assert rig.seen() == (2, 2, 0, 0)
    assert rig.counters.steps == 4


async def test_late_updates_are_made_and_not_sent(rig: Rig) -> None:
    await rig.advance(0)
    await rig.advance(1000)
    # Of 30 updates due, those of the last 100 ms go out: positions 27 to 30, two of them FX.
    assert rig.seen() == (11, 3, 26, 0)


async def test_after_a_standstill_it_goes_on_from_now(rig: Rig) -> None:
    await rig.advance(0)
    await rig.advance(3_600_000)
    assert rig.seen() == (1, 1, 0, 1)
    assert rig.counters.steps == 2
    await rig.advance(100)
    assert rig.seen() == (2, 2, 0, 1)


async def test_a_venues_desk_hears_of_every_step_sent_or_not(rig: Rig) -> None:
    await rig.advance(0)
    assert rig.desk == [(FX_SYMBOL, rig.clock.wall_ms())]
    await rig.advance(1000)
    assert len(rig.desk) == 21  # of two markets at this venue; the other venue has no desk here
    assert {symbol for symbol, _ in rig.desk} == {FX_SYMBOL, "KRW-BTC"}


async def test_what_goes_at_intervals_follows_its_step_once() -> None:
    world = SimWorld(SimConfig(coins=1, updates_per_s=100))
    clock, counters = ManualClock(), Counters()
    at_once, later = Client(), Client()
    hub = Hub(binary=False)
    for client, kind, depth in ((at_once, "bookTicker", 0), (later, "depth", 20)):
        hub.change(client, (), [SharedStream("BTCUSDT", kind, depth, slow=False, form="raw", name=kind)])
    feeds: dict[str, dict[str, Feed]] = {
        "upbit": {symbol: UpbitFeed(market) for symbol, market in world.upbit.items()},
        "binance": {"BTCUSDT": BinanceFeed(world.binance["BTCUSDT"], 100, interval_ms=1000)},
    }
    hubs = {"upbit": Hub(binary=True), "binance": hub}
    task = asyncio.create_task(run_world(world, feeds, hubs, clock, counters))
    for _ in range(5):
        clock.advance_ms(10)
        await asyncio.sleep(0.01)
    assert (at_once.count > 1, later.count) == (True, 0)
    async with asyncio.timeout(5):
        while later.count == 0:
            await asyncio.sleep(0.01)
    assert later.count == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
