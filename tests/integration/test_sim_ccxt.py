"""ccxt against the simulated exchanges, with nothing but the addresses changed: plain, and with TLS."""

import asyncio
import importlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from arbshard.config import SimConfig
from support.exchanges import running_exchanges

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("ccxt", "tls"),
    # Of ccxt and what it imports; nothing of ours.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

KEYS = SimConfig().accounts
ccxt: Any = None


@pytest.fixture(scope="module", autouse=True)
def library() -> None:
    """Imports ccxt when the first test begins: every process that collects the tests would take a second for it."""
    globals()["ccxt"] = importlib.import_module("ccxt.pro")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The ready file of one simulator for the whole file."""
    with running_exchanges(tmp_path_factory.mktemp("sim"), coins=2, tls=True) as said:
        yield said


def make_upbit(ready: Any, **keys: str) -> Any:
    exchange = ccxt.upbit({"apiKey": KEYS.upbit_key, "secret": KEYS.upbit_secret, **keys})
    rest = ready["upbit"]["rest_url"]
    exchange.urls["api"] = {"public": rest, "private": rest, "ws": ready["upbit"]["ws_url"]}
    return exchange


def make_binance(ready: Any, **keys: str) -> Any:
    exchange = ccxt.binance({"apiKey": KEYS.binance_key, "secret": KEYS.binance_secret, **keys})
    # The default options: ccxt asks other hosts of the venue for their markets too.
    rest, sockets = ready["binance"]["rest_url"], ready["binance"]["ws_url"]
    api = exchange.urls["api"]
    api.update(dict.fromkeys(("public", "private", "v1"), f"{rest}/api/v3"))
    api.update(dict.fromkeys(("sapi", "sapiV2", "sapiV3", "sapiV4"), f"{rest}/sapi/v1"))
    api.update(dict.fromkeys(("fapiPublic", "fapiPrivate"), f"{rest}/fapi/v1"))
    api.update(dict.fromkeys(("dapiPublic", "dapiPrivate"), f"{rest}/dapi/v1"))
    api["ws"]["spot"] = f"{sockets}/stream/ws"
    api["ws"]["ws-api"]["spot"] = f"{sockets}/ws-api/v3"
    return exchange


class Open:
    """Makes exchange objects with the addresses changed, and closes them all."""

    def __init__(self, ready: Any, *, tls: bool) -> None:
        self._ready = ready["tls"] if tls else ready
        self._more = {"cafile": ready["tls"]["ca_file"]} if tls else {}
        self.made: list[Any] = []

    def __call__(self, name: str, **keys: str) -> Any:
        make = make_upbit if name == "upbit" else make_binance
        self.made.append(make(self._ready, **self._more, **keys))
        return self.made[-1]


@pytest.fixture(params=["plain", "tls"])
async def exchange(request: pytest.FixtureRequest, ready: Any) -> AsyncIterator[Open]:
    opener = Open(ready, tls=request.param == "tls")
    try:
        yield opener
    finally:
        for one in opener.made:
            await one.close()


async def top(exchange: Any, symbol: str) -> tuple[float, float]:
    book = await exchange.fetch_order_book(symbol)
    return book["bids"][0][0], book["asks"][0][0]


async def settled(exchange: Any, order: Any, symbol: str) -> Any:
    """The order once it is over."""
    async with asyncio.timeout(5):
        while True:
            found = await exchange.fetch_order(order["id"], symbol)
            if found["status"] != "open":
                return found
            await asyncio.sleep(0.05)


async def test_markets_and_balances(exchange: Open) -> None:
    upbit, binance = exchange("upbit"), exchange("binance")
    assert set(await upbit.load_markets()) == {"BTC/KRW", "ETH/KRW", "USDT/KRW"}
    markets = await binance.load_markets()
    assert set(markets) == {"BTC/USDT", "ETH/USDT"}
    assert markets["BTC/USDT"]["precision"]["price"] == 0.01
    assert markets["BTC/USDT"]["limits"]["cost"]["min"] == 5
    assert (await upbit.fetch_balance())["KRW"]["total"] > 0
    assert (await binance.fetch_balance())["USDT"]["free"] > 0


@pytest.mark.parametrize("name", ["upbit", "binance"])
async def test_market_data(exchange: Open, name: str) -> None:
    """Tickers, trades and candles agree with each other, by REST and by stream."""
    one = exchange(name)
    await one.load_markets()
    symbol, other = ("BTC/KRW", "ETH/KRW") if name == "upbit" else ("BTC/USDT", "ETH/USDT")
    streamed_length = "1s" if name == "upbit" else "1m"  # ccxt streams no others of Upbit
    since, ticker = one.milliseconds(), await one.fetch_ticker(symbol)
    assert ticker["low"] <= ticker["last"] <= ticker["high"]
    tickers = await one.fetch_tickers([symbol, other])
    assert set(tickers) == {symbol, other}
    async with asyncio.timeout(30):
        trades = await one.fetch_trades(symbol, limit=100)
        while len(trades) < 5:  # the exchange has just been started
            await asyncio.sleep(0.5)
            trades = await one.fetch_trades(symbol, limit=100)
        streamed = await one.watch_ticker(symbol)
        bars = await one.watch_ohlcv(symbol, streamed_length)
    bars = bars if name == "binance" else [bars]  # of Upbit ccxt returns the candle alone
    assert [trade["timestamp"] for trade in trades] == sorted(trade["timestamp"] for trade in trades)
    candles = await one.fetch_ohlcv(symbol, "1m", limit=100)
    assert sum(bar[5] for bar in candles) >= sum(trade["amount"] for trade in trades) * 0.999999
    for bar in (*candles, *bars):
        assert bar[3] <= min(bar[1], bar[4]) <= max(bar[1], bar[4]) <= bar[2]
    same_length = await one.fetch_ohlcv(symbol, streamed_length, limit=100)
    assert bars[-1][0] in {bar[0] for bar in same_length}
    assert streamed["timestamp"] >= since - 5_000
    assert streamed["baseVolume"] >= sum(trade["amount"] for trade in trades if trade["timestamp"] <= since)
    if name == "binance":
        assert set(await one.fetch_bids_asks([symbol])) == {symbol}
        assert (await one.fetch_last_prices([symbol]))[symbol]["price"] > 0
        async with asyncio.timeout(30):
            assert symbol in await one.watch_tickers([symbol])


async def test_upbit_orders(exchange: Open) -> None:
    upbit, symbol = exchange("upbit"), "BTC/KRW"
    await upbit.load_markets()
    bid, ask = await top(upbit, symbol)
    name = f"mine-{time.time_ns()}"
    order = await upbit.create_order(symbol, "limit", "buy", 0.001, bid - 2_000_000, {"clientOrderId": name})
    assert (order["status"], order["clientOrderId"]) == ("open", name)
    assert (await upbit.fetch_order(order["id"]))["remaining"] == 0.001
    # By identifier through the raw call only.
    assert (await upbit.private_get_order({"identifier": name}))["uuid"] == order["id"]
    assert order["id"] in {one["id"] for one in await upbit.fetch_open_orders(symbol)}
    await upbit.cancel_order(order["id"])
    assert (await upbit.fetch_order(order["id"]))["status"] == "canceled"
    assert await upbit.fetch_open_orders(symbol) == []
    # The reply is the order as it was before it met the book.
    order = await upbit.create_order(symbol, "limit", "buy", 0.001, ask + 500_000, {"timeInForce": "IOC"})
    assert (order["status"], order["filled"]) == ("open", 0)
    order = await settled(upbit, order, symbol)
    assert (order["status"], order["filled"]) == ("closed", 0.001)
    assert sum(trade["amount"] for trade in order["trades"]) == pytest.approx(0.001)
    assert float(order["fee"]["cost"]) == pytest.approx(order["cost"] * 0.0005)
    sold = await upbit.create_order(symbol, "market", "sell", 0.001)
    assert (await settled(upbit, sold, symbol))["filled"] == 0.001
    bought = await upbit.create_order(symbol, "market", "buy", None, None, {"cost": 20_000})
    bought = await settled(upbit, bought, symbol)
    assert bought["filled"] > 0
    assert bought["cost"] == pytest.approx(20_000, abs=2)
    maker = await upbit.create_order(symbol, "limit", "buy", 0.001, ask + 500_000, {"postOnly": True})
    maker = await settled(upbit, maker, symbol)
    assert (maker["status"], maker["filled"]) == ("canceled", 0)


async def test_binance_orders(exchange: Open) -> None:
    binance, symbol = exchange("binance"), "BTC/USDT"
    await binance.load_markets()
    bid, ask = await top(binance, symbol)
    name = f"mine-{time.time_ns()}"
    order = await binance.create_order(symbol, "limit", "buy", 0.001, bid * 0.8, {"clientOrderId": name})
    assert (order["status"], order["clientOrderId"]) == ("open", name)
    found = await binance.fetch_order(None, symbol, {"clientOrderId": name})
    assert found["id"] == order["id"]
    assert (await binance.fetch_order(order["id"], symbol))["remaining"] == 0.001
    assert [one["id"] for one in await binance.fetch_open_orders(symbol)] == [order["id"]]
    assert (await binance.cancel_order(order["id"], symbol))["status"] == "canceled"
    assert await binance.fetch_open_orders(symbol) == []
    order = await binance.create_order(symbol, "limit", "buy", 0.002, ask * 1.01, {"timeInForce": "IOC"})
    assert (order["status"], order["filled"]) == ("closed", 0.002)
    assert order["fees"][0]["currency"] == "BTC"
    assert order["fees"][0]["cost"] == pytest.approx(0.000002)
    order = await binance.create_order(symbol, "limit", "buy", 0.002, bid * 0.9, {"timeInForce": "IOC"})
    assert (order["status"], order["filled"]) == ("expired", 0)
    sold = await binance.create_order(symbol, "market", "sell", 0.001)
    assert (sold["status"], sold["filled"]) == ("closed", 0.001)
    trades = await binance.fetch_my_trades(symbol)
    assert sold["id"] in {trade["order"] for trade in trades}
    maker = await binance.create_order(symbol, "limit", "buy", 0.001, bid * 0.8, {"postOnly": True})
    assert (maker["status"], maker["postOnly"]) == ("open", True)
    await binance.cancel_order(maker["id"], symbol)


async def test_upbit_errors(exchange: Open) -> None:
    upbit, symbol = exchange("upbit"), "BTC/KRW"
    await upbit.load_markets()
    for error, call in (
        (ccxt.InsufficientFunds, upbit.create_order(symbol, "limit", "buy", 9.9, 100_000_000)),
        (ccxt.OrderNotFound, upbit.fetch_order("none")),
        (ccxt.OrderNotFound, upbit.cancel_order("none")),
        (ccxt.AuthenticationError, exchange("upbit", secret="x" * 64).fetch_balance()),
        (ccxt.AuthenticationError, exchange("upbit", apiKey="nobody").fetch_balance()),
    ):
        with pytest.raises(error):
            await call
    for price, amount, word in (
        (100_000_100, 0.001, "invalid_price_bid"),
        (100_000_000, 0.00001, "under_min_total_bid"),
    ):
        with pytest.raises(ccxt.ExchangeError, match=word):
            await upbit.create_order(symbol, "limit", "buy", amount, price)


async def test_binance_errors(exchange: Open) -> None:
    binance, symbol = exchange("binance"), "BTC/USDT"
    await binance.load_markets()
    bid, ask = await top(binance, symbol)
    for error, call in (
        (ccxt.InsufficientFunds, binance.create_order(symbol, "limit", "buy", 5, bid * 0.9)),
        (ccxt.InvalidOrder, binance.create_order(symbol, "limit", "buy", 0.001, bid * 3)),
        (
            ccxt.InvalidOrder,
            binance.create_order(symbol, "limit", "buy", 0.01, ask * 1.01, {"postOnly": True}),
        ),
        (ccxt.OrderNotFound, binance.fetch_order("1", symbol)),
        (ccxt.OrderNotFound, binance.cancel_order("1", symbol)),
        (ccxt.AuthenticationError, exchange("binance", secret="x" * 64).fetch_open_orders(symbol)),
        (ccxt.AuthenticationError, exchange("binance", apiKey="nobody").fetch_open_orders(symbol)),
    ):
        with pytest.raises(error):
            await call


async def test_books_are_watched(exchange: Open) -> None:
    upbit, binance = exchange("upbit"), exchange("binance")
    for one, symbol in ((upbit, "BTC/KRW"), (binance, "BTC/USDT")):
        seen = set()
        async with asyncio.timeout(20):
            while len(seen) < 5:
                book = await one.watch_order_book(symbol)
                assert book["bids"][0][0] < book["asks"][0][0]
                seen.add((tuple(book["bids"][0][:2]), tuple(book["asks"][0][:2])))


@pytest.mark.parametrize("name", ["upbit", "binance"])
async def test_orders_are_watched(exchange: Open, name: str) -> None:
    symbol = {"upbit": "BTC/KRW", "binance": "BTC/USDT"}[name]
    one = exchange(name)
    await one.load_markets()
    watching = asyncio.create_task(one.watch_orders(symbol))
    async with asyncio.timeout(10):
        while not any(client.connectionEstablished for client in one.clients.values()):
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)  # neither venue says when it has read the subscription
    _, ask = await top(one, symbol)
    price = ask + 500_000 if name == "upbit" else ask * 1.01
    order = await one.create_order(symbol, "limit", "buy", 0.001, price, {"timeInForce": "IOC"})
    told: dict[str, Any] = {}
    async with asyncio.timeout(10):
        while told.get("status") != "closed":
            await asyncio.wait([watching], timeout=0.5)
            if watching.done():
                watching.result()
                watching = asyncio.create_task(one.watch_orders(symbol))
            # ccxt keeps what it has read, also what it read between two calls of watch_orders.
            told = next((dict(seen) for seen in one.orders or () if seen["id"] == order["id"]), {})
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert told["filled"] == 0.001


async def test_faults_have_the_classes_that_callers_look_for(exchange: Open, ready: Any) -> None:
    """What the switchboard does, as a caller of ccxt sees it."""
    binance, upbit = exchange("binance"), exchange("upbit")
    await binance.load_markets()
    await upbit.load_markets()
    rest = binance.urls["api"]["public"].removesuffix("/api/v3")
    bid, _ = await top(binance, "BTC/USDT")

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {ready['token']}"}

    async def once(at: str, fault: str, **settings: object) -> None:
        body = json.dumps({"once": {fault: settings}})
        await binance.fetch(f"{at}/sim/faults", "POST", headers, body)

    async def order(client_id: str) -> Any:
        return await binance.create_order(
            "BTC/USDT", "limit", "buy", 0.001, bid * 0.8, {"clientOrderId": client_id}
        )

    for fault, error, placed in (
        ("lost_reply", ccxt.NetworkError, True),
        ("error_500", ccxt.RequestTimeout, True),
        ("lost_request", ccxt.NetworkError, False),
        ("reject", ccxt.InvalidOrder, False),
        ("rate_limited", ccxt.DDoSProtection, False),
    ):
        name = f"{fault}-{time.time_ns()}"
        await once(rest, fault)
        with pytest.raises(error):
            await order(name)
        if placed:
            found = await binance.fetch_order(None, "BTC/USDT", {"clientOrderId": name})
            await binance.cancel_order(found["id"], "BTC/USDT")
        else:
            with pytest.raises(ccxt.OrderNotFound):
                await binance.fetch_order(None, "BTC/USDT", {"clientOrderId": name})
    await once(rest, "clock_skew", ms_min=0, ms_max=0, skew_ms=60_000)
    with pytest.raises(ccxt.InvalidNonce):
        await binance.fetch_balance()
    await binance.fetch(f"{rest}/sim/faults", "POST", headers, '{"clear":["clock_skew"]}')
    await once(upbit.urls["api"]["public"], "error_500", calls="all")
    # ccxt takes any JSON error of Upbit for a refusal: callers must look at the name.
    with pytest.raises(ccxt.ExchangeError, match="internal_server_error"):
        await upbit.fetch_balance()
