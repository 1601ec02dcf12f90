"""Binance: exact numbers of order-book frames, see ``base.exact``."""

from decimal import Decimal

import msgspec

from arbshard.venues.base.exact import ExactLevels
from arbshard.venues.frame import UNREADABLE, refusal_of


class _Book(msgspec.Struct):
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]


class _Combined(msgspec.Struct):
    data: _Book


_decode = msgspec.json.Decoder(_Combined).decode


def exact_levels(frame: bytes) -> tuple[ExactLevels, ExactLevels]:
    """Implements ``base.exact.DecodeExactly``."""
    try:
        book = _decode(frame).data
    except UNREADABLE as error:
        raise refusal_of(error) from error
    return book.bids, book.asks
