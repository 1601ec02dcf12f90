"""A customer of the simulated Upbit who signs his requests as the official documentation says."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

import pytest

from arbshard.config import SimAccountsConfig
from arbshard.exchanges.accounts.account import seeded_accounts
from arbshard.exchanges.accounts.matching import Matcher
from arbshard.exchanges.session import SECOND_NS, Query, RestReply
from arbshard.exchanges.upbit.auth import Authenticator
from arbshard.exchanges.upbit.desk import UpbitDesk
from arbshard.exchanges.upbit.money import UpbitMoney
from arbshard.exchanges.upbit.private import UpbitPrivate
from arbshard.exchanges.upbit.private_session import PrivateDoor
from arbshard.exchanges.upbit.rest import UpbitRest
from arbshard.exchanges.world import SimWorld

NOW_MS = 1_795_000_000_000
HASHES = {"HS256": hashlib.sha256, "HS512": hashlib.sha512}


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(claims: dict[str, Any], secret: str, alg: str = "HS512") -> str:
    signed = ".".join(part(json.dumps(one).encode()) for one in ({"alg": alg, "typ": "JWT"}, claims))
    make_hash = HASHES.get(alg, hashlib.sha256)
    return f"{signed}.{part(hmac.new(secret.encode(), signed.encode(), make_hash).digest())}"


class Customer:
    """Asks the REST interface, one request every 0.4 s unless told otherwise."""

    def __init__(self, world: SimWorld) -> None:
        self.world = world
        self.config = SimAccountsConfig()
        accounts, _ = seeded_accounts(self.config, world.upbit, world.binance)
        account = accounts.get(self.config.upbit_key)
        assert account is not None
        self.account = account
        self.matcher = Matcher(world.upbit, UpbitMoney())
        authenticator = Authenticator(accounts)
        self.rest = UpbitRest(world.upbit, UpbitPrivate(UpbitDesk(world.upbit, self.matcher), authenticator))
        self.door = PrivateDoor(world.upbit, authenticator)
        self.now_ns, self.now_ms = SECOND_NS, NOW_MS
        self._nonce = 0

    def claims(self, text: str | None = None) -> dict[str, str]:
        self._nonce += 1
        claims = {"access_key": self.config.upbit_key, "nonce": f"nonce-{self._nonce}"}
        if text is not None:
            claims |= {"query_hash": hashlib.sha512(text.encode()).hexdigest(), "query_hash_alg": "SHA512"}
        return claims

    def bearer(self, text: str | None = None) -> str:
        return f"Bearer {token(self.claims(text), self.config.upbit_secret)}"

    def send(
        self,
        method: str,
        path: str,
        raw_query: str = "",
        body: bytes = b"",
        authorization: str | None = None,
        wait_s: float = 0.4,
        **headers: str,
    ) -> RestReply:
        self.now_ns += int(wait_s * SECOND_NS)
        self.now_ms += int(wait_s * 1000)
        if authorization is not None:
            headers["authorization"] = authorization
        params = tuple(parse_qsl(raw_query))
        query = Query(
            method, f"/v1/{path}", params, "10.0.0.1", self.now_ns, self.now_ms, raw_query, body, headers
        )
        return self.rest.answer(query)

    def ask(self, method: str, path: str, params: Any = (), wait_s: float = 0.4, **headers: str) -> RestReply:
        """A signed request: parameters in the query, or as JSON with POST."""
        if method == "POST":
            text = "&".join(f"{name}={value}" for name, value in dict(params).items())
            body, raw_query = json.dumps(dict(params)).encode(), ""
        else:
            raw_query, body = urlencode(params), b""
            text = unquote(raw_query)
        return self.send(method, path, raw_query, body, self.bearer(text or None), wait_s, **headers)

    def get(self, path: str, params: Any = ()) -> Any:
        answer = self.ask("GET", path, params)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def post(self, path: str, **params: str) -> Any:
        answer = self.ask("POST", path, params)
        assert answer.status == 201, answer.body
        return json.loads(answer.body)

    def delete(self, path: str, params: Any = ()) -> Any:
        answer = self.ask("DELETE", path, params)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def order(self, **params: str) -> Any:
        return self.post("orders", **({"market": "KRW-BTC"} | params))

    def limit(
        self, side: str = "bid", price: object = 100_000_000, volume: str = "0.001", **more: str
    ) -> Any:
        return self.order(side=side, ord_type="limit", price=str(price), volume=volume, **more)

    def refused(self, method: str, path: str, params: Any = ()) -> tuple[int, str]:
        answer = self.ask(method, path, params)
        return answer.status, json.loads(answer.body)["error"]["name"]

    def free(self, currency: str) -> Decimal:
        return self.account.wallet.free(currency)

    @property
    def ask_price(self) -> int:
        return self.world.upbit["KRW-BTC"].best_ask // 10**8

    @property
    def bid_price(self) -> int:
        return self.world.upbit["KRW-BTC"].best_bid // 10**8


@pytest.fixture
def customer(world: SimWorld) -> Customer:
    return Customer(world)


@pytest.fixture
def make_token() -> Callable[..., str]:
    return token
