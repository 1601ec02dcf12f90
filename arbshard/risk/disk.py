"""Judges whether the ledger's disk has room, and measures it every two seconds. ``assembly`` uses it.

Below ``run.disk_free_min_mb`` a person is alerted; below ``run.disk_free_stop_mb``, and from the moment the reserve
had to be given up until it is there again, nothing is entered. Exits go on: the last room is for them.
"""

from enum import IntEnum

from arbshard.config import RunConfig
from arbshard.errors import LedgerError
from arbshard.ledger.store import LedgerStore
from arbshard.log import get_logger
from arbshard.risk.limits.guard import RiskGuard
from arbshard.shm.pages import PageWriter

_EVERY_NS = 2_000_000_000
_MB = 1_000_000
_RETURN = 1.1
"""A level is left only when there is so many times the room, so that a disk near the threshold does not alert
repeatedly.
"""


class Room(IntEnum):
    """Is how much room there is. The numbers are on risk's page."""

    AMPLE = 0
    LOW = 1
    """A person should look."""
    SHORT = 2
    """Nothing is entered."""


def room_of(free_mb: float, run: RunConfig, *, before: Room = Room.AMPLE, reserve_gone: bool = False) -> Room:
    """Return the level for ``free_mb``, coming from the level ``before``; ``reserve_gone``: it was deleted."""
    stop = run.disk_free_stop_mb * (_RETURN if before is Room.SHORT else 1)
    if reserve_gone or free_mb < stop:
        return Room.SHORT
    low = run.disk_free_min_mb * (_RETURN if before is not Room.AMPLE else 1)
    return Room.LOW if free_mb < low else Room.AMPLE


class DiskWatch:
    """Measures the free space of the ledger's disk, and keeps the reserve file beside the ledger."""

    def __init__(self, store: LedgerStore, run: RunConfig, guard: RiskGuard, page: PageWriter) -> None:
        self._store = store
        self._run = run
        self._guard = guard
        self._page = page
        self._due_ns = 0
        self._used = 0
        """``store.reserve_used`` at the last look."""
        self._is_gone = False
        """Whether the reserve had to be given up and is not there again."""
        self.room = Room.AMPLE

    def poll(self, now_ns: int) -> None:
        """Measure when it is due, or at once after the reserve was deleted. Raises ``LedgerError``."""
        used = self._store.reserve_used
        if now_ns < self._due_ns and used == self._used:
            return
        self._due_ns = now_ns + _EVERY_NS
        self._is_gone = self._is_gone or used != self._used
        self._used = used
        try:
            is_kept = self._store.keep_reserve()
            free_mb = self._store.free_bytes() / _MB
        except OSError as error:
            raise LedgerError(
                f"{self._store.path}: its disk cannot be looked at: {error.strerror}; check the disk"
            ) from error
        self._is_gone = self._is_gone and not is_kept
        before, self.room = (
            self.room,
            room_of(free_mb, self._run, before=self.room, reserve_gone=self._is_gone),
        )
        if self.room is not before:
            get_logger().warning("room on the ledger's disk", level=self.room.name, free_mb=round(free_mb, 1))
        short = self.room is Room.SHORT
        self._guard.disk_short = f"{free_mb:.1f} MB are free on the ledger's disk" if short else ""
        for name, value in (
            ("disk_free_mb", int(free_mb)),
            ("disk_room", int(self.room)),
            ("reserve_kept", int(is_kept)),
            ("reserve_used", used),
        ):
            self._page.set(self._page.counter(name), value)
