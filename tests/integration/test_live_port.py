"""Real orders to the accounts of the simulated exchanges, over HTTP alone and over Binance's WebSocket API."""

import asyncio
import json
import logging
import time
from collections import Counter
from decimal import Decimal

import aiohttp
import pytest
from msgspec.structs import replace

from arbshard.clock import SystemClock
from arbshard.config import load_config
from arbshard.data.clients import open_order_client
from arbshard.data.listings import find_universe
from arbshard.execution.live.keys import load_keys
from arbshard.execution.live.port import LivePort
from arbshard.execution.live.rate_limiter import RateLimiter
from arbshard.execution.live.venue_session import VenueSession
from arbshard.model.order import Order
from arbshard.shm.budget import Budget
from arbshard.venues.registry import rate_windows
from support.exchanges import exchanges_in

pytestmark = pytest.mark.integration

START = time.monotonic_ns()


class Books:
    def tradable(self, leg):
        return None

    def tradable_fx(self):
        return None

    def fx(self):
        return None


@pytest.fixture
def start_sim(tmp_path):
    """Addresses of simulated exchanges with two coins."""
    with exchanges_in(tmp_path, coins=2) as start:
        yield start


class Market:
    """A port over running exchanges."""

    def __init__(self, config, plain, universe, run_dir, token):
        self.config = config
        self.control = {"Authorization": f"Bearer {token}"}
        self.plain = plain
        self.pair = next(pair for pair in universe.pairs if pair.base == "BTC")
        self.counts = Counter()
        self.failures = []
        clock = SystemClock()
        self.budget = Budget.open(run_dir, "worker-0", rate_windows())
        gate = RateLimiter(self.budget, config.live, clock, self.count)
        keys = load_keys(config, {}.get)
        self.clients = {venue: open_order_client(venue, config, key, clock) for venue, key in keys.items()}
        self.lines = {
            venue: VenueSession(venue, one, gate, clock, self.count) for venue, one in self.clients.items()
        }
        self.port = LivePort(
            [self.pair.home, self.pair.away], self.lines, gate, Books(), config.live, clock, self.count,
            self.failures.append,
        )  # fmt: skip
        self.port.tag = "ab1cd"
        self.numbers = iter(range(1, 1000))

    def count(self, name):
        self.counts[name] += 1

    async def until_socket_is_up(self):
        async with asyncio.timeout(10):
            while not self.clients["binance"].is_up:
                await asyncio.sleep(0.01)

    async def crossing(self, venue, side, quantity="0.002"):
        """An order that fills: a little behind the touch."""
        leg = self.pair.leg(venue)
        home = venue == "upbit"
        path = "/v1/orderbook?markets=KRW-BTC" if home else "/api/v3/depth?symbol=BTCUSDT&limit=5"
        book = await self.get(venue, path)
        touch = Decimal(book[0]["orderbook_units"][0]["ask_price"] if home else book["asks"][0][0])
        limit = leg.rules.round_price(touch * Decimal("1.01" if side == "buy" else "0.98"), side)
        name = f"s1-0-{START}-{next(self.numbers)}-{venue[0]}0"[-24:]
        return Order(name, leg.market, side, Decimal(quantity), limit)

    async def wallet(self, venue):
        return await self.get(venue, "/sim/accounts")

    async def get(self, venue, path):
        url = self.plain.venues.get(venue).rest_url + path
        headers = self.control if path.startswith("/sim/") else {}
        async with aiohttp.ClientSession(headers=headers) as http, http.get(url) as reply:
            return json.loads(await reply.text(), parse_float=Decimal)


@pytest.fixture(params=["rest", "ws"])
async def open_market(request, start_sim, tmp_path):
    markets = []

    async def build(*, tls=False, faults=None, **live):
        ready = start_sim(tls=tls, faults=faults or {})
        config = load_config(None, {"mode": "live", "live": {"dry_run": False, **live}})
        config = replace(config, venues=_addresses(config.venues, ready["tls"] if tls else ready))
        binance = replace(config.venues.binance, order_api=request.param)
        config = replace(config, venues=replace(config.venues, binance=binance))
        plain = replace(config, venues=_addresses(config.venues, ready))
        market = Market(config, plain, await find_universe(plain, shards=1), tmp_path, ready["token"])
        markets.append(market)
        await market.port.start()
        if request.param == "ws":
            await market.until_socket_is_up()
        return market

    yield build
    for market in markets:
        if request.param == "ws":  # picows leaves a socket behind when it is cancelled within its handshake
            await market.until_socket_is_up()
        await market.port.close()
        market.budget.close()
        assert market.failures == []


