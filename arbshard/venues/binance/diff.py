"""Implements ``DiffVenue`` for Binance's differential depth streams, with which feeds keep the book themselves.

``base.diff.DiffBook`` keeps the book, and ``market.Binance`` has all that is not here. ``book_frame`` writes a kept
book in the form that the venue's codec reads.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from arbshard.model.book import Levels
from arbshard.venues.base.diff import DepthSnapshot, DepthUpdate, WireLevel
from arbshard.venues.binance.market import Binance
from arbshard.venues.frame import UNREADABLE, refusal_of

SNAPSHOT_LEVELS = 500
"""Levels per side of a snapshot. It has weight 25 of 6,000 a minute."""
SNAPSHOT_EVERY_S = 0.6
"""Seconds between two snapshots: less than half of the rate that the venue allows."""
LEVELS = 20
"""Levels per side that are passed on."""

_HEAD = b'{"stream":"'
_NAME = len(_HEAD)
_DIFF = re.compile(r"([\w.-]{1,50})@depth@100ms")


class _Update(DepthUpdate, frozen=True):
    """Is a differential depth event, by the names that its fields have on the wire."""

    symbol: str = msgspec.field(name="s")
    event_ms: int = msgspec.field(name="E")
    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")
    bids: tuple[WireLevel, ...] = msgspec.field(name="b")
    asks: tuple[WireLevel, ...] = msgspec.field(name="a")


class _Combined(msgspec.Struct):
    data: _Update


class _Snapshot(DepthSnapshot, frozen=True):
    """Is the body of ``/api/v3/depth``."""

    last_id: int = msgspec.field(name="lastUpdateId")


_decode_update = msgspec.json.Decoder(_Combined).decode
_decode_snapshot = msgspec.json.Decoder(_Snapshot).decode


class BinanceDiff(Binance):
    """Implements ``base.diff.DiffVenue``; ``decode`` still reads whole books."""

    levels = LEVELS
    snapshot_every_s = SNAPSHOT_EVERY_S

    def streams_of(self, symbols: Sequence[str], depth: int) -> list[str]:
        """Return the names of the streams that carry every change of each book, whatever its depth."""
        del depth
        return [f"{symbol.lower()}@depth@100ms" for symbol in dict.fromkeys(symbols)]

    def route(self, frame: bytes) -> str | None:
        """Find the market by the stream's name at the front."""
        if frame.startswith(_HEAD):
            return _symbol(frame[_NAME : frame.find(b'"', _NAME)])
        return None

    def snapshot_path(self, symbol: str) -> str:
        """Return the path of the whole book."""
        return f"/api/v3/depth?symbol={symbol}&limit={SNAPSHOT_LEVELS}"

    def update_of(self, frame: bytes) -> DepthUpdate:
        """Read the event in a frame of a combined stream."""
        try:
            return _decode_update(frame).data
        except UNREADABLE as error:
            raise refusal_of(error) from error

    def snapshot_of(self, body: bytes) -> DepthSnapshot:
        """Read the body of ``/api/v3/depth``."""
        try:
            return _decode_snapshot(body)
        except UNREADABLE as error:
            raise refusal_of(error) from error

    def book_frame(self, symbol: str, last_id: int, bids: Levels, asks: Levels, sent_ms: int | None) -> bytes:
        """Write the book as a partial-depth frame, with the time of its last event."""
        return b'{"stream":"%b@depth20@100ms","data":{"lastUpdateId":%d,%b"bids":%b,"asks":%b}}' % (
            symbol.lower().encode(),
            last_id,
            b"" if sent_ms is None else b'"E":%d,' % sent_ms,
            msgspec.json.encode(bids),
            msgspec.json.encode(asks),
        )


@lru_cache(maxsize=8192)
def _symbol(wire: bytes) -> str | None:
    match = _DIFF.fullmatch(wire.decode("utf-8", "replace"))
    return match[1].upper() if match else None
