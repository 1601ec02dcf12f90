"""Keeps the ledger in memory: a disk that outlives risk, and a store on it with the methods of
``ledger.store.LedgerStore``.

Appended events remain; events that were not appended are lost with the process. Events are kept as they are stored,
so that a restart decodes them. Events before the oldest snapshot are dropped: a run may last for days.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from arbshard.errors import LedgerDamaged, LedgerError
from arbshard.ledger.events import Amounts, Event, decode_event, encode_event
from arbshard.ledger.period import PeriodOpening
from arbshard.ledger.postings import RunningBalances
from arbshard.ledger.snapshots import Snapshot
from arbshard.ledger.store import LedgerStore, TakeSnapshot
from arbshard.virtual.settings import TAG

_SNAPSHOT_EVERY = 2_000
_SNAPSHOTS_KEPT = 2
_FREE_BYTES = 10**12
_PATH = Path("virtual-ledger")

OnStored = Callable[[int, Sequence[Event], Sequence[str]], None]
"""Receives the number of the first event, the events, and the stored bytes of each."""


class Disk:
    """Holds the stored events, and whether there is room for more."""

    def __init__(self, on_stored: OnStored) -> None:
        self.bodies: list[str] = []
        self.first_seq = 1
        """Number of the first event in ``bodies``."""
        self.last_seq = 0
        self.table: dict[tuple[str, str], Decimal] = {}
        """Running balances after the last event."""
        self.snapshots: list[Snapshot] = []
        """Snapshots, the oldest first."""
        self.is_full = False
        self.failed = 0
        """Number of appends that were refused because the disk was full."""
        self.ended_in_order = True
        self.on_stored = on_stored

    def let_go(self) -> None:
        """Drop the events that the oldest snapshot covers, if there are as many snapshots as are kept."""
        if len(self.snapshots) > _SNAPSHOTS_KEPT:
            del self.snapshots[0]
            oldest = self.snapshots[0].seq
            del self.bodies[: oldest + 1 - self.first_seq]
            self.first_seq = oldest + 1


class MemoryLedger(LedgerStore):
    """Is one writer's view of a disk. It shares the interface of ``LedgerStore`` and none of its code."""

    def __init__(self, disk: Disk) -> None:  # the parent's would open files
        self.path = _PATH
        self.tag = TAG
        self.failure = None
        self.began_ms = 0
        self.reserve_used = 0
        self.last_seq = disk.last_seq
        self._disk = disk
        self._own = RunningBalances(disk.table)
        self._snapshot_of: TakeSnapshot | None = None
        self._snapshot_version = ""

    @property
    def ended_in_order(self) -> bool:
        """Return whether the last writer ended in order, as in ``LedgerStore``."""
        return self._disk.ended_in_order

    @property
    def period(self) -> PeriodOpening | None:
        """Return the period of the ledger, as in ``LedgerStore``: a simulated ledger is never archived."""
        return None

    def events(self, after: int = 0) -> Iterator[tuple[int, Event]]:
        """Yield the stored events after number ``after``, as ``LedgerStore`` does."""
        first = self._disk.first_seq
        for number, body in enumerate(self._disk.bodies[max(0, after + 1 - first) :]):
            yield max(first, after + 1) + number, decode_event(body)

    def snapshots(self) -> Iterator[Snapshot | LedgerDamaged]:
        """Yield the stored snapshots, the newest first, as ``LedgerStore`` does."""
        yield from reversed(self._disk.snapshots)

    def check_pages(self) -> None:
        """Do nothing: memory has no pages to check."""

    def resume(self, snapshot: Snapshot | None, owned: Amounts) -> None:
        """Continue after the last stored event, as ``LedgerStore`` does."""
        self._own.check(_PATH, owned)
        self._last_kept = snapshot.seq if snapshot is not None else 0

    def inspect(self) -> None:
        """Do nothing: memory needs no inspection."""

    def append(self, events: Sequence[Event]) -> None:
        """Store all events or none. Raises ``LedgerError`` while the disk is full or another writer has written."""
        if not events:
            return
        disk, first = self._disk, self.last_seq + 1
        if disk.last_seq != self.last_seq:
            raise LedgerError("another writer has the ledger")
        bodies = [encode_event(event) for event in events]
        moved: dict[tuple[str, str], Decimal] = {}
        self._own.follow(events, moved)
        if disk.is_full:
            disk.failed += 1
            self.failure = LedgerError(f"{_PATH}: cannot be written: database or disk is full")
            raise self.failure
        disk.bodies += bodies
        disk.last_seq = self.last_seq = disk.last_seq + len(bodies)
        disk.ended_in_order = type(events[-1]).__name__ == "Stopped"
        self._own.table.update(moved)
        disk.table.update(moved)
        disk.on_stored(first, events, bodies)

    def keep_reserve(self) -> bool:
        """Return True: a virtual disk is full at once, without a reserve."""
        return True

    def free_bytes(self) -> int:
        """Return the same number always: a full virtual disk shows only when something is written."""
        return _FREE_BYTES

    def check_files(self) -> None:
        """Do nothing: no other process reaches this memory."""

    @property
    def balances(self) -> Mapping[tuple[str, str], Decimal]:
        """Return the running balances, as ``LedgerStore`` does."""
        return self._own.table

    def keep_snapshots(self, version: str, take: TakeSnapshot, overdue: int | None = None) -> None:
        """Set the source of snapshots, as ``LedgerStore`` does. The disk decides how often one is stored."""
        del overdue
        self._snapshot_version = version
        self._snapshot_of = take

    def checkpoint_if_due(self, *, is_idle: bool) -> bool:
        """Store a snapshot if one is due. There is no write-ahead log to checkpoint."""
        del is_idle
        take = self._snapshot_of
        if take is None or self.last_seq - self._last_kept < _SNAPSHOT_EVERY or self._disk.is_full:
            return False
        state_hash, body = take()
        self._last_kept = self.last_seq
        self._disk.snapshots.append(
            Snapshot(self.last_seq, 0, self._snapshot_version, state_hash, dict(self._own.table), body)
        )
        self._disk.let_go()
        return False

    def close(self) -> None:
        """Do nothing: all events are stored."""

    def abandon(self) -> None:
        """Do nothing: no file is open."""
