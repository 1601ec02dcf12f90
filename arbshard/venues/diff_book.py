"""``DiffBook``: a Binance book kept from differential depth events and one REST snapshot.

For feeds that want the whole book with exchange times rather than partial depth. The feed decodes what arrives with
``decode_update`` and ``decode_snapshot``, hands it in, and fetches a snapshot whenever ``needs_snapshot`` is set.

The venue's rules, by which the code below goes:

1. Open ``<symbol>@depth@100ms`` and hold its events back. Each covers the update ids ``U`` to ``u``.
2. Fetch ``/api/v3/depth``. If it ends before the first event held begins, fetch again.
3. Of the events held, drop those with ``u`` at or below the snapshot's id.
4. The book is the snapshot, its id the snapshot's.
5. Per event: ``u`` at or below the book's id, ignore; ``U`` above id + 1, something was lost: start anew at 1.
   Otherwise sizes are absolute and 0 deletes the level; the book's id becomes ``u``.

The snapshot knows a limited number of levels; what lies beyond them is unknown until it changes, so only the top of
the book is to be relied on.
"""

import re
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from enum import Enum
from math import inf, nan

import msgspec

from arbshard.model.book import Levels
from arbshard.venues.frame import UNREADABLE, refusal, refusal_of

WireLevel = tuple[str, str]
"""(price, size) as the venue spells them: always with the same decimals, so a price is its own exact key."""

EVENTS_HELD_MAX = 1_000
"""100 s of events at 100 ms: no snapshot takes that long. The oldest go first, which only asks for a newer one."""
LEVELS_MAX = 20_000
"""Levels per side; beyond it the book starts anew from a snapshot around today's price."""

_PLAIN_DECIMAL = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")


class Outcome(Enum):
    """What became of an event or a snapshot."""

    APPLIED = "applied"
    IGNORED = "ignored"
    """The book already contains it."""
    HELD = "held"
    """Waiting for a snapshot."""
    STALE = "stale"
    """The snapshot ends before the events held begin: fetch again."""
    GAP = "gap"
    """An update is missing: the book is void, fetch a snapshot."""
    CROSSED = "crossed"
    """Best bid at or above best ask: the book is void, fetch a snapshot."""
    FULL = "full"
    """More than ``levels_max`` on a side: the book is void, fetch a snapshot."""


class DepthUpdate(msgspec.Struct, frozen=True):
    """A differential depth event, as on the wire."""

    symbol: str = msgspec.field(name="s")
    event_ms: int = msgspec.field(name="E")
    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")
    bids: tuple[WireLevel, ...] = msgspec.field(name="b")
    asks: tuple[WireLevel, ...] = msgspec.field(name="a")


class DepthSnapshot(msgspec.Struct, frozen=True):
    """The body of ``/api/v3/depth``."""

    last_id: int = msgspec.field(name="lastUpdateId")
    bids: tuple[WireLevel, ...]
    asks: tuple[WireLevel, ...]


class _Combined(msgspec.Struct):
    data: DepthUpdate


_update_decoder = msgspec.json.Decoder(_Combined)
_snapshot_decoder = msgspec.json.Decoder(DepthSnapshot)


def decode_update(frame: bytes) -> DepthUpdate:
    """The event in a frame of a combined stream. Raises ``FrameError``."""
    try:
        return _update_decoder.decode(frame).data
    except UNREADABLE as error:
        raise refusal_of(error) from error


def decode_snapshot(body: bytes) -> DepthSnapshot:
    """The snapshot in a REST body. Raises ``FrameError``."""
    try:
        return _snapshot_decoder.decode(body)
    except UNREADABLE as error:
        raise refusal_of(error) from error


_Change = tuple[str, float, float]
"""(price as spelled, price, size)."""


class _Side:
    """Levels of one side by exact price, with their prices in order, best first."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._sizes: dict[str, float] = {}
        self._order: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._order)

    def set(self, key: str, price: float, size: float) -> None:
        """Make the level's size ``size``; 0 deletes it, and deleting an unknown level is no error."""
        rank = (self._sign * price, key)
        if size > 0:
            if key not in self._sizes:
                insort(self._order, rank)
            self._sizes[key] = size
        elif self._sizes.pop(key, None) is not None:
            del self._order[bisect_left(self._order, rank)]

    def top(self, n: int) -> Levels:
        return tuple((self._sign * price, self._sizes[key]) for price, key in self._order[:n])


