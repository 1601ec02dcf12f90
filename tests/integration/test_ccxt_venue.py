"""A venue without a folder, reached through ccxt: a whole order's life and its books, over real sockets.

The venue is ccxt's class ``binanceus``, whose calls the embedded exchange of Binance's protocol understands.
"""

import asyncio
import json
import time
import urllib.request
from collections import Counter
from decimal import Decimal
from typing import ClassVar

import pytest
from aiohttp import web
from msgspec.structs import replace

from arbshard.clock import SystemClock
from arbshard.config import SimConfig, load_config
from arbshard.data.ccxt_client import CcxtClient
from arbshard.data.clients import open_client
from arbshard.data.listings import find_universe
from arbshard.data.rest import RestMarketDataProvider
from arbshard.errors import UsageError
from arbshard.execution.live.port import LivePort
from arbshard.execution.live.rate_limiter import RateLimiter
from arbshard.execution.live.venue_session import VenueSession
from arbshard.model.money import exact
from arbshard.model.order import Order
from arbshard.shm.budget import Budget
from arbshard.venues.base.client import NoAnswer
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.keys import Keys
from arbshard.venues.registry import get_adapter, rate_windows
from support.exchanges import running_exchanges
from support.instance import Instance

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("ccxt"),
    # Of ccxt and what it imports; nothing of ours.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

ACCOUNTS = SimConfig().accounts
KEYS = Keys("binanceus", ACCOUNTS.binance_key, ACCOUNTS.binance_secret)
TAG = "ab1cd"


class Exchanges:
    """The embedded exchanges in a process of their own."""

    def __init__(self, said):
        self.said = said

    def fault(self, **order):
        asked = urllib.request.Request(
            f"{self.said['binance']['rest_url']}/sim/faults",
            json.dumps(order).encode(),
            {"Authorization": f"Bearer {self.said['token']}", "Content-Type": "application/json"},
        )
        urllib.request.urlopen(asked, timeout=10).close()


@pytest.fixture(scope="module")
def exchanges(tmp_path_factory):
    with running_exchanges(tmp_path_factory.mktemp("sim"), coins=2) as said:
        yield Exchanges(said)


def config_of(exchanges, client_id_param="clientOrderId", **live):
    said = exchanges.said
    return load_config(
        None,
        {
            "mode": "live",
            "data": "public",
            "live": {"dry_run": False, "order_timeout_s": 2.0, **live},
            "venues": {
                "away": "binanceus",
                "upbit": {"rest_url": said["upbit"]["rest_url"], "ws_url": said["upbit"]["ws_url"]},
                "binanceus": {
                    "adapter": "ccxt",
                    "client_id_param": client_id_param,
                    "buy_fee_in_base": True,
                    "rest_url": said["binance"]["rest_url"],
                    "buy_fee_bps": "10",
                    "sell_fee_bps": "10",
                },
            },
        },
    )


@pytest.fixture
def config(exchanges):
    return config_of(exchanges)


class NoBooks:
    def tradable(self, leg):
        return None

    def tradable_fx(self):
        return None

    def fx(self):
        return None


class Desk:
    """A worker's way to the venue, and its prices."""

    def __init__(self, config, universe, client, budget):
        self.counts, self.failures, clock = Counter(), [], SystemClock()
        self.leg = next(pair for pair in universe.pairs if pair.base == "BTC").away
        self.client = client
        gate = RateLimiter(budget, config.live, clock, self.count)
        line = VenueSession("binanceus", client, gate, clock, self.count)
        self.port = LivePort(
            [self.leg],
            {"binanceus": line},
            gate,
            NoBooks(),
            config.live,
            clock,
            self.count,
            self.failures.append,
        )
        self.port.tag = TAG
        self.number = time.monotonic_ns() % 10**9

    def count(self, name):
        self.counts[name] += 1

    async def order(self, side="buy", times="1.01", quantity="0.002"):
        """An order at so many times the best price of the other side."""
        (call,) = get_adapter("binanceus").rest.calls([self.leg.market.symbol], 5)
        answer = await self.client.call(
            VenueRequest("GET", "/order_book", {"symbol": "BTC/USDT", "limit": "5"}, {})
        )
        ((_, book),) = get_adapter("binanceus").rest.decode(call, answer.body, 1)
        touch = exact(book.best_ask if side == "buy" else book.best_bid)
        self.number += 1
        limit = self.leg.rules.round_price(touch * Decimal(times), side)
        return Order(f"s1-0-1-{self.number}-a0", self.leg.market, side, Decimal(quantity), limit)


