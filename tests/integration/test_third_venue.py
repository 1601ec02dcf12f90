"""A venue that arbshard does not have: one folder and one line in the registry, and the generic code trades there.

``docs/adding-a-venue.md`` is what this does. The venue is ``tests/venues/third_venue``, its server is here.
"""

import asyncio
import hashlib
import hmac
import json
import sys
from collections import Counter
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web
from msgspec.structs import replace

from arbshard.accounts.orders import VenueOrders
from arbshard.accounts.stream import PrivateStream, StreamListener
from arbshard.clock import SystemClock
from arbshard.config import BaselineConfig, Config, LiveConfig, VenueConfig
from arbshard.config.venues import VenuesConfig
from arbshard.data import listings
from arbshard.data.clients import open_client
from arbshard.data.rest import RestMarketDataProvider
from arbshard.data.websocket import WebSocketMarketDataProvider
from arbshard.errors import UsageError
from arbshard.execution.live import keys as key_files
from arbshard.execution.live.port import LivePort
from arbshard.execution.live.rate_limiter import RateLimiter
from arbshard.execution.live.venue_session import VenueSession
from arbshard.model.order import Order
from arbshard.shm.budget import Budget
from arbshard.venues import registry
from arbshard.venues.registry import codecs, get_adapter, rate_windows

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
KEY, SECRET = "third-key", "third-secret-that-opens-nothing"
TAG = "ab1cd"
BOOK = b'{"book":"BTC-USDT","n":7,"bids":[[59999.5,1.5],[59999,2]],"asks":[[60000.5,1],[60001,3]]}'
WAIT_S = 10


class VenuesWithThird(VenuesConfig, frozen=True):
    """With a section for the third venue."""

    third: VenueConfig = VenueConfig(buy_fee_bps=Decimal(10), sell_fee_bps=Decimal(10))


@pytest.fixture
def adapter(monkeypatch):
    """The venue's folder, and its line in the registry."""
    monkeypatch.syspath_prepend(str(HERE.parent / "venues"))
    from third_venue import ADAPTER

    monkeypatch.setitem(registry.ADAPTERS, "third", ADAPTER)
    yield ADAPTER
    for name in [name for name in sys.modules if name.split(".")[0] == "third_venue"]:
        del sys.modules[name]


