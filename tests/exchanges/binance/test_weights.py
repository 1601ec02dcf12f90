from decimal import Decimal

import pytest

from arbshard.exchanges.accounts.order import SimOrder, Ticket
from arbshard.exchanges.binance.refusals import BinanceRefusal
from arbshard.exchanges.binance.weights import (
    BAN_S,
    ORDERS_10S_MAX,
    WARNINGS_MAX,
    WEIGHT_MAX,
    OrderCounts,
    Weights,
)

MINUTE_MS = 60_000
START_MS = 29_916_666 * MINUTE_MS


def spend(weights: Weights, weight: int, now_ms: int, who: str = "a") -> BinanceRefusal:
    with pytest.raises(BinanceRefusal) as refused:
        weights.spend(who, weight, now_ms)
    return refused.value


def test_weight_adds_up_per_address_and_minute() -> None:
    weights = Weights()
    weights.spend("a", 5990, START_MS + 1)
    weights.spend("b", 20, START_MS + 2)
    weights.spend("a", 10, START_MS + 3)
    assert (weights.spent("a", START_MS + 4), weights.spent("b", START_MS + 4)) == (WEIGHT_MAX, 20)
    weights.refund("b", 1, START_MS + 5)
    assert weights.spent("b", START_MS + 5) == 19
    assert weights.spent("a", START_MS + MINUTE_MS) == 0


def test_too_much_waits_for_the_next_minute() -> None:
    weights = Weights()
    weights.spend("a", WEIGHT_MAX, START_MS)
    refused = spend(weights, 1, START_MS + 7_000)
    assert (refused.status, refused.code, refused.retry_after_s) == (429, -1003, 53)
    assert refused.retry_at_ms == START_MS + MINUTE_MS
    weights.spend("b", 1, START_MS + 7_000)
    weights.spend("a", 1, START_MS + MINUTE_MS)


def test_who_goes_on_is_banned_longer_each_time() -> None:
    weights = Weights()
    now_ms = START_MS
    for ban_s in (BAN_S, 2 * BAN_S):
        weights.spend("a", WEIGHT_MAX, now_ms)
        assert [spend(weights, 1, now_ms).status for _ in range(WARNINGS_MAX + 1)] == [429] * WARNINGS_MAX + [
            418
        ]
        refused = spend(weights, 1, now_ms + 1000)
        assert (refused.status, refused.retry_after_s) == (418, ban_s - 1)
        assert str(now_ms + ban_s * 1000) in refused.message
        now_ms += ban_s * 1000
        weights.spend("a", 1, now_ms)
        now_ms += MINUTE_MS


def test_a_ban_grows_to_three_days_and_no_more() -> None:
    weights, now_ms = Weights(), START_MS
    longest = 0
    for _ in range(20):
        weights.spend("a", WEIGHT_MAX, now_ms)
        refused = [spend(weights, 1, now_ms) for _ in range(WARNINGS_MAX + 1)][-1]
        longest = max(longest, refused.retry_after_s)
        now_ms = refused.retry_at_ms + MINUTE_MS
    assert longest == 3 * 86_400


def make_order(number: int = 1) -> SimOrder:
    ticket = Ticket("BTCUSDT", "buy", "limit", price=Decimal(1), quantity=Decimal(1))
    return SimOrder(number, str(number), ticket, "BTC", "USDT", 0, 0)


def test_orders_count_in_both_windows() -> None:
    counts = OrderCounts()
    counts.add(START_MS, make_order())
    counts.add(START_MS + 9_999, make_order())
    assert counts.headers(START_MS + 9_999) == {"X-MBX-ORDER-COUNT-10S": "2", "X-MBX-ORDER-COUNT-1D": "2"}
    assert counts.headers(START_MS + 10_000) == {"X-MBX-ORDER-COUNT-10S": "0", "X-MBX-ORDER-COUNT-1D": "2"}
    tomorrow_ms = (START_MS // 86_400_000 + 1) * 86_400_000
    assert counts.headers(tomorrow_ms)["X-MBX-ORDER-COUNT-1D"] == "0"


def test_the_first_fill_gives_the_place_back_and_a_cancel_does_not() -> None:
    counts, filled, canceled = OrderCounts(), make_order(1), make_order(2)
    for order in (filled, canceled):
        counts.add(START_MS, order)
    canceled.status = "canceled"
    assert counts.listed(START_MS)[0]["count"] == 2
    filled.executed = Decimal("0.1")
    assert counts.headers(START_MS + 1)["X-MBX-ORDER-COUNT-10S"] == "1"
    filled.executed = Decimal("0.2")
    assert counts.headers(START_MS + 2)["X-MBX-ORDER-COUNT-10S"] == "1"
    canceled.executed = Decimal("0.1")  # never happens; it would not count any more
    assert counts.headers(START_MS + 3)["X-MBX-ORDER-COUNT-10S"] == "1"


def test_a_fill_in_a_later_window_never_makes_the_count_negative() -> None:
    counts, orders = OrderCounts(), [make_order(number) for number in range(5)]
    for order in orders:
        counts.add(START_MS, order)
    counts.add(START_MS + 10_000, make_order(9))
    for order in orders:
        order.executed = Decimal(1)
    assert counts.headers(START_MS + 10_001) == {"X-MBX-ORDER-COUNT-10S": "0", "X-MBX-ORDER-COUNT-1D": "1"}


def test_one_order_too_many_waits_for_the_next_ten_seconds() -> None:
    counts = OrderCounts()
    for number in range(ORDERS_10S_MAX):
        counts.check(START_MS + 3_000)
        counts.add(START_MS + 3_000, make_order(number))
    with pytest.raises(BinanceRefusal) as refused:
        counts.check(START_MS + 3_500)
    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (429, -1015, 7)
    assert refused.value.message == "Too many new orders; current limit is 100 orders per 10 SECOND."
    counts.check(START_MS + 10_000)
