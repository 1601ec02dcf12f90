"""What all decoders of this package have in common: what is no message of ours, and what no message may hold."""

from collections.abc import Iterable
from decimal import Decimal
from typing import TypeVar

import msgspec

from arbshard.errors import ProtocolError

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a decoder raises. Text that is no UTF-8 and arrays a thousand deep have types of their own, and whoever can
connect can send them."""

Message = TypeVar("Message", bound=msgspec.Struct)


def comparable(payload: bytes, message: Message) -> Message:
    """``message``, decoded from ``payload``, if all its amounts can be compared.

    A signalling NaN reads as a decimal, and whoever compares it, were it to see whether a request is a repeated one,
    is thrown an exception. Raises ``ProtocolError``.
    """
    if b"snan" in payload.lower():  # a coin may be called so, too
        told = msgspec.to_builtins(message, builtin_types=(Decimal,))
        if any(one.is_snan() for one in _amounts(told)):
            raise ProtocolError("an amount that signals")
    return message


def _amounts(value: object) -> Iterable[Decimal]:
    if isinstance(value, Decimal):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _amounts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _amounts(item)
