"""Both simulated venues in this process, and a client of each that talks to them over real sockets."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from arbshard.clock import SystemClock
from arbshard.config import SimConfig
from arbshard.exchanges.exchanges import Exchanges

KEYS = SimConfig().accounts


class Venue:
    """A client of one venue that orders bitcoin."""

    name = market = key = ""

    def __init__(self, exchanges: Exchanges, http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
        self.exchanges = exchanges
        self.http = http
        self.stack = stack
        self.control = {"Authorization": f"Bearer {exchanges.token.use(str)}"}
        self.at = exchanges.upbit_at if self.name == "upbit" else exchanges.binance_at

    async def get(self, path: str) -> tuple[int, Any, Any]:
        headers = self.control if path.startswith("/sim/") else {}
        async with self.http.get(f"http://{self.at}{path}", headers=headers) as reply:
            return reply.status, await reply.json(content_type=None), reply.headers

    async def get_text(self, path: str) -> tuple[int, str]:
        async with self.http.get(f"http://{self.at}{path}") as reply:
            return reply.status, await reply.text()

    async def audit(self) -> Any:
        return (await self.get("/sim/accounts"))[1][self.key]

    async def faults(self, **order: Any) -> Any:
        async with self.http.post(f"http://{self.at}/sim/faults", json=order, headers=self.control) as reply:
            assert reply.status == 200, await reply.text()
            return (await reply.json())["faults"]

    async def once(self, fault: str, **settings: Any) -> None:
        await self.faults(once={fault: settings})

    async def happened(self, fault: str) -> int:
        """How often, by both who tell."""
        _, state, _ = await self.get("/sim/faults")
        _, stats, _ = await self.get("/sim/stats")
        count = stats["venues"][self.name]["faults"].get(fault, 0)
        assert state["faults"][fault]["happened"] == count
        return int(count)

    async def open(self, path: str, headers: dict[str, str] | None = None) -> ClientConnection:
        client = connect(f"ws://{self.at}{path}", additional_headers=headers)
        return await self.stack.enter_async_context(client)

    @staticmethod
    async def told(client: ClientConnection, wait_s: float = 5) -> Any:
        """The next message."""
        async with asyncio.timeout(wait_s):
            return json.loads(await client.recv())

    async def closed(self, client: ClientConnection) -> ConnectionClosed:
        """How the connection ended; what came before is read."""
        while True:
            try:
                await self.told(client)
            except ConnectionClosed as ended:
                return ended

    async def listed(self) -> list[Any]:
        return [(one["client_id"], one["status"]) for one in (await self.audit())["orders"]]


class Upbit(Venue):
    name, market, key = "upbit", "KRW-BTC", KEYS.upbit_key
    ping = "/v1/market/all"

    def token(self, text: str = "") -> dict[str, str]:
        claims = {"access_key": self.key, "nonce": str(uuid.uuid4())}
        if text:
            claims |= {"query_hash": hashlib.sha512(text.encode()).hexdigest(), "query_hash_alg": "SHA512"}
        parts = (json.dumps(one).encode() for one in ({"alg": "HS512", "typ": "JWT"}, claims))
        signed = ".".join(base64.urlsafe_b64encode(one).decode().rstrip("=") for one in parts)
        digest = hmac.new(KEYS.upbit_secret.encode(), signed.encode(), hashlib.sha512).digest()
        return {"Authorization": f"Bearer {signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"}

    async def place_text(
        self, client_id: str, price: str = "200000000", volume: str = "0.001"
    ) -> tuple[int, str]:
        """Take at any price."""
        order = {
            "market": self.market,
            "side": "bid",
            "ord_type": "limit",
            "price": price,
            "volume": volume,
            "time_in_force": "ioc",
            "identifier": client_id,
        }
        headers = self.token("&".join(f"{name}={value}" for name, value in order.items()))
        async with self.http.post(f"http://{self.at}/v1/orders", json=order, headers=headers) as reply:
            return reply.status, await reply.text()

    async def place(self, client_id: str, **terms: str) -> tuple[int, Any]:
        status, text = await self.place_text(client_id, **terms)
        return status, json.loads(text)

    async def account_status(self) -> int:
        async with self.http.get(f"http://{self.at}/v1/accounts", headers=self.token()) as reply:
            return reply.status

    async def accounts(self) -> Any:
        async with self.http.get(f"http://{self.at}/v1/accounts", headers=self.token()) as reply:
            return await reply.json()

    @staticmethod
    def best_bid(message: Any) -> float:
        return float(message["orderbook_units"][0]["bid_price"])

    async def private(self) -> ClientConnection:
        client = await self.open("/websocket/v1/private", self.token())
        await client.send('[{"ticket":"p"},{"type":"myOrder"}]')
        await client.send('[{"ticket":"q"},{"method":"LIST_SUBSCRIPTIONS"}]')
        assert (await self.told(client))["result"]
        return client

    async def public(self) -> ClientConnection:
        client = await self.open("/websocket/v1")
        await client.send('[{"ticket":"p"},{"type":"orderbook","codes":["KRW-BTC"]}]')
        await self.told(client)
        return client

    async def public_stream(self) -> ClientConnection:
        """Without a first message: that of Upbit is a snapshot."""
        return await self.public()

    def kind(self, message: Any) -> str:
        return {"wait": "new", "trade": "trade", "done": "done", "cancel": "canceled"}[message["state"]]


class Binance(Venue):
    name, market, key = "binance", "BTCUSDT", KEYS.binance_key
    ping = "/api/v3/ping"

    def sign(self, payload: str) -> str:
        return hmac.new(KEYS.binance_secret.encode(), payload.encode(), hashlib.sha256).hexdigest()

    async def ask(self, method: str, call: str, **params: str) -> tuple[int, Any]:
        status, text = await self.ask_text(method, call, **params)
        return status, json.loads(text)

    async def ask_text(self, method: str, call: str, **params: str) -> tuple[int, str]:
        payload = urlencode({**params, "timestamp": time.time_ns() // 1_000_000})
        url = f"http://{self.at}/api/v3/{call}?{payload}&signature={self.sign(payload)}"
        async with self.http.request(method, url, headers={"X-MBX-APIKEY": self.key}) as reply:
            return reply.status, await reply.text()

    async def account_status(self) -> int:
        return (await self.ask("GET", "account"))[0]

    async def place(self, client_id: str) -> tuple[int, Any]:
        status, text = await self.place_text(client_id)
        return status, json.loads(text)

    async def place_text(self, client_id: str) -> tuple[int, str]:
        """Take at nearly any price."""
        price = f"{float((await self.get('/api/v3/depth?symbol=BTCUSDT'))[1]['asks'][0][0]) * 1.5:.2f}"
        return await self.ask_text(
            "POST", "order", symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="IOC",
            quantity="0.001", price=price, newClientOrderId=client_id,
        )  # fmt: skip

    async def private(self) -> ClientConnection:
        client = await self.open("/ws-api/v3")
        params: dict[str, Any] = {"apiKey": self.key, "timestamp": time.time_ns() // 1_000_000}
        params["signature"] = self.sign("&".join(f"{name}={params[name]}" for name in sorted(params)))
        request = {"id": 1, "method": "userDataStream.subscribe.signature", "params": params}
        await client.send(json.dumps(request))
        assert (await self.told(client))["status"] == 200
        return client

    async def public(self) -> ClientConnection:
        client = await self.open("/ws/btcusdt@depth@100ms")
        await self.told(client)
        return client

    async def public_stream(self) -> ClientConnection:
        return await self.open("/ws/btcusdt@depth5@100ms")

    @staticmethod
    def best_bid(message: Any) -> float:
        return float(message["bids"][0][0])

    def kind(self, message: Any) -> str:
        event = message["event"]
        return str(event.get("x", event["e"])).lower()


@pytest.fixture
async def exchanges() -> AsyncIterator[Exchanges]:
    both = Exchanges(SimConfig(coins=1), SystemClock())
    await both.start()
    try:
        yield both
    finally:
        await both.stop()


@pytest.fixture
async def venues(exchanges: Exchanges) -> AsyncIterator[dict[str, Venue]]:
    async with aiohttp.ClientSession() as http, AsyncExitStack() as stack:
        yield {kind.name: kind(exchanges, http, stack) for kind in (Upbit, Binance)}


@pytest.fixture(params=["upbit", "binance"])
def venue(request: pytest.FixtureRequest, venues: dict[str, Venue]) -> Any:
    return venues[request.param]


@pytest.fixture
def binance(venues: dict[str, Venue]) -> Any:
    return venues["binance"]
