"""However answers and events are mixed, an order ends once, with every fill once, or not at all."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.execution.live.tracker import Tracked, Tracker
from arbshard.venues.base.orders import OrderStatus

PARTS = ("0.0002", "0.0003", "0.0005")


@pytest.fixture(scope="module")
def fills(make):
    """Three fills of one order, and the order."""
    order = make.order(make.home, "buy", "0.001", 146_000_000)
    return order, tuple(
        replace(make.fill(order, part, 146_000_000, number), fill_id=f"upbit:KRW-BTC:t{number}")
        for number, part in enumerate(PARTS)
    )


def total(some):
    return sum((fill.quantity for fill in some), Decimal(0))


class TestEvents:
    def test_final_with_all_fills(self, fills):
        order, (one, two, three) = fills
        tracked = Tracked(order, 0)
        tracked.apply("PARTIAL", total([one]), (one,), "u", "")
        assert tracked.now().state == "UNKNOWN"
        assert tracked.now().fills == ()
        tracked.apply("PARTIAL", total([one, two]), (two,), "u", "")
        tracked.apply("FILLED", total([one, two, three]), (three,), "u", "")
        assert tracked.now().state == "FILLED"
        assert tracked.now().filled == order.quantity

    def test_end_overtakes_a_fill(self, fills):
        order, every = fills
        tracked = Tracked(order, 0)
        tracked.apply("FILLED", order.quantity, (), "u", "")
        assert tracked.now().state == "UNKNOWN"
        assert "0 are known out of 0.001" in tracked.now().detail
        for fill in every:
            tracked.apply("PARTIAL", fill.quantity, (fill,), "u", "")
        assert tracked.now().state == "FILLED"
        assert set(tracked.now().fills) == set(every)

    @given(st.data())
    def test_any_order_any_repetition(self, fills, data):
        order, every = fills
        events = [("PARTIAL", (fill,)) for fill in every] + [("FILLED", ())]
        again = data.draw(st.lists(st.sampled_from(events), max_size=6))
        tracked = Tracked(order, 0)
        for state, some in data.draw(st.permutations(events + again)):
            tracked.apply(state, order.quantity, some, "u", "")
            result = tracked.now()
            assert result.state == "UNKNOWN" or result.filled == order.quantity
        assert tracked.now().state == "FILLED"
        assert sorted(fill.fill_id for fill in tracked.now().fills) == [fill.fill_id for fill in every]


class TestAnswers:
    def test_final_and_whole(self, fills):
        order, every = fills
        tracked = Tracked(order, 0, Decimal(5))
        tracked.settle(OrderStatus("u", "FILLED", total(every), every))
        assert tracked.now() == tracked.result
        assert tracked.now().fills == every
        assert tracked.now().decision_price == 5

    def test_not_final(self, fills):
        order, (one, *_) = fills
        tracked = Tracked(order, 0)
        tracked.settle(OrderStatus("u", "PARTIAL", total([one]), (one,)))
        assert tracked.now().state == "UNKNOWN"

    def test_fills_missing(self, fills):
        order, (one, *_) = fills
        tracked = Tracked(order, 0)
        tracked.settle(OrderStatus("u", "EXPIRED", order.quantity, (one,)))
        assert tracked.now().state == "UNKNOWN"

    def test_an_end_without_all_of_it_is_not_filled(self, fills):
        order, (one, *_) = fills
        tracked = Tracked(order, 0)
        tracked.settle(OrderStatus("u", "FILLED", total([one]), (one,)))
        assert tracked.now().state == "CANCELED"
        assert tracked.now().fills == (one,)

    def test_first_end_stays(self, fills):
        order, every = fills
        tracked = Tracked(order, 0)
        tracked.settle(OrderStatus("u", "FILLED", total(every), every))
        first = tracked.now()
        tracked.apply("EXPIRED", Decimal(0), (), "u", "")
        tracked.end("REJECTED", "?")
        assert tracked.now() is first

    def test_fills_of_both_ways_are_not_added(self, fills):
        order, every = fills
        tracked = Tracked(order, 0)
        tracked.apply("PARTIAL", every[0].quantity, (every[0],), "u", "")
        tracked.settle(OrderStatus("u", "FILLED", total(every), every))
        assert tracked.now().fills == every


class TestDenied:
    def test_of_an_order_that_was_never_seen(self, fills):
        order, _ = fills
        tracked = Tracked(order, 0)
        tracked.end("REJECTED", "no money")
        assert (tracked.now().state, tracked.now().detail) == ("REJECTED", "no money")

    def test_of_an_order_that_was_seen_is_not_believed(self, fills):
        order, (one, *_) = fills
        tracked = Tracked(order, 0)
        tracked.apply("ACCEPTED", Decimal(0), (), "u", "")
        tracked.end("NOT_ACCEPTED", "never accepted")
        assert tracked.now().state == "UNKNOWN"
        tracked.apply("EXPIRED", one.quantity, (one,), "u", "")
        assert tracked.now().state == "EXPIRED"


class TestWaiting:
    async def test_doubt_ends_the_wait(self, fills):
        tracked = Tracked(fills[0], 0)
        tracked.mark_unknown("HTTP 504")
        assert not await tracked.wait(30)
        assert tracked.now().detail == "HTTP 504"

    async def test_time_ends_the_wait(self, fills):
        tracked = Tracked(fills[0], 0)
        assert not await tracked.wait(0.001)
        assert "nothing received" in tracked.now().detail


class TestAllOrders:
    def test_kept_until_it_has_ended(self, fills):
        order, every = fills
        tracker = Tracker()
        tracked = tracker.begin(order, 0)
        assert tracker.release(tracked).state == "UNKNOWN"
        assert tracker.get(order.client_id) is tracked
        tracker.apply(order.client_id, "FILLED", total(every), every, "u", "")
        assert tracker.release(tracked).state == "FILLED"
        assert tracker.get(order.client_id) is None
        assert len(tracker) == 0

    def test_events_of_others_are_counted(self, fills):
        order, every = fills
        tracker = Tracker()
        tracker.apply(order.client_id, "FILLED", total(every), every, "u", "")
        assert tracker.strays == 1
