"""Whatever is done by whatever way: all that the venue tells of an account's money adds up, to the last digit."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.effort import effort

ZERO = Decimal(0)
PLACE = st.tuples(
    st.just("place"),
    st.sampled_from(("BUY", "SELL")),
    st.sampled_from(("GTC", "IOC", "FOK", "MAKER", "MARKET", "QUOTE")),
    st.integers(-6, 6),
    st.integers(10, 2_000),
)
CANCEL = st.tuples(st.just("cancel"), st.integers(0, 5))
STEP = st.tuples(st.just("step"), st.integers(-8, 8))
ACTIONS = st.lists(st.one_of(PLACE, PLACE, CANCEL, STEP), min_size=5, max_size=30)


@pytest.fixture(name="make")
def make_pair(make_venue: Any, make_client: Any) -> Any:
    """A venue and a client who hears of everything."""
    client_type = type(make_client())

    def make() -> Any:
        client = client_type(make_venue(quote_away=Decimal(3_000), coins_notional=Decimal(3_000_000)))
        client.signed("userDataStream.subscribe.signature")
        return client

    return make


@settings(
    deadline=None, max_examples=effort(60, 300), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=ACTIONS)
def test_balances_trades_orders_and_events_agree(make: Any, actions: list[tuple[Any, ...]]) -> None:
    client = make()
    venue = client.venue
    opening = balances(venue)
    replies = []
    for number, action in enumerate(actions):
        venue.now_ms += 150
        if action[0] == "place":
            reply = place(venue, number, *action[1:])
            if reply.status == 200 and "fills" in reply.body:
                replies.append(reply.body)
        elif action[0] == "cancel":
            open_orders = list(venue.account.open_orders)
            if open_orders:
                order_id = open_orders[action[1] % len(open_orders)]
                assert venue.call("DELETE", "order", symbol="BTCUSDT", orderId=order_id).status == 200
        else:
            market = venue.world.binance["BTCUSDT"]
            market.advance(market.best_bid / 1e8 * (1 + action[1] / 10_000), 0.1)
            venue.matcher.on_step("BTCUSDT", venue.now_ms)
        client.deliver()
    check(client, opening, replies)


def place(venue: Any, number: int, side: str, kind: str, ticks: int, size: int) -> Any:
    base = Decimal(venue.book().bids.prices[0])
    params = {"side": side, "newClientOrderId": f"n{number}", "quantity": str(Decimal(size) / 100_000)}
    if kind == "MARKET":
        return venue.order(type="MARKET", timeInForce="", **params)
    if kind == "QUOTE":
        params |= {"quantity": "", "quoteOrderQty": str(size)}
        return venue.order(type="MARKET", timeInForce="", **params)
    params["price"] = str(base * (1 + Decimal(ticks) / 10_000) // Decimal("0.01") * Decimal("0.01"))
    if kind == "MAKER":
        return venue.order(type="LIMIT_MAKER", timeInForce="", newOrderRespType="FULL", **params)
    return venue.order(timeInForce=kind, **params)


def balances(venue: Any) -> dict[str, tuple[Decimal, Decimal]]:
    venue.now_ms += 60_000  # a new minute's weight
    return {
        one["asset"]: (Decimal(one["free"]), Decimal(one["locked"]))
        for one in venue.call("GET", "account").body["balances"]
    }


def check(client: Any, opening: dict[str, tuple[Decimal, Decimal]], replies: list[Any]) -> None:
    venue = client.venue
    now = balances(venue)
    trades = venue.call("GET", "myTrades", symbol="BTCUSDT", limit="1000").body
    orders = venue.call("GET", "allOrders", symbol="BTCUSDT", limit="1000").body

    # Balances are the opening ones, and the trades with their commission; what is locked is what open orders need.
    expected = {asset: free for asset, (free, _) in opening.items()}
    for trade in trades:
        sign = 1 if trade["isBuyer"] else -1
        expected["BTC"] += sign * Decimal(trade["qty"])
        expected["USDT"] -= sign * Decimal(trade["quoteQty"])
        expected[trade["commissionAsset"]] -= Decimal(trade["commission"])
        assert Decimal(trade["quoteQty"]) == Decimal(trade["price"]) * Decimal(trade["qty"])
    locked: dict[str, Decimal] = defaultdict(Decimal)
    for order in venue.call("GET", "openOrders").body:
        left = Decimal(order["origQty"]) - Decimal(order["executedQty"])
        if order["side"] == "BUY":
            locked["USDT"] += left * Decimal(order["price"])
        else:
            locked["BTC"] += left
    assert now == {asset: (total - locked[asset], locked[asset]) for asset, total in expected.items()}
    assert all(free >= 0 for free, _ in now.values())

    # Each order is the sum of its trades, and never more than was asked for.
    by_order = defaultdict(list)
    for trade in trades:
        by_order[trade["orderId"]].append(trade)
    for order in orders:
        mine = by_order[order["orderId"]]
        assert Decimal(order["executedQty"]) == sum((Decimal(one["qty"]) for one in mine), ZERO)
        assert Decimal(order["cummulativeQuoteQty"]) == sum((Decimal(one["quoteQty"]) for one in mine), ZERO)
        assert Decimal(order["executedQty"]) <= Decimal(order["origQty"])
        assert (order["status"] == "FILLED") == (order["executedQty"] == order["origQty"])
        if order["type"] != "MARKET":
            worst = max if order["side"] == "BUY" else min
            prices = [Decimal(one["price"]) for one in mine]
            assert worst([Decimal(order["price"]), *prices]) == Decimal(order["price"])

    # Replies and events told the same trades.
    told = {fill["tradeId"]: fill["commission"] for reply in replies for fill in reply["fills"]}
    listed = {trade["id"]: trade["commission"] for trade in trades}
    assert told.items() <= listed.items()
    reports = [one["event"] for one in client.events if one["event"]["e"] == "executionReport"]
    assert {one["t"]: one["n"] for one in reports if one["x"] == "TRADE"} == listed
    last = {one["i"]: (one["X"], one["z"], one["Z"]) for one in reports}
    assert last == {
        one["orderId"]: (one["status"], one["executedQty"], one["cummulativeQuoteQty"]) for one in orders
    }

    # The last position of each coin is its balance.
    positions = [one["event"]["B"] for one in client.events if one["event"]["e"] == "outboundAccountPosition"]
    newest = {one["a"]: (Decimal(one["f"]), Decimal(one["l"])) for several in positions for one in several}
    assert newest.items() <= now.items()
