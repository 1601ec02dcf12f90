"""Shares the rate budget of a venue between all processes of a run: each has one small file, which all of them read.

A file has one writer, which records what it has spent in each window, what the venue last stated, and until when the
venue refuses all calls, and all attempts to connect. A process that wants to spend adds up all files. It records its
spending first and reads the others after: two processes that do so at once both see too much, and both take it back;
neither exceeds the limit.

A window slides: it is kept in eight parts, so that it is safe for any position of the venue's own windows.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, Self

from arbshard.errors import SharedMemoryError
from arbshard.shm.layout import HEADER_BYTES, WORD, Mapped, Segment, attach_segment, create_segment

_MAGIC = b"ARBBUDG "
_PREFIX = "budget-"
_PARTS = 8
_RING = _PARTS + 1
"""Number of words of a ring: the part that has just begun, and eight whole ones before it."""
_SAID, _NOTED_THEN = _RING, _RING + 1
_SAID_OF = itemgetter(_SAID)
_WINDOW_WORDS = _RING + 2
"""The ring, what the venue stated, and what all had recorded in that part by then, which the venue's figure
includes.
"""
_AMOUNT_BITS = 24
_AMOUNT_MAX = (1 << _AMOUNT_BITS) - 1
_SAID_NS_MAX = 60_000_000_000
"""What a venue stated longer ago than this is not used: its next answer states it anew."""
_LIST_AGAIN_NS = 1_000_000_000
_MS = 1_000_000


class Window(NamedTuple):
    """Is a limit of a venue: at most ``limit`` in any ``span_ns``, as the venue counts."""

    name: str
    venue: str
    limit: int
    span_ns: int
    gives_back: bool = False
    """Whether the venue subtracts what it counted for orders that filled: its figure then replaces our own sum."""
    is_of_account: bool = False
    """Whether the venue counts by account, so that all hosts of a cluster share the limit; otherwise by address."""


class Usage(NamedTuple):
    """Says how much of a window is used."""

    used: int
    limit: int


class Budget(Mapped):
    """Is one process's file, with the sum of all files."""

    def __init__(self, segment: Segment, windows: Sequence[Window]) -> None:
        super().__init__(segment)
        self._words = segment.words
        self._windows = {window.name: window for window in windows}
        first = HEADER_BYTES // WORD
        self._venues = {
            venue: first + index
            for index, venue in enumerate(dict.fromkeys(window.venue for window in windows))
        }
        self._connects = {venue: word + len(self._venues) for venue, word in self._venues.items()}
        first += 2 * len(self._venues)
        self._first = {window.name: first + index * _WINDOW_WORDS for index, window in enumerate(windows)}
        self._others: dict[Path, Segment] = {}
        self._listed_ns = -_LIST_AGAIN_NS
        self.account_part: Callable[[], float] | None = None
        """Returns the part of the limits of an account that this host may use; None where it may use all of them."""

    @classmethod
    def open(cls, run_dir: Path, owner: str, windows: Sequence[Window]) -> Self:
        """Open the file of ``owner`` (``worker-0``, ``accounts`` …), with what a predecessor of the name has spent.

        All processes of a run must name the same windows. Raises ``SharedMemoryError``.
        """
        venues = {window.venue for window in windows}
        size = HEADER_BYTES + (2 * len(venues) + len(windows) * _WINDOW_WORDS) * WORD
        path = run_dir / f"{_PREFIX}{owner}"
        try:
            segment = attach_segment(path, _MAGIC, writable=True)
            if len(segment.raw) == size:
                return cls(segment, windows)
            segment.close()
        except SharedMemoryError:
            if path.exists():
                raise
        return cls(create_segment(path, _MAGIC, size, ()), windows)

    @classmethod
    def attach(cls, run_dir: Path, owner: str, windows: Sequence[Window]) -> Self:
        """Map the file of ``owner`` and all others read-only. Raises ``SharedMemoryError`` when there is none."""
        return cls(attach_segment(run_dir / f"{_PREFIX}{owner}", _MAGIC), windows)

    def spend(self, costs: Mapping[str, int], share: float, now_ns: int) -> bool:
        """Take ``costs`` (by window) if that leaves every window within ``share`` of its limit; else take nothing.

        Nothing is taken either while one of the venues concerned refuses everything. Return whether they were taken.
        """
        segments = self._all(now_ns)
        if self._refuses(costs, segments, now_ns):
            return False
        # Record first and read after: of two processes that spend at once, at least one sees the other's record.
        for name, cost in costs.items():
            self._note(name, cost, now_ns)
        if all(self._fits(name, segments, share, now_ns) for name in costs):
            return True
        self.give_back(costs, now_ns)
        return False

    def has_room(self, costs: Mapping[str, int], share: float, now_ns: int) -> bool:
        """Return whether ``spend`` would take ``costs`` now. Nothing is taken.

        It does not look for files of new processes, which takes as long as all else: ``spend`` does.
        """
        segments = self._known()
        return not self._refuses(costs, segments, now_ns) and all(
            self._fits(name, segments, share, now_ns, cost) for name, cost in costs.items()
        )

    def give_back(self, costs: Mapping[str, int], spent_ns: int) -> None:
        """Remove the record of ``costs``, which ``spend`` took at ``spent_ns`` for calls that are not made."""
        for name, cost in costs.items():
            part = _part_of(spent_ns, self._windows[name])
            word = self._first[name] + part % _RING
            noted = self._words[word]
            if noted >> _AMOUNT_BITS == part:
                self._words[word] = part << _AMOUNT_BITS | max((noted & _AMOUNT_MAX) - cost, 0)

    def is_blocked(self, costs: Mapping[str, int], now_ns: int) -> bool:
        """Return whether a venue that ``costs`` (by window) concern refuses all calls now."""
        return self._refuses(costs, self._all(now_ns), now_ns)

    def _refuses(self, costs: Iterable[str], segments: Sequence[Segment], now_ns: int) -> bool:
        words = {self._venues[self._windows[name].venue] for name in costs}
        return any(segment.words[word] > now_ns for word in words for segment in segments)

    def _fits(self, name: str, segments: Sequence[Segment], share: float, now_ns: int, more: int = 0) -> bool:
        """Return whether what is used of a window, and ``more``, is within ``share`` of its limit and of this host's
        part.
        """
        window = self._windows[name]
        # Where the venue subtracts orders that filled, its own figure counts, and that has the orders of all hosts.
        if window.is_of_account and self.account_part is not None and not window.gives_back:
            # One call is always possible: without it no exit could be sent where a part is small.
            mine = max(window.limit * share * self.account_part(), 1)
            own = _sum_since(self._rows(name, segments), _part_of(now_ns, window) - _PARTS)
            if own + more > mine:
                return False
        return self._used(name, segments, now_ns) + more <= window.limit * share

    def correct(self, name: str, used: int, now_ns: int) -> None:
        """Record the venue's statement that ``used`` of a window is used."""
        first = self._first[name]
        part = _part_of(now_ns // _MS * _MS, self._windows[name])
        rows = self._rows(name, self._all(now_ns))
        self._words[first + _NOTED_THEN] = _sum_since(rows, part) - _sum_since(rows, part + 1)
        self._words[first + _SAID] = (now_ns // _MS) << _AMOUNT_BITS | min(max(used, 0), _AMOUNT_MAX)

    def block(self, venue: str, until_ns: int) -> None:
        """Record that the venue refuses all calls until ``until_ns`` (monotonic)."""
        word = self._venues[venue]
        self._words[word] = max(self._words[word], until_ns)

    def block_connects(self, venue: str, until_ns: int) -> None:
        """Record that the venue refuses all attempts to connect until ``until_ns`` (monotonic)."""
        word = self._connects[venue]
        self._words[word] = max(self._words[word], until_ns)

    def blocked_until_ns(self, venue: str, now_ns: int) -> int:
        """Return until when (monotonic ns) the venue refuses all calls, as any process recorded it; 0 if it does
        not.
        """
        word = self._venues[venue]
        return max(segment.words[word] for segment in self._all(now_ns))

    def connects_blocked_until_ns(self, venue: str, now_ns: int) -> int:
        """Return until when (monotonic ns) the venue refuses all attempts to connect, likewise."""
        word = self._connects[venue]
        return max(segment.words[word] for segment in self._all(now_ns))

    def usage(self, name: str, now_ns: int) -> Usage:
        """Return what is used of a window: our own sum or the venue's statement, whichever is more."""
        return Usage(self._used(name, self._all(now_ns), now_ns), self._windows[name].limit)

    def _used(self, name: str, segments: Sequence[Segment], now_ns: int) -> int:
        window = self._windows[name]
        rows = self._rows(name, segments)
        own = _sum_since(rows, _part_of(now_ns, window) - _PARTS)
        *_, said, noted_then = max(rows, key=_SAID_OF)
        said_ns = (said >> _AMOUNT_BITS) * _MS
        if said == 0 or now_ns - said_ns > min(window.span_ns, _SAID_NS_MAX):
            return own
        since = _sum_since(rows, _part_of(said_ns, window))
        stated = (said & _AMOUNT_MAX) + max(since - noted_then, 0)
        return stated if window.gives_back else max(own, stated)

    def close(self) -> None:
        """Unmap all files. May be called again."""
        for segment in self._others.values():
            segment.close()
        self._others.clear()
        super().close()

    def _note(self, name: str, cost: int, now_ns: int) -> None:
        part = _part_of(now_ns, self._windows[name])
        word = self._first[name] + part % _RING
        noted = self._words[word]
        spent = noted & _AMOUNT_MAX if noted >> _AMOUNT_BITS == part else 0
        # Number and amount are in one word, so that a reader never sees one without the other.
        self._words[word] = part << _AMOUNT_BITS | min(max(spent + cost, 0), _AMOUNT_MAX)

    def _rows(self, name: str, segments: Sequence[Segment]) -> list[list[int]]:
        """Return the words of a window of all processes."""
        first = self._first[name]
        return [segment.words[first : first + _WINDOW_WORDS].tolist() for segment in segments]

    def _all(self, now_ns: int) -> list[Segment]:
        if now_ns - self._listed_ns >= _LIST_AGAIN_NS:
            self._listed_ns = now_ns
            self._look_for_others()
        return self._known()

    def _known(self) -> list[Segment]:
        return [self._segment, *self._others.values()]

    def _look_for_others(self) -> None:
        size = len(self._segment.raw)
        folder, own = self.path.parent, self.path.name
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - each second: most names are none of ours
            if not name.startswith(_PREFIX) or name == own or folder / name in self._others:
                continue
            path = folder / name
            segment = attach_segment(path, _MAGIC)
            if len(segment.raw) != size:
                segment.close()
                raise SharedMemoryError(f"{path}: counts other windows than {self.path}")
            self._others[path] = segment


def _sum_since(rows: Iterable[Sequence[int]], oldest: int) -> int:
    """Return what was spent in the part ``oldest`` and all later ones."""
    least = oldest << _AMOUNT_BITS
    return sum([word & _AMOUNT_MAX for row in rows for word in row[:_RING] if word >= least])


def _part_of(at_ns: int, window: Window) -> int:
    return at_ns * _PARTS // window.span_ns
