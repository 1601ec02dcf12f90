"""Checks decoded order books of every venue in one place: a frame that fails is not used.

Venue codecs call ``checked_book`` with what they have decoded, and ``refusal_of`` with an error that msgspec has
raised.
"""

import re
from collections.abc import Callable, Sequence
from math import inf, isfinite
from operator import itemgetter
from typing import Literal, TypeVar

import msgspec

from arbshard import native
from arbshard.errors import FrameError, VenueError
from arbshard.model.book import BookTop, OrderBookSnapshot

FrameReason = Literal["cut", "shape", "number", "empty", "crossed", "unsorted"]
"""``cut``: not valid JSON. ``shape``: a key is missing or of another type. ``number``: not finite, zero or
negative. ``empty``: a side has no level. ``crossed``: best bid at or above best ask. ``unsorted``: levels are not
strictly best first."""
FRAME_REASONS: tuple[FrameReason, ...] = ("cut", "shape", "number", "empty", "crossed", "unsorted")

# What a msgspec decoder raises on bytes it cannot make sense of: bad UTF-8 and deep nesting have types of their own.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_DETAIL_MAX = 200
_NUMBER = rb"((?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
"""A JSON number without a sign."""
_USUAL_NUMBER = rb"(?!0[0-9]|\.)([0-9]*\.?[0-9]+)"
"""The same without an exponent, in a form that is matched faster: groups that may be missing are expensive."""
_DIGITS = re.compile(rb"[0-9]{1,20}(?![0-9])")

_Part = tuple[bytes, int, Callable[[bytes, int], re.Match[bytes] | None]]
"""A text that is searched for, its size, and what matches that which must follow it at once."""

Level = tuple[float, float]
Read = TypeVar("Read")


def refusal(reason: FrameReason, detail: str = "") -> FrameError:
    """Return a ``FrameError`` with ``reason``, whose detail is cut to 200 characters."""
    return FrameError(reason, detail[:_DETAIL_MAX])


def refusal_of(error: Exception) -> FrameError:
    """Return the ``FrameError`` for ``error``, which is one of ``UNREADABLE``."""
    if isinstance(error, msgspec.ValidationError):
        # 1e400 is no float at all for msgspec; everything else it refuses by type or key.
        return refusal("number" if "out of range" in str(error) else "shape", str(error))
    if isinstance(error, RecursionError):
        return refusal("shape", "nested too deeply")
    return refusal("cut", str(error))


def reader(decode: Callable[[bytes | msgspec.Raw], Read]) -> Callable[[bytes | msgspec.Raw], Read]:
    """Return ``decode`` for the modules of a venue: it raises ``FrameError`` for a body that it cannot read."""

    def read(body: bytes | msgspec.Raw) -> Read:
        try:
            return decode(body)
        except UNREADABLE as error:
            raise refusal_of(error) from error

    return read


def unreadable_body(where: str, error: Exception, body: bytes) -> VenueError:
    """Return the one-line error for a REST body whose form is not the one that ``where`` documents."""
    return VenueError(f"{where}: unexpected body: {error}; it begins {body[:80]!r}")


def clipped(text: str) -> str:
    """Return ``text`` on one line, cut to 200 characters for a log line."""
    return " ".join(text.split())[:_DETAIL_MAX]


def checked_book(
    venue: str,
    symbol: str,
    bids: tuple[Level, ...],
    asks: tuple[Level, ...],
    exchange_ms: int | None,
    received_ns: int,
    sent_ms: int | None = None,
) -> OrderBookSnapshot:
    """Return the snapshot if both sides hold finite positive levels, strictly best first and not crossed.

    Raises ``FrameError`` otherwise. A chained comparison is False for NaN, so NaN cannot pass.
    """
    if not bids or not asks:
        raise refusal("empty", "no bids" if asks else "no asks")
    worse_than = inf
    for price, size in bids:
        if not (0.0 < price < worse_than and 0.0 < size < inf):
            raise _fault(bids, "bid")
        worse_than = price
    worse_than = 0.0
    for price, size in asks:
        if not (worse_than < price < inf and 0.0 < size < inf):
            raise _fault(asks, "ask")
        worse_than = price
    if bids[0][0] >= asks[0][0]:
        raise refusal("crossed", f"bid {bids[0][0]!r}, ask {asks[0][0]!r}")
    return OrderBookSnapshot(
        venue=venue,
        symbol=symbol,
        bids=bids,
        asks=asks,
        exchange_ms=exchange_ms,
        received_ns=received_ns,
        sent_ms=sent_ms,
    )


