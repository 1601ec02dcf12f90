"""Calls about orders as messages of Binance's WebSocket API, and its answers as those of REST."""

import hashlib
import hmac
import json

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.data.address_block import blocked_s
from arbshard.errors import FrameError
from arbshard.execution.live.errors import understand
from arbshard.execution.live.limits import read_headers
from arbshard.venues.base.client import Answer
from arbshard.venues.base.order_socket import SocketLeaving, SocketLogonLost
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.signing import SigningMoment
from arbshard.venues.binance.order_socket import BinanceOrderSocket
from arbshard.venues.binance.orders import BinanceOrders
from arbshard.venues.keys import Keys

SOCKET, ORDERS = BinanceOrderSocket(), BinanceOrders()
KEYS = Keys("binance", "the-key", "the-secret")
MOMENT = SigningMoment(1_795_239_476_126, 5000, "n1")
WEIGHT = {
    "rateLimitType": "REQUEST_WEIGHT",
    "interval": "MINUTE",
    "intervalNum": 1,
    "limit": 6000,
    "count": 7,
}
COUNT = {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100, "count": 3}


@pytest.fixture
def order(make):
    return make.intent("entry", "buy_home", "0.001").away


def sent(request, keys=KEYS):
    return json.loads(SOCKET.encode(request, keys, MOMENT).use(str))


def test_an_order_has_the_parameters_of_rest_and_a_signature_over_all_of_them(order):
    request = ORDERS.place(order, "ab1cd-s1-0-1-1-a0")
    message = sent(request)
    params = message["params"]
    assert (message["id"], message["method"]) == ("n1", "order.place")
    assert request.params.items() <= params.items()
    assert (params["apiKey"], params["timestamp"], params["recvWindow"]) == ("the-key", MOMENT.now_ms, 5000)
    signature = params.pop("signature")
    payload = "&".join(f"{name}={params[name]}" for name in sorted(params))
    assert signature == hmac.new(b"the-secret", payload.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("request_", "method"),
    [
        (VenueRequest("POST", "/api/v3/order", {}, {}), "order.place"),
        (VenueRequest("GET", "/api/v3/order", {"orderId": "7"}, {}), "order.status"),
        (VenueRequest("DELETE", "/api/v3/order", {"orderId": "7"}, {}), "order.cancel"),
        (VenueRequest("POST", "/api/v3/order/test", {}, {}), "order.test"),
        (VenueRequest("GET", "/api/v3/myTrades", {"orderId": "7", "limit": "1000"}, {}), "myTrades"),
    ],
)
def test_methods(request_, method):
    assert SOCKET.carries(request_)
    message = sent(request_)
    assert message["method"] == method
    assert message["params"].get("orderId", 7) == 7


def test_other_calls_stay_with_rest():
    assert not SOCKET.carries(ORDERS.warm())
    assert not SOCKET.carries(VenueRequest("GET", "/api/v3/account", {}, {}))


@pytest.mark.needs("live")
def test_an_ed25519_key_logs_on_and_its_calls_are_not_signed(order):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    keys = Keys("binance", "the-key", pem)
    logon = SOCKET.logon(keys, MOMENT)
    assert logon is not None
    assert "the-key" not in repr(logon)
    message = json.loads(logon.use(str))
    assert (message["id"], message["method"]) == ("n1", "session.logon")
    assert set(message["params"]) == {"apiKey", "recvWindow", "timestamp", "signature"}
    params = sent(ORDERS.place(order, "n"), keys)["params"]
    assert params["timestamp"] == MOMENT.now_ms
    assert "apiKey" not in params
    assert "signature" not in params


def test_a_shared_secret_does_not_log_on():
    assert SOCKET.logon(KEYS, MOMENT) is None


def test_an_answer_is_read_as_that_of_rest(answers):
    body = answers.binance()
    frame = json.dumps({"id": "n1", "status": 200, "result": body, "rateLimits": [COUNT, WEIGHT]}).encode()
    found = SOCKET.read(frame)
    assert found.message_id == "n1"
    assert (found.answer.status, json.loads(found.answer.body)) == (200, body)
    assert dict(read_headers("binance", found.answer.headers)) == {
        "binance_orders_10s": 3,
        "binance_weight": 7,
    }


