from decimal import Decimal
from typing import Any

import pytest

LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
ORDER_KEYS = [
    "symbol", "orderId", "orderListId", "clientOrderId", "transactTime", "price", "origQty", "executedQty",
    "origQuoteOrderQty", "cummulativeQuoteQty", "status", "timeInForce", "type", "side", "workingTime",
    "selfTradePreventionMode", "fills",
]  # fmt: skip


def best(venue: Any, side: str) -> tuple[str, str]:
    levels = getattr(venue.book(), side)
    return levels.prices[0], levels.amounts[0]


# --- taking --------------------------------------------------------------------------------------------------------


def test_a_filled_order_tells_its_fills_and_the_commission_in_coins(venue: Any) -> None:
    price, _ = best(venue, "asks")
    before = venue.account.wallet.balance("BTC").free
    reply = venue.order(price=price, quantity="0.001", timeInForce="IOC", newClientOrderId="mine-1")
    assert list(reply.body) == ORDER_KEYS
    assert reply.body | {"fills": []} == {
        "symbol": "BTCUSDT",
        "orderId": 1000,
        "orderListId": -1,
        "clientOrderId": "mine-1",
        "transactTime": venue.now_ms,
        "price": price,
        "origQty": "0.00100000",
        "executedQty": "0.00100000",
        "origQuoteOrderQty": "0.00000000",
        "cummulativeQuoteQty": f"{Decimal(price) * Decimal('0.001'):.8f}",
        "status": "FILLED",
        "timeInForce": "IOC",
        "type": "LIMIT",
        "side": "BUY",
        "workingTime": venue.now_ms,
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "fills": [],
    }
    assert reply.body["fills"] == [
        {
            "price": price,
            "qty": "0.00100000",
            "commission": "0.00000100",
            "commissionAsset": "BTC",
            "tradeId": 1000,
        }
    ]
    assert venue.account.wallet.balance("BTC").free == before + Decimal("0.000999")


def test_a_sale_pays_its_commission_in_quote(venue: Any) -> None:
    reply = venue.order(side="SELL", type="MARKET", timeInForce="", quantity="0.001").body
    (fill,) = reply["fills"]
    assert fill["commissionAsset"] == "USDT"
    proceeds = Decimal(reply["cummulativeQuoteQty"])
    assert Decimal(fill["commission"]) == (proceeds / 1000).quantize(Decimal("1E-8"), "ROUND_DOWN")
    assert venue.account.wallet.free("USDT") == 70_000 + proceeds - Decimal(fill["commission"])


def test_an_order_eats_level_after_level_and_the_book_is_smaller_after(venue: Any) -> None:
    asks = venue.book().asks
    (p1, p2), (s1, s2) = asks.prices[:2], asks.amounts[:2]
    quantity = Decimal(s1) + Decimal("0.00002")
    left = Decimal(s2) - Decimal("0.00002")
    fills = venue.order(type="MARKET", timeInForce="", quantity=str(quantity)).body["fills"]
    assert [(one["price"], one["qty"]) for one in fills] == [(p1, s1), (p2, "0.00002000")]
    assert best(venue, "asks") == (p2, f"{left:.8f}")
    depth = venue.get("depth", symbol="BTCUSDT").body
    assert depth["asks"][0] == [p2, f"{left:.8f}"]


@pytest.mark.parametrize(
    ("tif", "status", "reason"),
    [("IOC", "EXPIRED", "UNFILLED_IOC_QUANTITY_EXPIRED"), ("FOK", "EXPIRED", "UNFILLED_FOK_ORDER_EXPIRED")],
)
def test_what_cannot_be_filled_at_once_expires(venue: Any, tif: str, status: str, reason: str) -> None:
    price, size = best(venue, "asks")
    quantity = Decimal(size) + Decimal("0.001")
    reply = venue.order(price=price, quantity=str(quantity), timeInForce=tif).body
    assert (reply["status"], reply["expiryReason"]) == (status, reason)
    assert Decimal(reply["executedQty"]) == (Decimal(size) if tif == "IOC" else 0)
    asked = venue.call("GET", "order", symbol="BTCUSDT", orderId=str(reply["orderId"])).body
    assert (asked["status"], asked["expiryReason"]) == (status, reason)
    assert venue.account.wallet.locked("USDT") == 0


