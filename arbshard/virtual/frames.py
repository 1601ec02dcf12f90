"""The newest order books as they came over the connections, read by the oracle's own means.

Frames are kept as bytes and read only when something is judged by them: decisions are rare beside frames.
"""

from collections import deque
from typing import Any, NamedTuple

import msgspec

_KEPT = 64
"""Frames of a market that are kept: more than a minute of them at the usual rate."""

Levels = tuple[tuple[float, float], ...]
"""(price, size), the best first."""


class ParsedBook(NamedTuple):
    """An order book that was parsed from one frame."""

    bids: Levels
    asks: Levels


class ReceivedFrame(NamedTuple):
    """One frame as it was received."""

    at_ns: int
    payload: bytes


class Frames:
    """The newest frames of every market."""

    def __init__(self) -> None:
        self._frames: dict[str, deque[ReceivedFrame]] = {}

    def received(self, symbol: str, now_ns: int, payload: bytes) -> None:
        """Keep a frame of ``symbol`` that was received at ``at_ns``."""
        frames = self._frames.get(symbol)
        if frames is None:
            frames = self._frames[symbol] = deque(maxlen=_KEPT)
        frames.append(ReceivedFrame(now_ns, payload))

    def since(self, symbol: str, at_ns: int) -> tuple[ReceivedFrame, ...]:
        """Return every frame that came after ``at_ns``, the newest first, and the one that was the newest then."""
        found: list[ReceivedFrame] = []
        for frame in reversed(self._frames.get(symbol, ())):
            found.append(frame)
            if frame.at_ns <= at_ns:
                break
        return tuple(found)


def read(payload: bytes) -> ParsedBook:
    """Read a frame of either venue."""
    message: dict[str, Any] = msgspec.json.decode(payload)
    if "data" in message or "bids" in message:
        book = message.get("data", message)
        return ParsedBook(_pairs(book["bids"]), _pairs(book["asks"]))
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
