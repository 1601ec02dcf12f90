import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from arbshard.config import FaultsConfig
from arbshard.exchanges.binance import access
from arbshard.exchanges.binance.faults import BinanceFaultReplies
from arbshard.exchanges.binance.money import BinanceMoney
from arbshard.exchanges.binance.refusals import bad_signature
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.conditions import Conditions
from arbshard.exchanges.faults.requests import RequestFaults
from arbshard.exchanges.faults.spells import Spells
from arbshard.exchanges.session import CloseClient, Cut, SendLater, SendPing

WEIGHT = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
SECOND_NS = 1_000_000_000


# --- form ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_id", [1, -5, "r1", "any text at all", "", None, 2**63 - 1])
def test_ids_come_back_with_their_type(client: Any, request_id: object) -> None:
    reply = client.ask("ping", request_id=request_id)
    assert list(reply) == ["id", "status", "result", "rateLimits"]
    assert (reply["id"], type(reply["id"])) == (request_id, type(request_id))
    assert (reply["status"], reply["result"]) == (200, {})


def test_methods_may_carry_their_version(client: Any) -> None:
    assert client.ask("v3/time")["result"] == {"serverTime": client.venue.now_ms}


@pytest.mark.parametrize(
    ("text", "code", "request_id"),
    [
        ("nonsense", -1135, None),
        ("[1]", -1135, None),
        ("[" * 50_000, -1135, None),
        ('{"id":true,"method":"ping"}', -1135, None),
        ('{"id":{},"method":"ping"}', -1135, None),
        ('{"id":' + "9" * 30 + ',"method":"ping"}', -1135, None),
        ('{"id":1}', -1102, 1),
        ('{"id":2,"method":7}', -1102, 2),
        ('{"id":3,"method":"order.guess"}', -5000, 3),
        ('{"id":4,"method":"ping","params":[1]}', -1135, 4),
        ('{"id":5,"method":"ping","params":{"colour":"red"}}', -1104, 5),
        ('{"id":6,"method":"depth","params":{"symbol":"NONEUSDT"}}', -1121, 6),
        ('{"id":7,"method":"depth","params":{"symbol":"BTCUSDT","limit":' + "9" * 30 + "}}", -1100, 7),
        ('{"id":8,"method":"depth","params":{"symbol":null}}', -1102, 8),
        ('{"id":9,"method":"account.status"}', -1102, 9),
    ],
)
def test_what_cannot_be_done(client: Any, text: str, code: int, request_id: object) -> None:
    (reply,) = client.raw(text)
    assert list(reply) == ["id", "status", "error", "rateLimits"]
    assert (reply["id"], reply["status"], reply["error"]["code"]) == (request_id, 400, code)


def test_market_data(client: Any) -> None:
    book = client.ask("depth", {"symbol": "BTCUSDT", "limit": 5})["result"]
    assert len(book["bids"]) == 5
    info = client.ask("exchangeInfo", {"symbols": ["ETHUSDT"]})["result"]
    assert [one["symbol"] for one in info["symbols"]] == ["ETHUSDT"]


def test_rate_limits_are_told_unless_the_client_does_not_want_them(make_client: Any) -> None:
    client = make_client()
    assert client.ask("ping")["rateLimits"] == [WEIGHT | {"count": 3}]  # connecting weighs 2
    assert "rateLimits" not in client.ask("ping", {"returnRateLimits": False})
    quiet = make_client(with_limits=False)
    assert "rateLimits" not in quiet.ask("ping")
    assert quiet.ask("ping", {"returnRateLimits": True})["rateLimits"] == [WEIGHT | {"count": 8}]


