"""The private calls as a customer meets them: replies, money to the last digit, lists, cancels."""

import json
from decimal import Decimal
from typing import Any

import pytest

from arbshard.exchanges.world import SimWorld

ORDER_KEYS = [
    "market", "uuid", "side", "ord_type", "price", "state", "created_at", "volume", "remaining_volume",
    "executed_volume", "reserved_fee", "remaining_fee", "paid_fee", "locked", "prevented_volume", "prevented_locked",
    "trades_count",
]  # fmt: skip
RATE = Decimal("0.0005")


def asks_worth(world: SimWorld, quantity: Decimal) -> Decimal:
    """What ``quantity`` costs, taken from the book level by level."""
    asks, funds = world.upbit["KRW-BTC"].book.asks, Decimal(0)
    for price, size in zip(asks.prices, asks.sizes, strict=True):
        taken = min(quantity, Decimal(size).scaleb(-8))
        funds += Decimal(price) * taken
        quantity -= taken
    return funds


def test_accounts(customer: Any) -> None:
    accounts = customer.get("accounts")
    assert accounts[0] == {
        "currency": "KRW",
        "balance": "100000000",
        "locked": "0",
        "avg_buy_price": "0",
        "avg_buy_price_modified": True,
        "unit_currency": "KRW",
    }
    assert [one["currency"] for one in accounts] == ["KRW", "BTC", "ETH", "XRP"]


def test_a_resting_order_reserves_its_funds_and_its_fee(customer: Any) -> None:
    order = customer.limit(price=104_812_000, volume="0.00101749", identifier="my-1")
    assert list(order) == [*ORDER_KEYS, "identifier", "smp_type"]
    assert order["state"] == "wait"
    assert order["reserved_fee"] == order["remaining_fee"] == "53.32258094"
    assert order["locked"] == "106698.48446094"
    assert order["created_at"] == "2026-11-18T20:06:40+09:00"
    krw = customer.get("accounts")[0]
    assert (krw["balance"], krw["locked"]) == (
        str(100_000_000 - Decimal("106698.48446094")),
        "106698.48446094",
    )
    seen = customer.get("order", {"identifier": "my-1"})
    assert seen | {"trades": []} == {**order, "executed_funds": "0", "trades": []}


def test_create_answers_before_the_order_meets_the_book(customer: Any) -> None:
    price, quantity = customer.ask_price + 1_000_000, Decimal("0.1")
    worth = asks_worth(customer.world, quantity)
    order = customer.limit(price=price, volume="0.1")
    assert (order["state"], order["executed_volume"], order["trades_count"]) == ("wait", "0", 0)
    seen = customer.get("order", {"uuid": order["uuid"]})
    assert (seen["state"], seen["remaining_volume"], seen["locked"], seen["remaining_fee"]) == (
        "done",
        "0",
        "0",
        "0",
    )
    assert Decimal(seen["executed_funds"]) == worth
    assert Decimal(seen["paid_fee"]) == worth * RATE
    assert Decimal(seen["reserved_fee"]) == price * quantity * RATE
    assert seen["trades_count"] == len(seen["trades"]) > 1
    assert sum(Decimal(trade["funds"]) for trade in seen["trades"]) == worth
    trade = seen["trades"][0]
    assert list(trade) == ["market", "uuid", "price", "volume", "funds", "trend", "created_at", "side"]
    assert (trade["trend"], trade["side"]) == ("up", "bid")
    assert customer.free("KRW") == 100_000_000 - worth * (1 + RATE)


def test_a_sale_pays_its_fee_out_of_the_proceeds(customer: Any) -> None:
    before = customer.free("BTC")
    order = customer.limit("ask", price=customer.bid_price, volume="0.001")
    assert (order["reserved_fee"], order["remaining_fee"], order["locked"]) == ("0", "0", "0.001")
    seen = customer.get("order", {"uuid": order["uuid"]})
    proceeds = Decimal(seen["executed_funds"])
    assert seen["state"] == "done"
    assert seen["trades"][0]["trend"] == "down"
    assert customer.free("KRW") == 100_000_000 + proceeds - proceeds * RATE
    assert before - customer.free("BTC") == Decimal("0.001")


