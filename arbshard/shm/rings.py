"""States which slots changed (supervisor → worker), and whether the worker sleeps (worker → supervisor).

A ring entry carries its own number (from 1) beside the slot's, in one word. The reader accepts an entry only if it
has the number it expects, so that an entry that was overwritten during the read, or is not yet visible, can never be
mistaken: it counts as an overflow, and the worker reads all its slots.

No wake-up is lost. Each side stores its own word and then loads the other's: the supervisor the head, then the sleep
word; the worker the sleep word, then the head (Dekker's pattern). If both stores come before both loads, at least
one side sees the other: the ringer rings, or the worker does not go to sleep. x86 may let a load overtake an earlier
store, so both sides put ``full_fence`` between the two. Where that is not a full barrier, a wake-up may be late but
not lost: a worker's sleep has a time limit.
"""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

from arbshard import native
from arbshard.errors import SharedMemoryError
from arbshard.shm.layout import (
    HEADER_BYTES,
    HOT_A,
    WORD,
    Mapped,
    Segment,
    attach_segment,
    create_segment,
    require,
)

_RING_MAGIC = b"ARBRING "
_PARK_MAGIC = b"ARBPARK "
_FIRST_ENTRY = HEADER_BYTES // WORD
_SLOT_BITS = 20
_SLOT_MASK = (1 << _SLOT_BITS) - 1
_HEAD = HOT_A
_SLEEP = HOT_A

_fence_lock = threading.Lock()
_acquire = _fence_lock.acquire
_release = _fence_lock.release


def full_fence() -> None:
    """Order the stores before this call against the loads after it.

    Acquiring and releasing a free lock are locked instructions, and on x86 each is a full barrier.
    """
    _acquire()
    _release()


class RingWriter(Mapped):
    """Writes one shard's ring for the supervisor."""

    def __init__(self, segment: Segment, capacity: int) -> None:
        super().__init__(segment)
        self._words = segment.words
        self._capacity = capacity
        self._mask = capacity - 1

    @classmethod
    def create(cls, path: Path, capacity: int = 4096) -> Self:
        """Create an empty ring; ``capacity`` is a power of two. Raises ``SharedMemoryError``."""
        assert capacity > 0, capacity
        assert capacity & (capacity - 1) == 0, capacity
        return cls(create_segment(path, _RING_MAGIC, HEADER_BYTES + capacity * WORD, (capacity,)), capacity)

    def push(self, slot: int) -> None:
        """Record that ``slot`` (below 2^20) changed. In a full ring the oldest entry is overwritten."""
        words = self._words
        head = words[_HEAD]
        number = head + 1
        # The entry comes before the head, so that a reader that sees the new head finds the entry.
        words[_FIRST_ENTRY + (head & self._mask)] = number << _SLOT_BITS | slot
        words[_HEAD] = number

    def notifier(self, park: "ParkReader", wake: Callable[[], None]) -> Callable[[int], None]:
        """Return a function that does what ``push`` does, and then calls ``wake`` if that is due by ``park``."""
        memory = self._segment.memory
        if memory is not None and park.memory is not None:
            return native.Notifier(memory, self._capacity, park.memory, wake).push
        push, due = self.push, park.due

        def notify(slot: int) -> None:
            push(slot)
            if due():
                wake()

        return notify


class RingReader(Mapped):
    """Consumes one shard's ring for the worker. It keeps its position itself; the writer does not know it."""

    def __init__(self, segment: Segment, capacity: int) -> None:
        super().__init__(segment)
        self._words = segment.words
        memory = segment.memory
        self._ring = _Ring(segment, capacity) if memory is None else native.Ring(memory, capacity)
        self.behind: Callable[[], bool] = self._ring.behind
        """Returns whether ``drain`` would return something."""
        self.drain: Callable[[], list[int] | None] = self._ring.drain
        """Returns the distinct slots that changed since the last call, oldest change first; at most the capacity.

        None means that all slots must be read: on the first call, and after an overflow (counted).
        """

    @classmethod
    def attach(cls, path: Path) -> Self:
        """Begin at the ring's head. Raises ``SharedMemoryError`` when there is no ring at ``path``."""
        segment = attach_segment(path, _RING_MAGIC)
        capacity = segment.args()[0]
        power_of_two = capacity > 0 and capacity & (capacity - 1) == 0
        require(segment, power_of_two and len(segment.raw) == HEADER_BYTES + capacity * WORD)
        return cls(segment, capacity)

    @property
    def seen(self) -> int:
        """Return the head up to which the ring was read."""
        return self._ring.cursor

    @property
    def overflows(self) -> int:
        """Return how often entries were lost, so that all slots had to be read."""
        return self._ring.overflows

    @property
    def head(self) -> int:
        """Return the number of changes that were ever recorded."""
        return self._words[_HEAD]

    def unparker(self, park: "ParkWriter") -> Callable[[], None]:
        """Return a function that marks the worker as awake again by ``park``."""
        ring, memory = self._ring, park.memory
        if memory is not None and isinstance(ring, native.Ring):
            return partial(ring.unpark, memory)
        return park.unpark

    def parker(self, park: "ParkWriter") -> Callable[[], bool]:
        """Return a function that marks the worker as asleep by ``park``, and returns whether it may go to sleep.

        It may not when a change has come meanwhile: it is then marked as awake.
        """
        ring, memory = self._ring, park.memory
        if memory is not None and isinstance(ring, native.Ring):
            return partial(ring.park, memory)

        def may_sleep() -> bool:
            park.park()
            if ring.behind():
                park.unpark()
                return False
            return True

        return may_sleep


