"""Implements the slots of a feed within one process: ``BooksWriter`` and ``BooksReader`` at once, without shared
memory.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from arbshard.errors import FrameError
from arbshard.shm.books import BooksReader, BooksWriter

FRAME_BYTES_MAX = 8192
_PATH = Path("books")
_STEP = 2
"""Increase of a slot's sequence with each change, as in shared memory."""


class PendingFrames(Protocol):
    """Holds frames that were received and not put into their slots yet: ``skipping.BlockScreen``."""

    def bring(self, slot: int) -> None:
        """Put the newest frame of a slot into it."""
        ...

    def received_ns(self, slot: int) -> int:
        """Return when the newest frame that ``bring`` would put into the slot was received, in ns; 0 if there is
        none.
        """
        ...

    def count(self, lane: object) -> int:
        """Return how many frames that are not in their slots have come by a lane of the fan-out."""
        ...


class TapeBooks(BooksWriter, BooksReader):  # type: ignore[misc]  # neither's slots are used
    """Holds all slots of one feed. Only one thread uses it, so no read meets a write."""

    def __init__(self, count: int, pid: int) -> None:  # the parents' would map files
        self.slot_count = count
        self.slot_bytes = FRAME_BYTES_MAX
        self.epoch = pid
        self.frames: list[bytes] = [b""] * count
        """The newest frame of each slot that was written; empty before the first."""
        self.received_ns = [0] * count
        """Time at which the newest frame of each slot was received, in ns."""
        self.sequences = [0] * count
        self._messages: list[Callable[[], bytes] | None] = [None] * count
        """Functions that return the newest frame of a slot that is not in ``frames`` yet."""
        self.pending: PendingFrames | None = None
        """Puts pending frames into a slot when it is read; None where each frame is written when it is received."""
        self._live = [False] * count
        self._confirmed_ns = [0] * count
        self._late_after_ns = [0] * count
        self._phase = self._universe = self._calls = self._beat_ns = 0

    def grow(self, count: int) -> None:
        """Have at least ``count`` slots."""
        more = max(count - self.slot_count, 0)
        self.slot_count += more
        self.frames += [b""] * more
        self._messages += [None] * more
        self._live += [False] * more
        for numbers in (self.received_ns, self.sequences, self._confirmed_ns, self._late_after_ns):
            numbers.extend([0] * more)

    @property
    @override
    def path(self) -> Path:
        return _PATH

    @override
    def write(self, slot: int, frame: bytes | bytearray | memoryview, received_ns: int) -> None:
        length = len(frame)
        if not 0 < length <= FRAME_BYTES_MAX:
            raise FrameError("oversize" if length else "empty", f"{length} bytes")
        self.frames[slot] = bytes(frame)
        self._messages[slot] = None
        self.received_ns[slot] = received_ns
        self.sequences[slot] += _STEP

    def put(self, slot: int, message: Callable[[], bytes], received_ns: int, count: int) -> None:
        """Accept ``count`` frames, the newest of which ``message`` returns."""
        self._messages[slot] = message
        self.received_ns[slot] = received_ns
        self.sequences[slot] += count * _STEP

    def later(self, slot: int) -> Callable[[], bytes]:
        """Return a function that returns the frame that is now in a slot, whatever is put into it until then."""
        self._bring(slot)
        message = self._messages[slot]
        return message if message is not None else partial(bytes, self.frames[slot])

    def count_pending(self, lane: object) -> int:
        """Return how many frames have come by a lane of the fan-out that it has not counted yet."""
        return self.pending.count(lane) if self.pending is not None else 0

    def _bring(self, slot: int) -> None:
        if self.pending is not None:
            self.pending.bring(slot)

    @override
    def set_live(self, slot: int, live: bool) -> None:
        self._live[slot] = live
        self.sequences[slot] += _STEP

    @override
    def confirm(self, slot: int, at_ns: int) -> None:
        self._confirmed_ns[slot] = at_ns

    @override
    def set_late_after(self, slot: int, difference_ns: int) -> None:
        self._late_after_ns[slot] = difference_ns

    @override
    def times(self, slot: int) -> tuple[int, int]:
        pending_ns = self.pending.received_ns(slot) if self.pending is not None else 0
        return pending_ns or self.received_ns[slot], self._confirmed_ns[slot]

    @override
    def clear(self, slot: int) -> None:
        self.frames[slot] = b""
        self._messages[slot] = None
        self.received_ns[slot] = self._confirmed_ns[slot] = self._late_after_ns[slot] = 0
        self._live[slot] = False
        self.sequences[slot] += _STEP

    @override
    def sequence(self, slot: int) -> int:
        self._bring(slot)
        return self.sequences[slot]

    @override
    def set_universe(self, serial: int) -> None:
        self._universe = serial
        self._calls += 1  # the doorbell calls the worker to it

    @override
    def set_phase(self, phase: int) -> None:
        self._phase = phase

    @override
    def beat(self, now_ns: int) -> None:
        self._beat_ns = now_ns

    @override
    def live(self, slot: int) -> bool:
        return self._live[slot]

    @override
    def oldest_live_ns(self, slots: Sequence[int]) -> int:
        received = [self.times(slot)[0] for slot in slots if self._live[slot] and self.newest(slot)]
        return min(received, default=0)

    @override
    def confirmed_ns(self, slot: int) -> int:
        return self._confirmed_ns[slot]

    @override
    def late_after_ns(self, slot: int) -> int:
        return self._late_after_ns[slot]

    @override
    def read(self, slot: int) -> tuple[int, int, bool, bytes] | None:
        # A worker reads each frame that it is fed here: as ``newest`` does it, without the calls.
        if self.pending is not None:
            self.pending.bring(slot)
        message = self._messages[slot]
        if message is not None:
            self.frames[slot] = message()
            self._messages[slot] = None
        frame = self.frames[slot]
        if not frame:
            return None
        return self.sequences[slot], self.received_ns[slot], self._live[slot], frame

    def newest(self, slot: int) -> bytes:
        """Return the newest frame of a slot; empty before the first."""
        self._bring(slot)
        message = self._messages[slot]
        if message is not None:
            self.frames[slot] = message()
            self._messages[slot] = None
        return self.frames[slot]

    @property
    @override
    def torn(self) -> int:
        return 0

    @property
    @override
    def phase(self) -> int:
        return self._phase

    @property
    @override
    def universe(self) -> int:
        return self._universe

    @property
    @override
    def calls(self) -> int:
        return self._calls

    @property
    @override
    def beat_ns(self) -> int:
        return self._beat_ns

    @property
    @override
    def back_ns(self) -> int:
        return 0  # the process that feeds a backtest is never silent

    @override
    def close(self) -> None:
        """Do nothing: nothing is mapped."""
