"""A simulated Binance without sockets, and clients that sign their requests."""

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from arbshard.config import SimAccountsConfig
from arbshard.exchanges.accounts.account import seeded_accounts
from arbshard.exchanges.accounts.matching import Matcher
from arbshard.exchanges.binance.access import Access
from arbshard.exchanges.binance.money import BinanceMoney
from arbshard.exchanges.binance.operations import Operations
from arbshard.exchanges.binance.rest import BinanceRest
from arbshard.exchanges.binance.wsapi import WsApiSession
from arbshard.exchanges.book import SimBook
from arbshard.exchanges.session import Query, SendData
from arbshard.exchanges.world import SimWorld

NOW_MS = 29_916_666 * 60_000
"""The beginning of a minute."""


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> int:
        code: int = self.body["code"]
        return code


class Venue:
    """The exchange, its clock, and one customer who trades by REST."""

    def __init__(self, world: SimWorld, config: SimAccountsConfig) -> None:
        self.world = world
        self.now_ms = NOW_MS
        _, accounts = seeded_accounts(config, world.upbit, world.binance)
        (self.account,) = accounts
        self.matcher = Matcher(world.binance, BinanceMoney(), first_number=1000)
        self.operations = Operations(world.binance, Access(accounts), self.matcher)
        self.rest = BinanceRest(self.operations)

    def book(self, symbol: str = "BTCUSDT") -> SimBook:
        return self.world.binance[symbol].book

    def send(
        self,
        method: str,
        path: str,
        raw_query: str = "",
        body: str = "",
        *,
        key: str | None = None,
        peer: str = "me",
    ) -> Reply:
        """A request as it is, unsigned."""
        headers = {"x-mbx-apikey": self.account.key if key is None else key}
        query = Query(method, path, (), peer, 0, self.now_ms, raw_query, body.encode(), headers)
        status, answer_headers, answer, _ = self.rest.answer(query)
        return Reply(status, answer_headers, answer)

    def get(self, call: str, **params: str) -> Reply:
        """A public call."""
        return self.send("GET", f"/api/v3/{call}", urlencode(params))

    def call(self, method: str, call: str, **params: str) -> Reply:
        """A signed call, its parameters in the query."""
        return self.send(method, f"/api/v3/{call}", self.signed(params))

    def signed(self, params: dict[str, str]) -> str:
        payload = urlencode({"timestamp": str(self.now_ms)} | params)
        return f"{payload}&signature={sign(self.account.secret, payload)}"

    def order(self, **params: str) -> Reply:
        """A limit order for BTC, unless told otherwise."""
        usual = {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.01",
        }
        return self.call("POST", "order", **{k: v for k, v in (usual | params).items() if v})

    def price(self, factor: float, side: str = "asks") -> str:
        """A price on the tick, ``factor`` times the best of ``side``."""
        levels = self.book().asks if side == "asks" else self.book().bids
        return f"{float(levels.prices[0]) * factor:.2f}"

    def far(self) -> str:
        """A price at which a buy order waits."""
        return self.price(0.8)

    def free(self, currency: str) -> str:
        return str(self.account.wallet.free(currency))


def sign(secret: str, payload: str) -> str:
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


class Client:
    """A client of the WebSocket API."""

    def __init__(self, venue: Venue, **settings: Any) -> None:
        self.venue = venue
        self.session = WsApiSession(venue.operations, "me", 0, venue.now_ms, **settings)
        assert self.session.on_open(venue.now_ms) == ()
        self.events: list[Any] = []

    def raw(self, text: str) -> list[Any]:
        """What comes back for ``text``, then what happened in the account."""
        answers = self.session.on_text(text, 0, self.venue.now_ms)
        self.deliver()
        return [json.loads(one.payload) if isinstance(one, SendData) else one for one in answers]

    def ask(self, method: str, params: dict[str, object] | None = None, request_id: object = 1) -> Any:
        message = {"id": request_id, "method": method} | ({} if params is None else {"params": params})
        return self.raw(json.dumps(message))[0]

    def signed(self, method: str, **params: object) -> Any:
        """A request that carries key and signature."""
        return self.ask(method, self.sign(**params))

    def raw_signed(self, method: str, **params: object) -> list[Any]:
        """All that comes back for a request that carries key and signature."""
        return self.raw(json.dumps({"id": 1, "method": method, "params": self.sign(**params)}))

    def sign(self, **params: object) -> dict[str, object]:
        account = self.venue.account
        params = {"apiKey": account.key, "timestamp": self.venue.now_ms} | params
        payload = "&".join(f"{name}={text(params[name])}" for name in sorted(params))
        return params | {"signature": sign(account.secret, payload)}

    def deliver(self) -> None:
        """Hand the account's events over, as the server does."""
        account = self.venue.account
        self.take(self.session.on_events(account, account.take_events(), self.venue.now_ms))

    def take(self, actions: object) -> None:
        assert isinstance(actions, list | tuple)
        for action in actions:
            assert isinstance(action, SendData)
            self.events.append(json.loads(action.payload))


def text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture
def make_venue(world: SimWorld) -> Callable[..., Venue]:
    """``make_venue(permissions=..., **SimAccountsConfig)``."""

    def make(**settings: Any) -> Venue:
        return Venue(world, SimAccountsConfig(**settings))

    return make


@pytest.fixture
def venue(make_venue: Callable[..., Venue]) -> Venue:
    return make_venue()


@pytest.fixture
def make_client(venue: Venue) -> Callable[..., Client]:
    def make(**settings: Any) -> Client:
        return Client(venue, **settings)

    return make


@pytest.fixture
def client(venue: Venue) -> Client:
    return Client(venue)


@pytest.fixture(name="sign")
def sign_fixture() -> Callable[[str, str], str]:
    """HMAC-SHA256 of a payload under a secret."""
    return sign
