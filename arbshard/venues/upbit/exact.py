"""Upbit: exact numbers of order-book frames, see ``base.exact``."""

from decimal import Decimal

import msgspec

from arbshard.venues.base.exact import ExactLevels
from arbshard.venues.frame import UNREADABLE, refusal_of


class _Unit(
    msgspec.Struct, rename={"ask_price": "ap", "bid_price": "bp", "ask_size": "as", "bid_size": "bs"}
):
    ask_price: Decimal
    bid_price: Decimal
    ask_size: Decimal
    bid_size: Decimal


class _LongUnit(msgspec.Struct):
    ask_price: Decimal
    bid_price: Decimal
    ask_size: Decimal
    bid_size: Decimal


class _Book(msgspec.Struct):
    """Of either format: the units are under one of both names."""

    obu: list[_Unit] = []
    orderbook_units: list[_LongUnit] = []


_decode = msgspec.json.Decoder(_Book).decode


def exact_levels(frame: bytes) -> tuple[ExactLevels, ExactLevels]:
    """Implements ``base.exact.DecodeExactly``."""
    try:
        book = _decode(frame)
    except UNREADABLE as error:
        raise refusal_of(error) from error
    units = book.obu or book.orderbook_units
    # Units of size zero are padding at the end of a thin side.
    bids = tuple((unit.bid_price, unit.bid_size) for unit in units if unit.bid_size)
    asks = tuple((unit.ask_price, unit.ask_size) for unit in units if unit.ask_size)
    return bids, asks
