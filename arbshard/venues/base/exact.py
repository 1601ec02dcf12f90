"""Defines how exact numbers are read from frames that are stored. ``Venue.decode`` makes floats, which is faster."""

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

ExactLevels = tuple[tuple[Decimal, Decimal], ...]
"""(price, size), best first."""
DecodeExactly = Callable[[bytes], tuple[ExactLevels, ExactLevels]]
"""Bids and asks of a frame that the venue's ``decode`` accepts, with the numbers as the venue wrote them.

Raises ``FrameError`` for other frames."""


class ExactTrade(NamedTuple):
    """Is one public trade."""

    symbol: str
    stream: str
    """The kind of stream that it came on: a venue may have several that report the same trades."""
    price: Decimal
    size: Decimal
    taker_buys: bool


DecodeTrade = Callable[[bytes], ExactTrade | None]
"""The trade in a frame of a stream of trades; None for every other frame, and for one that repeats an old trade.

Raises ``FrameError`` for a frame of such a stream that cannot be read."""
