"""Defines ``DiffVenue``, a venue whose books can be kept from their changes, and ``DiffBook``, such a book.

It is for feeds that want every change of the whole book. The feed decodes what arrives with the venue's
``update_of`` and ``snapshot_of``, passes it to the book, and fetches a snapshot whenever ``needs_snapshot`` is set.
The module ``diff`` of a venue's folder implements ``DiffVenue``.

The code below follows these rules for changes that are numbered:

1. Open the stream of changes and hold its events back. Each covers the update ids ``first_id`` to ``last_id``.
2. Fetch a snapshot. If it ends before the first event held begins, fetch again.
3. Of the events held, drop those that end at or below the snapshot's id.
4. The book is the snapshot, and its id is the snapshot's.
5. For each event: if it ends at or below the book's id, ignore it; if it begins above id + 1, something was lost:
   start anew at 1. Otherwise sizes are absolute and 0 deletes the level; the book's id becomes the event's last.

A snapshot has a limited number of levels; those beyond them are unknown until they change, so only the top of the
book can be relied on.
"""

import re
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from enum import Enum
from math import inf, nan
from typing import Protocol

import msgspec

from arbshard.model.book import Levels
from arbshard.venues.base.market import Venue
from arbshard.venues.frame import refusal

WireLevel = tuple[str, str]
"""(price, size) as the venue writes them, always with the same decimals, so the text of a price is its exact key."""

EVENTS_HELD_MAX = 1_000
"""This is 100 s of events at 100 ms, and no snapshot takes that long. The oldest are dropped first, which only makes
a newer snapshot necessary."""
LEVELS_MAX = 20_000
"""Levels per side; beyond it the book starts anew from a snapshot around the current price."""

_PLAIN_DECIMAL = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")


class DiffOutcome(Enum):
    """Is the result of applying an event or a snapshot."""

    APPLIED = "applied"
    IGNORED = "ignored"
    """The book already contains it."""
    HELD = "held"
    """The event is held until a snapshot comes."""
    STALE = "stale"
    """The snapshot ends before the events held begin: fetch again."""
    GAP = "gap"
    """An update is missing: the book is void, fetch a snapshot."""
    CROSSED = "crossed"
    """The best bid is at or above the best ask: the book is void, fetch a snapshot."""
    FULL = "full"
    """A side has more than ``levels_max`` levels: the book is void, fetch a snapshot."""


class DepthUpdate(msgspec.Struct, frozen=True):
    """Is one change of a book."""

    symbol: str
    event_ms: int
    first_id: int
    last_id: int
    bids: tuple[WireLevel, ...]
    asks: tuple[WireLevel, ...]


class DepthSnapshot(msgspec.Struct, frozen=True):
    """Holds the whole book, as far as the venue sends it."""

    last_id: int
    bids: tuple[WireLevel, ...]
    asks: tuple[WireLevel, ...]


class DiffVenue(Venue, Protocol):
    """Makes books of a venue's streams of changes.

    ``route`` finds their events, and ``decode`` reads what ``book_frame`` writes.
    """

    @property
    def levels(self) -> int:
        """Return how many levels per side of a kept book are passed on."""
        ...

    @property
    def snapshot_every_s(self) -> float:
        """Return the pause in seconds between two snapshots that keeps within the venue's limits."""
        ...

    def snapshot_path(self, symbol: str) -> str:
        """Return the REST path at which the whole book is fetched."""
        ...

    def update_of(self, frame: bytes) -> DepthUpdate:
        """Return the change in a frame. Raises ``FrameError`` for an invalid frame."""
        ...

    def snapshot_of(self, body: bytes) -> DepthSnapshot:
        """Return the whole book in a REST body. Raises ``FrameError`` for an invalid body."""
        ...

    def book_frame(self, symbol: str, last_id: int, bids: Levels, asks: Levels, sent_ms: int | None) -> bytes:
        """Return a kept book as a frame that the venue's codec reads.

        ``sent_ms`` is when the venue sent its last change (wall milliseconds); None if a snapshot was the last to
        change it.
        """
        ...


_Change = tuple[str, float, float]
"""(price as written, price, size)."""