@pytest.mark.parametrize(
    ("status", "code", "text", "meaning", "fault"),
    [
        (400, -2010, "Account has insufficient balance for requested action.", "rejected", "funds"),
        (400, -2013, "Order does not exist.", "not_found", ""),
        (400, -1013, "Filter failure: PRICE_FILTER", "rejected", "order"),
        (400, -1021, "Timestamp for this request is outside of the recvWindow.", "not_accepted", "busy"),
        (401, -2015, "Invalid API-key, IP, or permissions for action.", "not_accepted", "venue"),
        (408, -1007, "Timeout waiting for response from backend server.", "unknown", ""),
        (429, -1003, "Too much request weight used.", "not_accepted", "busy"),
        (418, -1003, "Way too much request weight used; IP banned.", "not_accepted", "venue"),
        (500, -1000, "An unknown error occurred while processing the request.", "unknown", ""),
    ],
)
def test_errors_mean_what_they_mean_over_rest(status, code, text, meaning, fault):
    frame = json.dumps({"id": "n1", "status": status, "error": {"code": code, "msg": text}}).encode()
    answer = SOCKET.read(frame).answer
    said = understand("binance", answer.status, answer.body)
    assert (said.meaning, said.fault, said.detail) == (meaning, fault, f"{code}: {text}")
    assert said == understand("binance", status, json.dumps({"code": code, "msg": text}).encode())


@pytest.mark.parametrize("status", [429, 418])
def test_a_limit_says_how_long_it_lasts(status):
    data = {"serverTime": 1_000_000, "retryAfter": 1_002_001}
    error = {"code": -1003, "msg": "Too much.", "data": data}
    answer = SOCKET.read(json.dumps({"id": "n1", "status": status, "error": error}).encode()).answer
    assert blocked_s("binance", answer) == 3.0
    assert answer.pause_s == 3.0


def test_a_shutdown_is_announced_and_other_events_are_not_for_this_socket():
    assert SOCKET.read(b'{"event":{"e":"serverShutdown","E":1}}') == SocketLeaving()
    assert SOCKET.read(b'{"subscriptionId":0,"event":{"e":"executionReport","E":1}}') is None
    assert (
        SOCKET.read(b'{"id":null,"status":400,"error":{"code":-1135,"msg":"Invalid JSON Request"}}') is None
    )


@pytest.mark.parametrize("frame", [b"", b"[]", b'{"id":{}}', b'{"id":"n1","status":"x"}'])
def test_a_frame_that_cannot_be_read(frame):
    with pytest.raises(FrameError):
        SOCKET.read(frame)


def test_the_address_is_that_of_the_private_stream():
    venue = Config().venues.binance
    live = replace(venue, ws_url="wss://stream.binance.com:9443")
    assert SOCKET.address(live) == "wss://ws-api.binance.com:443/ws-api/v3"
    assert SOCKET.address(replace(venue, ws_url="ws://127.0.0.1:1")) == "ws://127.0.0.1:1/ws-api/v3"


REVOKED = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
NO_KEY = {"code": -1102, "msg": "Mandatory parameter 'apiKey' was not sent, was empty/null, or malformed."}
NO_PRICE = {"code": -1102, "msg": "Mandatory parameter 'price' was not sent, was empty/null, or malformed."}


def test_the_end_of_a_logon_names_no_call():
    frame = json.dumps({"id": None, "status": 401, "error": REVOKED}).encode()
    assert SOCKET.read(frame) == SocketLogonLost(f"-2015: {REVOKED['msg']}")
    other = json.dumps({"id": None, "status": 400, "error": {"code": -1135, "msg": "Invalid JSON."}}).encode()
    assert SOCKET.read(other) is None


@pytest.mark.parametrize(
    ("status", "error", "needs_logon", "refuses_key"),
    [
        (400, NO_KEY, True, False),
        (400, NO_PRICE, False, False),
        (401, REVOKED, False, True),
        (400, {"code": -1022, "msg": "Signature for this request is not valid."}, False, True),
        (400, {"code": -2010, "msg": "Account has insufficient balance."}, False, False),
        (200, {"orderId": 7}, False, False),
    ],
)
def test_refusals_of_a_call_that_a_logon_stands_for(status, error, needs_logon, refuses_key):
    answer = Answer(status, json.dumps(error).encode())
    assert (SOCKET.needs_logon(answer), SOCKET.refuses_key(answer)) == (needs_logon, refuses_key)


def test_a_page_of_a_firewall_says_nothing_of_the_logon():
    page = Answer(403, b"<html>")
    assert not SOCKET.needs_logon(page)
    assert not SOCKET.refuses_key(page)
