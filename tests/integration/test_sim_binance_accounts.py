"""Trading on the simulated Binance as a stranger's client does: a process, real sockets, requests signed by hand."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from yarl import URL

from arbshard.config import SimAccountsConfig
from support.exchanges import running_exchanges

pytestmark = pytest.mark.integration

ACCOUNTS = SimAccountsConfig()
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """``host:port`` of a running Binance with two coins."""
    with running_exchanges(tmp_path, coins=2) as said:
        yield said["binance"]["rest_url"].removeprefix("http://")


def sign(payload: str) -> str:
    return hmac.new(ACCOUNTS.binance_secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Rest:
    """Signs; GET and DELETE in the query, POST in a form body."""

    def __init__(self, address: str, http: aiohttp.ClientSession) -> None:
        self._root = f"http://{address}/api/v3/"
        self._http = http

    async def __call__(self, method: str, call: str, **params: str) -> tuple[int, dict[str, str], Any]:
        payload = urlencode({**params, "recvWindow": "5000", "timestamp": str(now_ms())})
        payload += f"&signature={sign(payload)}"
        headers = {"X-MBX-APIKEY": ACCOUNTS.binance_key}
        url, body = self._root + call, None
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = payload
        else:
            url += f"?{payload}"
        async with self._http.request(method, URL(url, encoded=True), data=body, headers=headers) as reply:
            return reply.status, dict(reply.headers), await reply.json()

    async def price(self, side: str, factor: float) -> str:
        async with self._http.get(self._root + "depth", params={"symbol": "BTCUSDT"}) as reply:
            book = await reply.json()
        return f"{float(book[side][0][0]) * factor:.2f}"


@pytest.fixture
async def rest(address: str) -> AsyncIterator[Rest]:
    async with aiohttp.ClientSession() as http:
        yield Rest(address, http)


@pytest.fixture
async def socket(address: str) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{address}/ws-api/v3") as client:
        yield client


async def receive(client: ClientConnection) -> Any:
    async with asyncio.timeout(5):
        return json.loads(await client.recv())


async def ask(client: ClientConnection, method: str, **params: object) -> Any:
    """The reply to a signed request; events that come before it are dropped."""
    params |= {"apiKey": ACCOUNTS.binance_key, "timestamp": now_ms()}
    params["signature"] = sign("&".join(f"{name}={params[name]}" for name in sorted(params)))
    await client.send(json.dumps({"id": method, "method": method, "params": params}))
    while "event" in (reply := await receive(client)):
        pass
    assert reply["id"] == method
    return reply


async def events_until(client: ClientConnection, kind: str) -> list[Any]:
    """Execution reports up to the one of ``kind``, and the balances that came with them and right after."""
    events: list[Any] = []
    while not any(one.get("x") == kind for one in events) or events[-1]["e"] != "outboundAccountPosition":
        events.append((await receive(client))["event"])
    return events


async def test_an_orders_life_by_rest(rest: Rest) -> None:
    status, headers, account = await rest("GET", "account", omitZeroBalances="true")
    assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, "20")
    assert account["balances"][0] == {"asset": "USDT", "free": "70000.00000000", "locked": "0.00000000"}
    price = await rest.price("bids", 0.8)
    status, headers, placed = await rest("POST", "order", **LIMIT, price=price, newClientOrderId="mine-1")
    assert (status, placed["status"], headers["X-MBX-ORDER-COUNT-10S"]) == (200, "NEW", "1")
    _, _, found = await rest("GET", "order", symbol="BTCUSDT", origClientOrderId="mine-1")
    assert (found["orderId"], found["status"]) == (placed["orderId"], "NEW")
    _, _, listed = await rest("GET", "openOrders", symbol="BTCUSDT")
    assert [one["orderId"] for one in listed] == [placed["orderId"]]
    status, _, canceled = await rest("DELETE", "order", symbol="BTCUSDT", orderId=str(placed["orderId"]))
    assert (status, canceled["status"], canceled["origClientOrderId"]) == (200, "CANCELED", "mine-1")
    status, _, refused = await rest("DELETE", "order", symbol="BTCUSDT", orderId=str(placed["orderId"]))
    assert (status, refused) == (400, {"code": -2011, "msg": "Unknown order sent."})


async def test_a_taker_and_its_events_agree_with_the_exchanges_own_books(
    rest: Rest, socket: ClientConnection, address: str, tmp_path: Path
) -> None:
    assert (await ask(socket, "userDataStream.subscribe.signature"))["result"] == {"subscriptionId": 0}
    price = await rest.price("asks", 1.01)
    ioc = LIMIT | {"timeInForce": "IOC", "price": price, "quantity": "0.002"}
    _, _, placed = await rest("POST", "order", **ioc)
    assert (placed["status"], placed["executedQty"]) == ("FILLED", "0.00200000")
    events = await events_until(socket, "TRADE")
    reports = [one for one in events if one["e"] == "executionReport"]
    assert [one["x"] for one in reports][:2] == ["NEW", "TRADE"]
    commission = sum(Decimal(one["commission"]) for one in placed["fills"])
    control = {"Authorization": f"Bearer {json.loads((tmp_path / 'sim.json').read_text())['token']}"}
    url = f"http://{address}/sim/accounts"
    async with aiohttp.ClientSession() as http, http.get(url, headers=control) as reply:
        audit = (await reply.json())[ACCOUNTS.binance_key]
    assert Decimal(audit["balances"]["USDT"]["free"]) == 70_000 - Decimal(placed["cummulativeQuoteQty"])
    opening = Decimal(audit["opening"]["BTC"])
    assert Decimal(audit["balances"]["BTC"]["free"]) == opening + Decimal("0.002") - commission
    assert audit["orders"][0]["executed"] == "0.002"
    _, _, trades = await rest("GET", "myTrades", symbol="BTCUSDT")
    assert sum(Decimal(one["commission"]) for one in trades) == commission


async def test_a_resting_order_is_filled_as_maker_when_the_market_comes(
    rest: Rest, socket: ClientConnection
) -> None:
    await ask(socket, "userDataStream.subscribe.signature")
    orders = set()
    for _ in range(5):  # at the best bid, again and again: the market walks over one of them soon
        price = await rest.price("bids", 1.0)
        maker = LIMIT | {"type": "LIMIT_MAKER", "price": price, "quantity": "0.001"}
        del maker["timeInForce"]
        status, _, reply = await rest("POST", "order", **maker)
        if status == 200:
            orders.add(reply["orderId"])
        else:
            assert reply == {"code": -2010, "msg": "Order would immediately match and take."}
    trade: dict[str, Any] = {}
    async with asyncio.timeout(30):
        while trade.get("x") != "TRADE":
            trade = json.loads(await socket.recv())["event"]
    assert trade["i"] in orders
    assert (trade["m"], trade["L"], trade["N"]) == (True, trade["p"], "BTC")


async def test_eaten_depth_leaves_the_book_and_the_diff_stream_stays_whole(rest: Rest, address: str) -> None:
    async with connect(f"ws://{address}/ws/btcusdt@depth@100ms") as stream:
        first = await receive(stream)
        _, _, placed = await rest(
            "POST", "order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.05"
        )
        eaten = {fill["price"] for fill in placed["fills"]}
        assert len(eaten) > 1
        last_id, touched = first["u"], set()
        for _ in range(10):
            event = await receive(stream)
            assert event["U"] == last_id + 1
            last_id = event["u"]
            touched |= {price for price, _ in event["a"]}
        assert eaten <= touched


async def test_the_websocket_api_trades_too(socket: ClientConnection, rest: Rest) -> None:
    price = await rest.price("bids", 0.8)
    placed = await ask(socket, "order.place", **LIMIT, price=price)
    assert (placed["status"], placed["result"]["status"]) == (200, "NEW")
    assert {one["rateLimitType"] for one in placed["rateLimits"]} == {"ORDERS", "REQUEST_WEIGHT"}
    canceled = await ask(socket, "order.cancel", symbol="BTCUSDT", orderId=placed["result"]["orderId"])
    assert canceled["result"]["status"] == "CANCELED"
    refused = await ask(socket, "order.place", **(LIMIT | {"quantity": "5"}), price=price)
    assert refused["error"] == {
        "code": -2010,
        "msg": "Account has insufficient balance for requested action.",
    }
    await socket.send('{"id":null,"method":"time"}')
    assert (await receive(socket))["result"]["serverTime"] >= placed["result"]["transactTime"]


async def test_wrong_keys_and_late_requests(rest: Rest, address: str) -> None:
    async with aiohttp.ClientSession(headers={"X-MBX-APIKEY": ACCOUNTS.binance_key}) as http:
        url = f"http://{address}/api/v3/account"
        async with http.get(url, params={"timestamp": now_ms(), "signature": "0" * 64}) as reply:
            assert (reply.status, (await reply.json())["code"]) == (400, -1022)
        payload = f"timestamp={now_ms() - 60_000}"
        async with http.get(f"{url}?{payload}&signature={sign(payload)}") as reply:
            assert (reply.status, (await reply.json())["code"]) == (400, -1021)
        async with http.get(url, headers={"X-MBX-APIKEY": "unknown"}) as reply:
            assert (reply.status, (await reply.json())["code"]) == (401, -2015)
        async with http.post(f"http://{address}/api/v3/userDataStream") as reply:
            assert reply.status == 410
    status, _, body = await rest("GET", "order", symbol="BTCUSDT", orderId="1")
    assert (status, body["code"]) == (400, -2013)