class DiffBook:
    """One market's book. Single-threaded; holds at most ``events_held_max`` events and ``levels_max`` per side."""

    def __init__(self, events_held_max: int = EVENTS_HELD_MAX, levels_max: int = LEVELS_MAX) -> None:
        self._held: deque[DepthUpdate] = deque(maxlen=events_held_max)
        self._levels_max = levels_max
        self._last_id: int | None = None
        self._bids, self._asks = _Side(-1), _Side(1)

    @property
    def needs_snapshot(self) -> bool:
        """Whether there is no book until a snapshot comes."""
        return self._last_id is None

    @property
    def last_id(self) -> int | None:
        """Update id the book stands at, or None while there is none."""
        return self._last_id

    def apply_event(self, event: DepthUpdate) -> Outcome:
        """Rules 1 and 5. Raises ``FrameError`` for an event that contradicts itself; the book is then untouched."""
        bids, asks = _parsed(event.bids), _parsed(event.asks)
        if event.first_id > event.last_id:
            raise refusal("shape", f"event begins at {event.first_id}, ends at {event.last_id}")
        if self._last_id is None:
            self._held.append(event)
            return Outcome.HELD
        if event.last_id <= self._last_id:
            return Outcome.IGNORED
        if event.first_id > self._last_id + 1:
            self._void()
            self._held.append(event)  # what the next snapshot has to reach
            return Outcome.GAP
        return self._advance(event.last_id, bids, asks)

    def apply_snapshot(self, snapshot: DepthSnapshot) -> Outcome:
        """Rules 2 to 4, then the events held. ``IGNORED`` when it is older than a book that is already there.

        Raises ``FrameError`` for a snapshot with a bad number; nothing is changed then.
        """
        if self._last_id is not None and snapshot.last_id <= self._last_id:
            return Outcome.IGNORED
        # The id before the first event's is enough: nothing lies between the two.
        if self._held and snapshot.last_id < self._held[0].first_id - 1:
            return Outcome.STALE
        bids, asks = _parsed(snapshot.bids), _parsed(snapshot.asks)
        held = list(self._held)
        self._void()
        verdict = self._advance(snapshot.last_id, bids, asks)
        for event in held:
            outcome = self.apply_event(event)
            # The first loss is the verdict. What came after it still counts: ``apply_event`` then holds it.
            if verdict is Outcome.APPLIED and self.needs_snapshot:
                verdict = outcome
        return verdict

    def top(self, n: int) -> tuple[Levels, Levels]:
        """The best ``n`` bids and asks, best first; both empty while there is no book."""
        return self._bids.top(n), self._asks.top(n)

    def _advance(self, last_id: int, bids: Sequence[_Change], asks: Sequence[_Change]) -> Outcome:
        for side, changes in ((self._bids, bids), (self._asks, asks)):
            for key, price, size in changes:
                side.set(key, price, size)
        outcome = self._verdict()
        if outcome is Outcome.APPLIED:
            self._last_id = last_id
        else:
            self._void()
        return outcome

    def _verdict(self) -> Outcome:
        if max(len(self._bids), len(self._asks)) > self._levels_max:
            return Outcome.FULL
        bids, asks = self.top(1)
        crossed = bids and asks and bids[0][0] >= asks[0][0]
        return Outcome.CROSSED if crossed else Outcome.APPLIED

    def _void(self) -> None:
        self._last_id = None
        self._held.clear()
        self._bids, self._asks = _Side(-1), _Side(1)


def _parsed(levels: Sequence[WireLevel]) -> list[_Change]:
    """All of an event before any of it is applied. Raises ``FrameError``."""
    return [
        (price, _number(price, above_zero=True), _number(size, above_zero=False)) for price, size in levels
    ]


def _number(text: str, *, above_zero: bool) -> float:
    # Python's float would also take "nan", "inf", "1_0" and blanks.
    value = float(text) if _PLAIN_DECIMAL.fullmatch(text) else nan
    if not (0.0 <= value < inf) or (above_zero and value == 0.0):
        raise refusal("number", f"{text!r}")
    return value
