"""Both simulated venues in this process, and one venue's feed on real sockets that writes into real slots."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from types import SimpleNamespace

import aiohttp
import pytest
from msgspec.structs import replace

from arbshard.clock import SystemClock
from arbshard.config import Config, SimConfig
from arbshard.data.listings import find_universe
from arbshard.exchanges.exchanges import Exchanges
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.venues.registry import get_venue
from supervisor.exchanges import with_exchanges
from supervisor.feeds.venue import VenueFeed

MS = 1_000_000


class Bus:
    """Nobody listens."""

    def on_subscriptions(self, callback):
        """There will be none."""

    def wanted(self, topic):
        return False

    def publish(self, topic, payload):
        return False


class Shard:
    """Counts what it is rung for."""

    def __init__(self):
        self.pushed = {}

    def push(self, slot):
        self.pushed[slot] = self.pushed.get(slot, 0) + 1


class Writer(BooksWriter):
    """Keeps when each slot went dark and came back."""

    def set_live(self, slot, live):
        self.__dict__.setdefault("turns", []).append((time.monotonic(), slot, live))
        super().set_live(slot, live)


async def until(condition, timeout_s=60.0, what="it"):
    """Wait until ``condition()``; how long it took, in seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, f"{what} did not come about"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


class Rig:
    """One venue's feed, what it writes, and the exchange's switchboard."""

    def __init__(self, name, config, universe, exchanges, http, folder, opener=None, **settings):
        self.name = name
        self.http = http
        self.control = {"Authorization": f"Bearer {exchanges.token.use(str)}"}
        self.at = exchanges.upbit_at if name == "upbit" else exchanges.binance_at
        self.universe = universe
        self.shards = [Shard() for _ in universe.shards]
        self.writer = Writer.create(folder / f"books-{name}", 64, epoch=1)
        self.reader = BooksReader.attach(folder / f"books-{name}")
        self.slots = {leg.market.symbol: leg.slot for leg in universe.legs() if leg.market.venue == name}
        self.alerts = []
        self.config = replace(config.venues.get(name), **settings)
        extra = {} if opener is None else {"opener": opener}
        self.make = lambda **more: VenueFeed(
            get_venue(name), self.config, universe, self.writer, self.shards, Bus(), SystemClock(),
            alert=self.alerts.append, **extra, **more,
        )  # fmt: skip

    async def start(self, **more):
        self.feed = self.make(**more)
        await self.feed.start()
        return self

    async def close(self):
        await self.feed.stop()
        self.reader.close()
        self.writer.close()

    @property
    def note(self):
        self.feed.check()
        return self.feed.report()

    def live(self):
        return {symbol for symbol, slot in self.slots.items() if self.reader.live(slot)}

    def all_live(self):
        return len(self.live()) == len(self.slots)

    def turned_dark(self):
        """(when, slot) of each market that lost its last source."""
        return [(at, slot) for at, slot, live in self.writer.turns if not live]

    def gaps_s(self):
        """How long each of them was dark; only when all are back."""
        gaps, since = [], {}
        for at, slot, live in self.writer.turns:
            if not live:
                since[slot] = at
            elif slot in since:
                gaps.append(at - since.pop(slot))
        assert not since
        return gaps

    def book(self, symbol):
        """The market's newest book, as a worker decodes it."""
        found = self.reader.read(self.slots[symbol])
        return None if found is None else get_venue(self.name).decode(found[3], found[1])

    def sequence(self, symbol):
        return self.reader.sequence(self.slots[symbol])

    async def moving(self, *symbols):
        """Until each of ``symbols`` (all) has a new frame."""
        symbols = symbols or tuple(self.slots)
        before = {symbol: self.sequence(symbol) for symbol in symbols}
        return await until(lambda: all(self.sequence(one) > before[one] for one in symbols), what="new books")

    async def faults(self, **order):
        url = f"http://{self.at}/sim/faults"
        async with self.http.post(url, json=order, headers=self.control) as reply:
            assert reply.status == 200, await reply.text()

    async def stats(self):
        async with self.http.get(f"http://{self.at}/sim/stats") as reply:
            return (await reply.json())["venues"][self.name]


@pytest.fixture
def depth_interval_ms():
    """0: the streams show the same books as REST at every moment."""
    return 0


@pytest.fixture
async def exchanges(depth_interval_ms):
    sim = SimConfig(coins=3, updates_per_s=20, depth_interval_ms=depth_interval_ms)
    both = Exchanges(sim, SystemClock())
    await both.start()
    try:
        yield both
    finally:
        await both.stop()


@pytest.fixture
async def begin(exchanges, tmp_path):
    """Starts a feed of one venue with some of its settings changed."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        ready = {
            "pid": 1,
            "tls": None,
            "upbit": {
                "ws_url": f"ws://{exchanges.upbit_at}/websocket/v1",
                "rest_url": f"http://{exchanges.upbit_at}",
            },
            "binance": {
                "ws_url": f"ws://{exchanges.binance_at}",
                "rest_url": f"http://{exchanges.binance_at}",
            },
        }
        config, _ = with_exchanges(Config(), json.dumps(ready).encode())

        async def make(name, *, shards=2, more=None, opener=None, **settings):
            universe = await find_universe(config, shards=shards)
            rig = Rig(name, config, universe, exchanges, http, tmp_path, opener, **settings)
            await rig.start(**(more or {}))
            stack.push_async_callback(rig.close)
            return rig

        yield make


@pytest.fixture
def tools():
    return SimpleNamespace(until=until, MS=MS)
