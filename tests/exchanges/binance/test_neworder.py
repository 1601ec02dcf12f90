from decimal import Decimal
from typing import Any

import pytest

from arbshard.config import SimPermissions

LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"symbol": "NONEUSDT"}, -1121, "Invalid symbol."),
        ({"symbol": ""}, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
        ({"side": "HOLD"}, -1117, "Invalid side."),
        ({"side": ""}, -1102, "Mandatory parameter 'side' was not sent, was empty/null, or malformed."),
        ({"type": "HOPE"}, -1116, "Invalid orderType."),
        ({"timeInForce": "DAY"}, -1115, "Invalid timeInForce."),
        (
            {"timeInForce": ""},
            -1102,
            "Mandatory parameter 'timeInForce' was not sent, was empty/null, or malformed.",
        ),
        (
            {"quantity": ""},
            -1102,
            "Mandatory parameter 'quantity' was not sent, was empty/null, or malformed.",
        ),
        ({"price": ""}, -1102, "Mandatory parameter 'price' was not sent, was empty/null, or malformed."),
        ({"quantity": "0.000000001"}, -1111, "Parameter 'quantity' has too much precision."),
        ({"quantity": "0.000001"}, -1013, "Filter failure: LOT_SIZE"),
        ({"quantity": "0"}, -1013, "Filter failure: LOT_SIZE"),
        ({"price": "60000.001"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"price": "0"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"price": "10"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        ({"quantity": "0.00002"}, -1013, "Filter failure: NOTIONAL"),
        ({"quantity": "5"}, -2010, "Account has insufficient balance for requested action."),
        ({"quoteOrderQty": "5"}, -1106, "Parameter 'quoteOrderQty' sent when not required."),
        ({"type": "LIMIT_MAKER"}, -1106, "Parameter 'timeInForce' sent when not required."),
        ({"type": "MARKET", "timeInForce": ""}, -1106, "Parameter 'price' sent when not required."),
        ({"type": "MARKET", "price": ""}, -1106, "Parameter 'timeInForce' sent when not required."),
        (
            {"type": "MARKET", "price": "", "timeInForce": "", "quoteOrderQty": "50"},
            -1106,
            "Parameter 'quoteOrderQty' sent when not required.",
        ),
        (
            {"type": "MARKET", "price": "", "timeInForce": "", "quantity": ""},
            -1102,
            "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!",
        ),
        (
            {"type": "MARKET", "price": "", "timeInForce": "", "quantity": "", "quoteOrderQty": "4.9"},
            -1013,
            "Filter failure: NOTIONAL",
        ),
        (
            {"type": "MARKET", "price": "", "timeInForce": "", "quantity": "200"},
            -1013,
            "Filter failure: MARKET_LOT_SIZE",
        ),
        ({"type": "STOP_LOSS_LIMIT"}, -1013, "Stop loss limit orders are not supported for this symbol."),
        ({"icebergQty": "0.001"}, -1013, "Iceberg orders are not supported for this symbol."),
        ({"newOrderRespType": "LONG"}, -1130, "Data sent for parameter 'newOrderRespType' is not valid."),
        (
            {"selfTradePreventionMode": "X"},
            -1130,
            "Data sent for parameter 'selfTradePreventionMode' is not valid.",
        ),
        (
            {"newClientOrderId": "a b"},
            -1100,
            "Illegal characters found in parameter 'newClientOrderId'; legal range is '^[a-zA-Z0-9-_]{1,36}$'.",
        ),
        ({"newClientOrderId": "x" * 37}, -1100, None),
        (
            {"colour": "red"},
            -1104,
            "Not all sent parameters were read; read '8' parameter(s) but was sent '9'.",
        ),
    ],
)
def test_refusals_change_nothing(venue: Any, params: dict[str, str], code: int, message: str | None) -> None:
    before = venue.operations.trading.counts(venue.account).listed(venue.now_ms)
    usual = {"price": "60000"}
    for call in ("order", "order/test"):
        if code == -2010 and call == "order/test":
            continue  # balances are looked at when an order is placed
        refused = venue.call("POST", call, **{k: v for k, v in (LIMIT | usual | params).items() if v})
        assert (refused.status, refused.code) == (400, code)
        assert message in (None, refused.body["msg"])
    assert not venue.account.orders
    assert venue.account.take_events() == ()
    assert venue.operations.trading.counts(venue.account).listed(venue.now_ms) == before


def test_open_orders_of_a_symbol_are_limited(venue: Any) -> None:
    for number in range(200):
        venue.now_ms += 200
        assert venue.order(price=venue.far(), quantity="0.0001", newClientOrderId=f"n{number}").status == 200
    refused = venue.order(price=venue.far(), quantity="0.0001")
    assert (refused.code, refused.body["msg"]) == (-1013, "Filter failure: MAX_NUM_ORDERS")
    other = venue.order(symbol="ETHUSDT", type="MARKET", timeInForce="", quantity="0.01")
    assert other.status == 200


def test_a_hundred_unfilled_orders_in_ten_seconds(venue: Any) -> None:
    replies = [venue.order(price=venue.far(), quantity="0.0001") for _ in range(101)]
    assert [one.status for one in replies] == [200] * 100 + [429]
    assert (replies[-1].code, replies[-1].headers["Retry-After"]) == (-1015, "10")
    market = {"type": "MARKET", "timeInForce": "", "quantity": "0.0001"}
    assert venue.order(**market).status == 429
    venue.now_ms += 10_000
    filled = [venue.order(**market) for _ in range(150)]
    assert {one.status for one in filled} == {200}  # orders that trade do not count


def test_a_key_that_may_only_read(make_venue: Any) -> None:
    venue = make_venue(permissions=SimPermissions(can_trade=False))
    assert venue.call("GET", "account").body["canTrade"] is False
    refused = venue.order(price=venue.far())
    assert (refused.status, refused.code) == (401, -2015)


def test_order_test_places_nothing(venue: Any) -> None:
    assert venue.call("POST", "order/test", **LIMIT, price=venue.far()).body == {}
    rates = venue.call("POST", "order/test", **LIMIT, price=venue.far(), computeCommissionRates="true").body
    assert rates["standardCommissionForOrder"] == {"maker": "0.00100000", "taker": "0.00100000"}
    assert not venue.account.orders


def test_a_limit_order_is_valued_at_its_own_price_and_a_market_order_at_the_books(venue: Any) -> None:
    """A quantity worth a little more than the least at the book's price, and less at half of it."""
    quantity = str((Decimal("5.5") / Decimal(venue.price(1.0))).quantize(Decimal("0.00001")))
    refused = venue.order(price=venue.price(0.6), quantity=quantity)
    assert refused.body["msg"] == "Filter failure: NOTIONAL"
    assert venue.order(type="MARKET", timeInForce="", quantity=quantity).status == 200


def test_a_quote_amount_is_spent_at_the_prices_of_the_other_side(make_venue: Any) -> None:
    """As much quote as the first asks cost, to the last digit, buys exactly those, and one level no more."""
    venue = make_venue(quote_away=Decimal(10**8))
    asks = venue.book().asks
    first = [
        (Decimal(price), Decimal(size)) for price, size in zip(asks.prices[:12], asks.amounts, strict=False)
    ]
    funds = sum(price * size for price, size in first)
    reply = venue.order(type="MARKET", timeInForce="", quantity="", quoteOrderQty=str(funds)).body
    assert [(Decimal(fill["price"]), Decimal(fill["qty"])) for fill in reply["fills"]] == first
    assert Decimal(reply["cummulativeQuoteQty"]) == funds
