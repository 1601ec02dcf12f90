"""Defines ``RestBooks``: how a venue's order books are requested over REST, and how its answers are read. Pure.

The module ``rest`` of a venue's folder implements it; ``data.rest``, the feeds and the doctor use it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from arbshard.errors import FrameError
from arbshard.model.book import OrderBookSnapshot

SHARE = 0.8
"""Part of a venue's limit that we use. The rest is left to other programs at the same address."""


class BookRequest(NamedTuple):
    """Is one request for order books."""

    path: str
    symbols: tuple[str, ...]
    """Symbols of the markets it asks about."""


Found = tuple[str, OrderBookSnapshot | FrameError]
"""A market, and its book or the error because of which that cannot be trusted."""


class RestBooks(Protocol):
    """Makes the requests for a venue's order books over REST, and reads the answers."""

    @property
    def calls_per_s(self) -> float:
        """Return how many calls a second are allowed, with a reserve."""
        ...

    @property
    def lanes(self) -> int:
        """Return how many calls may be under way at once."""
        ...

    def calls(self, symbols: Sequence[str], depth: int) -> list[BookRequest]:
        """Make the requests that fetch the books of ``symbols`` once."""
        ...

    def decode(self, call: BookRequest, body: bytes, asked_ns: int) -> Iterator[Found]:
        """Yield each market of the answer with its book, or with the ``FrameError`` that its book raised.

        ``asked_ns`` is the monotonic time of the request, which becomes ``received_ns`` of the books. Raises
        ``FrameError`` for a body that holds no books at all.
        """
        ...

    def frames(self, call: BookRequest, body: bytes) -> Iterator[bytes]:
        """Yield the answer as frames that the venue's codec decodes as if they had come over its WebSocket.

        Prices are not checked. Raises ``FrameError`` for a body that holds no books at all.
        """
        ...
