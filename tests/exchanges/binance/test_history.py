from decimal import Decimal
from typing import Any

import pytest

MARKET = {"type": "MARKET", "timeInForce": "", "quantity": "0.0001"}


def test_account(venue: Any) -> None:
    body = venue.call("GET", "account").body
    assert list(body) == [
        "makerCommission", "takerCommission", "buyerCommission", "sellerCommission", "commissionRates", "canTrade",
        "canWithdraw", "canDeposit", "brokered", "requireSelfTradePrevention", "preventSor", "updateTime",
        "accountType", "balances", "permissions", "uid",
    ]  # fmt: skip
    assert (body["makerCommission"], body["takerCommission"]) == (10, 10)
    assert body["commissionRates"] == {
        "maker": "0.00100000",
        "taker": "0.00100000",
        "buyer": "0.00000000",
        "seller": "0.00000000",
    }
    assert (body["canTrade"], body["canWithdraw"], body["canDeposit"]) == (True, False, False)
    assert [one["asset"] for one in body["balances"]] == ["USDT", "BTC", "ETH", "XRP"]
    assert body["balances"][0] == {"asset": "USDT", "free": "70000.00000000", "locked": "0.00000000"}


def test_balances_that_are_zero_may_be_left_out(venue: Any, make_venue: Any) -> None:
    poor = make_venue(coins_notional=Decimal(0))
    assert len(poor.call("GET", "account").body["balances"]) == 4
    body = poor.call("GET", "account", omitZeroBalances="true").body
    assert [one["asset"] for one in body["balances"]] == ["USDT"]
    poor.order(price=poor.price(0.7), quantity=str(int(7_000_000 / float(poor.price(0.7))) / 100))
    locked = poor.call("GET", "account", omitZeroBalances="true").body["balances"][0]["locked"]
    assert Decimal(locked) > 60_000


def test_commission_of_a_symbol(venue: Any) -> None:
    body = venue.call("GET", "account/commission", symbol="BTCUSDT").body
    assert list(body) == ["symbol", "standardCommission", "specialCommission", "taxCommission", "discount"]
    assert body["standardCommission"]["taker"] == "0.00100000"
    assert body["discount"]["enabledForAccount"] is False
    assert venue.call("GET", "account/commission").code == -1102


def test_fees_of_all_symbols_in_short(venue: Any) -> None:
    answer = venue.send("GET", "/sapi/v1/asset/tradeFee", venue.signed({}))
    assert [one["symbol"] for one in answer.body] == ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
    answer = venue.send("GET", "/sapi/v1/asset/tradeFee", venue.signed({"symbol": "ETHUSDT"}))
    assert answer.body == [{"symbol": "ETHUSDT", "makerCommission": "0.001", "takerCommission": "0.001"}]


def test_open_orders_of_one_symbol_or_all(venue: Any) -> None:
    price = venue.far()
    venue.order(price=price)
    venue.order(**MARKET)
    (found,) = venue.call("GET", "openOrders").body
    assert (found["price"], found["status"]) == (price + "000000", "NEW")
    assert venue.call("GET", "openOrders", symbol="BTCUSDT").body == [found]
    assert venue.call("GET", "openOrders", symbol="ETHUSDT").body == []
    assert venue.call("GET", "openOrders", symbol="NONEUSDT").code == -1121


def test_all_orders_by_id_time_and_number(venue: Any) -> None:
    for _ in range(5):
        venue.order(**MARKET)
        venue.now_ms += 1000

    def ids(**params: str) -> list[int]:
        answer = venue.call("GET", "allOrders", symbol="BTCUSDT", **params)
        return [one["orderId"] for one in answer.body]

    start = venue.now_ms - 5000
    assert ids() == [1000, 1001, 1002, 1003, 1004]
    assert ids(limit="2") == [1003, 1004]
    assert ids(orderId="1002") == [1002, 1003, 1004]
    assert ids(orderId="1001", limit="2") == [1001, 1002]
    assert ids(startTime=str(start + 1000), limit="2") == [1001, 1002]
    assert ids(startTime=str(start + 1000), endTime=str(start + 3000)) == [1001, 1002, 1003]
    assert ids(endTime=str(start + 1000)) == [1000, 1001]


def test_trades_with_their_commission(venue: Any) -> None:
    placed = [venue.order(**MARKET, side=side).body for side in ("BUY", "SELL", "BUY")]
    trades = venue.call("GET", "myTrades", symbol="BTCUSDT").body
    assert [one["orderId"] for one in trades] == [1000, 1001, 1002]
    assert [one["commissionAsset"] for one in trades] == ["BTC", "USDT", "BTC"]
    for one, order in zip(trades, placed, strict=True):
        (fill,) = order["fills"]
        assert (one["id"], one["price"], one["qty"], one["commission"]) == (
            fill["tradeId"],
            fill["price"],
            fill["qty"],
            fill["commission"],
        )
        assert one["quoteQty"] == order["cummulativeQuoteQty"]
        assert (one["isBuyer"], one["isMaker"]) == (order["side"] == "BUY", False)
    assert venue.call("GET", "myTrades", symbol="BTCUSDT", orderId="1001").body == [trades[1]]
    assert venue.call("GET", "myTrades", symbol="BTCUSDT", fromId="1001").body == trades[1:]
    assert venue.call("GET", "myTrades", symbol="BTCUSDT", limit="1").body == trades[2:]
    assert venue.call("GET", "myTrades", symbol="ETHUSDT").body == []


@pytest.mark.parametrize("call", ["allOrders", "myTrades"])
@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"startTime": "5", "endTime": "4"}, -1128),
        ({"startTime": "0", "endTime": "86400001"}, -1127),
        ({"limit": "0"}, -1130),
        ({"limit": "few"}, -1100),
        ({"symbol": ""}, -1102),
    ],
)
def test_ranges_that_make_no_sense(venue: Any, call: str, params: dict[str, str], code: int) -> None:
    assert venue.call("GET", call, **({"symbol": "BTCUSDT"} | params)).code == code
