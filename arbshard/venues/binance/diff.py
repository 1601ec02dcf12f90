"""Binance's differential depth streams, for feeds that keep the book themselves with ``diff_book``.

What is not here is ``Binance``'s. ``book_frame`` writes a kept book in the form that the venue's codec reads.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from arbshard.model.book import Levels
from arbshard.venues.binance.market import Binance

SNAPSHOT_LEVELS = 500
"""Levels per side of a snapshot: weight 25 of 6,000 a minute."""
SNAPSHOT_EVERY_S = 0.6
"""Between two snapshots: less than half of what the venue allows."""
LEVELS = 20
"""Levels per side that are passed on."""

_HEAD = b'{"stream":"'
_NAME = len(_HEAD)
_DIFF = re.compile(r"([\w.-]{1,50})@depth@100ms")


class BinanceDiff(Binance):
    """See ``base.market.Venue``; ``route`` finds differential events, and ``decode`` still reads whole books."""

    def streams_of(self, symbols: Sequence[str], depth: int) -> list[str]:
        """Every change of each book, whatever its depth."""
        del depth
        return [f"{symbol.lower()}@depth@100ms" for symbol in dict.fromkeys(symbols)]

    def route(self, frame: bytes) -> str | None:
        """By the stream's name at the front."""
        if frame.startswith(_HEAD):
            return _symbol(frame[_NAME : frame.find(b'"', _NAME)])
        return None


def snapshot_path(symbol: str) -> str:
    """Where the whole book is asked for."""
    return f"/api/v3/depth?symbol={symbol}&limit={SNAPSHOT_LEVELS}"


def book_frame(symbol: str, last_id: int, bids: Levels, asks: Levels) -> bytes:
    """A partial-depth frame of this book."""
    return b'{"stream":"%b@depth20@100ms","data":{"lastUpdateId":%d,"bids":%b,"asks":%b}}' % (
        symbol.lower().encode(),
        last_id,
        msgspec.json.encode(bids),
        msgspec.json.encode(asks),
    )


@lru_cache(maxsize=8192)
def _symbol(wire: bytes) -> str | None:
    match = _DIFF.fullmatch(wire.decode("utf-8", "replace"))
    return match[1].upper() if match else None
