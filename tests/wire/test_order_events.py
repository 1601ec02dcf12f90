"""Order events: whole after the way over the wire, and sent to the shard that made the order."""

from decimal import Decimal

import pytest

from arbshard.errors import ProtocolError
from arbshard.wire import order_events
from arbshard.wire.order_events import OrderEvent


def test_an_event_comes_whole(make):
    order = make.order(make.away, "buy", "0.001", "105000.10", "s3-12-1-7-a0")
    event = OrderEvent(
        "binance",
        order.client_id,
        "99",
        "PARTIAL",
        Decimal("0.00050000"),
        (make.fill(order, "0.0005", "105000.05"),),
        "why",
        1_795_000_000_123,
    )
    assert order_events.decode(order_events.encode(event)) == event


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x80", order_events.encode.__doc__.encode()])
def test_what_is_no_event_is_refused(payload):
    with pytest.raises(ProtocolError):
        order_events.decode(payload)


@pytest.mark.parametrize(
    ("client_id", "topic"),
    [
        ("s3-12-1-7-h0", b"order.12."),
        ("s1-0-99-1234-a11", b"order.0."),
        ("doctor-ab", None),
        ("s3-x-1-7-h0", None),
        ("", None),
    ],
)
def test_the_topic_is_the_shard_that_made_the_order(client_id, topic):
    assert order_events.topic_of(client_id) == topic


def test_no_shard_hears_of_anothers_orders():
    assert not order_events.topic_of("s1-10-1-1-h0").startswith(order_events.topic(1))
    assert order_events.topic_of("s1-10-1-1-h0") == order_events.topic(10)
