"""What workers say to risk, and its answers: tagged structs in MessagePack, one union per direction.

Every request carries the shard and its epoch; risk answers ``Refused(STALE_EPOCH)`` to anything from an older
incarnation. All requests are idempotent by their ids, so a repeated one changes nothing.
"""

from decimal import Decimal

import msgspec

from arbshard.errors import ProtocolError
from arbshard.model.intent import FxQuote, Intent, OpenIntent
from arbshard.model.order import Order, OrderResult
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal

Available = tuple[tuple[str, str, Decimal], ...]
"""(venue, currency, free amount): what is left after all holds. Only the currencies a reply concerns."""


class _Request(msgspec.Struct, frozen=True, tag=True):
    shard: int
    epoch: int


class Hello(_Request, frozen=True):
    """The first word of a worker. Answer: ``Welcome``."""

    pid: int
    pairs: tuple[str, ...]


class Fund(_Request, frozen=True):
    """Paper only: open the pair's inventory at these prices, once for ever. Answer: ``Funded``."""

    pair: str
    home_price: Decimal
    """Home quote per base."""


class Submit(_Request, frozen=True):
    """Ask for approval of an intent. Answer: ``Approved`` (in the ledger, balances held) or ``Refused``."""

    intent: Intent


class Extend(_Request, frozen=True):
    """Record a hedge or unwind order before it is sent. Answer: ``Approved``, limits or not."""

    intent_id: str
    order: Order


class Report(_Request, frozen=True):
    """How an order of an intent stands; its fills are booked once each. Answer: ``Noted``."""

    intent_id: str
    result: OrderResult


class Conclude(_Request, frozen=True):
    """All orders of the intent are final: release its holds, settle. Answer: ``Settled``."""

    intent_id: str
    mark: Decimal
    """Home price of the base now, for left-over base."""
    fx: FxQuote
    done: bool
    """True when what is left of the position cannot be traded: below the venues' minimum, or nothing."""


Request = Hello | Fund | Submit | Extend | Report | Conclude


class _Reply(msgspec.Struct, frozen=True, tag=True):
    pass


class Welcome(_Reply, frozen=True):
    """All that a worker must know to carry on."""

    session: int
    """Number of risk's starts with this ledger; part of every intent id."""
    positions: tuple[Position, ...]
    intents: tuple[OpenIntent, ...]
    funded: tuple[str, ...]
    """Pairs whose paper inventory exists."""
    available: Available


class Funded(_Reply, frozen=True):
    """The inventory exists (also when it did before)."""

    available: Available


class Approved(_Reply, frozen=True):
    """Send it: the ledger has it."""

    intent_id: str
    available: Available


class Refused(_Reply, frozen=True):
    """Do not send it."""

    reason: Refusal
    detail: str
    available: Available = ()


class Noted(_Reply, frozen=True):
    """The report is in the ledger."""

    intent_id: str


class Settled(_Reply, frozen=True):
    """The intent is over. ``position`` is None when nothing was filled."""

    intent_id: str
    position: Position | None
    available: Available


Reply = Welcome | Funded | Approved | Refused | Noted | Settled

_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """The message as MessagePack."""
    return _encoder.encode(message)


def decode_request(payload: bytes) -> Request:
    """Raises ``ProtocolError`` for anything that is not a whole, well-typed request."""
    try:
        return _requests.decode(payload)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"bad request: {error}") from error


def decode_reply(payload: bytes) -> Reply:
    """Raises ``ProtocolError`` for anything that is not a whole, well-typed reply."""
    try:
        return _replies.decode(payload)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"bad reply: {error}") from error
