"""Which slots changed (supervisor → worker), and whether the worker sleeps (worker → supervisor).

A ring entry carries its own number (from 1) beside the slot's, in one word. The reader takes an entry only if
it has the number it expects, so that an entry overwritten during the read, or not yet visible, can never be
mistaken: it counts as an overflow, and the worker looks at all its slots.

No lost wake-up. Each side stores its own word and then loads the other's: the supervisor the head, then the
sleep word; the worker the sleep word, then the head (Dekker's pattern). If both stores come before both loads,
at least one side sees the other: the ringer rings, or the worker does not go to sleep. x86 may let a load
overtake an earlier store, so both sides put ``full_fence`` between the two. Where that is not a full barrier, a
wake-up may be late but not lost: a worker's sleep has a time limit.
"""

import threading
from pathlib import Path
from typing import Self

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
    """Order the stores before against the loads behind.

    Taking and giving back a free lock are locked instructions, and on x86 each is a full barrier.
    """
    _acquire()
    _release()


class RingWriter(Mapped):
    """The supervisor's side of one shard's ring."""

    def __init__(self, segment: Segment, capacity: int) -> None:
        super().__init__(segment)
        self._words = segment.words
        self._mask = capacity - 1
        self._head = 0

    @classmethod
    def create(cls, path: Path, capacity: int = 4096) -> Self:
        """An empty ring; ``capacity`` is a power of two. Raises ``SharedMemoryError``."""
        assert capacity > 0, capacity
        assert capacity & (capacity - 1) == 0, capacity
        return cls(create_segment(path, _RING_MAGIC, HEADER_BYTES + capacity * WORD, (capacity,)), capacity)

    def push(self, slot: int) -> None:
        """Note that ``slot`` (below 2^20) changed. The oldest entry gives way in a full ring."""
        words = self._words
        head = self._head
        number = self._head = head + 1
        words[_FIRST_ENTRY + (head & self._mask)] = number << _SLOT_BITS | slot
        words[_HEAD] = number


class RingReader(Mapped):
    """The worker's side. Where it stands in the ring is its own business: the writer does not know."""

    def __init__(self, segment: Segment, capacity: int) -> None:
        super().__init__(segment)
        self._words = segment.words
        self._capacity = capacity
        self._cursor = segment.words[_HEAD]
        self._fresh = True
        self.overflows = 0
        """Times that entries were lost and all slots had to be looked at."""

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
        """The head up to which was looked."""
        return self._cursor

    @property
    def head(self) -> int:
        """How many changes were ever noted."""
        return self._words[_HEAD]

    def behind(self) -> bool:
        """Whether ``drain`` would have something to tell."""
        return self._fresh or self._words[_HEAD] != self._cursor

    def drain(self) -> list[int] | None:
        """The distinct slots that changed since the last call, oldest change first; at most the capacity.

        None means that all slots must be looked at: on the first call, and after an overflow (counted).
        """
        head = self._words[_HEAD]
        cursor = self._cursor
        if self._fresh:
            self._fresh = False
            self._cursor = head
            return None
        if head == cursor:
            return []
        self._cursor = head
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
            if entry >> _SLOT_BITS != number:
                self.overflows += 1
                return None
            slots[entry & _SLOT_MASK] = None
        return list(slots)


class ParkWriter(Mapped):
    """The worker's word: odd while it sleeps. Each sleep has another number, through restarts too."""

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment)
        self._words = segment.words
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
            if not path.exists():  # otherwise the other side was quicker
                raise

    @classmethod
    def open(cls, path: Path) -> Self:
        """Take over the file, awake; create it if there is none. Raises ``SharedMemoryError``."""
        cls.ensure(path)
        return cls(attach_segment(path, _PARK_MAGIC, writable=True))

    def park(self) -> None:
        """Say that the worker sleeps from now on. It must look at its ring once more before it does."""
        assert not self._words[_SLEEP] & 1, "asleep already"
        self._words[_SLEEP] += 1
        full_fence()

    def unpark(self) -> None:
        """Say that it is awake."""
        assert self._words[_SLEEP] & 1, "awake already"
        self._words[_SLEEP] += 1


class ParkReader(Mapped):
    """The supervisor's view of that word."""

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment)
        self._words = segment.words
        self._rung = 0

    @classmethod
    def attach(cls, path: Path) -> Self:
        """Raises ``SharedMemoryError`` when there is no such file."""
        return cls(attach_segment(path, _PARK_MAGIC))

    @property
    def asleep(self) -> bool:
        """Whether the worker sleeps now."""
        return self._words[_SLEEP] & 1 == 1

    def due(self) -> bool:
        """Whether to ring: the worker sleeps and this was not answered True in the same sleep before."""
        full_fence()
        generation = self._words[_SLEEP]
        if generation & 1 == 0 or generation == self._rung:
            return False
        self._rung = generation
        return True
