"""Keeps the newest order books as they came over the connections, read by the oracle's own parser.

Frames are kept as bytes and parsed only when something is judged by them: decisions are rare compared with frames.
Where a venue sends levels and touches in two streams, a book is both: the newest levels of a connection, and its
touch where that has the larger update id.
"""

import re
from collections import deque
from typing import Any, NamedTuple

import msgspec

_KEPT = 128
"""Frames of a market that are kept: more than a minute of them at the usual rate."""
_BEHIND_NS_MAX = 500_000_000
"""Levels that a touch has been ahead of for longer than this are too old to be a book with it."""
_DEPTH_ID = re.compile(rb'"lastUpdateId":(\d+)')
_TOUCH_ID = re.compile(rb'@bookTicker","data":\{"u":(\d+)')

Levels = tuple[tuple[float, float], ...]
"""(price, size), the best first."""


class ParsedBook(NamedTuple):
    """Is an order book that was parsed from one frame."""

    bids: Levels
    asks: Levels


class ReceivedFrame(NamedTuple):
    """Is one book as it was received."""

    at_ns: int
    payload: bytes
    touch: bytes | None = None
    """Frame with a newer best bid and ask than those of ``payload``; None without one."""


class _Streams:
    """Holds what one connection has brought of a market."""

    def __init__(self) -> None:
        self._depth, self._depth_id = b"", -1
        self._touch, self._touch_id, self._touch_ns = b"", -1, 0
        self._behind_ns: int | None = None

    def book(self, payload: bytes, now_ns: int) -> ReceivedFrame | None:
        """Return the book after this frame; None if the frame changes nothing."""
        said = _TOUCH_ID.search(payload, 0, 120)
        if said is not None:
            return self._after_touch(payload, int(said[1]), now_ns)
        counted = _DEPTH_ID.search(payload, 0, 200)
        if counted is None:
            return ReceivedFrame(now_ns, payload)
        self._depth, self._depth_id = payload, int(counted[1])
        if self._touch_id <= self._depth_id or now_ns - self._touch_ns > _BEHIND_NS_MAX:
            self._touch_id, self._behind_ns = -1, None
            return ReceivedFrame(now_ns, payload)
        self._behind_ns = now_ns
        return ReceivedFrame(now_ns, payload, self._touch)

    def _after_touch(self, payload: bytes, number: int, now_ns: int) -> ReceivedFrame | None:
        if number <= max(self._depth_id, self._touch_id):
            return None
        self._touch, self._touch_id, self._touch_ns = payload, number, now_ns
        if not self._depth:
            return None
        if self._behind_ns is None:
            self._behind_ns = now_ns
        if now_ns - self._behind_ns > _BEHIND_NS_MAX:
            return None
        return ReceivedFrame(now_ns, self._depth, payload)


class Frames:
    """Keeps the newest frames of every market."""

    def __init__(self) -> None:
        self._frames: dict[str, deque[ReceivedFrame]] = {}
        self._streams: dict[int, dict[str, _Streams]] = {}
        """Streams of each connection, by market."""

    def received(self, symbol: str, now_ns: int, payload: bytes, connection: int = 0) -> bool:
        """Keep the book of ``symbol`` after a frame that was received at ``now_ns``; return whether there is one."""
        streams = self._streams.setdefault(connection, {})
        if symbol not in streams:
            streams[symbol] = _Streams()
        book = streams[symbol].book(payload, now_ns)
        if book is None:
            return False
        frames = self._frames.get(symbol)
        if frames is None:
            frames = self._frames[symbol] = deque(maxlen=_KEPT)
        frames.append(book)
        return True

    def lost(self, connection: int) -> None:
        """Forget a connection that has ended."""
        self._streams.pop(connection, None)

    def since(self, symbol: str, at_ns: int) -> tuple[ReceivedFrame, ...]:
        """Return every frame that came after ``at_ns``, the newest first, and the one that was the newest then."""
        found: list[ReceivedFrame] = []
        for frame in reversed(self._frames.get(symbol, ())):
            found.append(frame)
            if frame.at_ns <= at_ns:
                break
        return tuple(found)


def read(frame: ReceivedFrame) -> ParsedBook:
    """Read a book of either venue."""
    message: dict[str, Any] = msgspec.json.decode(frame.payload)
    if "data" in message or "bids" in message:
        book = message.get("data", message)
        bids, asks = _pairs(book["bids"]), _pairs(book["asks"])
        if frame.touch is None:
            return ParsedBook(bids, asks)
        best = msgspec.json.decode(frame.touch)["data"]
        newest_bid = float(best["b"]), float(best["B"])
        newest_ask = float(best["a"]), float(best["A"])
        return ParsedBook(
            (newest_bid, *(level for level in bids if level[0] < newest_bid[0])),
            (newest_ask, *(level for level in asks if level[0] > newest_ask[0])),
        )
    units = message.get("obu") or message["orderbook_units"]
    names = (
        ("bp", "bs", "ap", "as") if "obu" in message else ("bid_price", "bid_size", "ask_price", "ask_size")
    )
    bid, bid_size, ask, ask_size = names
    return ParsedBook(
        tuple((float(unit[bid]), float(unit[bid_size])) for unit in units),
        tuple((float(unit[ask]), float(unit[ask_size])) for unit in units),
    )


def _pairs(levels: list[list[str]]) -> Levels:
    return tuple((float(price), float(size)) for price, size in levels)
