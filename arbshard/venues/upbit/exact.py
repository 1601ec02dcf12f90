"""Reads exact numbers from Upbit's frames of order books and trades, as ``base.exact`` defines."""

from decimal import Decimal

import msgspec

from arbshard.venues.base.exact import ExactLevels, ExactTrade
from arbshard.venues.frame import UNREADABLE, refusal, refusal_of


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
    """Is a book of either format: the units are under one of both names."""

    obu: list[_Unit] = []
    orderbook_units: list[_LongUnit] = []


class _Trade(
    msgspec.Struct, rename={"code": "cd", "price": "tp", "volume": "tv", "taker": "ab", "stream": "st"}
):
    code: str
    price: Decimal
    volume: Decimal
    taker: str
    stream: str = "REALTIME"


class _LongTrade(
    msgspec.Struct,
    rename={"price": "trade_price", "volume": "trade_volume", "taker": "ask_bid", "stream": "stream_type"},
):
    code: str
    price: Decimal
    volume: Decimal
    taker: str
    stream: str = "REALTIME"


_decode = msgspec.json.Decoder(_Book).decode
_TRADE_DECODERS = (
    (b'{"ty":"trade"', msgspec.json.Decoder(_Trade).decode),
    (b'{"type":"trade"', msgspec.json.Decoder(_LongTrade).decode),
)
"""Decoders by how the frames of both formats begin."""


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


def exact_trade(frame: bytes) -> ExactTrade | None:
    """Implements ``base.exact.DecodeTrade``: a snapshot repeats the trade before the subscription."""
    for head, decode in _TRADE_DECODERS:
        if frame.startswith(head):
            try:
                trade = decode(frame)
            except UNREADABLE as error:
                raise refusal_of(error) from error
            if trade.price <= 0 or trade.volume <= 0:
                raise refusal("number", f"a trade of {trade.volume} at {trade.price}")
            if trade.stream == "SNAPSHOT":
                return None
            return ExactTrade(trade.code, "trade", trade.price, trade.volume, trade.taker == "BID")
    return None
