"""``OrderBookSnapshot``: what a market offered at one instant."""

import msgspec

Levels = tuple[tuple[float, float], ...]
"""(price, size) in quote and base units, best first."""


class OrderBookSnapshot(msgspec.Struct, frozen=True):
    """Best-first bids and asks of one market.

    Prices and sizes are floats: they only feed the edge calculation. What reaches an order is made exact
    again by ``model.money.exact``.
    """

    venue: str
    symbol: str
    bids: Levels
    asks: Levels
    exchange_ms: int | None
    """Exchange time in wall milliseconds, or None where the stream carries none (Binance partial depth)."""
    received_ns: int
    """When the frame was received, monotonic nanoseconds."""

    @property
    def best_bid(self) -> float:
        """Highest bid. The book is never empty: codecs refuse empty books."""
        return self.bids[0][0]

    @property
    def best_ask(self) -> float:
        """Lowest ask."""
        return self.asks[0][0]

    @property
    def mid(self) -> float:
        """Mean of best bid and best ask."""
        return (self.bids[0][0] + self.asks[0][0]) / 2
