"""Reads exact numbers from Binance's frames of order books and trades, as ``base.exact`` defines."""

import re
from decimal import Decimal

import msgspec

from arbshard.venues.base.exact import ExactLevels, ExactTrade
from arbshard.venues.base.fusion import with_touch
from arbshard.venues.frame import UNREADABLE, refusal, refusal_of


class _Book(msgspec.Struct):
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]


class _Touch(msgspec.Struct):
    bid: Decimal = msgspec.field(name="b")
    bid_size: Decimal = msgspec.field(name="B")
    ask: Decimal = msgspec.field(name="a")
    ask_size: Decimal = msgspec.field(name="A")


class _Combined(msgspec.Struct):
    data: _Book
    touch: _Touch | None = None


class _Trade(msgspec.Struct):
    kind: str = msgspec.field(name="e")
    symbol: str = msgspec.field(name="s")
    price: Decimal = msgspec.field(name="p")
    quantity: Decimal = msgspec.field(name="q")
    buyer_is_maker: bool = msgspec.field(name="m")


class _CombinedTrade(msgspec.Struct):
    data: _Trade


_decode = msgspec.json.Decoder(_Combined).decode
_decode_trade = msgspec.json.Decoder(_CombinedTrade).decode
_TRADE_HEAD = re.compile(rb'\{"stream":"[^"@]{1,50}@(?:trade|aggTrade)"')


def exact_levels(frame: bytes) -> tuple[ExactLevels, ExactLevels]:
    """Implements ``base.exact.DecodeExactly``."""
    try:
        combined = _decode(frame)
    except UNREADABLE as error:
        raise refusal_of(error) from error
    book, touch = combined.data, combined.touch
    if touch is None:
        return book.bids, book.asks
    return with_touch(book.bids, book.asks, (touch.bid, touch.bid_size), (touch.ask, touch.ask_size))


def exact_trade(frame: bytes) -> ExactTrade | None:
    """Implements ``base.exact.DecodeTrade`` for combined streams."""
    if not _TRADE_HEAD.match(frame):
        return None
    try:
        trade = _decode_trade(frame).data
    except UNREADABLE as error:
        raise refusal_of(error) from error
    if trade.price <= 0 or trade.quantity <= 0:
        raise refusal("number", f"a trade of {trade.quantity} at {trade.price}")
    return ExactTrade(trade.symbol, trade.kind, trade.price, trade.quantity, not trade.buyer_is_maker)
