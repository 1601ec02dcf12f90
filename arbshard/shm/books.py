"""Keeps the newest raw frame of every market, a slot each. The supervisor writes the file, workers read it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from arbshard.model.phase import SUPERVISOR_SILENT_NS
from arbshard.native import ORDERED_STORES
from arbshard.shm.layout import (
    HOT_A,
    HOT_B,
    Mapped,
    Segment,
    attach_segment,
    create_segment,
    require,
)
from arbshard.shm.seqlock import ReadSlot, SlotsReader, SlotsWriter, WriteSlot, stride

_MAGIC = b"ARBBOOKS"
_FIRST_SLOT = 4096
_PHASE = HOT_A
_BEAT = HOT_B
_UNIVERSE = 24
"""First word of the header's fourth cache line."""
_BACK = 25
_CALLS = 26


class BooksWriter(Mapped):
    """Writes the slots of the feed. One thread of the supervisor uses it."""

    def __init__(self, segment: Segment, slot_count: int, slot_bytes: int, *, checked: bool) -> None:
        super().__init__(segment)
        self._slots = SlotsWriter(segment, _FIRST_SLOT, slot_count, slot_bytes, checked=checked)
        self.write: WriteSlot = self._slots.write
        """Puts a frame into a slot; the arguments are slot, frame, and when it was received (monotonic ns).

        Raises ``FrameError`` ("oversize", "empty"), which the caller counts; the slot is then as before.
        """
        self._words = segment.words
        self.slot_count = slot_count
        self.slot_bytes = slot_bytes

    @classmethod
    def create(
        cls,
        path: Path,
        slot_count: int,
        slot_bytes: int = 8192,
        *,
        epoch: int,
        checked: bool = not ORDERED_STORES,
    ) -> Self:
        """Create a file of ``slot_count`` empty slots for frames of up to ``slot_bytes``; it replaces an older one.

        ``epoch`` is the supervisor's incarnation. Raises ``SharedMemoryError``.
        """
        assert slot_count > 0, slot_count
        assert slot_bytes > 0, slot_bytes
        size = _FIRST_SLOT + slot_count * stride(slot_bytes)
        args = (slot_count, slot_bytes, epoch, int(checked))
        return cls(create_segment(path, _MAGIC, size, args), slot_count, slot_bytes, checked=checked)

    def set_live(self, slot: int, live: bool) -> None:
        """Set whether the connection that carries this market is up. The frame stays, and the sequence grows."""
        self._slots.set_flag(slot, int(live))

    def confirm(self, slot: int, at_ns: int) -> None:
        """Record that the book in ``slot`` was still the market's newest one at ``at_ns`` (monotonic).

        The sequence stays as it is: no worker is woken, and nothing is decoded again.
        """
        self._slots.set_proof(slot, at_ns)

    def set_late_after(self, slot: int, difference_ns: int) -> None:
        """Set by how much the receipt of a frame of this market (monotonic) may be above its sending (wall clock).

        A frame with a larger difference came late. The difference is far below 0, because monotonic time begins with
        the machine's start; 0 means that nothing is known.
        """
        self._slots.set_bound(slot, difference_ns)

    def times(self, slot: int) -> tuple[int, int]:
        """Return when the slot's frame was received and when it was last confirmed (monotonic ns); 0 for never."""
        return self._slots.header(slot)

    def clear(self, slot: int) -> None:
        """Remove the frame of a market that is no longer carried: the slot may be given to another one."""
        self._slots.clear(slot)

    def sequence(self, slot: int) -> int:
        """Return the slot's sequence, which grows by two with every write."""
        return self._slots.sequence(slot)

    def set_universe(self, serial: int) -> None:
        """Set the serial of the newest ``universe.json``. It is set after the file was written."""
        self._words[_UNIVERSE] = serial
        self._words[_CALLS] += 1

    def set_phase(self, phase: int) -> None:
        """Set the run's phase, a number the supervisor and its children agree on."""
        self._words[_PHASE] = phase
        self._words[_CALLS] += 1

    def beat(self, now_ns: int) -> None:
        """Record that the supervisor's loop was alive at ``now_ns`` (monotonic).

        After a silence the header states since when the supervisor is back, and that is written before the beat: a
        process that sees the new beat knows of the silence.
        """
        before_ns = self._words[_BEAT]
        if before_ns and now_ns - before_ns > SUPERVISOR_SILENT_NS:
            self._words[_BACK] = now_ns
        self._words[_BEAT] = now_ns


class BooksReader(Mapped):
    """Gives any process the newest frames of the feed."""

    def __init__(
        self, segment: Segment, slot_count: int, slot_bytes: int, epoch: int, *, checked: bool
    ) -> None:
        super().__init__(segment)
        self._slots = SlotsReader(segment, _FIRST_SLOT, slot_count, slot_bytes, checked=checked)
        self.read: ReadSlot = self._slots.read
        """Returns (sequence, received_ns, live, frame) of a slot, all of one moment, or None.

        None means that there is no frame yet, or that the writer stayed inside a write (counted in ``torn``). In the
        second case nothing is lost: a living writer announces the slot once it is done.
        """
        self._words = segment.words
        self.slot_count = slot_count
        self.slot_bytes = slot_bytes
        self.epoch = epoch

    @classmethod
    def attach(cls, path: Path) -> Self:
        """Map the file at ``path``. Raises ``SharedMemoryError`` when there is none of this layout."""
        segment = attach_segment(path, _MAGIC)
        slot_count, slot_bytes, epoch, checked, _ = segment.args()
        fits = slot_count > 0 and len(segment.raw) == _FIRST_SLOT + slot_count * stride(slot_bytes)
        require(segment, fits)
        return cls(segment, slot_count, slot_bytes, epoch, checked=bool(checked))

    def sequence(self, slot: int) -> int:
        """Return the slot's sequence: 0 before the first write, odd inside one, larger after every change."""
        return self._slots.sequence(slot)

    def live(self, slot: int) -> bool:
        """Return whether the connection that carries this market is up."""
        return self._slots.flag(slot) != 0

    def oldest_live_ns(self, slots: Sequence[int]) -> int:
        """Return when the oldest of the live frames in ``slots`` was received (monotonic); 0 without any."""
        return self._slots.oldest(slots)

    def confirmed_ns(self, slot: int) -> int:
        """Return when the slot's book was last confirmed (monotonic ns), as ``BooksWriter.confirm`` sets it; 0 for
        never.
        """
        return self._slots.proof(slot)

    def late_after_ns(self, slot: int) -> int:
        """Return the difference in ns above which a frame came late, as ``BooksWriter.set_late_after`` sets it."""
        return self._slots.bound(slot)

    @property
    def torn(self) -> int:
        """Return how many reads were given up because the slot stayed inside a write."""
        return self._slots.torn

    @property
    def phase(self) -> int:
        """Return the run's phase; 0 until it is set."""
        return self._words[_PHASE]

    @property
    def universe(self) -> int:
        """Return the serial of the newest ``universe.json``; 0 before the first change."""
        return self._words[_UNIVERSE]

    @property
    def calls(self) -> int:
        """Return a number that grows with each change of the phase or of the universe."""
        return self._words[_CALLS]

    @property
    def beat_ns(self) -> int:
        """Return when the supervisor's loop was last known to be alive (monotonic ns); 0 before the first beat."""
        return self._words[_BEAT]

    @property
    def back_ns(self) -> int:
        """Return the first beat after the supervisor's last silence (monotonic ns); 0 if it never was silent."""
        return self._words[_BACK]
