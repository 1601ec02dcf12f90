"""What goes out, word for word."""

from decimal import Decimal

from arbshard.execution.live.limits import sum_costs
from arbshard.venues.registry import get_adapter


def orders_of(what):
    """What an order's (or market's) venue is asked and answers."""
    return get_adapter(getattr(what, "market", what).venue).orders


def test_upbit_order(bid):
    request = orders_of(bid).place(bid, "ab1cd-s1-0-1-1-h0")
    assert (request.method, request.path, request.private) == ("POST", "/v1/orders", True)
    assert request.params == {
        "market": "KRW-BTC", "side": "bid", "ord_type": "limit", "volume": "0.001", "price": "146000000",
        "time_in_force": "ioc", "identifier": "ab1cd-s1-0-1-1-h0",
    }  # fmt: skip
    assert request.cost == {"upbit_order": 1}


def test_binance_order(ask):
    request = orders_of(ask).place(ask, "ab1cd-s1-0-1-1-a0")
    assert (request.method, request.path) == ("POST", "/api/v3/order")
    assert request.params == {
        "symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "IOC", "quantity": "0.001",
        "price": "60000", "newClientOrderId": "ab1cd-s1-0-1-1-a0", "newOrderRespType": "FULL",
    }  # fmt: skip


def test_amounts_have_no_exponent(make):
    order = make.order(make.home, "sell", Decimal("1E-8"), Decimal("1.5E+8"))
    params = orders_of(order).place(order, "x").params
    assert (params["volume"], params["price"]) == ("0.00000001", "150000000")


def test_rehearsal_never_goes_where_orders_go(bid, ask):
    for order in (bid, ask):
        real, test = orders_of(order).place(order, "x"), orders_of(order).rehearse(order, "x")
        assert test.path == f"{real.path}/test"
        assert "upbit_order" not in test.cost
        assert "binance_orders_10s" not in test.cost


def test_questions_go_by_our_name(make):
    assert orders_of(make.home.market).find(make.home.market, "n").params == {"identifier": "n"}
    assert orders_of(make.away.market).find(make.away.market, "n").params == {
        "symbol": "BTCUSDT",
        "origClientOrderId": "n",
    }
    home, away = make.home.market, make.away.market
    assert orders_of(away).trades(away, "7").params["orderId"] == "7"
    assert orders_of(home).trades(home, "u-1") is None, "it tells them with the order"


def test_both_legs_together(bid, ask):
    costs = [orders_of(order).place(order, "").cost for order in (bid, ask, bid)]
    assert sum_costs(*costs) == {
        "upbit_order": 2, "binance_weight": 1, "binance_orders_10s": 1, "binance_orders_1d": 1,
    }  # fmt: skip