class _Side:
    """Holds the levels of one side by exact price, and their prices in order, best first."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._sizes: dict[str, float] = {}
        self._order: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._order)

    def set(self, key: str, price: float, size: float) -> None:
        """Set the level's size to ``size``; 0 deletes it, and deleting an unknown level is not an error."""
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
    """Keeps one market's book.

    It is single-threaded and holds at most ``events_held_max`` events and ``levels_max`` levels per side.
    """

    def __init__(self, events_held_max: int = EVENTS_HELD_MAX, levels_max: int = LEVELS_MAX) -> None:
        self._held: deque[DepthUpdate] = deque(maxlen=events_held_max)
        self._levels_max = levels_max
        self._last_id: int | None = None
        self._bids, self._asks = _Side(-1), _Side(1)

    @property
    def needs_snapshot(self) -> bool:
        """Return whether there is no book until a snapshot comes."""
        return self._last_id is None

    @property
    def last_id(self) -> int | None:
        """Return the update id of the book; None while there is no book."""
        return self._last_id

    def apply_event(self, event: DepthUpdate) -> DiffOutcome:
        """Apply rules 1 and 5.

        Raises ``FrameError`` for an event that contradicts itself; the book is then unchanged.
        """
        bids, asks = _parsed(event.bids), _parsed(event.asks)
        if event.first_id > event.last_id:
            raise refusal("shape", f"event begins at {event.first_id}, ends at {event.last_id}")
        if self._last_id is None:
            self._held.append(event)
            return DiffOutcome.HELD
        if event.last_id <= self._last_id:
            return DiffOutcome.IGNORED
        if event.first_id > self._last_id + 1:
            self._void()
            self._held.append(event)  # what the next snapshot has to reach
            return DiffOutcome.GAP
        return self._advance(event.last_id, bids, asks)

    def apply_snapshot(self, snapshot: DepthSnapshot) -> DiffOutcome:
        """Apply rules 2 to 4, then the events held. Return ``IGNORED`` for a snapshot that is older than the book.

        Raises ``FrameError`` for a snapshot with an invalid number; nothing is changed then.
        """
        if self._last_id is not None and snapshot.last_id <= self._last_id:
            return DiffOutcome.IGNORED
        # The id before the first event's is enough: nothing lies between the two.
        if self._held and snapshot.last_id < self._held[0].first_id - 1:
            return DiffOutcome.STALE
        bids, asks = _parsed(snapshot.bids), _parsed(snapshot.asks)
        held = list(self._held)
        self._void()
        verdict = self._advance(snapshot.last_id, bids, asks)
        for event in held:
            outcome = self.apply_event(event)
            # The first loss is the verdict. What came after it still counts: ``apply_event`` then holds it.
            if verdict is DiffOutcome.APPLIED and self.needs_snapshot:
                verdict = outcome
        return verdict

    def top(self, n: int) -> tuple[Levels, Levels]:
        """Return the best ``n`` bids and asks, best first; both are empty while there is no book."""
        return self._bids.top(n), self._asks.top(n)

    def _advance(self, last_id: int, bids: Sequence[_Change], asks: Sequence[_Change]) -> DiffOutcome:
        for side, changes in ((self._bids, bids), (self._asks, asks)):
            for key, price, size in changes:
                side.set(key, price, size)
        outcome = self._verdict()
        if outcome is DiffOutcome.APPLIED:
            self._last_id = last_id
        else:
            self._void()
        return outcome

    def _verdict(self) -> DiffOutcome:
        if max(len(self._bids), len(self._asks)) > self._levels_max:
            return DiffOutcome.FULL
        bids, asks = self.top(1)
        crossed = bids and asks and bids[0][0] >= asks[0][0]
        return DiffOutcome.CROSSED if crossed else DiffOutcome.APPLIED

    def _void(self) -> None:
        self._last_id = None
        self._held.clear()
        self._bids, self._asks = _Side(-1), _Side(1)


def _parsed(levels: Sequence[WireLevel]) -> list[_Change]:
    """Parse all levels of an event before any of it is applied. Raises ``FrameError`` for an invalid number."""
    return [
        (price, _number(price, above_zero=True), _number(size, above_zero=False)) for price, size in levels
    ]


def _number(text: str, *, above_zero: bool) -> float:
    # Python's float would also take "nan", "inf", "1_0" and blanks.
    value = float(text) if _PLAIN_DECIMAL.fullmatch(text) else nan
    if not (0.0 <= value < inf) or (above_zero and value == 0.0):
        raise refusal("number", f"{text!r}")
    return value
