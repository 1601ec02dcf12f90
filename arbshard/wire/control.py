"""What the command line says to a running supervisor, and its answers."""

import msgspec

from arbshard.errors import ProtocolError


class Stop(msgspec.Struct, frozen=True, tag=True):
    """End the run in order."""

    keep_positions: bool = False


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Are you there?"""


class Done(msgspec.Struct, frozen=True, tag=True):
    """It is being done. ``text`` is for the person who asked."""

    text: str


class Denied(msgspec.Struct, frozen=True, tag=True):
    """It cannot be done, and why."""

    why: str


Order = Stop | Ping
Answer = Done | Denied

_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def encode(message: Order | Answer) -> bytes:
    """The message as MessagePack."""
    return msgspec.msgpack.encode(message)


def decode_order(payload: bytes) -> Order:
    """Raises ``ProtocolError`` for anything that is not a whole, well-typed order."""
    try:
        return _orders.decode(payload)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"bad order: {error}") from error


def decode_answer(payload: bytes) -> Answer:
    """Raises ``ProtocolError`` likewise."""
    try:
        return _answers.decode(payload)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"bad answer: {error}") from error
