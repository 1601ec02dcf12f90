"""Keeps slots of bytes under a sequence lock. Books and pages use it, and only this prevents torn reads.

A slot is eight header words and room for the frame::

    0 sequence   odd while the writer is inside   3 flag       a word of the owner's
    1 stamp      a number of the owner's           4 checksum   crc32, where stores may be seen out of order
    2 length     of the frame, bytes               5 proof      a number of the owner's, beside the lock
                                                   6 bound      a signed number of the owner's, likewise
                                                   7 free

The writer makes the sequence odd, changes the slot, and makes it even as its last store. The reader takes a copy
between two reads of the sequence and keeps it only if both were the same even number. x86 shows stores and does
loads in program order, and nothing else is needed. Other CPUs may do neither: there the copy must also match its
checksum, which covers the sequence too.
"""

from collections.abc import Callable, Sequence
from zlib import crc32

from arbshard import native
from arbshard.errors import FrameError
from arbshard.shm.layout import WORD, Segment, aligned

SLOT_HEADER_BYTES = 64
RETRIES = 64
"""Number of tries before a reader gives up. A write takes below a microsecond; a longer one means that the writer
was descheduled inside it (it announces the change when it is done) or has died there.
"""

STAMP, LENGTH, FLAG, CHECKSUM, PROOF, BOUND = 1, 2, 3, 4, 5, 6

WriteSlot = Callable[[int, bytes | bytearray | memoryview, int], None]
ReadSlot = Callable[[int], tuple[int, int, bool, bytes] | None]


def stride(capacity: int) -> int:
    """Return the number of bytes from one slot to the next for frames of up to ``capacity`` bytes."""
    return SLOT_HEADER_BYTES + aligned(capacity)


def _checksum(frame: bytes | bytearray | memoryview, sequence: int, stamp: int, flag: int) -> int:
    # The sum is seeded with the header words, so that a change of one of them changes the sum as well.
    return crc32(frame, (sequence + stamp + len(frame) + flag) & 0xFFFFFFFF)


class SlotsWriter:
    """Is the only writer of ``count`` slots that begin at byte ``offset`` of ``segment``."""

    def __init__(self, segment: Segment, offset: int, count: int, capacity: int, *, checked: bool) -> None:
        self._raw = segment.raw
        self._words = segment.words
        self._signed = segment.signed
        self._first = offset // WORD
        self._step = stride(capacity) // WORD
        self._count = count
        self._capacity = capacity
        self._checked = checked
        self.write: WriteSlot = self._write
        """Replaces a slot's frame, and keeps a stamp with it; the arguments are slot, frame and stamp.

        Raises ``FrameError`` ("oversize", "empty"), and the slot is then as before; ``IndexError`` for a slot that
        does not exist.
        """
        if segment.memory is not None and capacity and not checked:
            self.write = native.Slots(segment.memory, offset, count, capacity, True).write

    def _write(self, slot: int, frame: bytes | bytearray | memoryview, stamp: int) -> None:
        """Write as ``write`` does, where the compiled twin cannot be used."""
        length = len(frame)
        if not 0 < length <= self._capacity:
            raise FrameError("oversize" if length else "empty", f"{length} bytes")
        if not 0 <= slot < self._count:
            raise IndexError(slot)
        words = self._words
        base = self._first + slot * self._step
        odd = words[base] | 1  # odd already if an exception ended the last write
        # The order of the stores is the lock: odd first, then the content, and the next even number last.
        words[base] = odd
        words[base + STAMP] = stamp
        words[base + LENGTH] = length
        start = (base << 3) + SLOT_HEADER_BYTES
        self._raw[start : start + length] = frame
        if self._checked:
            words[base + CHECKSUM] = _checksum(frame, odd + 1, stamp, words[base + FLAG])
        words[base] = odd + 1

    def set_flag(self, slot: int, flag: int) -> None:
        """Change the flag alone; the frame stays and the sequence grows. Raises ``IndexError`` as ``write`` does."""
        if not 0 <= slot < self._count:
            raise IndexError(slot)
        words = self._words
        base = self._first + slot * self._step
        odd = words[base] | 1
        words[base] = odd
        words[base + FLAG] = flag
        if self._checked:
            start = (base << 3) + SLOT_HEADER_BYTES
            frame = self._raw[start : start + words[base + LENGTH]]
            words[base + CHECKSUM] = _checksum(frame, odd + 1, words[base + STAMP], flag)
        words[base] = odd + 1

    def set_proof(self, slot: int, proof: int) -> None:
        """Set the slot's proof, which the lock does not cover: the sequence stays. Raises ``IndexError`` as
        ``write`` does.
        """
        if not 0 <= slot < self._count:
            raise IndexError(slot)
        self._words[self._first + slot * self._step + PROOF] = proof

    def set_bound(self, slot: int, bound: int) -> None:
        """Set the slot's bound, which the lock does not cover either. Raises ``IndexError`` as ``write`` does."""
        if not 0 <= slot < self._count:
            raise IndexError(slot)
        self._signed[self._first + slot * self._step + BOUND] = bound

    def header(self, slot: int) -> tuple[int, int]:
        """Return (stamp, proof) as they were last written. Raises ``IndexError`` as ``write`` does."""
        if not 0 <= slot < self._count:
            raise IndexError(slot)
        base = self._first + slot * self._step
        return self._words[base + STAMP], self._words[base + PROOF]

    def clear(self, slot: int) -> None:
        """Remove the frame: the slot is as before its first write, except that its sequence has grown."""
        if not 0 <= slot < self._count:
            raise IndexError(slot)
        words = self._words
        base = self._first + slot * self._step
        odd = words[base] | 1
        words[base] = odd
        for word in (STAMP, LENGTH, FLAG, CHECKSUM, PROOF, BOUND):
            words[base + word] = 0
        words[base] = odd + 1

    def sequence(self, slot: int) -> int:
        """Return the slot's sequence as it was last written. Raises ``IndexError`` as ``write`` does."""
        if not 0 <= slot < self._count:
            raise IndexError(slot)
        return self._words[self._first + slot * self._step]


