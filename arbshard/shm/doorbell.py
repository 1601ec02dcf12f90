"""Waking a worker: the bell, and the two ends that join ring, sleep word and bell for one shard.

``ShardNotifier`` is the supervisor's end, ``ShardWaiter`` the worker's. The bell of kind ``pipe`` is a named FIFO
in the run directory; another kind is another ``Bell`` and ``Ringer``.
"""

import os
import stat
from contextlib import ExitStack
from pathlib import Path
from time import monotonic_ns
from typing import Protocol, Self

from arbshard.closable import Closable
from arbshard.errors import SharedMemoryError
from arbshard.shm.rings import ParkReader, ParkWriter, RingReader, RingWriter

_CLEAR_BYTES = 65536
"""A FIFO's capacity on Linux: one read empties it."""


class Bell(Protocol):
    """The worker's side of a doorbell."""

    def fileno(self) -> int:
        """The descriptor that becomes readable when the bell was rung."""
        ...

    def clear(self) -> None:
        """Take back all rings so far."""
        ...

    def close(self) -> None:
        """Give the descriptor back. May be called again."""
        ...


class Ringer(Protocol):
    """The supervisor's side of a doorbell."""

    def ring(self) -> None:
        """Wake the worker. Does not wait."""
        ...

    def close(self) -> None:
        """Give the descriptor back. May be called again."""
        ...


def _open_fifo(path: Path) -> int:
    try:
        try:
            os.mkfifo(path, 0o600)
        except FileExistsError:
            if not stat.S_ISFIFO(path.lstat().st_mode):
                raise SharedMemoryError(f"{path}: is in the way of a FIFO") from None
        # Read and write on both sides: opening never waits, and a restart of either side breaks nothing.
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SharedMemoryError(f"{path}: cannot be opened: {error.strerror}") from error


class _Fifo:
    """The FIFO at a path, created if need be. Raises ``SharedMemoryError``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = _open_fifo(path)

    def close(self) -> None:
        """Give the descriptor back; the FIFO stays. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class PipeBell(_Fifo):
    """``Bell`` of kind ``pipe``."""

    def fileno(self) -> int:
        """See ``Bell``."""
        return self._descriptor

    def clear(self) -> None:
        """See ``Bell``."""
        try:
            os.read(self._descriptor, _CLEAR_BYTES)
        except BlockingIOError:
            return  # not rung: the worker woke by itself


class PipeRinger(_Fifo):
    """``Ringer`` of kind ``pipe``."""

    def ring(self) -> None:
        """See ``Ringer``."""
        try:
            os.write(self._descriptor, b"\x01")
        except BlockingIOError:
            return  # full: it has been rung and nobody has looked yet


class ShardFiles:
    """Where a shard's ring, sleep word and bell stand in the run directory."""

    def __init__(self, run_dir: Path, shard: int) -> None:
        self.ring = run_dir / f"ring-{shard}"
        self.park = run_dir / f"park-{shard}"
        self.bell = run_dir / f"bell-{shard}"


class ShardNotifier(Closable):
    """The supervisor's end: tells one shard which slots changed."""

    def __init__(self, ring: RingWriter, park: ParkReader, ringer: Ringer) -> None:
        self._ring = ring
        self._park = park
        self._ringer = ringer
        self._push = ring.push
        self._due = park.due
        self.rings = 0
        """Times the bell was rung."""

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

    def push(self, slot: int) -> None:
        """Note that ``slot`` changed, after the change. Rings only if the worker sleeps, once per sleep."""
        self._push(slot)
        if self._due():
            self.rings += 1
            self._ringer.ring()

    @property
    def asleep(self) -> bool:
        """Whether the worker sleeps now."""
        return self._park.asleep

    def close(self) -> None:
        """Unmap and close; the files stay. May be called again."""
        self._ringer.close()
        self._park.close()
        self._ring.close()


class ShardWaiter(Closable):
    """The worker's end. Its loop: ``drain``; nothing there: ``park``; True: wait for ``fileno`` with a time
    limit, then ``unpark`` and ``clear``; and again.
    """

    def __init__(self, ring: RingReader, park: ParkWriter, bell: Bell) -> None:
        self._ring = ring
        self._park = park
        self._bell = bell

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

    def drain(self) -> list[int] | None:
        """Slots changed since the last call, None for all: see ``RingReader.drain``."""
        return self._ring.drain()

    def is_behind(self) -> bool:
        """Whether ``drain`` would return something."""
        return self._ring.behind()

    def comes_within(self, duration_ns: int) -> bool:
        """Whether something comes within ``duration_ns``; keeps the CPU busy until then."""
        end_ns = monotonic_ns() + duration_ns
        while not self._ring.behind():
            if monotonic_ns() >= end_ns:
                return False
        return True

    def park(self) -> bool:
        """Go to sleep: True. False, and awake, when something has come meanwhile: drain again."""
        self._park.park()
        if self._ring.behind():
            self._park.unpark()
            return False
        return True

    def unpark(self) -> None:
        """Be awake again. Only after a ``park`` that answered True."""
        self._park.unpark()

    def fileno(self) -> int:
        """The descriptor that becomes readable when the bell was rung."""
        return self._bell.fileno()

    def clear(self) -> None:
        """Take back all rings so far."""
        self._bell.clear()

    @property
    def seen(self) -> int:
        """How far was looked into the ring: see ``RingReader.seen``."""
        return self._ring.seen

    @property
    def overflows(self) -> int:
        """Times that entries of the ring were lost and all slots had to be looked at."""
        return self._ring.overflows

    def close(self) -> None:
        """Unmap and close; the files stay. May be called again."""
        self._bell.close()
        self._park.close()
        self._ring.close()
