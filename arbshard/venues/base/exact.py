"""Exact numbers of an order-book frame, for what is kept: ``Venue.decode`` makes floats of them, which is faster."""

from collections.abc import Callable
from decimal import Decimal

ExactLevels = tuple[tuple[Decimal, Decimal], ...]
"""(price, size), best first."""
DecodeExactly = Callable[[bytes], tuple[ExactLevels, ExactLevels]]
"""Bids and asks of a frame that the venue's ``decode`` accepts, with the numbers as the venue wrote them.

Raises ``FrameError`` for other frames."""
