"""Wakes workers: holds the bell, and the two ends that join ring, sleep word and bell for one shard.

``ShardNotifier`` is the supervisor's end, ``ShardWaiter`` the worker's. The bell of kind ``pipe`` is a named FIFO in
the run directory; another kind is another ``Bell`` and ``Ringer``.
"""

import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic_ns
from typing import Protocol, Self

from arbshard.closable import Closable
from arbshard.errors import SharedMemoryError
from arbshard.shm.rings import ParkReader, ParkWriter, RingReader, RingWriter

_CLEAR_BYTES = 256
"""Number of bytes that one read takes from the FIFO, which usually holds a single one. Room for all that it can hold
would make each wake-up more expensive.
"""


class Bell(Protocol):
    """Lets a worker wait for its doorbell."""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the bell was rung."""
        ...

    def clear(self) -> None:
        """Discard all rings so far."""
        ...

    def close(self) -> None:
        """Close the descriptor. May be called again."""
        ...


class Ringer(Protocol):
    """Lets the supervisor ring a worker's doorbell."""

    def ring(self) -> None:
        """Wake the worker. Does not wait."""
        ...

    def close(self) -> None:
        """Close the descriptor. May be called again."""
        ...


def _open_fifo(path: Path) -> int:
    try:
        try:
            os.mkfifo(path, 0o600)
        except FileExistsError:
            if not stat.S_ISFIFO(path.lstat().st_mode):
                raise SharedMemoryError(f"{path}: is in the way of a FIFO") from None
        # Both sides open it to read and write: opening never waits, and a restart of either side breaks nothing.
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SharedMemoryError(f"{path}: cannot be opened: {error.strerror}") from error


class _Fifo:
    """Is the FIFO at a path, created if need be. Raises ``SharedMemoryError``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = _open_fifo(path)

    def close(self) -> None:
        """Close the descriptor; the FIFO stays. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class PipeBell(_Fifo):
    """Is the ``Bell`` of kind ``pipe``."""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the bell was rung."""
        return self._descriptor

    def clear(self) -> None:
        """Discard all rings so far."""
        try:
            while len(os.read(self._descriptor, _CLEAR_BYTES)) == _CLEAR_BYTES:
                pass
        except BlockingIOError:
            return  # not rung: the worker woke by itself


class PipeRinger(_Fifo):
    """Is the ``Ringer`` of kind ``pipe``."""

    def ring(self) -> None:
        """Wake the worker. Does not wait."""
        try:
            os.write(self._descriptor, b"\x01")
        except BlockingIOError:
            return  # full: it has been rung, and the worker has not read it yet


class ShardFiles:
    """Names the paths of a shard's ring, sleep word and bell, which are in the run directory."""

    def __init__(self, run_dir: Path, shard: int) -> None:
        self.ring = run_dir / f"ring-{shard}"
        self.park = run_dir / f"park-{shard}"
        self.bell = run_dir / f"bell-{shard}"


class ShardNotifier(Closable):
    """Informs the worker of one shard, for the supervisor, which slots changed."""

    def __init__(self, ring: RingWriter, park: ParkReader, ringer: Ringer) -> None:
        self._ring = ring
        self._park = park
        self._ringer = ringer
        self.push: Callable[[int], None] = ring.notifier(park, self.wake)
        """Records that a slot changed, after the change. Rings only if the worker sleeps, once per sleep."""
        self.rings = 0
        """How often the bell was rung."""

    @classmethod
    def create(cls, run_dir: Path, shard: int, capacity: int = 4096, *, ringer: Ringer | None = None) -> Self:
        """Create the shard's files, with a FIFO unless there is another ``ringer`` (then owned by this).

        Raises ``SharedMemoryError``.
        """
        files = ShardFiles(run_dir, shard)
        with ExitStack() as undo:
            bell: Ringer = PipeRinger(files.bell) if ringer is None else ringer
            undo.callback(bell.close)
            ring = undo.enter_context(RingWriter.create(files.ring, capacity))
            ParkWriter.ensure(files.park)
            park = undo.enter_context(ParkReader.attach(files.park))
            undo.pop_all()
            return cls(ring, park, bell)

    def wake(self) -> None:
        """Ring, because something other than a slot has changed."""
        self.rings += 1
        self._ringer.ring()

    @property
    def asleep(self) -> bool:
        """Return whether the worker sleeps now."""
        return self._park.asleep

    def close(self) -> None:
        """Unmap and close; the files stay. May be called again."""
        self._ringer.close()
        self._park.close()
        self._ring.close()


class ShardWaiter(Closable):
    """Lets a worker wait for changes of its slots.

    Its loop calls ``drain``; when nothing is there, ``park``; when that returns True, it waits for ``fileno`` with a
    time limit, and then calls ``unpark`` and ``clear``; and again.
    """

    def __init__(self, ring: RingReader, park: ParkWriter, bell: Bell) -> None:
        self._ring = ring
        self._park = park
        self._bell = bell
        self.drain: Callable[[], list[int] | None] = ring.drain
        """Returns the slots that changed since the last call, None for all, as ``RingReader.drain`` does."""
        self.is_behind: Callable[[], bool] = ring.behind
        """Returns whether ``drain`` would return something."""
        self.park: Callable[[], bool] = ring.parker(park)
        """Marks the worker as asleep and returns True. Returns False, and the worker stays awake, when a change came
        meanwhile: drain again.
        """
        self.unpark: Callable[[], None] = ring.unparker(park)
        """Marks the worker as awake. Called only after a ``park`` that returned True."""
        self.clear: Callable[[], None] = bell.clear
        """Discards all rings so far."""

    @classmethod
    def attach(cls, run_dir: Path, shard: int, *, bell: Bell | None = None) -> Self:
        """Attach to the shard's files, with the FIFO unless there is another ``bell`` (then owned by this).

        Raises ``SharedMemoryError``.
        """
        files = ShardFiles(run_dir, shard)
        with ExitStack() as undo:
            own: Bell = PipeBell(files.bell) if bell is None else bell
            undo.callback(own.close)
            ring = undo.enter_context(RingReader.attach(files.ring))
            park = undo.enter_context(ParkWriter.open(files.park))
            undo.pop_all()
            return cls(ring, park, own)

    def comes_within(self, duration_ns: int) -> bool:
        """Return whether a change comes within ``duration_ns``; this keeps the CPU busy until then."""
        end_ns = monotonic_ns() + duration_ns
        while not self._ring.behind():
            if monotonic_ns() >= end_ns:
                return False
        return True

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the bell was rung."""
        return self._bell.fileno()

    @property
    def seen(self) -> int:
        """Return up to which change the ring was read, as ``RingReader.seen`` does."""
        return self._ring.seen

    @property
    def overflows(self) -> int:
        """Return how often entries of the ring were lost, so that all slots had to be read."""
        return self._ring.overflows

    def close(self) -> None:
        """Unmap and close; the files stay. May be called again."""
        self._bell.close()
        self._park.close()
        self._ring.close()
