"""Binance's user data, requests and lists, as the venue documents them."""

import hashlib
import hmac
import json
from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.errors import FrameError, UsageError
from arbshard.venues.base.account import (
    Leaving,
    Nothing,
    Proceed,
    ReportedBalances,
    Subscribed,
    SubscriptionEnded,
)
from arbshard.venues.binance.account import BinanceAccount

BINANCE = BinanceAccount()


def event(**fields):
    return json.dumps({"subscriptionId": 0, "event": fields}).encode()


def test_a_fill_with_the_commission_it_cost(frames):
    heard = BINANCE.read(frames.binance_trade())
    assert heard.fill == ("5", Decimal("0.0004"), Decimal(60001), Decimal("0.0000004"), "BTC")
    assert (heard.state, heard.side, heard.venue_order_id) == ("PARTIAL", "buy", "7")
    assert (heard.filled, heard.remaining) == (Decimal("0.0004"), Decimal("0.0006"))


@pytest.mark.parametrize(
    ("state", "ours"),
    [
        ("NEW", "ACCEPTED"),
        ("PENDING_NEW", "ACCEPTED"),
        ("PARTIALLY_FILLED", "PARTIAL"),
        ("FILLED", "FILLED"),
        ("CANCELED", "CANCELED"),
        ("REJECTED", "REJECTED"),
        ("EXPIRED", "EXPIRED"),
        ("EXPIRED_IN_MATCH", "EXPIRED"),
        ("PENDING_CANCEL", "ACCEPTED"),
        ("A_NEW_WORD", "UNKNOWN"),
    ],
)
def test_states(frames, state, ours):
    heard = BINANCE.read(frames.binance_report(X=state, x=state))
    assert heard.state == ours
    assert heard.fill is None


def test_a_cancel_is_of_the_order_it_ends(frames, tag):
    heard = BINANCE.read(frames.binance_report(X="CANCELED", x="CANCELED", c="web_1", C=f"{tag}-s1-0-1-1-a0"))
    assert heard.client_id == f"{tag}-s1-0-1-1-a0"


def test_why_an_order_was_refused_or_expired(frames):
    refused = BINANCE.read(frames.binance_report(X="REJECTED", r="INSUFFICIENT_BALANCES"))
    assert (refused.detail, refused.fault) == ("INSUFFICIENT_BALANCES", "funds")
    closed = BINANCE.read(frames.binance_report(X="REJECTED", r="MARKET_CLOSED"))
    assert (closed.detail, closed.fault) == ("MARKET_CLOSED", "market")
    expired = BINANCE.read(frames.binance_report(X="EXPIRED", eR="UNFILLED_IOC_QUANTITY_EXPIRED"))
    assert (expired.detail, expired.fault) == ("UNFILLED_IOC_QUANTITY_EXPIRED", "")


def test_letters_that_other_reports_use_otherwise(frames):
    """Self-trade prevention and smart routing add fields, ``B`` among them as a text."""
    heard = BINANCE.read(
        frames.binance_report(B="0.001", A="0.1", v=3, u=1, U=2, Cs="X", pl="1", b=1, a=2, k="SOR")
    )
    assert heard.state == "ACCEPTED"


def test_a_fill_whose_fee_is_in_no_currency_is_refused(frames):
    with pytest.raises(FrameError):
        BINANCE.read(frames.binance_trade(N=None))
    free = BINANCE.read(frames.binance_trade(N=None, n="0"))
    assert free.fill is not None
    assert free.fill.fee == 0


def test_balances():
    heard = BINANCE.read(
        event(e="outboundAccountPosition", E=1, u=1, B=[{"a": "USDT", "f": "1.5", "l": "0.5"}])
    )
    assert heard == ReportedBalances({"USDT": (Decimal("1.5"), Decimal("0.5"))})


def test_other_events():
    assert BINANCE.read(event(e="balanceUpdate", a="BTC", d="1.0", T=1)) == Nothing()
    assert BINANCE.read(event(e="listStatus", s="BTCUSDT", c=7, C=[], r=1)) == Nothing()
    assert isinstance(BINANCE.read(event(e="eventStreamTerminated", E=1)), SubscriptionEnded)
    assert BINANCE.read(b'{"event":{"e":"serverShutdown","E":1}}') == Leaving()