class Server:
    """The third venue, and of the home venue the listing."""

    def __init__(self):
        self.orders = {}
        self.state = "filled"
        self.handshakes = []
        self.refused = 0
        self.app = web.Application()
        self.app.add_routes(
            [
                web.get("/v1/market/all", self.home_listing),
                web.get("/v2/markets", self.listing),
                web.get("/v2/book", self.book),
                web.get("/v2/time", self.time),
                web.post("/v2/order", self.place),
                web.get("/v2/order", self.find),
                web.get("/books", self.books),
                web.get("/account", self.account),
            ]
        )

    async def home_listing(self, _):
        return web.json_response([{"market": "KRW-BTC"}, {"market": "KRW-USDT"}, {"market": "KRW-XRP"}])

    async def listing(self, _):
        rules = {"tick": "0.5", "lot": "0.0001", "least": "5"}
        rows = {"BTC-USDT": True, "ETH-USDT": True, "XRP-USDT": False, "BTC-EUR": True}
        return web.json_response(
            [{"market": name, "open": is_open, **rules} for name, is_open in rows.items()]
        )

    async def book(self, request):
        assert request.query["market"] == "BTC-USDT"
        return web.Response(body=BOOK)

    async def time(self, _):
        return web.json_response({"time": SystemClock().wall_ms()})

    async def place(self, request):
        body = await request.text()
        if not self._is_signed(request, body):
            return web.json_response({"error": "signature"}, status=401)
        asked = json.loads(body)
        self.orders[asked["name"]] = asked
        return web.json_response(self._standing(asked), headers={"X-Calls-Used": "3"})

    async def find(self, request):
        if not self._is_signed(request, ""):
            return web.json_response({"error": "signature"}, status=401)
        asked = self.orders.get(request.query["name"])
        if asked is None:
            return web.json_response({"error": "no such order"}, status=404)
        return web.json_response(self._standing(asked))

    async def books(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                wanted = json.loads(message.data)["subscribe"]
                await socket.send_str(json.dumps({"subscribed": len(wanted)}))
                await socket.send_bytes(BOOK)
        return socket

    async def account(self, request):
        headers = request.headers
        signature = hmac.new(SECRET.encode(), headers["X-Nonce"].encode(), hashlib.sha256).hexdigest()
        self.handshakes.append((headers["X-Key"] == KEY, headers["X-Signature"] == signature))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str('{"ready":true}')
                order = {
                    "name": f"{TAG}-s1-0-1-1-a0", "id": "9", "market": "BTC-USDT", "side": "buy", "state": "ended",
                    "filled": "0.0004", "remaining": "0.0006",
                    "fill": {"id": 5, "price": "60000.5", "amount": "0.0004", "fee": "0.024"},
                }  # fmt: skip
                await socket.send_str(json.dumps({"order": order}))
                await socket.send_str('{"balances":{"USDT":["100","0.5"]}}')
        return socket

    def _standing(self, asked):
        filled = asked["amount"] if self.state == "filled" else "0"
        fills = (
            [{"id": 5, "price": asked["price"], "amount": filled, "fee": "0.06"}]
            if self.state == "filled"
            else []
        )
        return {"id": "9", "state": self.state, "filled": filled, "fills": fills}

    def _is_signed(self, request, body):
        headers = request.headers
        text = headers["THIRD-TIME"] + request.method + request.path_qs + body
        good = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
        is_signed = headers["THIRD-KEY"] == KEY and headers["THIRD-SIGNATURE"] == good
        self.refused += not is_signed
        return is_signed


@pytest.fixture
async def server():
    venue = Server()
    runner = web.AppRunner(venue.app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    _, port = runner.addresses[0]
    venue.at = f"127.0.0.1:{port}"
    yield venue
    await runner.cleanup()


@pytest.fixture
def config(server, adapter):
    venues = VenuesWithThird(away="third").at(
        {
            "upbit": (f"ws://{server.at}", f"http://{server.at}"),
            "third": (f"ws://{server.at}", f"http://{server.at}"),
        }
    )
    live = LiveConfig(dry_run=False, order_timeout_s=5.0)
    return replace(
        Config(mode="live", data="public"),
        venues=venues,
        live=live,
        baseline=BaselineConfig(is_required=False),
    )


@pytest.fixture
async def universe(config):
    """What the generic code finds with the third venue in the role of away."""
    return await listings.find_universe(config)


@pytest.fixture
def third_keys(config):
    environ = {"ARBSHARD_UPBIT_KEY": "u", "ARBSHARD_UPBIT_SECRET": "s"}
    with pytest.raises(UsageError, match="ARBSHARD_THIRD_KEY and ARBSHARD_THIRD_SECRET"):
        key_files.load_keys(config, environ.get)
    environ |= {"ARBSHARD_THIRD_KEY": KEY, "ARBSHARD_THIRD_SECRET": SECRET}
    return key_files.load_keys(config, environ.get)["third"]


class NoBooks:
    def tradable(self, leg):
        return None

    def tradable_fx(self):
        return None

    def fx(self):
        return None


@pytest.fixture
async def port(config, universe, third_keys, tmp_path):
    """The way of a worker's orders to the venue."""
    counts, failures, clock = Counter(), [], SystemClock()

    def count(name):
        counts[name] += 1

    with closing(Budget.open(tmp_path, "worker-0", rate_windows())) as budget:
        gate = RateLimiter(budget, config.live, clock, count)
        line = VenueSession("third", open_client("third", config, third_keys, clock), gate, clock, count)
        made = LivePort(
            [universe.pairs[0].away],
            {"third": line},
            gate,
            NoBooks(),
            config.live,
            clock,
            count,
            failures.append,
        )
        made.tag = TAG
        await made.start()
        yield made
        await made.close()
        assert budget.usage("third_calls", clock.monotonic_ns()).used > 0
    assert failures == []
    assert "warm_failed" not in counts


def order_of(universe, client_id="s1-0-1-1-a0"):
    return Order(client_id, universe.pairs[0].away.market, "buy", Decimal("0.001"), Decimal("60000.5"))


async def test_it_is_listed(universe):
    (pair,) = universe.pairs
    assert (pair.home.market.symbol, str(pair.away.market)) == ("KRW-BTC", "third:BTC-USDT")
    assert pair.away.rules.round_price(Decimal("60000.7"), "buy") == Decimal("60000.5")
    assert pair.away.fees.buy_bps == 10


@pytest.mark.parametrize("provider", [WebSocketMarketDataProvider, RestMarketDataProvider])
async def test_its_books_are_decoded(config, universe, provider):
    books = provider(config, [universe.pairs[0].away.market], SystemClock())
    await books.start()
    try:
        async with asyncio.timeout(WAIT_S):
            while (book := books.get_latest_snapshot("BTC-USDT")) is None:
                await books.changes(0.1)
    finally:
        await books.stop()
    assert (book.venue, book.best_bid, book.best_ask) == ("third", 59999.5, 60000.5)
    assert codecs()["third"].route(BOOK) == "BTC-USDT"


async def test_its_orders_are_signed_and_read(server, universe, port):
    result = await port.send(order_of(universe))
    assert (result.state, result.filled) == ("FILLED", Decimal("0.001"))
    (fill,) = result.fills
    assert (fill.fill_id, fill.fee, fill.fee_currency) == ("third:BTC-USDT:5", Decimal("0.06"), "USDT")
    (asked,) = server.orders.values()
    assert asked == {
        "market": "BTC-USDT", "side": "buy", "amount": "0.001", "price": "60000.5", "until": "IOC",
        "name": f"{TAG}-s1-0-1-1-a0",
    }  # fmt: skip
    assert server.refused == 0


async def test_its_words_have_meanings(server, universe, port):
    server.state = "ended"
    assert (await port.send(order_of(universe))).state == "EXPIRED"
    server.state = "a new word"
    order = order_of(universe, "s1-0-1-2-a0")
    assert (await port.send(order)).state == "UNKNOWN"
    server.state = "filled"
    assert (await port.ask(order)).state == "FILLED"
    assert (await port.ask(order_of(universe, "s1-0-1-3-a0"))).detail == "no such order"


class Watcher(StreamListener):
    """Implements ``StreamListener`` and ``Counting``."""

    def __init__(self):
        self.orders, self.balances = [], {}
        self.told = asyncio.Event()

    def on_up(self):
        pass

    def on_order(self, heard):
        self.orders.append(heard)

    def on_balances(self, heard):
        self.balances |= heard.balances
        self.told.set()

    def count(self, name):
        pass

    def set(self, name, value):
        pass


async def test_its_private_stream_is_signed_and_read(server, config, universe, third_keys):
    watcher = Watcher()
    stream = PrivateStream(
        get_adapter("third").account,
        config.venues.get("third"),
        third_keys,
        watcher,
        watcher,
        SystemClock(),
        5000,
    )
    running = asyncio.create_task(stream.run())
    try:
        async with asyncio.timeout(WAIT_S):
            await watcher.told.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert server.handshakes == [(True, True)]
    market = universe.pairs[0].away.market
    event = VenueOrders("third", TAG, {market.symbol: market}).update(watcher.orders[0])
    assert (event.client_id, event.state, event.fills[0].fill_id) == (
        "s1-0-1-1-a0",
        "EXPIRED",
        "third:BTC-USDT:5",
    )
    assert watcher.balances["USDT"] == (Decimal(100), Decimal("0.5"))