def test_a_market_order_beyond_the_visible_book_expires(make_venue: Any) -> None:
    venue = make_venue(quote_away=Decimal(10**9))
    whole = sum(map(Decimal, venue.book().asks.amounts))
    reply = venue.order(type="MARKET", timeInForce="", quantity=str(whole + 1)).body
    assert (reply["status"], reply["expiryReason"]) == ("EXPIRED", "INSUFFICIENT_LIQUIDITY")
    assert Decimal(reply["executedQty"]) == whole
    assert venue.book().asks.sizes


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_market_order_by_quote_amount(venue: Any, side: str) -> None:
    reply = venue.order(side=side, type="MARKET", timeInForce="", quantity="", quoteOrderQty="100.5").body
    assert reply["status"] == "FILLED"
    assert reply["origQuoteOrderQty"] == "100.50000000"
    assert reply["origQty"] == reply["executedQty"]
    spent = Decimal(reply["cummulativeQuoteQty"])
    step = Decimal("0.00001") * Decimal(reply["fills"][-1]["price"])
    assert Decimal("100.5") - step < spent <= Decimal("100.5")


# --- waiting -------------------------------------------------------------------------------------------------------


def test_a_waiting_order_locks_and_is_found_by_both_ids(venue: Any) -> None:
    price = venue.far()
    placed = venue.order(price=price, newClientOrderId="mine-1").body
    assert (placed["status"], placed["fills"]) == ("NEW", [])
    locked = Decimal(price) * Decimal("0.01")
    assert venue.account.wallet.balance("USDT") == ("USDT", 70_000 - locked, locked)
    by_id = venue.call("GET", "order", symbol="BTCUSDT", orderId=str(placed["orderId"])).body
    by_client_id = venue.call("GET", "order", symbol="BTCUSDT", origClientOrderId="mine-1").body
    assert by_id == by_client_id
    assert by_id["isWorking"] is True
    assert {"stopPrice", "icebergQty", "time", "updateTime", "workingTime", "origQuoteOrderQty"} <= set(by_id)
    assert "fills" not in by_id
    assert "expiryReason" not in by_id


def test_a_waiting_order_fills_as_maker_at_its_own_price(venue: Any) -> None:
    price, _ = best(venue, "bids")
    placed = venue.order(price=price, quantity="0.00011").body
    market = venue.world.binance["BTCUSDT"]
    market.advance(float(price) * 0.99, 0.1)
    assert venue.matcher.on_step("BTCUSDT", venue.now_ms + 5)
    (trade,) = venue.call("GET", "myTrades", symbol="BTCUSDT").body
    assert (trade["price"], trade["isMaker"], trade["isBuyer"]) == (price, True, True)
    assert (trade["commission"], trade["commissionAsset"]) == ("0.00000011", "BTC")
    asked = venue.call("GET", "order", symbol="BTCUSDT", orderId=str(placed["orderId"])).body
    assert (asked["status"], asked["updateTime"]) == ("FILLED", venue.now_ms + 5)
    counts = venue.call("GET", "rateLimit/order").body
    assert [one["count"] for one in counts] == [0, 0]  # the fill gave the place back


def test_limit_maker(venue: Any) -> None:
    maker = {"type": "LIMIT_MAKER", "timeInForce": ""}
    placed = venue.order(price=venue.far(), **maker).body
    assert list(placed) == ["symbol", "orderId", "orderListId", "clientOrderId", "transactTime"]
    asked = venue.call("GET", "order", symbol="BTCUSDT", orderId=str(placed["orderId"])).body
    assert (asked["type"], asked["timeInForce"], asked["status"]) == ("LIMIT_MAKER", "GTC", "NEW")
    refused = venue.order(price=best(venue, "asks")[0], **maker)
    assert (refused.code, refused.body["msg"]) == (-2010, "Order would immediately match and take.")
    assert len(venue.account.orders) == 1


def test_reply_kinds(venue: Any) -> None:
    kinds = {
        kind: venue.order(price=venue.far(), newOrderRespType=kind).body for kind in ("ACK", "RESULT", "FULL")
    }
    assert [len(kinds[kind]) for kind in ("ACK", "RESULT", "FULL")] == [5, 16, 17]
    assert "fills" in kinds["FULL"]
    assert "fills" not in kinds["RESULT"]


