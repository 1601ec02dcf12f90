"""Makes requests for order books by ccxt's ``fetch_order_book``, one market per call, and reads the answers. Pure."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

from arbshard.errors import FrameError
from arbshard.venues.base.rest import BookRequest, Found
from arbshard.venues.frame import refusal
from arbshard.venues.unified import calls
from arbshard.venues.unified.market import UnifiedMarket


class UnifiedBooks:
    """Implements ``base.rest.RestBooks``. The pause between calls that ccxt itself makes comes in addition."""

    calls_per_s = 8.0
    lanes = 4

    def __init__(self, name: str) -> None:
        self._market = UnifiedMarket(name)

    def calls(self, symbols: Sequence[str], depth: int) -> list[BookRequest]:
        """Make one call for each market."""
        return [
            BookRequest(f"{calls.ORDER_BOOK}?{urlencode({'symbol': symbol, 'limit': depth})}", (symbol,))
            for symbol in symbols
        ]

    def decode(self, call: BookRequest, body: bytes, asked_ns: int) -> Iterator[Found]:
        """Read the one book."""
        (symbol,) = call.symbols
        self._require_book_of(symbol, body)
        try:
            yield symbol, self._market.decode(body, asked_ns)
        except FrameError as error:
            yield symbol, error

    def frames(self, call: BookRequest, body: bytes) -> Iterator[bytes]:
        """Pass the book on as it is: the answer has the form of a frame."""
        (symbol,) = call.symbols
        self._require_book_of(symbol, body)
        yield body

    def _require_book_of(self, symbol: str, body: bytes) -> None:
        found = self._market.route(body)
        if found != symbol:
            raise refusal("shape", f"the book of {found!r} and not of {symbol!r}")
