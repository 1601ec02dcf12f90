"""Makes the requests for Binance's order books over REST, one market per call, and reads the answers. Pure."""

from collections.abc import Iterator, Sequence

import msgspec

from arbshard.errors import FrameError
from arbshard.venues.base.rest import SHARE, BookRequest, Found
from arbshard.venues.frame import UNREADABLE, Level, checked_book, refusal_of


class _Item(msgspec.Struct, gc=False, rename={"last_id": "lastUpdateId"}):
    """Is a book that is passed on without being read."""

    last_id: int
    bids: msgspec.Raw
    asks: msgspec.Raw


class _Book(msgspec.Struct, gc=False, rename={"last_id": "lastUpdateId"}):
    last_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


_decode_item = msgspec.json.Decoder(_Item).decode
# Prices and sizes are strings; checked_book refuses the "nan" and "inf" that strict=False lets through.
_decode_book = msgspec.json.Decoder(_Book, strict=False).decode


class BinanceBooks:
    """Implements ``base.rest.RestBooks``: one call for each market, of weight 5 out of 6,000 a minute."""

    calls_per_s = 6000 / 60 / 5 * SHARE
    lanes = 4
    depth_max = 100
    """Most levels per side that are asked for; more would have a larger weight."""

    def calls(self, symbols: Sequence[str], depth: int) -> list[BookRequest]:
        """Make one call for each market."""
        limit = min(depth, self.depth_max)
        return [BookRequest(f"/api/v3/depth?symbol={symbol}&limit={limit}", (symbol,)) for symbol in symbols]

    def decode(self, call: BookRequest, body: bytes, asked_ns: int) -> Iterator[Found]:
        """Read one book; the answer names neither market nor time."""
        (symbol,) = call.symbols
        try:
            book = _decode_book(body)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        try:
            yield symbol, checked_book("binance", symbol, book.bids, book.asks, None, asked_ns)
        except FrameError as error:
            yield symbol, error

    def frames(self, call: BookRequest, body: bytes) -> Iterator[bytes]:
        """Wrap the book as the stream would."""
        (symbol,) = call.symbols
        try:
            item = _decode_item(body)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        yield b'{"stream":"%b@depth20@100ms","data":{"lastUpdateId":%d,"bids":%b,"asks":%b}}' % (
            symbol.lower().encode(),
            item.last_id,
            item.bids,
            item.asks,
        )
