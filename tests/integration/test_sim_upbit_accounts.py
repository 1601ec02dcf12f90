"""An Upbit account over real sockets: a process, requests signed by hand, the private stream beside them."""

import asyncio
import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urlencode

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from arbshard.config import SimAccountsConfig
from support.exchanges import running_exchanges

pytestmark = pytest.mark.integration

KEYS = SimAccountsConfig()


def token(text: str | None = None) -> str:
    claims = {"access_key": KEYS.upbit_key, "nonce": str(uuid.uuid4())}
    if text:
        claims |= {"query_hash": hashlib.sha512(text.encode()).hexdigest(), "query_hash_alg": "SHA512"}
    parts = (json.dumps(one).encode() for one in ({"alg": "HS512", "typ": "JWT"}, claims))
    signed = ".".join(base64.urlsafe_b64encode(one).decode().rstrip("=") for one in parts)
    digest = hmac.new(KEYS.upbit_secret.encode(), signed.encode(), hashlib.sha512).digest()
    return f"Bearer {signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


class Client:
    """Asks like a client library does."""

    def __init__(self, http: aiohttp.ClientSession, addresses: dict[str, str]) -> None:
        self.http = http
        self.control = {"Authorization": f"Bearer {addresses['token']}"}
        self.rest, self.ws = addresses["rest_url"], addresses["ws_url"]

    async def ask(self, method: str, path: str, **params: str) -> tuple[int, Any, Any]:
        if method == "POST":
            text = "&".join(f"{name}={value}" for name, value in params.items())
            request = self.http.post(
                f"{self.rest}/v1/{path}", json=params, headers={"Authorization": token(text)}
            )
        else:
            query = urlencode(params)
            headers = {"Authorization": token(unquote(query))}
            url = f"{self.rest}/v1/{path}" + (f"?{query}" if query else "")
            request = self.http.request(method, url, headers=headers)
        async with request as reply:
            return reply.status, await reply.json(), reply.headers

    async def order(self, **params: str) -> Any:
        status, reply, _ = await self.ask("POST", "orders", market="KRW-BTC", **params)
        assert status == 201, reply
        return reply

    async def get(self, path: str, **params: str) -> Any:
        status, reply, _ = await self.ask("GET", path, **params)
        assert status == 200, reply
        return reply

    async def top(self) -> Any:
        async with self.http.get(f"{self.rest}/v1/orderbook", params={"markets": "KRW-BTC"}) as reply:
            return (await reply.json())[0]["orderbook_units"]

    async def audit(self) -> Any:
        async with self.http.get(f"{self.rest}/sim/accounts", headers=self.control) as reply:
            return (await reply.json())[KEYS.upbit_key]