def test_weight_is_shared_with_rest_and_too_much_tells_when_to_come_back(client: Any) -> None:
    venue = client.venue
    for _ in range(22):
        venue.get("depth", symbol="BTCUSDT", limit="5000")
    replies = [client.ask("depth", {"symbol": "BTCUSDT", "limit": 5000}) for _ in range(3)]
    assert [one["status"] for one in replies] == [200, 429, 429]
    assert replies[1]["error"]["code"] == -1003
    assert replies[1]["error"]["data"] == {"serverTime": venue.now_ms, "retryAfter": venue.now_ms + 60_000}


def test_who_goes_on_is_banned_and_sent_away(client: Any) -> None:
    text = json.dumps({"id": 1, "method": "depth", "params": {"symbol": "BTCUSDT", "limit": 5000}})
    answers = [client.raw(text) for _ in range(60)]
    banned = next(one for one in answers if one[0]["status"] == 418)
    assert isinstance(banned[1], CloseClient)
    assert banned[0]["error"]["data"]["retryAfter"] == client.venue.now_ms + 120_000
    assert isinstance(client.session.on_open(client.venue.now_ms)[0], CloseClient)


# --- trading -------------------------------------------------------------------------------------------------------


def test_an_order_from_place_to_cancel(client: Any) -> None:
    price = client.venue.far()
    placed = client.signed("order.place", **LIMIT, price=price, newClientOrderId="mine-1")
    assert (placed["status"], placed["result"]["status"]) == (200, "NEW")
    assert [(one["rateLimitType"], one["count"]) for one in placed["rateLimits"]] == [
        ("ORDERS", 1),
        ("ORDERS", 1),
        ("REQUEST_WEIGHT", 2),
    ]
    order = {"symbol": "BTCUSDT", "orderId": placed["result"]["orderId"]}
    assert client.signed("order.status", **order)["result"]["clientOrderId"] == "mine-1"
    assert len(client.signed("openOrders.status", symbol="BTCUSDT")["result"]) == 1
    replaced = client.signed(
        "order.cancelReplace",
        **LIMIT,
        price=price,
        cancelReplaceMode="STOP_ON_FAILURE",
        cancelOrigClientOrderId="mine-1",
    )
    assert replaced["result"]["cancelResult"] == "SUCCESS"
    assert client.signed("order.cancel", **order)["error"] == {"code": -2011, "msg": "Unknown order sent."}
    assert len(client.signed("openOrders.cancelAll", symbol="BTCUSDT")["result"]) == 1
    assert client.venue.account.wallet.locked("USDT") == 0


def test_other_questions_of_the_owner(client: Any) -> None:
    assert client.signed("order.test", **LIMIT, price=client.venue.far())["result"] == {}
    market = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.001"}
    fills = client.signed("order.place", **market)["result"]["fills"]
    assert [one["id"] for one in client.signed("myTrades", symbol="BTCUSDT")["result"]] == [
        one["tradeId"] for one in fills
    ]
    assert client.signed("account.status", omitZeroBalances=True)["result"]["accountType"] == "SPOT"
    counts = client.signed("account.rateLimits.orders")["result"]
    assert [(one["limit"], one["count"]) for one in counts] == [(100, 0), (200_000, 0)]


def test_a_partial_failure_carries_its_data(client: Any) -> None:
    reply = client.signed(
        "order.cancelReplace",
        **LIMIT,
        price=client.venue.far(),
        cancelReplaceMode="ALLOW_FAILURE",
        cancelOrderId=5,
    )
    assert (reply["status"], reply["error"]["code"]) == (409, -2021)
    assert reply["error"]["data"]["newOrderResult"] == "SUCCESS"


def test_a_refused_order_tells_the_order_counts_too(client: Any) -> None:
    reply = client.signed("order.place", **LIMIT, price="1")
    assert reply["error"]["code"] == -1013
    assert [one["rateLimitType"] for one in reply["rateLimits"]] == ["ORDERS", "ORDERS", "REQUEST_WEIGHT"]


