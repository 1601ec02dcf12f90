"""The embedded exchanges inside the test's own loop, with what watches their accounts."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest
from msgspec.structs import replace

from arbshard.clock import SystemClock
from arbshard.config import Config, SimAccountsConfig, SimConfig
from arbshard.exchanges.exchanges import Exchanges
from arbshard.execution.live.keys import load_keys


class World:
    """Running exchanges, and the configuration that leads to them."""

    def __init__(self, exchanges, sim):
        upbit, binance = exchanges.upbit_at, exchanges.binance_at
        config = Config(mode="live", sim=sim)
        self.config = replace(
            config,
            venues=replace(
                config.venues,
                upbit=replace(
                    config.venues.upbit, ws_url=f"ws://{upbit}/websocket/v1", rest_url=f"http://{upbit}"
                ),
                binance=replace(
                    config.venues.binance, ws_url=f"ws://{binance}", rest_url=f"http://{binance}"
                ),
            ),
            live=replace(config.live, reconcile_every_s=1.0),
        )
        self.control = {"Authorization": f"Bearer {exchanges.token.use(str)}"}
        self.keys = load_keys(self.config, {}.get)

    async def post(self, venue, path, body):
        url = f"{self.config.venues.get(venue).rest_url}{path}"
        async with aiohttp.ClientSession(headers=self.control) as http, http.post(url, json=body) as reply:
            assert reply.status == 200, await reply.text()

    async def fault(self, venue, **faults):
        """Let them happen once."""
        await self.post(venue, "/sim/faults", {"once": faults})

    async def keep(self, venue, **faults):
        """Set them, until cleared."""
        await self.post(venue, "/sim/faults", {"set": faults})

    async def account(self, venue):
        """The account as the exchange itself sees it."""
        url = f"{self.config.venues.get(venue).rest_url}/sim/accounts"
        async with aiohttp.ClientSession(headers=self.control) as http, http.get(url) as reply:
            return (await reply.json())[self.keys[venue].key.use(str)]


@asynccontextmanager
async def _running(coins=2, **accounts):
    sim = SimConfig(coins=coins, accounts=SimAccountsConfig(**accounts))
    exchanges = Exchanges(sim, SystemClock())
    await exchanges.start()

    async def tend():
        while True:
            await asyncio.sleep(0.1)
            exchanges.on_time()

    tending = asyncio.create_task(tend())
    try:
        yield World(exchanges, sim)
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        await exchanges.stop()


@pytest.fixture(scope="session")
def running():
    """Settings of the accounts → a running world."""
    return _running


@pytest.fixture
async def world():
    async with _running() as one:
        yield one


@pytest.fixture(scope="session")
def until():
    """Waits until something is so."""

    async def wait(is_so, timeout_s=60.0):
        async with asyncio.timeout(timeout_s):
            while not is_so():
                await asyncio.sleep(0.01)

    return wait
