"""Makes the requests for Upbit's order books over REST, many markets in one call, and reads the answers. Pure."""

from collections.abc import Iterator, Sequence

import msgspec

from arbshard.errors import FrameError
from arbshard.model.book import OrderBookSnapshot
from arbshard.venues.base.rest import SHARE, BookRequest, Found
from arbshard.venues.frame import UNREADABLE, checked_book, refusal, refusal_of, unpadded


class _Unit(msgspec.Struct, gc=False):
    ask_price: float
    bid_price: float
    ask_size: float
    bid_size: float


class _Book(msgspec.Struct, gc=False):
    market: str
    timestamp: int
    orderbook_units: list[_Unit]


class _Named(msgspec.Struct):
    market: str = ""


class _Item(msgspec.Struct, gc=False):
    """Is a book that is passed on without being read."""

    market: str
    timestamp: int
    orderbook_units: msgspec.Raw


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_book = msgspec.json.Decoder(_Book).decode
_decode_items = msgspec.json.Decoder(list[_Item]).decode


class UpbitBooks:
    """Implements ``base.rest.RestBooks``: many markets in one call, 10 calls a second."""

    calls_per_s = 10 * SHARE
    lanes = 1
    markets_per_call = 50
    depth_max = 30

    def calls(self, symbols: Sequence[str], depth: int) -> list[BookRequest]:
        """Make one call for each 50 markets."""
        most = self.markets_per_call
        shares = [tuple(symbols[start : start + most]) for start in range(0, len(symbols), most)]
        count = min(depth, self.depth_max)
        return [
            BookRequest(f"/v1/orderbook?markets={','.join(share)}&count={count}", share) for share in shares
        ]

    def decode(self, call: BookRequest, body: bytes, asked_ns: int) -> Iterator[Found]:
        """Read all books. A market that is missing from the answer gets a ``FrameError`` of reason ``empty``."""
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
            yield symbol, _book(symbol, item, asked_ns)
        for symbol in sorted(missing):
            yield symbol, refusal("empty", "not in the answer")

    def frames(self, call: BookRequest, body: bytes) -> Iterator[bytes]:
        """Write each book in the stream's DEFAULT format."""
        try:
            items = _decode_items(body)
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


def _book(symbol: str, item: msgspec.Raw, asked_ns: int) -> OrderBookSnapshot | FrameError:
    try:
        book = _decode_book(item)
    except UNREADABLE as error:
        return refusal_of(error)
    bids = unpadded([(unit.bid_price, unit.bid_size) for unit in book.orderbook_units])
    asks = unpadded([(unit.ask_price, unit.ask_size) for unit in book.orderbook_units])
    try:
        return checked_book("upbit", symbol, bids, asks, book.timestamp, asked_ns)
    except FrameError as error:
        return error
