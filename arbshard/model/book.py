"""``OrderBookSnapshot`` is what a market offered at one instant, and ``BookTop`` the best bid and ask of it."""

from typing import NamedTuple

import msgspec

Levels = tuple[tuple[float, float], ...]
"""(price, size) in quote and base units, best first."""


class BookTop(msgspec.Struct, frozen=True, gc=False):
    """Is the best bid and ask of one market, in quote per base, with sizes in base. Most ticks need nothing else."""

    best_bid: float
    bid_size: float
    best_ask: float
    ask_size: float
    received_ns: int
    """When the frame was received, monotonic nanoseconds."""

    @property
    def mid(self) -> float:
        """Return the mean of best bid and best ask."""
        return (self.best_bid + self.best_ask) / 2


class OrderBookSnapshot(msgspec.Struct, frozen=True, gc=False):
    """Holds bids and asks of one market, best first; never empty and never crossed.

    Prices and sizes are floats: they only feed the edge calculation. ``model.money.exact`` makes what reaches an
    order exact again.
    """

    venue: str
    symbol: str
    bids: Levels
    asks: Levels
    exchange_ms: int | None
    """Exchange time in wall milliseconds, or None where the stream carries none."""
    received_ns: int
    """When the frame was received, monotonic nanoseconds."""
    sent_ms: int | None = None
    """The exchange time, if it is that of the sending, as it is in a stream's changes. The first frame of a
    subscription and a book over REST may carry the time of the book's last change, however long ago that is.
    """

    @property
    def top(self) -> BookTop:
        """Return the best bid and the best ask with their sizes."""
        (bid, bid_size), (ask, ask_size) = self.bids[0], self.asks[0]
        return BookTop(bid, bid_size, ask, ask_size, self.received_ns)

    @property
    def best_bid(self) -> float:
        """Return the highest bid, in quote per base. A book is never empty: codecs refuse empty books."""
        return self.bids[0][0]

    @property
    def best_ask(self) -> float:
        """Return the lowest ask, in quote per base."""
        return self.asks[0][0]

    @property
    def mid(self) -> float:
        """Return the mean of best bid and best ask."""
        return (self.bids[0][0] + self.asks[0][0]) / 2


class PairView(NamedTuple):
    """Is the best of a pair's two books, as one reader read them last."""

    home: BookTop
    away: BookTop
    seen_ns: int
    """Monotonic time in ns at which they were read; both were fresh then."""