def sound_top(bid: float, bid_size: float, ask: float, ask_size: float, received_ns: int) -> BookTop | None:
    """Return the top of a book; None if it cannot be trusted. ``Venue.decode`` then raises the reason."""
    if 0.0 < bid < ask < inf and 0.0 < bid_size < inf and 0.0 < ask_size < inf:
        return BookTop(bid, bid_size, ask, ask_size, received_ns)
    return None


class PlainTopReader:
    """Reads the best prices of usual frames: the Python twin of ``native.TopReader``, whose source describes
    ``steps``.
    """

    def __init__(
        self,
        head: bytes,
        tails: tuple[bytes, ...],
        steps: tuple[bytes, bytes, bytes, bytes, bytes],
        order: tuple[int, int, int, int],
    ) -> None:
        self._head = head
        self._tails = tails
        self._in_order = itemgetter(*order)
        self._usual_parts = _parts_of(steps, _USUAL_NUMBER)
        self._parts = _parts_of(steps, _NUMBER)

    def read(self, frame: bytes, received_ns: int) -> BookTop | None:
        """Return the top of a usual frame; None for any other, and for a top that cannot be trusted."""
        if not (frame.startswith(self._head) and frame.endswith(self._tails)):
            return None
        numbers = _numbers_in(frame, self._usual_parts) or _numbers_in(frame, self._parts)
        if not numbers:
            return None
        bid, bid_size, ask, ask_size = self._in_order(numbers)
        return sound_top(float(bid), float(bid_size), float(ask), float(ask_size), received_ns)


def _parts_of(steps: Sequence[bytes], number: bytes) -> tuple[_Part, ...]:
    """Return the parts of a usual frame, with ``number`` as the pattern of each number."""
    parts = [(b"", b"")]
    for place, step in enumerate(steps):
        before, star, rest = step.partition(b"*")
        searched, pattern = parts.pop()
        parts.append((searched, pattern + re.escape(before)))
        if star:
            wanted, _, after = rest.partition(b"*")
            parts.append((wanted, re.escape(after)))
        searched, pattern = parts.pop()
        parts.append((searched, pattern + (number if place < len(steps) - 1 else b"")))
    return tuple(
        (searched, len(searched), re.compile(pattern).match) for searched, pattern in parts if pattern
    )


def _numbers_in(frame: bytes, parts: tuple[_Part, ...]) -> tuple[bytes, ...]:
    """Return the numbers in ``frame``; none if it does not have these parts."""
    at = 0
    numbers: tuple[bytes, ...] = ()
    for searched, size, match in parts:
        at = frame.find(searched, at)
        found = match(frame, at + size) if at >= 0 else None
        if found is None:
            return ()
        at = found.end()
        numbers += found.groups()
    return numbers


def top_reader(
    head: bytes,
    tails: tuple[bytes, ...],
    steps: tuple[bytes, bytes, bytes, bytes, bytes],
    order: tuple[int, int, int, int],
) -> Callable[[bytes, int], BookTop | None]:
    """Return what reads the best prices of usual frames, from frame and receive time: the compiled twin, if it is
    used.
    """
    if native.IS_BUILT:
        return native.TopReader(head, tails, steps, order, BookTop).read
    return PlainTopReader(head, tails, steps, order).read


def _fault(levels: Sequence[Level], side: str) -> FrameError:
    """Return the error that says precisely what is wrong with a side that was refused."""
    for rank, (price, size) in enumerate(levels):
        if not (isfinite(price) and isfinite(size) and price > 0 and size > 0):
            return refusal("number", f"{side} {rank}: {price!r} x {size!r}")
    return refusal("unsorted", f"{side}s are not strictly best first")


def unpadded(levels: list[Level]) -> tuple[Level, ...]:
    """Return ``levels`` without trailing units of size zero.

    Zeros further in are kept, and ``checked_book`` refuses them.
    """
    while levels and levels[-1][1] == 0:
        levels.pop()
    return tuple(levels)


def _number_after(frame: bytes, key: bytes) -> int | None:
    begin = frame.find(key)
    found = _DIGITS.match(frame, begin + len(key)) if begin >= 0 else None
    return int(found[0]) if found is not None else None


number_after = native.number_after if native.IS_BUILT else _number_after
"""Returns the whole number that directly follows the first key in a frame; None if there is none.

The arguments are frame and key. A number has at most 20 digits.
"""
