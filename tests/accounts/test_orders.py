"""What comes out of everything that is told of orders: each piece of news once, and an end that stays."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.accounts.orders import OpenOrder, VenueOrders
from arbshard.model.order import FINAL_STATES
from arbshard.wire.order_events import decode, encode


@pytest.fixture
def orders(markets, tag):
    return VenueOrders("upbit", tag, markets["upbit"], kept=3)


def test_an_event_names_order_and_fill_as_rest_does(orders, heard):
    event = orders.update(heard("PARTIAL", "0.0004", fill="t-1"))
    assert (event.venue, event.client_id, event.venue_order_id) == ("upbit", "s1-0-1-1-h0", "u-1")
    (fill,) = event.fills
    assert (fill.fill_id, fill.client_id, fill.fee_currency) == ("upbit:KRW-BTC:t-1", "s1-0-1-1-h0", "KRW")


def test_an_event_says_why_the_venue_refused_the_order(orders, heard):
    event = orders.update(heard("REJECTED", "0")._replace(detail="MARKET_CLOSED", fault="market"))
    assert (event.state, event.detail, event.fault) == ("REJECTED", "MARKET_CLOSED", "market")
    assert decode(encode(event)) == event


def test_what_is_told_twice_is_news_once(orders, heard):
    assert orders.update(heard("PARTIAL", "0.0004", fill="t-1")) is not None
    assert orders.update(heard("PARTIAL", "0.0004", fill="t-1")) is None
    assert orders.repeated == 1
    assert orders.changes == 2


def test_a_fill_that_comes_after_the_end_is_still_told(orders, heard):
    orders.update(heard("CANCELED", "0.0004"))
    event = orders.update(heard("PARTIAL", "0.0004", fill="t-1"))
    assert event.state == "CANCELED"
    assert [fill.fill_id for fill in event.fills] == ["upbit:KRW-BTC:t-1"]


@pytest.mark.parametrize("name", ["", "other-s1-0-1-1-h0", "web_1"])
def test_orders_of_others_are_counted_and_not_told(orders, heard, name):
    assert orders.update(heard(client_id=name)) is None
    assert orders.foreign == 1
    assert orders.changes == 1
    assert orders.unfinished() == ()


def test_an_order_of_a_market_that_is_not_traded_is_told_without_fills(tag, heard):
    event = VenueOrders("upbit", tag, {}).update(heard("PARTIAL", "0.0004", fill="t-1"))
    assert (event.state, event.filled, event.fills) == ("PARTIAL", Decimal("0.0004"), ())


def test_unfinished_are_those_without_an_end(orders, heard, tag):
    orders.update(heard(client_id=f"{tag}-a", order_id="1"))
    orders.update(heard("FILLED", "0.001", client_id=f"{tag}-b", order_id="2"))
    assert orders.unfinished() == (OpenOrder("KRW-BTC", "1"),)
    assert orders.recent_symbols(5) == ("KRW-BTC",)


def test_only_so_many_are_remembered(orders, heard, tag):
    for number in range(10):
        orders.update(heard(client_id=f"{tag}-{number}", order_id=str(number)))
    assert [one.venue_order_id for one in orders.unfinished()] == ["7", "8", "9"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ACCEPTED", "PARTIAL", "FILLED", "CANCELED", "EXPIRED"]),
            st.integers(0, 5),
            st.sampled_from([None, "t-1", "t-2", "t-3"]),
        ),
        max_size=30,
    )
)
def test_whatever_the_order_of_tellings(markets, tag, heard, tellings):
    orders = VenueOrders("upbit", tag, markets["upbit"])
    events = [
        event
        for state, filled, fill in tellings
        if (event := orders.update(heard(state, f"0.000{filled}", fill))) is not None
    ]
    fills = [fill.fill_id for event in events for fill in event.fills]
    assert sorted(set(fills)) == sorted(fills), "a fill was told twice"
    assert {f"upbit:KRW-BTC:{fill}" for _, _, fill in tellings if fill} == set(fills), "a fill was not told"
    amounts = [event.filled for event in events]
    assert amounts == sorted(amounts), "a fill was taken back"
    ends = [event.state for event in events if event.state in FINAL_STATES]
    assert len(set(ends)) <= 1, "an end did not stay"
    if ends:
        after = events[[event.state in FINAL_STATES for event in events].index(True) :]
        assert all(event.state == ends[0] for event in after)
    assert len(events) + orders.repeated == len(tellings)
