"""Which orders the lists name, and which the cancelling of many takes."""

from typing import Any

import pytest


@pytest.fixture
def book_of_orders(customer: Any) -> dict[str, str]:
    """Two open BTC bids, an open ETH ask, a done and a cancelled order: uuids by name."""
    made = {
        "bid1": customer.limit(identifier="bid1"),
        "bid2": customer.limit(price=101_000_000),
        "eth": customer.order(market="KRW-ETH", side="ask", ord_type="limit", price="9000000", volume="0.01"),
        "done": customer.order(side="ask", ord_type="market", volume="0.001"),
        "gone": customer.limit(price=99_000_000),
    }
    customer.delete("order", {"uuid": made["gone"]["uuid"]})
    return {name: order["uuid"] for name, order in made.items()}


def names(orders: Any, made: dict[str, str]) -> list[str]:
    by_uuid = {uuid: name for name, uuid in made.items()}
    assert all("executed_funds" in order for order in orders)
    return [by_uuid[order["uuid"]] for order in orders]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["eth", "bid2", "bid1"]),
        ({"order_by": "asc"}, ["bid1", "bid2", "eth"]),
        ({"market": "KRW-BTC"}, ["bid2", "bid1"]),
        ({"states[]": "wait"}, ["eth", "bid2", "bid1"]),
        ({"state": "watch"}, []),
        ({"limit": "2"}, ["eth", "bid2"]),
        ({"limit": "2", "page": "2"}, ["bid1"]),
    ],
)
def test_open_orders(
    customer: Any, book_of_orders: dict[str, str], params: dict[str, str], expected: list[str]
) -> None:
    assert names(customer.get("orders/open", params), book_of_orders) == expected


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["gone", "done"]),
        ({"order_by": "asc", "limit": "1"}, ["done"]),
        ({"state": "cancel"}, ["gone"]),
        ({"states[]": "done"}, ["done"]),
        ({"market": "KRW-ETH"}, []),
        ({"end_time": "2026-01-01T00:00:00"}, []),
        ({"start_time": "1795000000000"}, ["gone", "done"]),
        ({"start_time": "2026-11-18T20:06:40+09:00"}, ["gone", "done"]),
        ({"start_time": "2026-11-18T20:06:40", "end_time": "2026-11-19T20:06:40"}, ["gone", "done"]),
        ({"start_time": "1795000000000", "end_time": "1795000000001"}, []),
    ],
)
def test_closed_orders(
    customer: Any, book_of_orders: dict[str, str], params: dict[str, str], expected: list[str]
) -> None:
    assert names(customer.get("orders/closed", params), book_of_orders) == expected


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("orders/open", {"states[]": "done"}),
        ("orders/open", {"order_by": "up"}),
        ("orders/open", {"limit": "many"}),
        ("orders/closed", {"state": "wait"}),
        ("orders/closed", {"start_time": "yesterday"}),
        ("orders/closed", {"start_time": "1000", "end_time": "999"}),
        ("orders/closed", {"start_time": "0", "end_time": "604800001"}),
        ("orders/uuids", {"uuids": [f"u{number}" for number in range(101)]}),
    ],
)
def test_lists_refuse_what_they_do_not_know(customer: Any, path: str, params: dict[str, Any]) -> None:
    pairs = [(f"{name}[]", one) for name, value in params.items() if isinstance(value, list) for one in value]
    assert customer.refused("GET", path, pairs or params) == (400, "invalid_parameter")


def test_the_legacy_list(customer: Any, book_of_orders: dict[str, str]) -> None:
    made = book_of_orders
    assert names(customer.get("orders", {"market": "KRW-BTC"}), made) == ["bid2", "bid1"]
    assert names(customer.get("orders", [("states[]", "done"), ("states[]", "cancel")]), made) == [
        "gone",
        "done",
    ]
    by_id = [("uuids[]", made["gone"]), ("uuids[]", made["bid1"]), ("uuids[]", "none")]
    assert names(customer.get("orders", by_id), made) == ["gone", "bid1"]
    assert names(customer.get("orders", [*by_id, ("state", "wait")]), made) == ["bid1"]


def test_orders_by_id_and_their_cancelling(customer: Any, book_of_orders: dict[str, str]) -> None:
    made = book_of_orders
    assert names(customer.get("orders/uuids", {"identifiers[]": "bid1"}), made) == ["bid1"]
    pairs = [("uuids[]", made["eth"]), ("uuids[]", made["bid1"]), ("market", "KRW-ETH")]
    assert names(customer.get("orders/uuids", pairs), made) == ["eth"]
    pairs = [("uuids[]", uuid) for uuid in (made["bid1"], made["done"], "none", made["bid1"])]
    reply = customer.delete("orders/uuids", pairs)
    assert reply == {
        "success": {
            "count": 1,
            "orders": [{"uuid": made["bid1"], "market": "KRW-BTC", "identifier": "bid1"}],
        },
        "failed": {"count": 2, "orders": [{"uuid": made["done"], "market": "KRW-BTC"}, {"uuid": "none"}]},
    }
    assert names(customer.get("orders/open"), made) == ["eth", "bid2"]
    too_many = [("uuids[]", f"u{number}") for number in range(21)]
    assert customer.refused("DELETE", "orders/uuids", too_many) == (400, "invalid_parameter")
    assert customer.refused("DELETE", "orders/uuids") == (400, "validation_error")


@pytest.mark.parametrize(
    ("params", "left"),
    [
        ({}, []),
        ({"cancel_side": "bid"}, ["eth"]),
        ({"cancel_side": "ask"}, ["bid2", "bid1"]),
        ({"pairs": "KRW-BTC,KRW-XRP"}, ["eth"]),
        ({"excluded_pairs": "KRW-BTC"}, ["bid2", "bid1"]),
        ({"quote_currencies": "KRW"}, []),
        ({"quote_currencies": "BTC"}, ["eth", "bid2", "bid1"]),
        ({"count": "1"}, ["bid2", "bid1"]),
        ({"count": "1", "order_by": "asc"}, ["eth", "bid2"]),
    ],
)
def test_cancelling_many(
    customer: Any, book_of_orders: dict[str, str], params: dict[str, str], left: list[str]
) -> None:
    reply = customer.delete("orders/open", params)
    assert reply["success"]["count"] == 3 - len(left)
    assert names(customer.get("orders/open"), book_of_orders) == left


def test_cancelling_many_has_a_limit_of_its_own(customer: Any) -> None:
    customer.now_ns = 4 * 10**9
    first = customer.ask("DELETE", "orders/open", wait_s=0)
    assert (first.status, first.headers["Remaining-Req"]) == (200, "group=order-cancel-all; min=30; sec=0")
    assert customer.ask("DELETE", "orders/open", wait_s=1.9).status == 429
    both = {"pairs": "KRW-BTC", "quote_currencies": "KRW"}
    assert customer.ask("DELETE", "orders/open", both, wait_s=0.1).status == 400