def test_answers_to_what_was_sent():
    assert BINANCE.read(b'{"id":"subscribe","status":200,"result":{"subscriptionId":0}}') == Subscribed()
    proceed = BINANCE.read(b'{"id":"logon","status":200,"result":{"apiKey":"k"}}')
    assert isinstance(proceed, Proceed)
    assert json.loads(proceed.message) == {"id": "subscribe", "method": "userDataStream.subscribe"}
    refused = BINANCE.read(b'{"id":"subscribe","status":400,"error":{"code":-1022,"msg":"Bad."}}')
    assert refused == SubscriptionEnded("-1022: Bad.")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b'{"event":{}}',
        b'{"event":{"e":"executionReport"}}',
        b'{"event":{"e":"outboundAccountPosition","B":[{"a":"X","f":"-1","l":"0"}]}}',
        b'{"event":{"e":"outboundAccountPosition","B":[{"a":"X","f":"NaN","l":"0"}]}}',
        b"\xff",
    ],
)
def test_frames_that_cannot_be_trusted(frame):
    with pytest.raises(FrameError):
        BINANCE.read(frame)


@pytest.mark.parametrize("changes", [{"S": "HOLD"}, {"z": "0.002"}, {"q": "-1"}, {"z": "Infinity"}])
def test_reports_that_make_no_sense(frames, changes):
    with pytest.raises(FrameError):
        BINANCE.read(frames.binance_report(**changes))


def test_the_subscription_is_signed_over_sorted_parameters(binance_keys):
    (message,) = BINANCE.opening(binance_keys, "t", 1795239580704, 5000)
    request = message.use(json.loads)
    assert request["method"] == "userDataStream.subscribe.signature"
    params = request["params"]
    signature = params.pop("signature")
    payload = f"apiKey={params['apiKey']}&recvWindow=5000&timestamp=1795239580704"
    secret = binance_keys.secret.use_encoded(bytes)
    assert signature == hmac.new(secret, payload.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("public", "private"),
    [
        ("wss://stream.binance.com:9443", "wss://ws-api.binance.com:443/ws-api/v3"),
        ("wss://stream.testnet.binance.vision", "wss://ws-api.testnet.binance.vision/ws-api/v3"),
        ("wss://demo-stream.binance.com", "wss://demo-ws-api.binance.com/ws-api/v3"),
        ("ws://127.0.0.1:9", "ws://127.0.0.1:9/ws-api/v3"),
    ],
)
def test_where_the_private_stream_is(public, private):
    assert BINANCE.address(replace(Config().venues.binance, ws_url=public)) == private


@pytest.mark.parametrize("url", ["", "ws://example.com"])
def test_keys_travel_encrypted_or_not_at_all(url):
    with pytest.raises(UsageError):
        BINANCE.address(replace(Config().venues.binance, ws_url=url))


def test_lists_by_rest():
    body = b'{"balances":[{"asset":"BTC","free":"0.1","locked":"0.2"},{"asset":"X","free":"0.00","locked":"0.00"}]}'
    assert BINANCE.balances_of(body) == {"BTC": (Decimal("0.1"), Decimal("0.2"))}
    row = {
        "symbol": "BTCUSDT", "orderId": 7, "clientOrderId": "x", "side": "SELL", "status": "PARTIALLY_FILLED",
        "origQty": "0.3", "executedQty": "0.1", "updateTime": 5,
    }  # fmt: skip
    (order,) = BINANCE.orders_of(json.dumps([row]).encode())
    assert (order.state, order.side, order.remaining, order.at_ms) == ("PARTIAL", "sell", Decimal("0.2"), 5)
    assert BINANCE.order_of(json.dumps(row).encode()) == order
    assert BINANCE.orders_call(2) is None
    assert BINANCE.clock_of(b'{"serverTime":12}', {}) == (12, 0)


@pytest.mark.parametrize("body", [b"", b"[]x", b'{"balances":[{}]}', b"<html>"])
def test_answers_that_cannot_be_trusted(body):
    for read in (BINANCE.balances_of, BINANCE.orders_of, BINANCE.order_of):
        with pytest.raises(FrameError):
            read(body)
    with pytest.raises(FrameError):
        BINANCE.clock_of(body, {})