def test_signatures_cover_all_parameters_sorted_with_the_key(client: Any) -> None:
    params = client.sign(symbol="BTCUSDT")
    assert client.ask("openOrders.status", params)["status"] == 200
    assert client.ask("openOrders.status", params | {"symbol": "ETHUSDT"})["error"]["code"] == -1022
    assert client.ask("openOrders.status", params | {"apiKey": "another"})["error"]["code"] == -2015
    late = client.sign(symbol="BTCUSDT", timestamp=client.venue.now_ms - 6000)
    assert client.ask("openOrders.status", late)["error"]["code"] == -1021
    wide = client.sign(symbol="BTCUSDT", timestamp=client.venue.now_ms - 6000, recvWindow=6000.5)
    assert client.ask("openOrders.status", wide)["status"] == 200


# --- logon ---------------------------------------------------------------------------------------------------------


class FakeKey:
    """Takes one signature: Ed25519 itself is tested in ``test_signing``."""

    def __init__(self, text: str) -> None:
        assert text == "a key"

    @staticmethod
    def check(signature: str, payload: str, key: object) -> None:
        if signature != f"signed:{payload.count('=')}" or not isinstance(key, FakeKey):
            raise bad_signature()


@pytest.fixture
def ed25519(make_venue: Any, make_client: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of an account with an Ed25519 key."""
    monkeypatch.setattr(access, "PublicKey", FakeKey)
    monkeypatch.setattr(access, "check_ed25519", FakeKey.check)
    return type(make_client())(make_venue(binance_ed25519_public="a key"))


def logon(client: Any) -> Any:
    venue = client.venue
    params = {"apiKey": venue.account.key, "timestamp": venue.now_ms, "signature": "signed:2"}
    return client.ask("session.logon", params)


def test_a_session_that_logged_on_needs_neither_key_nor_signature(ed25519: Any) -> None:
    venue = ed25519.venue
    assert ed25519.ask("account.status", {"timestamp": venue.now_ms})["error"]["code"] == -1102
    reply = logon(ed25519)
    session = {
        "apiKey": venue.account.key,
        "authorizedSince": venue.now_ms,
        "connectedSince": venue.now_ms,
        "returnRateLimits": True,
        "serverTime": venue.now_ms,
        "userDataStream": False,
    }
    assert reply["result"] == session
    assert ed25519.ask("session.status")["result"] == session
    assert ed25519.ask("account.status", {"timestamp": venue.now_ms})["status"] == 200
    assert ed25519.ask("account.status")["error"]["code"] == -1102  # the time is needed all the same
    assert ed25519.ask("account.status", {"timestamp": venue.now_ms - 9000})["error"]["code"] == -1021
    assert ed25519.signed("account.status")["status"] == 200  # signing by secret still works
    reply = ed25519.ask("session.logout")["result"]
    assert (reply["apiKey"], reply["authorizedSince"]) == (None, None)
    assert ed25519.ask("account.status", {"timestamp": venue.now_ms})["error"]["code"] == -1102


def test_a_logon_with_a_secret_is_refused(client: Any, ed25519: Any) -> None:
    for one in (client, ed25519):
        assert one.signed("session.logon")["error"] == {
            "code": -4056,
            "msg": "HMAC_SHA256 API key is not supported.",
        }
        assert one.ask("session.status")["result"]["apiKey"] is None


def test_a_logon_with_a_wrong_signature_is_refused(ed25519: Any) -> None:
    venue = ed25519.venue
    params = {"apiKey": venue.account.key, "timestamp": venue.now_ms, "signature": "signed:9"}
    assert ed25519.ask("session.logon", params)["error"]["code"] == -1022


@pytest.mark.parametrize("why", ["a fault", "the key"])
def test_a_logon_that_is_revoked_is_told_without_an_id_and_the_call_is_not_carried_out(
    ed25519: Any, faulty: Any, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    client = type(ed25519)(ed25519.venue, faults=faulty.requests(session_revoked={"times": 1}))
    if why == "the key":
        client = ed25519
    logon(client)
    if why == "the key":
        monkeypatch.setattr(client.venue.operations.access, "_is_revoked", lambda: True)
    order = {**LIMIT, "price": client.venue.far(), "timestamp": client.venue.now_ms}
    (said,) = client.raw(json.dumps({"id": "n1", "method": "order.place", "params": order}))
    assert said == {
        "id": None,
        "status": 401,
        "error": {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."},
    }
    assert client.venue.account.open_orders == {}
    assert client.ask("order.place", order)["error"]["code"] == -1102
    if why == "a fault":
        assert logon(client)["status"] == 200
        assert client.ask("order.place", order)["status"] == 200


# --- user data -----------------------------------------------------------------------------------------------------


def test_subscriptions_come_and_go(client: Any) -> None:
    assert client.ask("userDataStream.subscribe")["error"]["code"] == -2015
    assert client.signed("userDataStream.subscribe.signature")["result"] == {"subscriptionId": 0}
    assert client.signed("userDataStream.subscribe.signature")["error"]["code"] == -2035
    assert client.ask("session.subscriptions")["result"] == [{"subscriptionId": 0}]
    assert client.ask("session.status")["result"]["userDataStream"] is True
    assert client.ask("userDataStream.unsubscribe", {"subscriptionId": 3})["error"]["code"] == -2036
    reply, ended = client.raw(
        '{"id":"u","method":"userDataStream.unsubscribe","params":{"subscriptionId":0}}'
    )
    assert (reply["id"], reply["result"]) == ("u", {})
    assert ended == {"subscriptionId": 0, "event": {"e": "eventStreamTerminated", "E": client.venue.now_ms}}
    assert client.ask("session.subscriptions")["result"] == []
    assert client.ask("userDataStream.unsubscribe")["error"]["code"] == -2036
    assert client.signed("userDataStream.subscribe.signature")["result"] == {"subscriptionId": 1}
    client.raw('{"id":1,"method":"userDataStream.unsubscribe"}')
    client.events.clear()
    client.venue.order(price=client.venue.far())
    client.deliver()
    assert client.events == []


def test_a_logout_ends_what_came_with_the_logon(ed25519: Any) -> None:
    logon(ed25519)
    assert ed25519.ask("userDataStream.subscribe")["result"] == {"subscriptionId": 0}
    _, ended = ed25519.raw('{"id":1,"method":"session.logout"}')
    assert (ended["subscriptionId"], ended["event"]["e"]) == (0, "eventStreamTerminated")
    ed25519.signed("userDataStream.subscribe.signature")
    assert len(ed25519.raw('{"id":1,"method":"session.logout"}')) == 1


def test_events_of_a_waiting_order_that_is_canceled(client: Any) -> None:
    client.signed("userDataStream.subscribe.signature")
    price = client.venue.far()
    locked = Decimal(price) * Decimal("0.01")
    client.signed("order.place", **LIMIT, price=price, newClientOrderId="mine-1")
    assert {one["subscriptionId"] for one in client.events} == {0}
    new, position = (one["event"] for one in client.events)
    assert new == {
        "e": "executionReport", "E": client.venue.now_ms, "s": "BTCUSDT", "c": "mine-1", "S": "BUY", "o": "LIMIT",
        "f": "GTC", "q": "0.01000000", "p": price + "000000", "P": "0.00000000", "F": "0.00000000", "g": -1, "C": "",
        "x": "NEW", "X": "NEW", "r": "NONE", "i": 1000, "l": "0.00000000", "L": "0.00000000", "Y": "0.00000000",
        "n": "0", "N": None, "t": -1, "m": False, "z": "0.00000000", "T": client.venue.now_ms, "I": 4001, "w": True,
        "M": False, "O": client.venue.now_ms, "Z": "0.00000000", "Q": "0.00000000", "W": client.venue.now_ms,
        "V": "EXPIRE_MAKER",
    }  # fmt: skip
    assert position == {
        "e": "outboundAccountPosition",
        "E": client.venue.now_ms,
        "u": client.venue.now_ms,
        "B": [{"a": "USDT", "f": f"{70_000 - locked:.8f}", "l": f"{locked:.8f}"}],
    }
    client.events.clear()
    client.signed("order.cancel", symbol="BTCUSDT", orderId=1000, newClientOrderId="cancel-1")
    canceled, position = (one["event"] for one in client.events)
    assert (canceled["x"], canceled["X"], canceled["c"], canceled["C"]) == (
        "CANCELED", "CANCELED", "cancel-1", "mine-1",
    )  # fmt: skip
    assert canceled["w"] is False
    assert position["B"] == [{"a": "USDT", "f": "70000.00000000", "l": "0.00000000"}]


def test_events_of_an_order_that_takes(client: Any) -> None:
    client.signed("userDataStream.subscribe.signature")
    asks = client.venue.book().asks
    size, price = Decimal(asks.amounts[0]), asks.prices[1]
    quantity = size + Decimal(asks.amounts[1]) + Decimal("0.00001")
    placed = client.signed(
        "order.place", **(LIMIT | {"timeInForce": "IOC", "quantity": str(quantity), "price": price})
    )["result"]
    reports = [one["event"] for one in client.events if one["event"]["e"] == "executionReport"]
    assert [(one["x"], one["X"]) for one in reports] == [
        ("NEW", "NEW"),
        ("TRADE", "PARTIALLY_FILLED"),
        ("TRADE", "PARTIALLY_FILLED"),
        ("EXPIRED", "EXPIRED"),
    ]
    assert [one["eR"] for one in reports if "eR" in one] == ["UNFILLED_IOC_QUANTITY_EXPIRED"]
    for report, fill in zip(reports[1:3], placed["fills"], strict=True):
        assert (report["l"], report["L"], report["n"], report["N"], report["t"], report["m"]) == (
            fill["qty"], fill["price"], fill["commission"], "BTC", fill["tradeId"], False,
        )  # fmt: skip
        assert Decimal(report["Y"]) == Decimal(report["l"]) * Decimal(report["L"])
    assert (reports[-1]["z"], reports[-1]["Z"]) == (placed["executedQty"], placed["cummulativeQuoteQty"])
    assert len({one["I"] for one in reports}) == 4


def test_the_last_fill_says_filled(client: Any) -> None:
    client.signed("userDataStream.subscribe.signature")
    market = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quoteOrderQty": "50"}
    client.signed("order.place", **market)
    reports = [one["event"] for one in client.events if one["event"]["e"] == "executionReport"]
    assert [(one["x"], one["X"]) for one in reports] == [("NEW", "NEW"), ("TRADE", "FILLED")]
    assert (reports[1]["Q"], reports[1]["N"], reports[1]["o"]) == ("50.00000000", "USDT", "MARKET")


def test_a_resting_order_is_told_to_every_subscriber(client: Any, make_client: Any) -> None:
    venue, other, silent = client.venue, make_client(), make_client()
    for one in (client, other):
        one.signed("userDataStream.subscribe.signature")
    bid = venue.book().bids.prices[0]
    venue.order(price=bid, quantity="0.0001")
    venue.world.binance["BTCUSDT"].advance(float(bid) * 0.99, 0.1)
    venue.matcher.on_step("BTCUSDT", venue.now_ms)
    events = venue.account.take_events()
    for one in (client, other, silent):
        one.take(one.session.on_events(venue.account, events, venue.now_ms))
    assert client.events == other.events
    assert silent.events == []
    trade = [one["event"] for one in client.events if one["event"].get("x") == "TRADE"][-1]
    assert (trade["X"], trade["m"], trade["L"]) == ("FILLED", True, bid)


# --- keep-alive ----------------------------------------------------------------------------------------------------


def test_ping_every_20_s_and_close_after_60_without_a_pong(client: Any) -> None:
    (ping,) = client.session.on_time(20 * SECOND_NS, 0)
    assert isinstance(ping, SendPing)
    assert client.session.on_pong(ping.payload, 21 * SECOND_NS) == ()
    (ping,) = client.session.on_time(40 * SECOND_NS, 0)
    assert client.session.on_pong(b"", 41 * SECOND_NS) == ()
    assert isinstance(client.session.on_time(100 * SECOND_NS, 0)[0], CloseClient)


# --- faults --------------------------------------------------------------------------------------------------------


@pytest.fixture
def faulty(make_client: Any, world: Any) -> Any:
    """A client whose calls meet faults, as they would over REST."""

    def make_requests(**faults: Any) -> RequestFaults:
        board = Board("binance", msgspec.convert(faults, FaultsConfig), {})
        conditions = Conditions("binance", world, BinanceMoney())
        return RequestFaults(board, BinanceFaultReplies(), Spells(board, (), conditions))

    def make(**faults: Any) -> Any:
        return make_client(faults=make_requests(**faults))

    make.requests = make_requests  # type: ignore[attr-defined]
    return make


def test_a_request_that_is_lost_is_not_carried_out_and_a_reply_that_is_lost_was(faulty: Any) -> None:
    lost = faulty(lost_request={"times": 1})
    price = lost.venue.far()
    assert lost.raw_signed("order.place", **LIMIT, price=price) == [Cut("a fault")]
    assert lost.venue.account.open_orders == {}
    client = faulty(lost_reply={"times": 1})
    assert client.raw_signed("order.place", **LIMIT, price=price) == [Cut("a fault")]
    assert len(client.venue.account.open_orders) == 1
    assert client.signed("order.place", **LIMIT, price=price)["status"] == 200


@pytest.mark.parametrize(("status", "closes"), [(429, False), (418, True)])
def test_limits_say_when_to_come_back(faulty: Any, status: int, closes: bool) -> None:
    client = faulty(rate_limited={"times": 1, "status": status, "retry_after_s": 7})
    reply, *further = client.raw_signed("order.place", **LIMIT, price=client.venue.far())
    now_ms = client.venue.now_ms
    assert (reply["status"], reply["error"]["code"]) == (status, -1003)
    assert reply["error"]["data"] == {"serverTime": now_ms, "retryAfter": now_ms + 7000}
    assert [type(one) for one in further] == ([CloseClient] if closes else [])
    assert client.venue.account.open_orders == {}


def test_an_error_after_the_order_was_carried_out_and_an_answer_that_comes_late(faulty: Any) -> None:
    client = faulty(error_500={"times": 1})
    reply = client.signed("order.place", **LIMIT, price=client.venue.far())
    assert (reply["status"], reply["error"]["code"]) == (408, -1007)
    assert len(client.venue.account.open_orders) == 1
    slow = faulty(delay={"times": 1, "ms_min": 5.0, "ms_max": 5.0})
    (late,) = slow.raw_signed("order.place", **LIMIT, price=client.venue.far())
    assert isinstance(late, SendLater)
    assert late.wait_ms == 5.0
    assert json.loads(late.payload)["status"] == 200


def test_a_reply_is_sent_twice(faulty: Any) -> None:
    client = faulty(duplicate_reply={"times": 1})
    first, second = client.raw_signed("order.place", **LIMIT, price=client.venue.far())
    assert first == second
    assert len(client.venue.account.open_orders) == 1
    assert len(client.raw_signed("order.place", **LIMIT, price=client.venue.far())) == 1


def test_faults_do_not_concern_the_private_stream(faulty: Any) -> None:
    client = faulty(
        denied={"times": 9, "calls": "all", "status": 503}, lost_request={"times": 9, "calls": "all"}
    )
    assert client.signed("userDataStream.subscribe.signature")["status"] == 200
    assert client.ask("time")["status"] == 503