TRIES = 20
"""The book moves by itself between two requests: so often an order may find another book than was asked for."""


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One simulator for the whole file: every test looks at its own orders only."""
    with running_exchanges(tmp_path_factory.mktemp("sim"), coins=2) as said:
        yield {**said["upbit"], "token": said["token"]}


@pytest.fixture
async def client(addresses: dict[str, str]) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as http:
        yield Client(http, addresses)


async def told(socket: ClientConnection, uid: str, until: str) -> list[Any]:
    """Messages of order ``uid`` up to the state ``until``, and all of assets."""
    heard: list[Any] = []
    async with asyncio.timeout(10):
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == "myAsset" or message["uuid"] == uid:
                heard.append(message)
            if message.get("uuid") == uid and message["state"] == until:
                return heard


async def test_an_order_taken_told_and_paid_for(client: Client) -> None:
    before = (await client.audit())["balances"]
    async with connect(f"{client.ws}/private", additional_headers={"Authorization": token()}) as socket:
        await socket.send(json.dumps([{"ticket": "t"}, {"type": "myOrder"}, {"type": "myAsset"}]))
        await socket.send(json.dumps([{"ticket": "q"}, {"method": "LIST_SUBSCRIPTIONS"}]))
        listed = json.loads(await asyncio.wait_for(socket.recv(), 5))
        assert listed["result"] == [{"type": "myOrder"}, {"type": "myAsset"}]
        top = (await client.top())[0]
        price = str(int(top["ask_price"]) + 500_000)
        order = await client.order(
            side="bid", ord_type="limit", price=price, volume="0.001", identifier="take 1"
        )
        assert order["state"] == "wait"
        heard = await told(socket, order["uuid"], "done")
    states = [message["state"] for message in heard if message["type"] == "myOrder"]
    assert states[0] == "wait"
    assert set(states[1:-1]) == {"trade"}
    seen = await client.get("order", identifier="take 1")
    assert seen["state"] == "done"
    funds = sum(Decimal(trade["price"]) * Decimal(trade["volume"]) for trade in seen["trades"])
    assert Decimal(seen["executed_funds"]) == funds
    audit = await client.audit()
    paid = Decimal(before["KRW"]["free"]) - Decimal(audit["balances"]["KRW"]["free"])
    assert paid == funds + funds * Decimal("0.0005")
    (kept,) = [one for one in audit["orders"] if one["id"] == order["uuid"]]
    assert (kept["client_id"], kept["status"], kept["fee_paid"]) == ("take 1", "done", seen["paid_fee"])
    assert sum(Decimal(fill["funds"]) for fill in kept["fills"]) == funds


async def test_what_was_eaten_is_gone_from_the_book(client: Client) -> None:
    for _ in range(TRIES):
        bid = (await client.top())[0]
        size = format(Decimal(str(bid["bid_size"])), "f")
        order = await client.order(
            side="ask", ord_type="limit", price=str(int(bid["bid_price"])), volume=size, time_in_force="ioc"
        )
        seen = await client.get("order", uuid=order["uuid"])
        assert seen["state"] in ("done", "cancel")
        if seen["state"] == "done":  # otherwise the book moved between the two requests
            break
    else:
        pytest.fail(f"the book moved away {TRIES} times")
    assert Decimal(seen["executed_volume"]) == Decimal(size)
    fresh = {unit["bid_price"]: unit["bid_size"] for unit in await client.top()}
    # A level that is filled again has another size, with eight drawn digits.
    assert fresh.get(bid["bid_price"], 0) != bid["bid_size"]


async def test_a_resting_order_fills_as_maker_when_the_market_comes(client: Client) -> None:
    async with connect(f"{client.ws}/private", additional_headers={"Authorization": token()}) as socket:
        await socket.send(json.dumps([{"ticket": "t"}, {"type": "myOrder", "codes": ["KRW-BTC"]}]))
        for _ in range(TRIES):
            # As near as an order may come without taking: a move of a few ticks fills one of the two.
            top = (await client.top())[0]
            bid = await client.order(
                side="bid", ord_type="limit", price=str(int(top["ask_price"]) - 1000), volume="0.0001"
            )
            ask = await client.order(
                side="ask", ord_type="limit", price=str(int(top["bid_price"]) + 1000), volume="0.0001"
            )
            async with asyncio.timeout(20):
                while True:
                    message = json.loads(await socket.recv())
                    if message["uuid"] in (bid["uuid"], ask["uuid"]) and message["state"] == "trade":
                        break
            for order in (bid, ask):
                await client.ask("DELETE", "order", uuid=order["uuid"])
            if message["is_maker"]:  # otherwise the book moved before the order came to rest, and it took
                break
        else:
            pytest.fail(f"no order came to rest in {TRIES} tries")
    seen = await client.get("order", uuid=message["uuid"])
    (filled,) = (order for order in (bid, ask) if order["uuid"] == message["uuid"])
    assert seen["trades"]
    assert {Decimal(trade["price"]) for trade in seen["trades"]} == {Decimal(filled["price"])}


async def test_cancel_and_lists(client: Client) -> None:
    order = await client.order(
        side="bid", ord_type="limit", price="90000000", volume="0.001", identifier="rest"
    )
    opened = await client.get("orders/open", **{"market": "KRW-BTC", "states[]": "wait"})
    assert order["uuid"] in [one["uuid"] for one in opened]
    status, reply, _ = await client.ask("DELETE", "order", identifier="rest")
    assert (status, reply["state"]) == (200, "wait")
    closed = await client.get("orders/closed", **{"states[]": "cancel"})
    assert closed[0]["uuid"] == order["uuid"]
    status, reply, headers = await client.ask("DELETE", "order", identifier="rest")
    assert (status, reply["error"]["name"]) == (404, "order_not_found")
    assert headers["Remaining-Req"].startswith("group=default; min=1800; sec=")
    assert "Date" in headers


async def test_strangers_stay_outside(client: Client) -> None:
    async with client.http.get(f"{client.rest}/v1/accounts") as reply:
        assert reply.status == 401
        assert (await reply.json())["error"]["name"] == "no_authorization_token"
        assert "Remaining-Req" in reply.headers
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{client.ws}/private"):
            pass
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["error"]["name"] == "no_authorization_token"
    forged = token()[:-6] + "AAAAAA"
    with pytest.raises(InvalidStatus):
        async with connect(f"{client.ws}/private", additional_headers={"Authorization": forged}):
            pass


async def test_private_socket_answers_ping_and_names_errors(client: Client) -> None:
    async with connect(f"{client.ws}/private", additional_headers={"Authorization": token()}) as socket:
        await socket.send("PING")
        assert json.loads(await asyncio.wait_for(socket.recv(), 5)) == {"status": "UP"}
        await socket.send(json.dumps([{"ticket": "t"}, {"type": "myAsset", "codes": ["KRW-BTC"]}]))
        reply = json.loads(await asyncio.wait_for(socket.recv(), 5))
        assert reply["error"]["name"] == "WRONG_FORMAT"


async def test_many_at_once_keep_the_books_straight(client: Client) -> None:
    """Orders from several sides at once, then: opening balances plus all fills are what the account holds."""
    await asyncio.sleep(1.1)  # a second of which nobody has used anything
    price = int((await client.top())[0]["ask_price"])

    async def one(number: int) -> int:
        side = "bid" if number % 2 else "ask"
        limit = str(price + (1000 if number % 3 else -20_000) * (1 if side == "bid" else -1))
        status, _, _ = await client.ask(
            "POST", "orders", market="KRW-BTC", side=side, ord_type="limit", price=limit, volume="0.0005"
        )
        return status

    statuses = await asyncio.gather(*(one(number) for number in range(40)))
    assert set(statuses) <= {201, 429}
    assert statuses.count(201) >= 12
    assert 429 in statuses
    await asyncio.sleep(2.1)  # one cancel of many in two seconds
    status, reply, _ = await client.ask("DELETE", "orders/open", cancel_side="all", count="300")
    assert status == 200, reply
    audit = await client.audit()
    assert audit["orders_dropped"] == audit["events_lost"] == 0
    balances = {name: Decimal(amount) for name, amount in audit["opening"].items()}
    for order in audit["orders"]:
        base = order["symbol"].removeprefix("KRW-")
        sign = 1 if order["side"] == "buy" else -1
        assert order["status"] != "open"
        for fill in order["fills"]:
            balances[base] += sign * Decimal(fill["quantity"])
            balances["KRW"] -= sign * Decimal(fill["price"]) * Decimal(fill["quantity"])
            balances[fill["fee_currency"]] -= Decimal(fill["fee"])
    assert {name: Decimal(one["free"]) for name, one in audit["balances"].items()} == balances
    assert {one["locked"] for one in audit["balances"].values()} == {"0"}
