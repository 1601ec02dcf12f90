"""``RestBooks``: how a venue is asked for order books over REST, and how its answers read. Pure.

The room ``rest`` of a venue's folder implements it; ``data.rest``, the feeds and the doctor use it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from arbshard.errors import FrameError
from arbshard.model.book import OrderBookSnapshot

SHARE = 0.8
"""Of what a venue allows: the rest is for whoever else asks from this address."""


class BookRequest(NamedTuple):
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

    def calls(self, symbols: Sequence[str], depth: int) -> list[BookRequest]:
        """The requests that bring the books of ``symbols`` once."""
        ...

    def decode(self, call: BookRequest, body: bytes, asked_ns: int) -> Iterator[Found]:
        """What is in the answer. ``asked_ns``: when it was asked for, which its books are then said to be from.

        Raises ``FrameError`` for a body that holds no books at all; one bad book does not spoil the others.
        """
        ...

    def frames(self, call: BookRequest, body: bytes) -> Iterator[bytes]:
        """The answer as frames that the venue's codec decodes as if they had come over its WebSocket.

        Prices are not looked at. Raises ``FrameError`` for a body that holds no books at all.
        """
        ...