def test_the_trend_of_a_makers_trade_is_the_takers(customer: Any) -> None:
    price = customer.ask_price + 100_000
    order = customer.limit("ask", price=price, volume="0.001")
    customer.world.upbit["KRW-BTC"].advance(price * 1.01, 0.1)
    assert customer.matcher.on_step("KRW-BTC", customer.now_ms)
    (trade,) = customer.get("order", {"uuid": order["uuid"]})["trades"]
    assert (trade["trend"], trade["side"], trade["price"]) == ("up", "ask", str(price))


def test_an_order_by_total_ends_cancelled_when_something_is_left(customer: Any) -> None:
    order = customer.order(side="bid", ord_type="price", price="9950.20707711")
    assert (order["reserved_fee"], order["volume"], order["price"]) == (
        "4.975103538555",
        None,
        "9950.20707711",
    )
    assert Decimal(order["locked"]) == Decimal("9950.20707711") + Decimal("4.975103538555")
    seen = customer.get("order", {"uuid": order["uuid"]})
    funds = Decimal(seen["executed_funds"])
    assert seen["state"] == "cancel"
    assert 0 < Decimal("9950.20707711") - funds < customer.ask_price * Decimal("1e-8")
    assert customer.free("KRW") == 100_000_000 - funds * (1 + RATE)
    exact = customer.order(side="bid", ord_type="price", price=str(customer.ask_price // 1000))
    assert customer.get("order", {"uuid": exact["uuid"]})["state"] == "done"


def test_market_sale_and_best_orders(customer: Any) -> None:
    sold = customer.order(side="ask", ord_type="market", volume="0.001")
    assert (sold["price"], sold["ord_type"]) == (None, "market")
    assert customer.get("order", {"uuid": sold["uuid"]})["state"] == "done"
    best_price = customer.ask_price
    best = customer.order(side="bid", ord_type="best", price="20000", time_in_force="ioc")
    seen = customer.get("order", {"uuid": best["uuid"]})
    assert (seen["time_in_force"], seen["price"]) == ("ioc", "20000")
    assert {trade["price"] for trade in seen["trades"]} == {str(best_price)}
    fok = customer.order(side="bid", ord_type="best", price="90000000", time_in_force="fok")
    seen = customer.get("order", {"uuid": fok["uuid"]})
    assert (seen["state"], seen["executed_volume"]) == ("cancel", "0")


@pytest.mark.parametrize("tif", ["ioc", "fok", "post_only"])
def test_times_in_force_that_leave_nothing_resting(customer: Any, tif: str) -> None:
    first = Decimal(customer.world.upbit["KRW-BTC"].book.asks.sizes[0]).scaleb(-8)
    order = customer.limit(price=customer.ask_price, volume=str(first + Decimal("0.01")), time_in_force=tif)
    assert order["time_in_force"] == tif
    seen = customer.get("order", {"uuid": order["uuid"]})
    assert (seen["state"], seen["executed_volume"]) == ("cancel", str(first) if tif == "ioc" else "0")
    assert customer.account.wallet.locked("KRW") == 0
    # Printed by the formula still, though nothing is locked any more.
    assert Decimal(seen["locked"]) == Decimal(seen["remaining_volume"]) * Decimal(seen["price"]) * (1 + RATE)


def test_cancel_answers_what_was_and_gives_all_back(customer: Any) -> None:
    order = customer.limit(identifier="c1")
    assert customer.delete("order", {"identifier": "c1"})["state"] == "wait"
    assert customer.get("order", {"uuid": order["uuid"]})["state"] == "cancel"
    assert customer.free("KRW") == 100_000_000
    assert customer.refused("DELETE", "order", {"uuid": order["uuid"]}) == (404, "order_not_found")


def test_orders_that_are_not_there(customer: Any) -> None:
    for method in ("GET", "DELETE"):
        assert customer.refused(method, "order", {"uuid": "none"}) == (404, "order_not_found")
        assert customer.refused(method, "order", {"identifier": "none"}) == (404, "order_not_found")
        assert customer.refused(method, "order") == (400, "validation_error")


def test_the_uuid_wins(customer: Any) -> None:
    one, two = customer.limit(identifier="one"), customer.limit(identifier="two")
    seen = customer.get("order", {"identifier": "two", "uuid": one["uuid"]})
    assert seen["uuid"] == one["uuid"] != two["uuid"]


def test_an_identifier_is_used_up_for_ever_by_any_attempt(customer: Any) -> None:
    terms = {"market": "KRW-BTC", "side": "bid", "ord_type": "limit", "price": "100000000", "volume": "0.001"}
    duplicate = (400, "duplicated_identifier")
    customer.limit(identifier="a")
    assert customer.refused("POST", "orders", terms | {"identifier": "a"}) == duplicate
    customer.delete("order", {"identifier": "a"})
    assert customer.refused("POST", "orders", terms | {"identifier": "a"}) == duplicate
    poor = terms | {"volume": "9", "identifier": "b"}
    assert customer.refused("POST", "orders", poor) == (400, "insufficient_funds_bid")
    assert customer.refused("POST", "orders", terms | {"identifier": "b"}) == duplicate
    off_tick = terms | {"price": "100000100", "identifier": "c"}
    assert customer.refused("POST", "orders", off_tick) == (400, "invalid_price_bid")
    assert customer.refused("POST", "orders", terms | {"identifier": "c"}) == duplicate
    assert customer.refused("GET", "order", {"identifier": "c"}) == (404, "order_not_found")


def test_funds_that_are_not_there(customer: Any) -> None:
    held = customer.free("BTC")
    terms = {
        "market": "KRW-BTC",
        "side": "ask",
        "ord_type": "limit",
        "price": "100000000",
        "volume": str(held * 2),
    }
    assert customer.refused("POST", "orders", terms) == (400, "insufficient_funds_ask")
    # The funds would do, with the fee they do not.
    bid = terms | {"side": "bid", "volume": "1"}
    assert customer.refused("POST", "orders", bid) == (400, "insufficient_funds_bid")
    assert customer.account.orders == {}


def test_a_test_order_checks_everything_and_does_nothing(customer: Any) -> None:
    terms = {"market": "KRW-BTC", "side": "bid", "ord_type": "limit", "price": "100000000", "volume": "0.001"}
    reply = customer.post("orders/test", **terms, identifier="t")
    assert (reply["state"], reply["locked"], reply["identifier"]) == ("wait", "100050", "t")
    assert customer.post("orders/test", **terms, identifier="t")
    assert customer.refused("POST", "orders/test", terms | {"volume": "1"}) == (400, "insufficient_funds_bid")
    assert customer.refused("POST", "orders/test", terms | {"price": "1"}) == (400, "under_min_total_bid")
    assert customer.account.orders == {}
    customer.limit(identifier="t")
    duplicate = (400, "duplicated_identifier")
    assert customer.refused("POST", "orders/test", terms | {"identifier": "t"}) == duplicate


def test_chance(customer: Any) -> None:
    customer.limit()
    chance = customer.get("orders/chance", {"market": "KRW-BTC"})
    assert {chance[name] for name in ("bid_fee", "ask_fee", "maker_bid_fee", "maker_ask_fee")} == {"0.0005"}
    market = chance["market"]
    assert (market["id"], market["name"], market["state"]) == ("KRW-BTC", "BTC/KRW", "active")
    assert market["bid"] == {"currency": "KRW", "min_total": "5000"}
    assert market["max_total"] == "1000000000"
    assert "price" in market["bid_types"]
    assert "market" in market["ask_types"]
    assert chance["bid_account"]["locked"] == "100050"
    assert chance["ask_account"]["currency"] == "BTC"
    assert customer.refused("GET", "orders/chance", {"market": "KRW-NONE"}) == (404, "notfoundmarket")


# --- cancel and new ------------------------------------------------------------------------------------------------


def test_cancel_and_new(customer: Any) -> None:
    old = customer.limit(identifier="old")
    reply = customer.post(
        "orders/cancel_and_new",
        prev_order_identifier="old",
        new_ord_type="limit",
        new_price="101000000",
        new_volume="remain_only",
        new_identifier="new",
        new_time_in_force="post_only",
    )
    assert (reply["uuid"], reply["state"], reply["new_order_identifier"]) == (old["uuid"], "wait", "new")
    new = customer.get("order", {"identifier": "new"})
    assert new["uuid"] == reply["new_order_uuid"]
    assert (new["state"], new["volume"], new["price"], new["time_in_force"]) == (
        "wait", "0.001", "101000000", "post_only",
    )  # fmt: skip
    assert customer.get("order", {"uuid": old["uuid"]})["state"] == "cancel"


def test_cancel_and_new_may_use_what_the_old_order_holds_and_nothing_more(customer: Any) -> None:
    old = customer.limit(price=100_000_000, volume="0.99")
    terms = {"prev_order_uuid": old["uuid"], "new_ord_type": "limit", "new_price": "100000000"}
    too_much = terms | {"new_volume": "0.9996"}
    assert customer.refused("POST", "orders/cancel_and_new", too_much) == (400, "insufficient_funds_bid")
    assert customer.get("order", {"uuid": old["uuid"]})["state"] == "wait"
    assert customer.post("orders/cancel_and_new", **terms, new_volume="0.999")
    assert customer.refused("POST", "orders/cancel_and_new", terms | {"new_volume": "1"}) == (
        404,
        "order_not_found",
    )
    assert customer.refused("POST", "orders/cancel_and_new", {"new_ord_type": "limit"}) == (
        400,
        "validation_error",
    )


# --- limits --------------------------------------------------------------------------------------------------------


def test_every_reply_says_what_remains(customer: Any) -> None:
    def remaining(method: str, path: str, params: Any = (), **headers: str) -> str:
        return customer.ask(method, path, params, wait_s=1, **headers).headers["Remaining-Req"]

    assert remaining("GET", "accounts") == "group=default; min=1800; sec=29"
    assert remaining("POST", "orders", {"market": "KRW-NONE"}) == "group=order; min=720; sec=11"
    assert remaining("POST", "orders/test", {}) == "group=order-test; min=480; sec=7"
    # The narrow limit of browsers is one of quotation calls and sockets alone.
    assert remaining("GET", "accounts", origin="https://example.org") == "group=default; min=1800; sec=29"
    assert remaining("GET", "ticker", origin="https://example.org") == "group=origin; min=6; sec=0"
    unsigned = customer.send("GET", "accounts", wait_s=1)
    assert (unsigned.status, unsigned.headers["Remaining-Req"]) == (401, "group=default; min=1800; sec=29")
    assert customer.send("PUT", "orders").status == 405


def test_the_thirteenth_order_of_a_second_is_not_placed(customer: Any) -> None:
    customer.now_ns = 5 * 10**9
    terms = {"market": "KRW-BTC", "side": "bid", "ord_type": "limit", "price": "100000000", "volume": "0.001"}
    answers = [customer.ask("POST", "orders", terms, wait_s=0) for _ in range(13)]
    assert [answer.status for answer in answers] == [201] * 12 + [429]
    assert json.loads(answers[-1].body)["error"]["name"] == "too_many_requests"
    assert len(customer.account.orders) == 12


def test_who_goes_on_is_blocked_and_told_until_when(customer: Any) -> None:
    customer.now_ns = 5 * 10**9
    answers = [customer.ask("GET", "accounts", wait_s=0) for _ in range(82)]
    assert [answer.status for answer in answers[-2:]] == [418, 418]
    assert "until 2026-11-18T20:06:50+09:00" in json.loads(answers[-1].body)["error"]["message"]
    assert customer.ask("POST", "orders", {}, wait_s=9).status == 418
    assert customer.ask("GET", "accounts", wait_s=1).status == 200


def test_strangers_are_counted_by_address(customer: Any) -> None:
    customer.now_ns = 5 * 10**9
    answers = [customer.send("GET", "accounts", wait_s=0) for _ in range(31)]
    assert [answer.status for answer in answers] == [401] * 30 + [429]
    assert customer.ask("GET", "accounts", wait_s=0).status == 200