@pytest.fixture
async def desk(config, tmp_path):
    universe = await find_universe(config)
    budget = Budget.open(tmp_path, "worker-0", rate_windows(config.venues.traded))
    client = open_client("binanceus", config, KEYS, SystemClock())
    one = Desk(config, universe, client, budget)
    await one.port.start()
    yield one
    await one.port.close()
    budget.close()
    assert one.failures == []
    assert one.counts["warm_failed"] == 0
    assert one.counts["unreadable"] == 0


async def test_its_markets_are_listed_with_their_rules(config):
    universe = await find_universe(config)
    assert {pair.base for pair in universe.pairs} == {"BTC", "ETH"}
    leg = next(pair for pair in universe.pairs if pair.base == "BTC").away
    assert str(leg.market) == "binanceus:BTC/USDT"
    assert leg.rules.tick_at(Decimal(60_000)) == Decimal("0.01")
    assert leg.fees.buy_fee_in_base
    assert (leg.rules.lot, leg.rules.notional_min) == (Decimal("0.00001"), 5)


async def test_its_books_are_polled(config):
    universe = await find_universe(config)
    books = RestMarketDataProvider(config, [universe.pairs[0].away.market], SystemClock())
    await books.start()
    try:
        async with asyncio.timeout(20):
            while (book := books.get_latest_snapshot("BTC/USDT")) is None:
                await books.changes(0.1)
    finally:
        await books.stop()
    assert book.venue == "binanceus"
    assert book.best_bid < book.best_ask


async def test_an_order_that_fills(desk):
    for side, times in (("buy", "1.01"), ("sell", "0.99")):
        order = await desk.order(side, times)
        told = []
        result = await desk.port.send(order, on_sent=lambda told=told: told.append(1))
        assert (result.state, result.filled) == ("FILLED", order.quantity), result
        assert told == [1]
        assert all(fill.fee > 0 for fill in result.fills)
        assert {fill.fee_currency for fill in result.fills} == {"BTC" if side == "buy" else "USDT"}
        assert set((await desk.port.ask(order)).fills) == set(result.fills), (
            "asked about, it lists its trades"
        )


async def test_an_order_that_finds_nothing_is_over(desk):
    result = await desk.port.send(await desk.order("buy", "0.95"))
    assert (result.state, result.filled) == ("EXPIRED", 0)


async def test_an_order_that_the_venue_refuses(desk):
    result = await desk.port.send(await desk.order(quantity="5"))
    assert result.state == "REJECTED"
    assert result.detail.startswith("InsufficientFunds: ")
    assert "signature" not in result.detail


async def test_an_answer_that_is_lost_is_unknown_and_found_by_our_name(desk, exchanges):
    order = await desk.order()
    exchanges.fault(once={"lost_reply": {}})
    result = await desk.port.send(order)
    assert result.state == "UNKNOWN", result
    found = await desk.port.ask(order)
    assert (found.state, found.filled) == ("FILLED", order.quantity)


async def test_a_server_error_is_unknown_whatever_ccxt_calls_it(desk, exchanges):
    order = await desk.order()
    exchanges.fault(once={"error_500": {}})
    assert (await desk.port.send(order)).state == "UNKNOWN"
    assert (await desk.port.ask(order)).state == "FILLED"


async def test_a_venue_that_wants_a_pause_gets_it(desk, exchanges):
    order = await desk.order()
    exchanges.fault(once={"rate_limited": {}})
    assert (await desk.port.send(order)).state == "NOT_ACCEPTED"
    assert desk.counts["rate_limited"] == 1


async def test_an_order_that_the_venue_never_had(desk):
    result = await desk.port.ask(await desk.order())
    assert result.state == "UNKNOWN"
    assert result.detail.startswith("OrderNotFound: ")


async def test_a_wrong_key_is_refused(config):
    client = open_client("binanceus", config, Keys("binanceus", "nobody", "x" * 64), SystemClock())
    try:
        request = get_adapter("binanceus").account.balances_call()
        answer = await client.call(request)
    finally:
        await client.close()
    said = get_adapter("binanceus").understand(answer.status, answer.body)
    assert (said.meaning, said.fault) == ("not_accepted", "venue")
    assert "nobody" not in said.detail


async def test_the_account_is_read(desk):
    account = get_adapter("binanceus").account
    held = account.balances_of((await desk.client.call(account.balances_call())).body)
    assert held["USDT"].free > 0
    order = await desk.order()
    await desk.port.send(order)
    (call,) = account.recent_calls(["BTC/USDT"], 0)
    heard = {one.client_id: one for one in account.orders_of((await desk.client.call(call)).body)}
    assert heard[f"{TAG}-{order.client_id}"].state == "FILLED"
    assert account.orders_of((await desk.client.call(account.orders_call(1))).body) == []


