"""Each process has a page of counters, gauges, latency histograms and a note, which all others can read.

The page describes itself: its header holds the names, so that status, metrics and dashboard show whatever a process
counts. The owner writes from one thread; a word is never seen half written. The note (JSON of the owner's, such as
risk's portfolio) is kept in two slots that are written in turn: one whole note can always be read, also after its
owner died while it wrote.

Histograms have fixed log-linear buckets: eight per power of two, 1 ns to about 73 minutes. A percentile is the upper
edge of its bucket: never below the true value, and at most 12.5 % above it.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate
from operator import add, itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, Self

import msgspec

from arbshard import native
from arbshard.errors import FrameError, SharedMemoryError
from arbshard.native import ORDERED_STORES
from arbshard.shm.layout import (
    HEADER_BYTES,
    HOT_A,
    WORD,
    Mapped,
    Segment,
    aligned,
    attach_segment,
    create_segment,
    require,
)
from arbshard.shm.seqlock import SlotsReader, SlotsWriter, stride

NS_MAX = (1 << 42) - 1
"""Longest duration that is distinguished from longer ones, in nanoseconds."""
BUCKETS = 320

_MAGIC = b"ARBPAGE "
_NOTE = HOT_A
"""Number of notes written; note n is in slot n modulo 2."""
_NOTE_TRIES = 100

# A histogram's words: its buckets, total, longest. They are written in the opposite order, so that a reader that
# sees a duration in its bucket sees it in the other two as well.
_TOTAL = BUCKETS
_MAX = BUCKETS + 1
_HISTOGRAM_WORDS = BUCKETS + 2


def bucket_of(ns: int) -> int:
    """Return the bucket of a duration in ns: 0-15 exact, then eight per power of two.

    A duration outside of the range belongs to the first or last bucket.
    """
    if ns < 16:
        return max(ns, 0)
    shift = ns.bit_length() - 4
    return (shift << 3) + (ns >> shift) if ns <= NS_MAX else BUCKETS - 1


def bucket_end(bucket: int) -> int:
    """Return the longest duration (ns) that ``bucket`` holds."""
    if bucket < 16:
        return bucket
    shift = (bucket >> 3) - 1
    return ((8 + (bucket & 7) + 1) << shift) - 1


class Histogram(msgspec.Struct, frozen=True):
    """Holds what was recorded, at one moment."""

    buckets: tuple[int, ...] = (0,) * BUCKETS
    total_ns: int = 0
    max_ns: int = 0

    @classmethod
    def of(cls, durations_ns: Iterable[int]) -> Self:
        """Return the histogram of these durations; a negative one counts as 0."""
        buckets = [0] * BUCKETS
        total = longest = 0
        for ns in durations_ns:
            buckets[bucket_of(ns)] += 1
            total += max(ns, 0)
            longest = max(longest, ns)
        return cls(tuple(buckets), total, longest)

    @property
    def count(self) -> int:
        """Return the number of durations."""
        return sum(self.buckets)

    @property
    def mean_ns(self) -> float:
        """Return the average duration; 0 when there is none."""
        count = self.count
        return self.total_ns / count if count else 0.0

    def percentile_ns(self, p: float) -> int:
        """Return the duration that ``p`` percent (0-100) did not exceed, by nearest rank; 0 when there is none."""
        assert 0 <= p <= 100, p
        below = list(accumulate(self.buckets))
        count = below[-1] if below else 0
        if count == 0:
            return 0
        rank = max(1, -int(-count * p // 100))  # rounded up
        return self._end(bisect_left(below, rank))

    def merge(self, other: "Histogram") -> "Histogram":
        """Return a histogram of the values of both."""
        return Histogram(
            tuple(map(add, self.buckets, other.buckets)),
            self.total_ns + other.total_ns,
            max(self.max_ns, other.max_ns),
        )

    def minus(self, earlier: "Histogram") -> "Histogram":
        """Return what was recorded since ``earlier``, a reading of the same page.

        Its ``max_ns`` is known to the bucket only. If the page has begun anew since, all of it is returned.
        """
        buckets = tuple(a - b for a, b in zip(self.buckets, earlier.buckets, strict=True))
        if min(buckets) < 0:
            return self
        last = max((bucket for bucket, count in enumerate(buckets) if count), default=None)
        longest = self._end(last) if last is not None else 0
        return Histogram(buckets, max(self.total_ns - earlier.total_ns, 0), longest)

    def _end(self, bucket: int) -> int:
        # The longest duration of all may be known exactly, and the last bucket has no end.
        return self.max_ns if bucket == BUCKETS - 1 else min(bucket_end(bucket), self.max_ns)


class _Names(msgspec.Struct, frozen=True):
    counters: tuple[str, ...]
    histograms: tuple[str, ...]

    def is_unique(self) -> bool:
        every = (*self.counters, *self.histograms)
        return len(set(every)) == len(every)


class _Plan:
    """Computes the positions of all fields in the file from their names."""

    def __init__(self, names: _Names, blob_bytes: int, note_bytes: int) -> None:
        word = aligned(HEADER_BYTES + blob_bytes) // WORD
        self.counters = {name: word + index for index, name in enumerate(names.counters)}
        word += len(names.counters)
        self.histograms = {name: word + i * _HISTOGRAM_WORDS for i, name in enumerate(names.histograms)}
        word += len(names.histograms) * _HISTOGRAM_WORDS
        self.notes = aligned(word * WORD)
        self.size = self.notes + (2 * stride(note_bytes) if note_bytes else 0)


class Adder(Protocol):
    """Is ``PageWriter.add``."""

    def __call__(self, counter: int, n: int = 1, /) -> None:
        """Add ``n``, which may be negative."""
        ...


class PageWriter(Mapped):
    """Writes a page for the process that owns it."""

    def __init__(self, segment: Segment, plan: _Plan, note_bytes: int, *, checked: bool) -> None:
        super().__init__(segment)
        self._plan = plan
        self._words = segment.words
        self._signed = segment.signed
        self._notes = SlotsWriter(segment, plan.notes, 2, note_bytes, checked=checked)
        self.add: Adder = self._add
        """Adds to a counter, given its handle, 1 or a number that may be negative."""
        self.set: Callable[[int, int], None] = self._set
        """Sets a gauge, given its handle, to a signed 64-bit number."""
        self.record: Callable[[int, int], None] = self._record
        """Counts one duration in ns, given the handle of a histogram; a negative one (clocks of two cores) counts
        as 0.
        """
        if segment.memory is not None:
            cells = native.Cells(segment.memory)
            self.add, self.set, self.record = cells.add, cells.set, cells.record

    @classmethod
    def create(
        cls,
        path: Path,
        counters: Sequence[str],
        histograms: Sequence[str] = (),
        note_bytes: int = 262_144,
        *,
        checked: bool = not ORDERED_STORES,
    ) -> Self:
        """Create a page with these names, all 0, and room for a note (0: none); it replaces an older one.

        Raises ``SharedMemoryError``.
        """
        names = _Names(tuple(counters), tuple(histograms))
        assert names.is_unique(), names
        assert note_bytes >= 0, note_bytes
        blob = msgspec.json.encode(names)
        plan = _Plan(names, len(blob), note_bytes)
        args = (len(blob), note_bytes, int(checked))
        segment = create_segment(path, _MAGIC, plan.size, args, blob=blob)
        return cls(segment, plan, note_bytes, checked=checked)

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """Open the page at ``path`` with all that it holds, for the next process that owns it.

        Raises ``SharedMemoryError`` when there is no page of this layout at ``path``.
        """
        segment, plan, note_bytes, checked = _attach(path, writable=True)
        return cls(segment, plan, note_bytes, checked=checked)

    def counter(self, name: str) -> int:
        """Return the handle of a counter or gauge, for ``add`` and ``set``. Raises ``KeyError``."""
        return self._plan.counters[name]

    def histogram(self, name: str) -> int:
        """Return the handle of a histogram, for ``record``. Raises ``KeyError``."""
        return self._plan.histograms[name]

    # These are used where the compiled twin is not built.

    def _add(self, counter: int, n: int = 1) -> None:
        self._signed[counter] += n

    def _set(self, counter: int, value: int) -> None:
        self._signed[counter] = value

    def _record(self, histogram: int, ns: int) -> None:
        words = self._words
        if ns > words[histogram + _MAX]:  # noqa: PLR1730 -- max() costs 0.1 µs more
            words[histogram + _MAX] = ns
        if ns > 0:
            words[histogram + _TOTAL] += ns
        words[histogram + bucket_of(ns)] += 1

    def write_note(self, note: bytes) -> None:
        """Replace the note. Raises ``SharedMemoryError`` if it is empty or too long; the old one stays."""
        serial = self._words[_NOTE] + 1
        try:
            self._notes.write(serial & 1, note, serial)
        except FrameError as error:
            raise SharedMemoryError(f"{self.path}: note: {error}") from error
        self._words[_NOTE] = serial


class PageReader(Mapped):
    """Gives any process the values of a page."""

    def __init__(self, segment: Segment, plan: _Plan, note_bytes: int, *, checked: bool) -> None:
        super().__init__(segment)
        self._plan = plan
        self._words = segment.words
        self._signed = segment.signed
        self._notes = SlotsReader(segment, plan.notes, 2, note_bytes, checked=checked)

    @classmethod
    def attach(cls, path: Path) -> Self:
        """Map the page at ``path``. Raises ``SharedMemoryError`` when there is none of this layout."""
        segment, plan, note_bytes, checked = _attach(path, writable=False)
        return cls(segment, plan, note_bytes, checked=checked)

    @property
    def counters(self) -> tuple[str, ...]:
        """Return the names of the counters and gauges."""
        return tuple(self._plan.counters)

    @property
    def histograms(self) -> tuple[str, ...]:
        """Return the names of the histograms."""
        return tuple(self._plan.histograms)

    def value(self, name: str) -> int:
        """Return the present value of a counter or gauge. Raises ``KeyError``."""
        return self._signed[self._plan.counters[name]]

    def reader(self, *names: str) -> Callable[[], tuple[int, ...]]:
        """Return a function that reads these counters and gauges, at least two, in this order, for frequent reading.

        Raises ``KeyError``.
        """
        assert len(names) > 1, names
        return partial(itemgetter(*[self._plan.counters[name] for name in names]), self._signed)

    def values(self) -> dict[str, int]:
        """Return all counters and gauges by name."""
        signed = self._signed
        return {name: signed[word] for name, word in self._plan.counters.items()}

    def histogram(self, name: str) -> Histogram:
        """Return the present histogram. Raises ``KeyError``."""
        word = self._plan.histograms[name]
        *buckets, total, longest = self._words[word : word + _HISTOGRAM_WORDS].tolist()
        return Histogram(tuple(buckets), total, longest)

    def note(self) -> bytes:
        """Return the newest whole note; empty before the first one.

        Raises ``SharedMemoryError`` if the owner wrote so fast that none could be read whole.
        """
        for _ in range(_NOTE_TRIES):
            serial = self._words[_NOTE]
            if serial == 0:
                return b""
            found = self._notes.read(serial & 1)
            if found is not None and found[1] >= serial:
                return found[3]
        raise SharedMemoryError(f"{self.path}: no whole note")


def _attach(path: Path, *, writable: bool) -> tuple[Segment, _Plan, int, bool]:
    segment = attach_segment(path, _MAGIC, writable=writable)
    blob_bytes, note_bytes, checked, *_ = segment.args()
    try:
        blob = segment.raw[HEADER_BYTES : HEADER_BYTES + blob_bytes]
        names = msgspec.json.decode(blob, type=_Names)
    except msgspec.MsgspecError as error:
        segment.close()
        raise SharedMemoryError(f"{path}: unreadable names: {error}") from error
    plan = _Plan(names, blob_bytes, note_bytes)
    require(segment, names.is_unique() and plan.size == len(segment.raw))
    return segment, plan, note_bytes, bool(checked)


def private_page(counters: Sequence[str], histograms: Sequence[str]) -> tuple[PageReader, PageWriter]:
    """Return both ends of a page in memory that no other process finds and that ends with this one."""
    with TemporaryDirectory(prefix="arbshard-") as folder:
        path = Path(folder, "page")
        writer = PageWriter.create(path, counters, histograms, 0)
        return PageReader.attach(path), writer
