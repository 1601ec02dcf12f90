"""Joins Binance's partial depth, sent every 100 ms, and its ``@bookTicker``, sent with each change.

The event of ``@bookTicker`` has the update id of the book and no time. It is put behind the levels it belongs to,
under ``touch``.
"""

from collections.abc import Sequence
from functools import lru_cache

import msgspec
from msgspec import structs
from typing_extensions import override

from arbshard.venues.base.fusion import TouchUpdate
from arbshard.venues.binance.market import TOUCH, Binance, touch_at
from arbshard.venues.frame import UNREADABLE, number_after

_HEAD = b'{"stream":"'
_NAME = len(_HEAD)
_DATA = b'","data":'
_TAIL = b'"}}'
_STREAM = "@bookTicker"
_UPDATE_ID = b'"u":'
_LAST_ID = b'"lastUpdateId":'
_DEPTH_TAIL = b"]}}"


class _Combined(msgspec.Struct):
    stream: str
    data: msgspec.Raw


_decode = msgspec.json.Decoder(_Combined).decode


class BinanceFused(Binance):
    """Implements ``base.fusion.FusedVenue``."""

    connection_rules = structs.replace(Binance.connection_rules, symbols_max=512)  # of two streams each

    @override
    def streams_of(self, symbols: Sequence[str], depth: int) -> list[str]:
        """Return the names of both streams of each market, side by side."""
        levels = super().streams_of(symbols, depth)
        touches = [f"{symbol.lower()}{_STREAM}" for symbol in dict.fromkeys(symbols)]
        return [name for both in zip(levels, touches, strict=True) for name in both]

    def touch_of(self, frame: bytes) -> TouchUpdate | None:
        """Find it by the stream's name at the front; by its keys when those are in another order."""
        if frame.endswith(_DEPTH_TAIL):
            return None
        if frame.startswith(_HEAD) and frame.endswith(_TAIL):
            name_ends = frame.find(b'"', _NAME)
            symbol = _touch_symbol(frame[_NAME:name_ends])
            if symbol is None:
                return None
            if frame.startswith(_DATA, name_ends):
                return _touch_update(symbol, frame[name_ends + len(_DATA) : -1])
        return _touch_by_keys(frame)

    def depth_id(self, frame: bytes) -> int | None:
        """Find ``lastUpdateId``."""
        return number_after(frame, _LAST_ID)

    def joined(self, depth: bytes, touch: bytes) -> bytes:
        """Put the touch behind the levels."""
        return b"%b%b%b}" % (depth.rstrip()[:-1], TOUCH, touch)

    def parted(self, frame: bytes) -> tuple[bytes, bytes | None]:
        """Cut the frame open before the touch."""
        at = touch_at(frame)
        return (frame, None) if at < 0 else (frame[:at] + b"}", frame[at + len(TOUCH) : -1])


def _touch_update(symbol: str, body: bytes) -> TouchUpdate | None:
    update_id = number_after(body, _UPDATE_ID)
    return TouchUpdate(symbol, update_id, body) if update_id is not None else None


def _touch_by_keys(frame: bytes) -> TouchUpdate | None:
    """Read the whole frame, so that keys may come in any order and a cut frame is refused. It is slower."""
    try:
        event = _decode(frame)
    except UNREADABLE:
        return None
    symbol = _touch_symbol(event.stream.encode())
    return _touch_update(symbol, bytes(event.data)) if symbol is not None else None


@lru_cache(maxsize=8192)
def _touch_symbol(stream: bytes) -> str | None:
    """Return one string object per market, so that the hot path neither decodes nor allocates."""
    name = stream.decode("utf-8", "replace")
    return name.removesuffix(_STREAM).upper() if name.endswith(_STREAM) and len(name) <= 60 else None