class SlotsReader:
    """Is a reader of the same slots."""

    def __init__(self, segment: Segment, offset: int, count: int, capacity: int, *, checked: bool) -> None:
        self._raw = segment.raw
        self._words = segment.words
        self._signed = segment.signed
        self._first = offset // WORD
        self._step = stride(capacity) // WORD
        self._count = count
        self._checked = checked
        self._torn = 0
        self.read: ReadSlot = self._read
        """Returns (sequence, stamp, whether the flag is set, frame), all of one write; None if there is no frame yet
        or no whole one. The argument is the slot.

        The second case is counted in ``torn``. It takes a bounded time. Raises ``IndexError`` if there is no such
        slot.
        """
        self._twin: native.Slots | None = None
        if segment.memory is not None and capacity and not checked:
            self._twin = native.Slots(segment.memory, offset, count, capacity, False)
            self.read = self._twin.read

    @property
    def torn(self) -> int:
        """Return the number of reads that were given up because the slot stayed inside a write."""
        return self._torn if self._twin is None else self._twin.torn

    def sequence(self, slot: int) -> int:
        """Return the slot's sequence: 0 before the first write, odd inside one. Raises ``IndexError`` if there is no
        such slot.
        """
        if not 0 <= slot < self._count:
            raise IndexError(slot)
        return self._words[self._first + slot * self._step]

    def oldest(self, slots: Sequence[int]) -> int:
        """Return the oldest stamp of those ``slots`` that are flagged and were written; 0 for none.

        Raises ``IndexError`` if one of them does not exist.
        """
        if slots and not 0 <= min(slots) <= max(slots) < self._count:
            raise IndexError(slots)
        # One copy of all stamps and flags takes a tenth of the time of reading each for itself.
        end = self._first + self._count * self._step
        stamps = self._words[self._first + STAMP : end : self._step].tolist()
        flags = self._words[self._first + FLAG : end : self._step].tolist()
        return min((stamps[slot] for slot in slots if flags[slot] and stamps[slot]), default=0)

    def flag(self, slot: int) -> int:
        """Return the slot's present flag. Raises ``IndexError`` if there is no such slot."""
        if not 0 <= slot < self._count:
            raise IndexError(slot)
        return self._words[self._first + slot * self._step + FLAG]

    def proof(self, slot: int) -> int:
        """Return the slot's present proof. Raises ``IndexError`` if there is no such slot."""
        if not 0 <= slot < self._count:
            raise IndexError(slot)
        return self._words[self._first + slot * self._step + PROOF]

    def bound(self, slot: int) -> int:
        """Return the slot's present bound. Raises ``IndexError`` if there is no such slot."""
        if not 0 <= slot < self._count:
            raise IndexError(slot)
        return self._signed[self._first + slot * self._step + BOUND]

    def _read(self, slot: int) -> tuple[int, int, bool, bytes] | None:
        """Read as ``read`` does, where the compiled twin cannot be used."""
        if not 0 <= slot < self._count:
            raise IndexError(slot)
        words = self._words
        base = self._first + slot * self._step
        start = (base << 3) + SLOT_HEADER_BYTES
        for _ in range(RETRIES):
            sequence = words[base]
            if sequence & 1:
                continue
            length = words[base + LENGTH]
            stamp = words[base + STAMP]
            flag = words[base + FLAG]
            frame = self._raw[start : start + length]
            checksum = words[base + CHECKSUM]
            # The copy above may be torn. Only a sequence that is still the same shows that it is not.
            if words[base] != sequence:
                continue
            if length == 0:
                return None
            if self._checked and checksum != _checksum(frame, sequence, stamp, flag):
                continue
            return sequence, stamp, flag != 0, frame
        self._torn += 1
        return None
