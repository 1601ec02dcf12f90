"""Who is let in: every way of hashing that clients have, and every piece that may be missing or wrong."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlencode

import pytest

from arbshard.config import SimPermissions
from arbshard.exchanges.accounts.account import Accounts, TradingAccount
from arbshard.exchanges.accounts.wallet import Wallet
from arbshard.exchanges.session import Query
from arbshard.exchanges.upbit import auth
from arbshard.exchanges.upbit.auth import Authenticator, json_joined
from arbshard.exchanges.upbit.refusals import UpbitRefusal

VECTOR = "market=KRW-BTC&side=bid&ord_type=limit&price=90000000&volume=0.01"
VECTOR_HASH = (
    "593adc3da0eeaf39d4d36c01753790f73ef5349be12fe15c5132b255bbc79dd8448288687f8191d99f8ac2f7e0cc290528d3159b3b81fe34"
    "65081eca12375d6f"
)


def error_of(answer: Any) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["error"]["name"]


def test_hash_and_signature_of_a_known_token() -> None:
    assert hashlib.sha512(VECTOR.encode()).hexdigest() == VECTOR_HASH
    authenticator = Authenticator(
        Accounts(TradingAccount("demo-access", "demo-secret", Wallet({}), SimPermissions()))
    )
    head = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    claims = {
        "access_key": "demo-access",
        "nonce": "00000000-0000-4000-8000-000000000001",
        "query_hash": VECTOR_HASH,
        "query_hash_alg": "SHA512",
    }
    payload = (
        base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).decode().rstrip("=")
    )
    bearer = f"Bearer {head}.{payload}.P6ZYUH3_QSpmyzpMd-_A5ycWH9S1n-3LAaovuNizjts"
    body = json.dumps(dict(pair.split("=") for pair in VECTOR.split("&"))).encode()
    query = Query("POST", "/v1/orders", (), "", 0, 0, "", body, {"authorization": bearer})
    assert authenticator.account_of_request(query).key == "demo-access"


@pytest.mark.parametrize("alg", ["HS256", "HS512"])
def test_both_algorithms(customer: Any, make_token: Callable[..., str], alg: str) -> None:
    bearer = f"Bearer {make_token(customer.claims(), customer.config.upbit_secret, alg)}"
    assert customer.send("GET", "accounts", authorization=bearer).status == 200


BODY = {
    "market": "KRW-BTC",
    "side": "bid",
    "ord_type": "limit",
    "price": "100000000",
    "volume": "0.001",
    "identifier": "a:b c+d",
}
JOINED = "&".join(f"{name}={value}" for name, value in BODY.items())


@pytest.mark.parametrize(
    "text",
    [JOINED, JOINED.replace(" ", "+"), unquote(urlencode(BODY)), json.dumps(BODY)],
    ids=["joined", "blank as plus", "unquoted form", "raw body"],
)
def test_hashes_of_a_json_body(customer: Any, text: str) -> None:
    answer = customer.send("POST", "orders", "", json.dumps(BODY).encode(), customer.bearer(text))
    assert answer.status == 201, answer.body
    assert json.loads(answer.body)["identifier"] == "a:b c+d"


@pytest.mark.parametrize("raw", ["states%5B%5D=wait&states%5B%5D=watch", "states[]=wait&states[]=watch"])
@pytest.mark.parametrize("decode", [False, True])
def test_hashes_of_a_query(customer: Any, raw: str, decode: bool) -> None:
    text = unquote(raw) if decode else raw
    assert customer.send("GET", "orders/open", raw, authorization=customer.bearer(text)).status == 200


def test_older_clients_send_a_form_with_get_and_json_with_delete(customer: Any) -> None:
    order = customer.limit()
    form = urlencode({"uuid": order["uuid"]})
    seen = customer.send("GET", "order", "", form.encode(), customer.bearer(form))
    assert json.loads(seen.body)["uuid"] == order["uuid"]
    listed = urlencode({"market": "KRW-BTC", "states[]": "wait"})
    seen = customer.send("GET", "orders", "", listed.encode(), customer.bearer(listed))
    assert [one["uuid"] for one in json.loads(seen.body)] == [order["uuid"]]
    body = json.dumps({"uuid": order["uuid"]}).encode()
    gone = customer.send("DELETE", "order", "", body, customer.bearer(f"uuid={order['uuid']}"))
    assert gone.status == 200


def test_join_of_lists_and_numbers() -> None:
    assert json_joined('{"a":[1,"x"],"b":0.010,"c":true}') == "a[]=1&a[]=x&b=0.010&c=true"
    assert json_joined("[1]") == ""
    assert json_joined("no json") == ""


def test_wrong_and_missing_pieces(customer: Any, make_token: Callable[..., str]) -> None:
    secret = customer.config.upbit_secret

    def send(authorization: str | None, raw_query: str = "") -> tuple[int, str]:
        return error_of(customer.send("GET", "orders/open", raw_query, authorization=authorization))

    no_token = (401, "no_authorization_token")
    assert send(None) == send("Bearer ") == send("Basic abc") == no_token
    bad = (401, "jwt_verification")
    good = customer.bearer()
    assert send("Bearer nonsense") == send("Bearer a.b.c") == send(good[:-4] + "AAAA") == bad
    assert send("Bearer ü.ü.ü") == bad
    assert send(f"Bearer {make_token(customer.claims(), 'another secret')}") == bad
    assert send(f"Bearer {make_token(customer.claims(), secret, 'none')}") == bad
    without_nonce = {"access_key": customer.config.upbit_key}
    assert send(f"Bearer {make_token(without_nonce, secret)}") == bad
    stranger = customer.claims() | {"access_key": "who"}
    assert send(f"Bearer {make_token(stranger, secret)}") == (401, "invalid_access_key")
    payload = (401, "invalid_query_payload")
    assert send(customer.bearer(), "market=KRW-BTC") == payload
    assert send(customer.bearer("market=KRW-ETH"), "market=KRW-BTC") == payload
    assert send(customer.bearer("market=KRW-BTC")) == payload
    other = customer.claims("market=KRW-BTC") | {"query_hash_alg": "SHA256"}
    assert send(f"Bearer {make_token(other, secret)}", "market=KRW-BTC") == payload
    assert customer.send("GET", "orders/open", authorization=good).status == 200


def test_a_nonce_is_good_once(customer: Any) -> None:
    bearer = customer.bearer()
    assert customer.send("GET", "accounts", authorization=bearer).status == 200
    assert error_of(customer.send("GET", "accounts", authorization=bearer)) == (401, "nonce_used")


def test_memory_of_nonces_is_bounded(customer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "NONCES_MAX", 2)
    bearers = [customer.bearer() for _ in range(3)]
    for bearer in bearers:
        assert customer.send("GET", "accounts", authorization=bearer).status == 200
    assert customer.send("GET", "accounts", authorization=bearers[0]).status == 200
    assert customer.send("GET", "accounts", authorization=bearers[2]).status == 401


def test_a_key_without_the_permission(customer: Any) -> None:
    customer.account.permissions = SimPermissions(can_trade=False)
    order = {"market": "KRW-BTC", "side": "bid", "ord_type": "limit", "price": "100000000", "volume": "0.001"}
    assert customer.refused("POST", "orders", order) == (403, "out_of_scope")
    assert customer.refused("DELETE", "order", {"uuid": "x"}) == (403, "out_of_scope")
    assert customer.get("accounts")
    customer.account.permissions = SimPermissions(can_read=False)
    assert customer.refused("GET", "accounts") == (403, "out_of_scope")


def test_a_token_for_the_socket_covers_no_parameters(customer: Any) -> None:
    authenticator = Authenticator(Accounts(customer.account))
    assert authenticator.account_of_token(customer.bearer()) is customer.account
    with pytest.raises(UpbitRefusal, match="no_authorization_token"):
        authenticator.account_of_token("")
