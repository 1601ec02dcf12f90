"""Makes one book of two streams: the levels, sent at intervals, and the touch, sent with each change.

``BookFuser`` receives the frames of one connection and makes frames of whole books of them, which the venue's codec
reads. Both streams count the changes of a market's book by the same update ids. The rules:

1. The one with the larger id is newer. A depth of the same id already holds the touch, so it counts alone.
2. A newer touch is joined to the newest depth. In the book (``with_touch``) the touch is the best level of each side.
   Levels of the depth that are at its price or better are gone. Those that are worse keep their quantities, which are
   as old as the depth.
3. A touch that is not newer than the depth and the last touch is dropped.
4. A touch without a depth is kept until there is one, because it says nothing of the levels behind it.
5. While a depth has been behind the touch for more than ``BEHIND_NS_MAX``, nothing is made of touches. The book then
   grows old and is not traded on.
6. A depth that comes so long after a touch and does not yet hold it shows that the two do not count the same changes.
   The touch is forgotten.
7. A depth whose id is smaller than that of the depth before it shows that the venue counts anew. The touch is
   forgotten.

A new connection begins without a depth and without a touch. The module ``fusion`` of a venue's folder implements
``FusedVenue``.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import chain, dropwhile
from typing import NamedTuple, Protocol, TypeVar

from arbshard.venues.base.market import Venue

BEHIND_NS_MAX = 500_000_000
"""Longest time in nanoseconds that a depth may be behind its touch: five times the usual interval between depths."""
MARKETS_MAX = 1024
"""Most markets of one connection that are joined. Frames of further ones are passed on as they are."""

_Level = TypeVar("_Level", tuple[float, float], tuple[Decimal, Decimal])


class TouchUpdate(NamedTuple):
    """Is the best bid and ask of a market as one event of its stream states them."""

    symbol: str
    update_id: int
    body: bytes
    """The event without what the connection wraps around it."""


class FusedVenue(Venue, Protocol):
    """Is a venue that sends levels and touches in two streams. ``decode`` reads what ``joined`` writes."""

    def touch_of(self, frame: bytes) -> TouchUpdate | None:
        """Find the touch in a frame of its stream; None for any other frame. Never raises."""
        ...

    def depth_id(self, frame: bytes) -> int | None:
        """Find the update id of a frame with levels; None where there is none. Never raises."""
        ...

    def joined(self, depth: bytes, touch: bytes) -> bytes:
        """Write a frame with levels and the body of a newer touch as one frame."""
        ...

    def parted(self, frame: bytes) -> tuple[bytes, bytes | None]:
        """Return the levels and the body of the touch of a frame that ``joined`` may have written."""
        ...


class _FusedMarket:
    """Holds the newest depth and touch of one market."""

    __slots__ = ("behind_ns", "depth", "depth_id", "touch", "touch_id", "touch_ns")

    def __init__(self) -> None:
        self.depth: bytes | None = None
        self.depth_id = -1
        self.touch: bytes | None = None
        """Body of the newest touch, if that is newer than the depth."""
        self.touch_id = -1
        self.touch_ns = 0
        """When the touch was received (monotonic nanoseconds)."""
        self.behind_ns: int | None = None
        """Since when a touch has been newer than the newest depth (monotonic nanoseconds); None while none is."""

    def forget_touch(self) -> None:
        self.touch, self.touch_id, self.behind_ns = None, -1, None


class NewestParts(NamedTuple):
    """Holds what a fuser knows of one market."""

    depth: bytes
    depth_id: int
    touch: bytes | None
    """Body of the newest touch; None if it is not newer than the depth."""
    touch_id: int
    touch_ns: int
    behind_ns: int | None


class FusionCounts:
    """Counts what the fusers of a venue do."""

    def __init__(self) -> None:
        self.touches = 0
        """Number of touches that were joined to a depth when they came."""
        self.unused = 0
        """Number of touches that were older than a depth or another touch, or came before the first depth."""
        self.overdue = 0
        """Number of touches that were not used because the depth had been behind for too long."""
        self.mismatches = 0
        """How often a touch was forgotten because the ids of the two streams did not fit together."""


class BookFuser:
    """Joins the newest depth and touch of each market of one connection."""

    def __init__(self, venue: FusedVenue, counts: FusionCounts) -> None:
        self._venue = venue
        self._route = venue.route
        self._touch_of = venue.touch_of
        self._depth_id = venue.depth_id
        self._joined = venue.joined
        self._markets: dict[str, _FusedMarket] = {}
        self._counts = counts

    def fuse(self, frame: bytes, received_ns: int) -> bytes | None:
        """Return the frame that is to be passed on for ``frame``; None for a touch that changes nothing.

        What is neither a depth nor a touch is returned as it is.
        """
        touch = self._touch_of(frame)
        symbol = touch.symbol if touch is not None else self._route(frame)
        if symbol is None:
            return frame
        market = self._markets.get(symbol)
        if market is None:
            if len(self._markets) >= MARKETS_MAX:
                return frame
            market = self._markets[symbol] = _FusedMarket()
        if touch is None:
            return self._take_depth(market, frame, received_ns)
        return self._take_touch(market, touch, received_ns)

    def resume(self, symbol: str, frame: bytes, received_ns: int) -> None:
        """Continue from the book in ``frame``, which another fuser has made."""
        depth, body = self._venue.parted(frame)
        market = self._markets[symbol] = _FusedMarket()
        self._take_depth(market, depth, received_ns)
        touch_id = self._venue.sequence_number(frame)
        if body is not None and touch_id is not None:
            self._take_touch(market, TouchUpdate(symbol, touch_id, body), received_ns)

    def newest(self, symbol: str) -> "NewestParts | None":
        """Return what is known of a market; None before its first frame, and where it has no depth."""
        market = self._markets.get(symbol)
        if market is None or market.depth is None:
            return None
        touch = market.touch if market.touch_id > market.depth_id else None
        return NewestParts(
            market.depth, market.depth_id, touch, market.touch_id, market.touch_ns, market.behind_ns
        )

    def joined(self, depth: bytes, touch: bytes) -> bytes:
        """Return a frame with levels and the body of a newer touch as one frame."""
        return self._joined(depth, touch)

    def body_of(self, load: Callable[[], bytes]) -> bytes:
        """Return the body of a touch, whose frame ``load`` returns."""
        touch = self._touch_of(load())
        assert touch is not None
        return touch.body

    def restore(self, symbol: str, parts: "NewestParts") -> None:
        """Continue from what is known of a market after frames that were not given to ``fuse``."""
        market = self._markets[symbol]
        market.depth, market.depth_id, market.touch = parts.depth, parts.depth_id, parts.touch
        market.touch_id, market.touch_ns, market.behind_ns = parts.touch_id, parts.touch_ns, parts.behind_ns

    def forget(self, symbols: Iterable[str]) -> None:
        """Forget these markets, because their streams have ended."""
        for symbol in symbols:
            self._markets.pop(symbol, None)

    def _take_touch(self, market: _FusedMarket, touch: TouchUpdate, received_ns: int) -> bytes | None:
        if touch.update_id <= market.touch_id or touch.update_id <= market.depth_id:
            self._counts.unused += 1
            return None
        market.touch, market.touch_id, market.touch_ns = touch.body, touch.update_id, received_ns
        if market.depth is None:
            self._counts.unused += 1
            return None
        if market.behind_ns is None:
            market.behind_ns = received_ns
        elif received_ns - market.behind_ns > BEHIND_NS_MAX:
            self._counts.overdue += 1
            return None
        self._counts.touches += 1
        return self._joined(market.depth, touch.body)

    def _take_depth(self, market: _FusedMarket, frame: bytes, received_ns: int) -> bytes:
        depth_id = self._depth_id(frame)
        if depth_id is None:  # nothing can be compared with it, and its codec may refuse it
            market.depth, market.depth_id = None, -1
            market.forget_touch()
            return frame
        if depth_id < market.depth_id and market.touch is not None:
            self._counts.mismatches += 1
        if depth_id < market.depth_id:
            market.forget_touch()
        market.depth, market.depth_id = frame, depth_id
        touch = market.touch
        if touch is None or market.touch_id <= depth_id:
            market.touch, market.behind_ns = None, None
            return frame
        if received_ns - market.touch_ns > BEHIND_NS_MAX:
            self._counts.mismatches += 1
            market.forget_touch()
            return frame
        market.behind_ns = received_ns
        return self._joined(frame, touch)


def with_touch(
    bids: tuple[_Level, ...], asks: tuple[_Level, ...], bid: _Level, ask: _Level
) -> tuple[tuple[_Level, ...], tuple[_Level, ...]]:
    """Return the bids and asks of a depth with a newer touch: (price, size), best first.

    Sides that are empty or crossed are returned as they are: the check of the whole book refuses them.
    """
    if not bids or not asks or bids[0][0] >= asks[0][0]:
        return bids, asks
    bid_price, ask_price = bid[0], ask[0]
    worse_bids = dropwhile(lambda level: level[0] >= bid_price, bids)
    worse_asks = dropwhile(lambda level: level[0] <= ask_price, asks)
    return tuple(chain((bid,), worse_bids)), tuple(chain((ask,), worse_asks))
