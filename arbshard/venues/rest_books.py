"""How each venue is asked for order books over REST, and how its answers read. Pure; called by ``rest``."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

from arbshard.errors import FrameError, UsageError
from arbshard.model.book import OrderBookSnapshot
from arbshard.venues.frame import UNREADABLE, Level, checked_book, refusal, refusal_of, unpadded

_SHARE = 0.8
"""Of what a venue allows: the rest is for whoever else asks from this address."""


class Call(NamedTuple):
    """One request."""

    path: str
    symbols: tuple[str, ...]
    """The markets it asks about."""


Found = tuple[str, OrderBookSnapshot | FrameError]
"""A market, and its book or why that cannot be trusted."""


class RestBooks(Protocol):
    """A venue's order books over REST."""

    @property
    def calls_per_s(self) -> float:
        """How often we may ask, with room to spare."""
        ...

    @property
    def lanes(self) -> int:
        """How many calls may be under way at once."""
        ...

    def calls(self, symbols: Sequence[str], depth: int) -> list[Call]:
        """The requests that bring the books of ``symbols`` once."""
        ...

    def decode(self, call: Call, body: bytes, asked_ns: int) -> Iterator[Found]:
        """What is in the answer. ``asked_ns``: when it was asked for, which its books are then said to be from.

        Raises ``FrameError`` for a body that holds no books at all; one bad book does not spoil the others.
        """
        ...

    def frames(self, call: Call, body: bytes) -> Iterator[bytes]:
        """The answer as frames that the venue's codec decodes as if they had come over its WebSocket.

        Prices are not looked at. Raises ``FrameError`` for a body that holds no books at all.
        """
        ...


class _Unit(msgspec.Struct, gc=False):
    ask_price: float
    bid_price: float
    ask_size: float
    bid_size: float


class _UpbitBook(msgspec.Struct, gc=False):
    market: str
    timestamp: int
    orderbook_units: list[_Unit]


class _Named(msgspec.Struct):
    market: str = ""


class _UpbitItem(msgspec.Struct, gc=False):
    """A book that is passed on unread."""

    market: str
    timestamp: int
    orderbook_units: msgspec.Raw


class _BinanceItem(msgspec.Struct, gc=False, rename={"last_id": "lastUpdateId"}):
    """A book that is passed on unread."""

    last_id: int
    bids: msgspec.Raw
    asks: msgspec.Raw


class _BinanceBook(msgspec.Struct, gc=False, rename={"last_id": "lastUpdateId"}):
    last_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_upbit = msgspec.json.Decoder(_UpbitBook).decode
_decode_upbit_items = msgspec.json.Decoder(list[_UpbitItem]).decode
_decode_binance_item = msgspec.json.Decoder(_BinanceItem).decode
# Prices and sizes are strings; checked_book refuses the "nan" and "inf" that strict=False lets through.
_decode_binance = msgspec.json.Decoder(_BinanceBook, strict=False).decode


class UpbitBooks:
    """Many markets in one call; 10 calls a second."""

    calls_per_s = 10 * _SHARE
    lanes = 1
    markets_per_call = 50
    depth_max = 30

    def calls(self, symbols: Sequence[str], depth: int) -> list[Call]:
        """See ``RestBooks``."""
        most = self.markets_per_call
        shares = [tuple(symbols[start : start + most]) for start in range(0, len(symbols), most)]
        count = min(depth, self.depth_max)
        return [Call(f"/v1/orderbook?markets={','.join(share)}&count={count}", share) for share in shares]

    def decode(self, call: Call, body: bytes, asked_ns: int) -> Iterator[Found]:
        """See ``RestBooks``. A market that is missing from the answer has a book of shape ``empty``."""
        try:
            items = _decode_list(body)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        missing = set(call.symbols)
        for item in items:
            try:
                symbol = _decode_named(item).market
            except UNREADABLE as error:
                raise refusal_of(error) from error
            if symbol not in missing:
                raise refusal("shape", f"market {symbol!r} was not asked for")
            missing.discard(symbol)
            yield symbol, _upbit_book(symbol, item, asked_ns)
        for symbol in sorted(missing):
            yield symbol, refusal("empty", "not in the answer")

    def frames(self, call: Call, body: bytes) -> Iterator[bytes]:
        """See ``RestBooks``."""
        try:
            items = _decode_upbit_items(body)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        for item in items:
            if item.market not in call.symbols:
                raise refusal("shape", f"market {item.market!r} was not asked for")
            yield b'{"type":"orderbook","code":"%b","timestamp":%d,"orderbook_units":%b,"level":0}' % (
                item.market.encode(),
                item.timestamp,
                item.orderbook_units,
            )


class BinanceBooks:
    """One market per call, weight 5 of 6,000 a minute."""

    calls_per_s = 6000 / 60 / 5 * _SHARE
    lanes = 4
    depth_max = 100
    """More weighs more."""

    def calls(self, symbols: Sequence[str], depth: int) -> list[Call]:
        """See ``RestBooks``."""
        limit = min(depth, self.depth_max)
        return [Call(f"/api/v3/depth?symbol={symbol}&limit={limit}", (symbol,)) for symbol in symbols]

    def decode(self, call: Call, body: bytes, asked_ns: int) -> Iterator[Found]:
        """See ``RestBooks``. The answer names neither market nor time."""
        (symbol,) = call.symbols
        try:
            book = _decode_binance(body)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        try:
            yield symbol, checked_book("binance", symbol, book.bids, book.asks, None, asked_ns)
        except FrameError as error:
            yield symbol, error

    def frames(self, call: Call, body: bytes) -> Iterator[bytes]:
        """See ``RestBooks``."""
        (symbol,) = call.symbols
        try:
            item = _decode_binance_item(body)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        yield b'{"stream":"%b@depth20@100ms","data":{"lastUpdateId":%d,"bids":%b,"asks":%b}}' % (
            symbol.lower().encode(),
            item.last_id,
            item.bids,
            item.asks,
        )


_BOOKS: dict[str, RestBooks] = {"upbit": UpbitBooks(), "binance": BinanceBooks()}


def get_rest_books(venue: str) -> RestBooks:
    """How ``venue`` is asked. Raises ``UsageError`` for one we do not know."""
    try:
        return _BOOKS[venue]
    except KeyError:
        raise UsageError(f"no books over REST from '{venue}'; from {', '.join(sorted(_BOOKS))}") from None


def _upbit_book(symbol: str, item: msgspec.Raw, asked_ns: int) -> OrderBookSnapshot | FrameError:
    try:
        book = _decode_upbit(item)
    except UNREADABLE as error:
        return refusal_of(error)
    bids = unpadded([(unit.bid_price, unit.bid_size) for unit in book.orderbook_units])
    asks = unpadded([(unit.ask_price, unit.ask_size) for unit in book.orderbook_units])
    try:
        return checked_book("upbit", symbol, bids, asks, book.timestamp, asked_ns)
    except FrameError as error:
        return error
