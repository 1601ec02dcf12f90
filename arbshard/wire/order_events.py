"""What the venues' private streams say of our orders: published by the accounts process, heard by workers.

An event is news, never a question's answer: it may be lost, come twice, or come before the REST reply. Who hears it
books every fill once, by its ``fill_id``, and asks by REST for what it has not heard.
"""

import re
from decimal import Decimal

import msgspec

from arbshard.errors import ProtocolError
from arbshard.model.order import Fill, OrderFault, OrderState
from arbshard.wire.messages import UNREADABLE, comparable

_SHARD = re.compile(r"s\d+-(\d+)-\d+-\d+-")


class OrderEvent(msgspec.Struct, frozen=True):
    """How one of our orders stands at its venue."""

    venue: str
    client_id: str
    """Ours, without the tag."""
    venue_order_id: str
    state: OrderState
    filled: Decimal
    """Base quantity executed so far."""
    fills: tuple[Fill, ...] = ()
    """New ones, under the ids that REST gives them, too. A final state may come before the last of its fills."""
    detail: str = ""
    """Why it was rejected or expired, in the venue's words."""
    at_ms: int = 0
    """Wall time of the venue."""
    fault: OrderFault = ""
    """Why the venue refused the order; empty if it did not."""


_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_decoder: msgspec.msgpack.Decoder[OrderEvent] = msgspec.msgpack.Decoder(OrderEvent)


def encode(event: OrderEvent) -> bytes:
    """As MessagePack, amounts as text."""
    return _encoder.encode(event)


def decode(payload: bytes) -> OrderEvent:
    """The event. Raises ``ProtocolError``."""
    try:
        return comparable(payload, _decoder.decode(payload))
    except UNREADABLE as error:
        raise ProtocolError(f"not an order event: {error}") from error


def topic_of(client_id: str) -> bytes | None:
    """``order.<shard>.`` of the shard that made ``client_id``; None for an id that no shard made."""
    found = _SHARD.match(client_id)
    return topic(int(found.group(1))) if found else None


def topic(shard: int) -> bytes:
    """What the worker of ``shard`` subscribes to. Ends in a dot, so that shard 1 does not hear of shard 10."""
    return b"order.%d." % shard