def test_a_client_id_is_unique_among_open_orders_only(venue: Any) -> None:
    first = venue.order(price=venue.far(), newClientOrderId="again").body
    refused = venue.order(price=venue.far(), newClientOrderId="again")
    assert (refused.code, refused.body["msg"]) == (-2010, "Duplicate order sent.")
    venue.call("DELETE", "order", symbol="BTCUSDT", origClientOrderId="again")
    second = venue.order(price=venue.far(), newClientOrderId="again").body
    assert second["orderId"] > first["orderId"]
    asked = venue.call("GET", "order", symbol="BTCUSDT", origClientOrderId="again").body
    assert asked["orderId"] == second["orderId"]


def test_client_ids_are_made_up_where_none_is_sent(venue: Any) -> None:
    ids = {venue.order(price=venue.far()).body["clientOrderId"] for _ in range(5)}
    assert len(ids) == 5
    assert all(1 <= len(one) <= 36 for one in ids)


# --- canceling -----------------------------------------------------------------------------------------------------


def test_a_cancel_gives_back_what_was_locked(venue: Any) -> None:
    placed = venue.order(price=venue.far(), newClientOrderId="mine-1").body
    venue.now_ms += 3
    reply = venue.call(
        "DELETE", "order", symbol="BTCUSDT", origClientOrderId="mine-1", newClientOrderId="cancel-1"
    ).body
    assert reply == {
        "symbol": "BTCUSDT",
        "origClientOrderId": "mine-1",
        "orderId": placed["orderId"],
        "orderListId": -1,
        "clientOrderId": "cancel-1",
        "transactTime": venue.now_ms,
        "price": placed["price"],
        "origQty": "0.01000000",
        "executedQty": "0.00000000",
        "origQuoteOrderQty": "0.00000000",
        "cummulativeQuoteQty": "0.00000000",
        "status": "CANCELED",
        "timeInForce": "GTC",
        "type": "LIMIT",
        "side": "BUY",
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }
    assert venue.account.wallet.balance("USDT") == ("USDT", 70_000, 0)
    again = venue.call("DELETE", "order", symbol="BTCUSDT", origClientOrderId="mine-1")
    assert (again.status, again.code, again.body["msg"]) == (400, -2011, "Unknown order sent.")


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("DELETE", {"orderId": "5"}, -2011),
        ("DELETE", {"origClientOrderId": "nobody"}, -2011),
        ("DELETE", {}, -1102),
        ("DELETE", {"orderId": "1000", "origClientOrderId": "other"}, -2039),
        ("DELETE", {"orderId": "1000", "symbol": "ETHUSDT"}, -2011),
        ("DELETE", {"orderId": "1000", "cancelRestrictions": "ONLY_PARTIALLY_FILLED"}, -2011),
        ("DELETE", {"orderId": "1000", "cancelRestrictions": "NEVER"}, -1145),
        ("GET", {"orderId": "5"}, -2013),
        ("GET", {"origClientOrderId": "nobody"}, -2013),
        ("GET", {"orderId": "1000", "symbol": "ETHUSDT"}, -2013),
        ("GET", {}, -1102),
    ],
)
def test_orders_that_are_not_found(venue: Any, method: str, params: dict[str, str], code: int) -> None:
    assert venue.order(price=venue.far()).body["orderId"] == 1000
    assert venue.call(method, "order", **({"symbol": "BTCUSDT"} | params)).code == code
    assert venue.account.orders["1000"].is_open


def test_cancel_all_of_a_symbol(venue: Any) -> None:
    for _ in range(3):
        venue.order(price=venue.far())
    eth = f"{float(venue.book('ETHUSDT').bids.prices[0]) * 0.8:.2f}"
    venue.order(symbol="ETHUSDT", price=eth)
    reply = venue.call("DELETE", "openOrders", symbol="BTCUSDT").body
    assert [one["status"] for one in reply] == ["CANCELED"] * 3
    assert len({one["clientOrderId"] for one in reply}) == 3
    assert [one["symbol"] for one in venue.call("GET", "openOrders").body] == ["ETHUSDT"]
    assert venue.call("DELETE", "openOrders", symbol="BTCUSDT").code == -2011


# --- cancel and replace --------------------------------------------------------------------------------------------


def replace(venue: Any, **params: str) -> Any:
    usual = LIMIT | {"price": venue.far(), "cancelReplaceMode": "STOP_ON_FAILURE"}
    return venue.call("POST", "order/cancelReplace", **(usual | params))