def _addresses(venues, ready):
    changes = {
        name: replace(
            venues.get(name),
            ws_url=ready[name]["ws_url"],
            rest_url=ready[name]["rest_url"],
            ca_file=ready.get("ca_file", ""),
        )
        for name in ("upbit", "binance")
    }
    return replace(venues, **changes)


@pytest.mark.parametrize("tls", [False, pytest.param(True, marks=pytest.mark.needs("tls"))])
async def test_orders_fill_and_asking_agrees(open_market, tls):
    market = await open_market(tls=tls)
    for venue in ("upbit", "binance"):
        for side in ("buy", "sell"):
            order = await market.crossing(venue, side)
            sent = []
            result = await market.port.send(order, on_sent=lambda sent=sent: sent.append(1))
            assert result.state == "FILLED", result
            assert result.filled == order.quantity
            assert sent == [1]
            assert all(fill.fee > 0 for fill in result.fills)
            assert set((await market.port.ask(order)).fills) == set(result.fills)
    assert market.counts["warm_failed"] == 0
    assert len(market.port.tracker) == 0


async def test_both_venues_say_no_in_their_words(open_market):
    market = await open_market()
    for venue, words in (("upbit", "insufficient_funds_bid"), ("binance", "-2010")):
        order = await market.crossing(venue, "buy", "1")
        result = await market.port.send(order)
        assert (result.state, result.detail.split(":")[0]) == ("REJECTED", words)


async def test_dry_run_asks_and_changes_nothing(open_market):
    market = await open_market(dry_run=True)
    before = {venue: await market.wallet(venue) for venue in market.lines}
    for venue in market.lines:
        result = await market.port.send(await market.crossing(venue, "buy"))
        assert result.detail == "DRY RUN: not sent (would be accepted)"
    after = {venue: await market.wallet(venue) for venue in market.lines}
    assert after == before


async def test_reply_that_is_lost_is_asked_about(open_market):
    market = await open_market(faults={"lost_reply": {"times": 1}}, order_timeout_s=1.0)
    for venue in market.lines:
        order = await market.crossing(venue, "buy")
        assert (await market.port.send(order)).state == "UNKNOWN"
        result = await market.port.ask(order)
        assert (result.state, result.filled) == ("FILLED", order.quantity)


async def test_request_that_is_lost_was_never_accepted(open_market):
    market = await open_market(
        faults={"lost_request": {"times": 1}}, order_timeout_s=0.3, recv_window_ms=300, not_found_after_s=1.0
    )
    for venue in market.lines:
        order = await market.crossing(venue, "buy")
        assert (await market.port.send(order)).state == "UNKNOWN"
        assert (await market.port.ask(order)).state == "UNKNOWN"
        await asyncio.sleep(1.0)
        assert (await market.port.ask(order)).state == "NOT_ACCEPTED"


async def test_server_error_after_it_was_carried_out(open_market):
    market = await open_market(faults={"error_500": {"times": 1}})
    for venue in market.lines:
        order = await market.crossing(venue, "buy")
        assert (await market.port.send(order)).state == "UNKNOWN"
        assert (await market.port.ask(order)).state == "FILLED"


async def test_wrong_clock_is_put_right(open_market):
    market = await open_market(
        faults={"clock_skew": {"venue": "binance", "times": 1, "ms_min": 0, "ms_max": 0}}
    )
    assert market.lines["binance"].skew_ms > 9000
    assert (await market.port.send(await market.crossing("binance", "buy"))).state == "FILLED"


async def test_log_never_shows_a_key(open_market, caplog):
    caplog.set_level(logging.DEBUG)
    market = await open_market()
    for venue in market.lines:
        await market.port.send(await market.crossing(venue, "buy"))
        await market.port.send(await market.crossing(venue, "buy", "1"))
    for keys in load_keys(market.config, {}.get).values():
        key, secret = keys.key.use(str), keys.secret.use(str)
        assert key not in caplog.text
        assert secret not in caplog.text
    assert "signature=" not in caplog.text