class _Ring:
    """Is the twin of ``native.Ring``, which is used where that is not built."""

    def __init__(self, segment: Segment, capacity: int) -> None:
        self._words = segment.words
        self._capacity = capacity
        self.cursor = segment.words[_HEAD]
        self._fresh = True
        self.overflows = 0

    def behind(self) -> bool:
        return self._fresh or self._words[_HEAD] != self.cursor

    def drain(self) -> list[int] | None:
        head = self._words[_HEAD]
        cursor = self.cursor
        if self._fresh:
            self._fresh = False
            self.cursor = head
            return None
        if head == cursor:
            return []
        self.cursor = head
        if head - cursor > self._capacity:
            self.overflows += 1
            return None
        begin = cursor & (self._capacity - 1)
        end = begin + head - cursor
        words = self._words
        entries = words[_FIRST_ENTRY + begin : _FIRST_ENTRY + min(end, self._capacity)].tolist()
        if end > self._capacity:
            entries += words[_FIRST_ENTRY : _FIRST_ENTRY + end - self._capacity].tolist()
        slots: dict[int, None] = {}
        for number, entry in enumerate(entries, cursor + 1):
            # Another number: the entry was overwritten since the head was read, or is not visible yet.
            if entry >> _SLOT_BITS != number:
                self.overflows += 1
                return None
            slots[entry & _SLOT_MASK] = None
        return list(slots)


class ParkWriter(Mapped):
    """Sets the worker's sleep word, which is odd while it sleeps. Each sleep has another number, through restarts
    too.

    A fenced worker that was stopped may wake and set the word too, until it ends. So ``park`` and ``unpark`` set the
    next odd or even number whatever they find: the successor then misses at most one ring, and wakes by its timer.
    """

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment)
        self._words = segment.words
        self.memory = segment.memory
        if self._words[_SLEEP] & 1:  # a predecessor died asleep
            self.unpark()

    @staticmethod
    def ensure(path: Path) -> None:
        """Create the file if there is none. Raises ``SharedMemoryError``.

        It is never replaced, so that the supervisor's mapping outlives restarts of the worker.
        """
        if path.exists():
            return
        try:
            create_segment(path, _PARK_MAGIC, HEADER_BYTES, (), replace=False).close()
        except SharedMemoryError:
            if not path.exists():  # otherwise the other side was faster
                raise

    @classmethod
    def open(cls, path: Path) -> Self:
        """Take over the file, awake; create it if there is none. Raises ``SharedMemoryError``."""
        cls.ensure(path)
        return cls(attach_segment(path, _PARK_MAGIC, writable=True))

    def park(self) -> None:
        """Mark the worker as asleep. It must read its ring once more before it does sleep."""
        self._words[_SLEEP] = (self._words[_SLEEP] + 1) | 1
        full_fence()

    def unpark(self) -> None:
        """Mark the worker as awake."""
        self._words[_SLEEP] = (self._words[_SLEEP] | 1) + 1


class ParkReader(Mapped):
    """Is the sleep word as the supervisor reads it."""

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment)
        self._words = segment.words
        self.memory = segment.memory
        self._rung = 0

    @classmethod
    def attach(cls, path: Path) -> Self:
        """Map the file at ``path``. Raises ``SharedMemoryError`` when there is none."""
        return cls(attach_segment(path, _PARK_MAGIC))

    @property
    def asleep(self) -> bool:
        """Return whether the worker sleeps now."""
        return self._words[_SLEEP] & 1 == 1

    def due(self) -> bool:
        """Return whether to ring: the worker sleeps, and this has not returned True in the same sleep before."""
        full_fence()
        generation = self._words[_SLEEP]
        if generation & 1 == 0 or generation == self._rung:
            return False
        self._rung = generation
        return True