async def test_a_rehearsal_is_not_sent(exchanges, tmp_path):
    config = config_of(exchanges, dry_run=True)
    universe = await find_universe(config)
    budget = Budget.open(tmp_path, "worker-0", rate_windows(config.venues.traded))
    desk = Desk(config, universe, open_client("binanceus", config, KEYS, SystemClock()), budget)
    try:
        result = await desk.port.send(await desk.order())
    finally:
        await desk.port.close()
        budget.close()
    assert result.detail == "DRY RUN: not sent (not checked by the venue)"


class Slow:
    """A venue that lists its markets and then never answers."""

    LISTING: ClassVar = {
        "symbols": [
            {
                "symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT",
                "isSpotTradingAllowed": True, "permissionSets": [["SPOT"]], "orderTypes": ["LIMIT"],
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.00001"},
                ],
            }
        ]
    }  # fmt: skip

    def __init__(self):
        self.asked = []
        self.released = asyncio.Event()

    async def answer(self, request):
        self.asked.append((request.method, request.path))
        if request.path.endswith("exchangeInfo"):
            return web.json_response(self.LISTING)
        await self.released.wait()
        return web.Response()


@pytest.mark.parametrize("path", ["/create_order", "/find_order"])
async def test_a_call_that_takes_too_long_may_have_been_carried_out(config, path):
    venue, app = Slow(), web.Application()
    app.router.add_route("*", "/{path:.*}", venue.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    section = replace(
        config.venues.others["binanceus"], rest_url=f"http://127.0.0.1:{runner.addresses[0][1]}"
    )
    client = CcxtClient("binanceus", section, KEYS, timeout_s=0.5)
    params = {"symbol": "BTC/USDT", "side": "buy", "amount": "1", "price": "60000", "name": "ab1cd-1"}
    try:
        with pytest.raises(NoAnswer) as caught:
            await client.call(VenueRequest("POST", path, params, {}))
    finally:
        venue.released.set()
        await client.close()
        await runner.cleanup()
    assert caught.value.sent
    assert str(caught.value) == "binanceus: TimeoutError"
    assert len(venue.asked) == 2


async def test_a_venue_that_cannot_be_reached_was_sent_nothing(config):
    section = replace(config.venues.others["binanceus"], rest_url="http://127.0.0.1:1")
    client = CcxtClient("binanceus", section, KEYS, timeout_s=0.5)
    try:
        with pytest.raises(NoAnswer, match="ClientConnectorError") as caught:
            await client.call(VenueRequest("GET", "/balances", {}, {}))
    finally:
        await client.close()
    assert not caught.value.sent


def test_without_a_way_to_find_an_order_live_orders_are_refused(exchanges):
    config = config_of(exchanges, client_id_param="")
    with pytest.raises(UsageError, match=r"venues\.binanceus\.client_id_param is empty: .* refused$"):
        open_client("binanceus", config, KEYS, SystemClock())


def test_keys_do_not_travel_in_clear_text(config):
    section = replace(config.venues.others["binanceus"], rest_url="http://api.example.com")
    venues = replace(config.venues, others={"binanceus": section})
    with pytest.raises(UsageError, match="https only"):
        open_client("binanceus", replace(config, venues=venues), KEYS, SystemClock())


PAPER = """
mode = "paper"
data = "public"
[run]
shards = 1
spare_workers = 0
[data_quality]
max_book_age_ms = 5000
max_leg_skew_ms = 5000
[limits]
edge_bps_min = -100
[baseline]
is_required = false
[strategy]
rearm_pause_max_s = 0.0
no_reversion_exits = 0
entry_bps = -100
min_edge_bps = -100
round_trip_bps = -1000
stop_loss_bps = 5000
stop_room_bps = 0
max_hold_s = 1
[venues]
away = "binanceus"
[venues.upbit]
ws_url = "{upbit[ws_url]}"
rest_url = "{upbit[rest_url]}"
[venues.binanceus]
adapter = "ccxt"
rest_url = "{binance[rest_url]}"
buy_fee_in_base = true
buy_fee_bps = 10
sell_fee_bps = 10
"""


@pytest.mark.timeout(120)
def test_a_paper_run_trades_on_its_books(exchanges, tmp_path):
    summary = tmp_path / "out.json"
    with Instance(tmp_path, PAPER.format(**exchanges.said)) as run:
        ended = run.run("--new-ledger", "--duration", "20", "--summary", str(summary))
        assert ended.code == 0, ended.err
    found = json.loads(summary.read_text())
    assert found["portfolio"]["exits"] == found["portfolio"]["entries"] > 0
    assert found["portfolio"]["open"] == 0
    assert found["errors"] == 0
    assert set(found["symbols"]) <= {"BTC", "ETH"}
