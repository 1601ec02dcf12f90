"""Defines what the venues' private streams state of our orders: the accounts process publishes it, workers receive
it.

An event is news and never the answer to a question: it may be lost, come twice, or come before the REST reply. Its
receiver books every fill once, by its ``fill_id``, and asks by REST for what it has not received.
"""

import re
from decimal import Decimal

import msgspec

from arbshard.errors import ProtocolError
from arbshard.model.order import Fill, OrderFault, OrderState
from arbshard.wire.messages import UNREADABLE, comparable

_SHARD = re.compile(r"s\d+-(\d+)-\d+-\d+-")


class OrderEvent(msgspec.Struct, frozen=True):
    """Is the state of one of our orders at its venue."""

    venue: str
    client_id: str
    """Our name of the order, without the tag."""
    venue_order_id: str
    state: OrderState
    filled: Decimal
    """Base quantity executed so far."""
    fills: tuple[Fill, ...] = ()
    """New fills, under the ids that REST gives them, too. A final state may come before the last of its fills."""
    detail: str = ""
    """Why it was rejected or expired, as the venue states it."""
    at_ms: int = 0
    """Wall time of the venue in milliseconds."""
    fault: OrderFault = ""
    """Why the venue refused the order; empty if it did not."""


_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_decoder: msgspec.msgpack.Decoder[OrderEvent] = msgspec.msgpack.Decoder(OrderEvent)


def encode(event: OrderEvent) -> bytes:
    """Return the event as MessagePack, amounts as text."""
    return _encoder.encode(event)


def decode(payload: bytes) -> OrderEvent:
    """Return the event. Raises ``ProtocolError``."""
    try:
        return comparable(payload, _decoder.decode(payload))
    except UNREADABLE as error:
        raise ProtocolError(f"not an order event: {error}") from error


def topic_of(client_id: str) -> bytes | None:
    """Return the topic of the shard that made ``client_id``, ``order.<shard>.``; None for an id that no shard
    made.
    """
    found = _SHARD.match(client_id)
    return topic(int(found.group(1))) if found else None


def topic(shard: int) -> bytes:
    """Return the topic of ``shard``. It ends in a dot, so that shard 1 does not receive what is for shard 10."""
    return b"order.%d." % shard
