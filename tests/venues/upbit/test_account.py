"""Upbit's private frames, token and lists, as the venue documents them."""

import base64
import hashlib
import hmac
import json
from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.errors import FrameError, UsageError
from arbshard.venues.base.account import Nothing, ReportedBalances, Subscribed, SubscriptionEnded
from arbshard.venues.upbit.account import UpbitAccount, token

UPBIT = UpbitAccount()


def test_an_order_of_its_own_money_comes_exact(frames):
    heard = UPBIT.read(
        frames.upbit_trade(volume=0.00012345, price=145999000.5, trade_fee=9.012345678901234567)
    )
    assert heard.fill is not None
    assert heard.fill.quantity == Decimal("0.00012345")
    assert heard.fill.price == Decimal("145999000.5")
    assert heard.fill.fee_currency == "KRW"
    assert heard.filled == Decimal("0.0004")
    assert (heard.state, heard.side, heard.venue_order_id) == ("PARTIAL", "buy", "u-1")


@pytest.mark.parametrize(
    ("state", "ours"),
    [
        ("wait", "ACCEPTED"),
        ("watch", "ACCEPTED"),
        ("prevented", "ACCEPTED"),
        ("done", "FILLED"),
        ("cancel", "EXPIRED"),
        ("a-new-word", "UNKNOWN"),
    ],
)
def test_states(frames, state, ours):
    heard = UPBIT.read(frames.upbit_order(state))
    assert heard.state == ours
    assert heard.fill is None


def test_the_last_fill_of_an_order_fills_it(frames):
    assert UPBIT.read(frames.upbit_trade(remaining_volume=0, executed_volume=0.001)).state == "FILLED"


def test_an_order_without_a_name_of_ours(frames):
    assert UPBIT.read(frames.upbit_order(identifier=None)).client_id == ""


def test_balances():
    frame = b"""{"type":"myAsset","asset_uuid":"a","assets":[{"currency":"KRW","balance":999.5,"locked":1},
        {"currency":"BTC","balance":1e-8,"locked":0}],"asset_timestamp":1,"timestamp":1,"stream_type":"REALTIME"}"""
    heard = UPBIT.read(frame)
    assert isinstance(heard, ReportedBalances)
    assert heard.balances["KRW"] == (Decimal("999.5"), Decimal(1))
    assert heard.balances["BTC"].free == Decimal("0.00000001")


def test_what_is_neither_order_nor_balance():
    assert UPBIT.read(b'{"method":"LIST_SUBSCRIPTIONS","result":[],"ticket":"q"}') == Subscribed()
    assert UPBIT.read(b'{"status":"UP"}') == Nothing()
    assert UPBIT.read(b'{"error":{"name":"INVALID_AUTH","message":"no"}}') == SubscriptionEnded(
        "INVALID_AUTH: no"
    )


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"[1]",
        b'{"type":"myOrder","state":"trade"}',
        b'{"type":"myOrder","code":"KRW-BTC","uuid":"u","ask_bid":"BID"}',
        b'{"type":"myAsset","assets":[{"currency":"KRW","balance":-1,"locked":0}]}',
        b'{"type":"myAsset","assets":[{"currency":"KRW","balance":"NaN","locked":0}]}',
        b"\xff\xfe",
    ],
)
def test_frames_that_cannot_be_trusted(frame):
    with pytest.raises(FrameError):
        UPBIT.read(frame)


@pytest.mark.parametrize("field", ["trade_uuid", "volume", "price", "trade_fee"])
def test_a_fill_that_is_not_whole_is_refused(frames, field):
    with pytest.raises(FrameError):
        UPBIT.read(frames.upbit_trade(**{field: None}))


def test_the_token_is_signed_and_names_key_and_nonce(upbit_keys):
    signed, _, signature = token(upbit_keys, "n-1").use(str).rpartition(".")
    header, payload = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in signed.split("."))
    assert header == {"alg": "HS512", "typ": "JWT"}
    assert payload == {"access_key": "demo-access", "nonce": "n-1"}
    expected = hmac.digest(b"demo-secret", signed.encode(), hashlib.sha512)
    assert base64.urlsafe_b64decode(signature + "==") == expected


def test_where_the_private_stream_is():
    venue = replace(Config().venues.upbit, ws_url="wss://api.upbit.com/websocket/v1")
    assert UPBIT.address(venue) == "wss://api.upbit.com/websocket/v1/private"
    other = replace(venue, private_ws_url="ws://127.0.0.1:9/x")
    assert UPBIT.address(other) == "ws://127.0.0.1:9/x"


@pytest.mark.parametrize(
    "url", ["", "ws://api.upbit.com/websocket/v1", "http://127.0.0.1", "ws://127.0.0.1.evil.com/"]
)
def test_keys_travel_encrypted_or_not_at_all(url):
    with pytest.raises(UsageError):
        UPBIT.address(replace(Config().venues.upbit, ws_url=url))


def test_the_subscription_and_the_question_whether_it_stands(upbit_keys):
    wanted, asked = (message.use(json.loads) for message in UPBIT.opening(upbit_keys, "t", 0, 0))
    assert wanted == [{"ticket": "t"}, {"type": "myOrder"}, {"type": "myAsset"}]
    assert asked == [{"ticket": "t"}, {"method": "LIST_SUBSCRIPTIONS"}]


def test_balances_by_rest():
    body = b"""[{"currency":"KRW","balance":"1000000.0","locked":"0.5","avg_buy_price":"0","unit_currency":"KRW"},
        {"currency":"BTC","balance":"0","locked":"0.0"}]"""
    assert UPBIT.balances_of(body) == {"KRW": (Decimal(1_000_000), Decimal("0.5"))}


def test_open_orders_come_in_pages_that_end():
    body = b"""[{"market":"KRW-BTC","uuid":"u","side":"ask","state":"wait","executed_volume":"0.1",
        "remaining_volume":"0.2","identifier":"x"},
        {"market":"KRW-BTC","uuid":"v","side":"bid","state":"wait","executed_volume":"0","remaining_volume":null}]"""
    first, second = UPBIT.orders_of(body)
    assert (first.state, first.side, first.remaining, first.client_id) == (
        "PARTIAL",
        "sell",
        Decimal("0.2"),
        "x",
    )
    assert (second.state, second.client_id) == ("ACCEPTED", "")
    pages = 1
    while UPBIT.orders_call(pages) is not None:
        pages += 1
        assert pages < 100


@pytest.mark.parametrize("body", [b"", b"{}", b'[{"market":1}]', b"<html>"])
def test_answers_that_cannot_be_trusted(body):
    for read in (UPBIT.balances_of, UPBIT.orders_of, UPBIT.order_of):
        with pytest.raises(FrameError):
            read(body if read is not UPBIT.order_of else body + b"[")


def test_the_time_is_in_a_header():
    assert UPBIT.clock_of(b"", {"date": "Sat, 21 Nov 2026 05:00:00 GMT"}) == (1_795_237_200_500, 500)
    for headers in ({}, {"date": "yesterday"}):
        with pytest.raises(FrameError):
            UPBIT.clock_of(b"", headers)