def test_replace(venue: Any) -> None:
    old = str(venue.order(price=venue.far()).body["orderId"])
    reply = replace(venue, cancelOrderId=old, newClientOrderId="new-1", cancelNewClientOrderId="c-1")
    assert reply.status == 200
    assert (reply.body["cancelResult"], reply.body["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    assert reply.body["cancelResponse"]["clientOrderId"] == "c-1"
    assert reply.body["newOrderResponse"]["clientOrderId"] == "new-1"
    assert reply.headers["X-MBX-ORDER-COUNT-10S"] == "2"
    assert [order.client_id for order in venue.account.open_orders.values()] == ["new-1"]


@pytest.mark.parametrize(
    ("known", "mode", "quantity", "status", "code", "results"),
    [
        (False, "STOP_ON_FAILURE", "0.01", 400, -2022, ("FAILURE", "NOT_ATTEMPTED")),
        (False, "ALLOW_FAILURE", "0.01", 409, -2021, ("FAILURE", "SUCCESS")),
        (False, "ALLOW_FAILURE", "5", 400, -2022, ("FAILURE", "FAILURE")),
        (True, "STOP_ON_FAILURE", "5", 409, -2021, ("SUCCESS", "FAILURE")),
    ],
)
def test_replacements_that_fail(
    venue: Any, known: bool, mode: str, quantity: str, status: int, code: int, results: tuple[str, str]
) -> None:
    old = str(venue.order(price=venue.far()).body["orderId"])
    reply = replace(venue, cancelOrderId=old if known else "5", cancelReplaceMode=mode, quantity=quantity)
    data = reply.body["data"]
    assert (reply.status, reply.code, (data["cancelResult"], data["newOrderResult"])) == (
        status,
        code,
        results,
    )
    if results[0] == "FAILURE":
        assert data["cancelResponse"] == {"code": -2011, "msg": "Unknown order sent."}
    if results[1] == "FAILURE":
        assert data["newOrderResponse"]["code"] == -2010
    if results[1] == "NOT_ATTEMPTED":
        assert data["newOrderResponse"] is None
    assert venue.account.orders[old].is_open is not known


def test_a_replacement_that_breaks_a_filter_cancels_nothing(venue: Any) -> None:
    old = str(venue.order(price=venue.far()).body["orderId"])
    assert replace(venue, cancelOrderId=old, quantity="0.000001").code == -1013
    assert replace(venue, cancelOrderId=old, cancelReplaceMode="MAYBE").code == -1130
    assert replace(venue).code == -1102
    assert venue.account.orders[old].is_open


def test_a_replacement_beyond_the_order_limit(venue: Any) -> None:
    orders = [str(venue.order(price=venue.far(), quantity="0.0001").body["orderId"]) for _ in range(100)]
    assert replace(venue, cancelOrderId=orders[0]).code == -1015
    assert venue.account.orders[orders[0]].is_open
    reply = replace(venue, cancelOrderId=orders[0], orderRateLimitExceededMode="CANCEL_ONLY")
    assert (reply.status, reply.body["data"]["newOrderResponse"]["code"]) == (409, -1015)
    assert not venue.account.orders[orders[0]].is_open


def test_a_replacement_that_was_not_tried_counts_as_an_order(venue: Any) -> None:
    venue.order(price=venue.far())
    assert replace(venue, cancelOrderId="5").body["data"]["newOrderResult"] == "NOT_ATTEMPTED"
    assert [one["count"] for one in venue.call("GET", "rateLimit/order").body] == [2, 2]


def test_cancels_may_be_restricted_to_untouched_or_to_touched_orders(venue: Any) -> None:
    price, size = best(venue, "asks")
    untouched = str(venue.order(price=venue.far()).body["orderId"])
    touched = str(venue.order(price=price, quantity=str(Decimal(size) + Decimal("0.001"))).body["orderId"])

    def cancel(order_id: str, restriction: str) -> Any:
        return venue.call(
            "DELETE", "order", symbol="BTCUSDT", orderId=order_id, cancelRestrictions=restriction
        )

    for order_id, wrong in ((untouched, "ONLY_PARTIALLY_FILLED"), (touched, "ONLY_NEW")):
        refused = cancel(order_id, wrong)
        assert (refused.code, refused.body["msg"]) == (
            -2011,
            "Order was not canceled due to cancel restrictions.",
        )
    assert cancel(untouched, "ONLY_NEW").body["status"] == "CANCELED"
    assert Decimal(cancel(touched, "ONLY_PARTIALLY_FILLED").body["executedQty"]) == Decimal(size)
