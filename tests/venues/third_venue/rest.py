"""Order books by REST: one market per call, in the form of the stream."""

from collections.abc import Iterator, Sequence

from arbshard.errors import FrameError
from arbshard.venues.base.rest import SHARE, BookRequest, Found
from third_venue.market import Third


class ThirdBooks:
    """Implements ``RestBooks``."""

    calls_per_s = 100 * SHARE
    lanes = 2

    def calls(self, symbols: Sequence[str], depth: int) -> list[BookRequest]:
        """One for each market."""
        return [BookRequest(f"/v2/book?market={symbol}&depth={depth}", (symbol,)) for symbol in symbols]

    def decode(self, call: BookRequest, body: bytes, asked_ns: int) -> Iterator[Found]:
        """One book."""
        (symbol,) = call.symbols
        try:
            yield symbol, Third().decode(body, asked_ns)
        except FrameError as error:
            yield symbol, error

    def frames(self, call: BookRequest, body: bytes) -> Iterator[bytes]:
        """As it is."""
        del call
        yield body
