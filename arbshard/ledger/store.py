"""Writes the ledger. ``arbshard.risk`` owns its one writer.

Nothing here decides. ``append`` is all-or-nothing: when it raises, the file and the balances kept here are as
before, unless another program has changed the file meanwhile (``LedgerChanged``). Until the first ``append`` the
file is only read, so a ledger that is refused stays byte for byte as it was. Other programs use ``ledger.reader``.

The files are examined before and after each write. What remains undetected is a change that is made and hidden again
between these two checks: a file that is cut while a transaction is written, and has grown beyond its old size when
it is done.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Self, TypeVar

from arbshard.errors import (
    LedgerBusy,
    LedgerChanged,
    LedgerDamaged,
    LedgerError,
    LedgerFull,
    RunDirError,
    UsageError,
)
from arbshard.ledger import file, schema, snapshots
from arbshard.ledger.events import MOVING, Amounts, Event, decode_event, encode_event, kind_of, subject_of
from arbshard.ledger.file import Opening, damaged, failure
from arbshard.ledger.filewatch import FileWatch, LedgerIdentity
from arbshard.ledger.inspection import Inspection, check_pages
from arbshard.ledger.lock import WriterLock
from arbshard.ledger.period import PeriodOpening, head_of_period, load_opening
from arbshard.ledger.postings import RunningBalances
from arbshard.ledger.reader import EventRow, LedgerReader
from arbshard.ledger.reserve import RESERVE_BYTES, Reserve
from arbshard.ledger.snapshots import Snapshot
from arbshard.ledger.successor import bring_up_to_date, put_in_place
from arbshard.log import get_logger

_COMMITS_DUE = 200
_COMMITS_OVERDUE = 500

T = TypeVar("T")

TakeSnapshot = Callable[[], tuple[str, bytes]]
"""Returns hash and body of the state as it is now. Raises ``LedgerError`` when it cannot be stored."""


class LedgerStore:
    """Is the one writer of a ledger."""

    def __init__(
        self, path: Path, reader: sqlite3.Connection, lock: WriterLock, tag: str | None, *, durable: bool
    ) -> None:
        self.path = path
        self.tag = tag if tag is not None else file.new_tag()
        """Part of every order's name at its venue, so that no other ledger's orders have the same name."""
        self.began_ms = 0
        """Wall time at which the ledger was begun, in milliseconds; 0 when it does not say."""
        self.reserve = Reserve(path)
        self.reserve_used = 0
        """How often the reserve was given up to let a write through."""
        self._files = FileWatch(path)
        self._must_store_tag = tag is None
        self._reader = reader
        self._connection: sqlite3.Connection | None = None
        """The connection that writes; the first write opens it."""
        self._lock = lock
        self._durable = durable
        self._running: RunningBalances | None = None
        """None until they are needed or ``resume`` has read them."""
        self._unmoved = 0
        """Number of commits since the last checkpoint."""
        self._take: TakeSnapshot | None = None
        self._version = ""
        self._overdue: int | None = None
        self._kept_seq = 0
        """Last event of the newest snapshot, or the event at which the last attempt failed."""
        self._prepared: snapshots.Prepared | None = None
        """A snapshot that is yet to be written."""
        self.snapshot_seq = 0
        """Last event of the newest snapshot that is stored; 0 when none is."""
        self._newest_ms = 0
        self._inspection: Inspection | None = None
        self._is_closed = False
        self.archived_seq = 0
        """The last event that is in an archive; 0 when none is."""
        self.last_seq = 0
        self.last_body = ""
        """Text of the last event; empty when that is in an archive and was not written by this process."""
        self._newest: list[str] = []
        """Texts of the last events that were written together, which are sent to other hosts at once."""
        self.failure: LedgerError | None = None
        """Why nothing can be written any more; None as long as it can."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        name: str,
        mode: str,
        now_ms: int,
        durable: bool = False,
        opening: Opening = "any",
    ) -> Self:
        """Open the ledger at ``path``, or begin it there if ``opening`` allows that.

        ``durable`` makes every append reach the disk (live); without it the newest appends may be lost when the
        machine, not the process, fails. Raises ``RunDirError`` (place unusable, another writer), ``UsageError``
        (ledger of another mode, or not what ``opening`` demands), ``LedgerVersionError``, ``LedgerDamaged``,
        ``LedgerError``.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise RunDirError(f"{path.parent}: cannot be created: {error.strerror}") from error
        lock = WriterLock(path)
        reader: sqlite3.Connection | None = None
        try:
            file.check_opening(path, opening)
            if not path.exists():
                file.create(path, name, mode, now_ms)
            file.check_writable(path)
            for line in file.make_private(path):
                get_logger().warning(line)
            reader = file.open_reader(path)
            meta = file.check_meta(reader, path, mode)
            store = cls(path, reader, lock, meta.get("tag"), durable=durable)
            store.began_ms = int(meta.get("created_ms", "0"))
            _, store.archived_seq = head_of_period(reader, path)
            store.last_seq = reader.execute(schema.LAST_SEQ).fetchone()[0] or store.archived_seq
            newest = reader.execute(schema.BODY_AT, (store.last_seq,)).fetchone()
            store.last_body = newest[0] if newest is not None else ""
        except BaseException as error:
            if reader is not None:
                reader.close()
            lock.release()
            if isinstance(error, sqlite3.Error):
                raise failure(path, "cannot be opened", error) from error
            raise
        return store

    # reading, at the start

    @property
    def period(self) -> PeriodOpening | None:
        """Return what the period begins with; None when nothing is in archives. Raises ``LedgerError``."""
        try:
            return load_opening(self._reader, self.path)
        except sqlite3.Error as error:
            raise failure(self.path, "cannot be read", error) from error

    @property
    def ended_in_order(self) -> bool:
        """Return whether the last writer closed the ledger in order. Raises ``LedgerError``."""
        try:
            ended = self._reader.execute(schema.KIND_AT, (self.last_seq,)).fetchone()
        except sqlite3.Error as error:
            raise failure(self.path, "cannot be read", error) from error
        return ended is None or ended[0] == "Stopped"

    def events(self, after: int = 0) -> Iterator[tuple[int, Event]]:
        """Yield (sequence, event) of all that follows the event ``after``, oldest first. Raises ``LedgerError``."""
        try:
            for seq, _, _, _, _, body in self._reader.execute(schema.EVENTS_AFTER, (after,)):
                try:
                    yield seq, decode_event(body)
                except (LedgerDamaged, TypeError) as error:
                    raise damaged(self.path, f"event {seq}: {error}") from error
        except sqlite3.Error as error:
            raise failure(self.path, "cannot be read", error) from error

    def bodies(self, after: int, limit: int) -> list[str]:
        """Return the texts of at most ``limit`` events that follow the event ``after``. Raises ``LedgerError``."""
        if after == self.last_seq - len(self._newest):
            return self._newest[:limit]
        try:
            found = self._reader.execute(schema.BODIES_AFTER, (after, limit)).fetchall()
        except sqlite3.Error as error:
            raise failure(self.path, "cannot be read", error) from error
        return [body for (body,) in found]

    def find(self, kind: str) -> list[tuple[int, Event]]:
        """Return (sequence, event) of all events of ``kind`` that are not archived. Raises ``LedgerError``."""
        try:
            found = self._reader.execute(schema.EVENTS_OF_KIND, (kind,)).fetchall()
        except sqlite3.Error as error:
            raise failure(self.path, "cannot be read", error) from error
        return [(seq, decode_event(body)) for seq, body in found]

    def snapshots(self) -> Iterator[Snapshot | LedgerDamaged]:
        """Yield the snapshots, newest first; in place of a damaged one, the error that says why. Raises
        ``LedgerError``.
        """
        try:
            yield from snapshots.load(self._reader, self.last_seq)
        except sqlite3.Error as error:
            raise failure(self.path, "cannot be read", error) from error

    def check_pages(self) -> None:
        """Check every page. Raises ``LedgerError``."""
        try:
            check_pages(self._reader, self.path)
        except sqlite3.Error as error:
            raise failure(self.path, "cannot be read", error) from error

    def resume(self, snapshot: Snapshot | None, owned: Amounts) -> None:
        """Take over the running balances: those of ``snapshot``, moved by the postings after it.

        ``owned`` is what the events add up to. Raises ``LedgerDamaged`` when the postings contradict that or
        themselves, else ``LedgerError``.
        """
        running = self._read_balances(snapshot)
        running.check(self.path, owned)
        self._running = running
        self._kept_seq = self.snapshot_seq = snapshot.seq if snapshot is not None else 0

    def inspect(self) -> None:
        """Start to search the whole file for damage; ``checkpoint_if_due`` raises what is found.

        Raises ``LedgerError``.
        """
        self._inspection = Inspection(self.path)

    # writing

    def append(self, events: Sequence[Event]) -> None:
        """Store ``events`` and their postings in one transaction. Raises ``LedgerError``; then nothing is stored."""
        if not events:
            return
        rows = [
            (seq, event.at_ms, kind_of(event), *subject_of(event), encode_event(event))
            for seq, event in enumerate(events, self.last_seq + 1)
        ]
        self._append(events, rows)

    def append_copied(self, events: Sequence[Event], bodies: Sequence[str]) -> None:
        """Store the events of another host's ledger as ``append`` does, with the very texts that it has."""
        copied = enumerate(zip(events, bodies, strict=True), self.last_seq + 1)
        self._append(
            events,
            [(seq, one.at_ms, kind_of(one), *subject_of(one), body) for seq, (one, body) in copied],
        )

    def _append(self, events: Sequence[Event], rows: Sequence[EventRow]) -> None:
        moved = self._with_reserve(lambda: self._write(events, rows))
        self._must_store_tag = False
        self.last_seq += len(events)
        self._newest = [row[5] for row in rows]
        self.last_body = self._newest[-1]
        self._newest_ms = events[-1].at_ms
        self._unmoved += 1
        if moved:
            self._balances().table.update(moved)

    def _write(self, events: Sequence[Event], rows: Sequence[EventRow]) -> dict[tuple[str, str], Decimal]:
        """Commit ``events`` and their postings in one transaction. Return the balances that have changed."""
        first = self.last_seq + 1
        moved: dict[tuple[str, str], Decimal] = {}
        moves = any(isinstance(event, MOVING) for event in events)
        lines = list(self._balances().lines(first, events, moved)) if moves else []
        try:
            writer = self._writer()
            self._check(self._files.look_before_write)
            if len(rows) == 1 and not (lines or self._must_store_tag):
                writer.execute(schema.INSERT_EVENT, rows[0])  # one statement is a transaction of its own
            else:
                writer.execute("BEGIN IMMEDIATE")
                if self._must_store_tag:
                    writer.execute(schema.INSERT_META, ("tag", self.tag))
                writer.executemany(schema.INSERT_EVENT, rows)
                writer.executemany(schema.INSERT_POSTING, lines)
                writer.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            # A change of the files by another program explains the error better than SQLite does.
            self._check(self._files.wrote)
            raise self._failed("cannot be written", error) from error
        self._check(self._files.wrote)
        return moved

    def keep_reserve(self) -> bool:
        """Keep the reserve beside the ledger. Return whether it is there. Raises ``OSError``."""
        return self.reserve.keep(spare_bytes=RESERVE_BYTES)

    def free_bytes(self) -> int:
        """Return how many bytes are free on the ledger's disk. Raises ``OSError``."""
        return file.free_bytes(self.path.parent)

    def check_files(self) -> None:
        """Raise ``LedgerChanged`` unless the files are as the last write left them. Raises ``LedgerError``."""
        self._check(self._files.check)

    def _check(self, look: Callable[[], None]) -> None:
        try:
            look()
        except LedgerError as error:
            self.failure = error
            raise

    def _with_reserve(self, write: Callable[[], T]) -> T:
        """Do ``write``; when the disk is full, give up the reserve and do it once more. Raises ``LedgerError``."""
        try:
            return write()
        except LedgerFull:
            try:
                if not self.reserve.give_up():
                    raise
            except OSError as error:
                get_logger().error("the reserve cannot be given up", error=str(error))
                raise self.failure or error from error
            self.reserve_used += 1
            get_logger().warning("the disk is full: the reserve was given up", ledger=str(self.path))
        done = write()
        self.failure = None
        return done

    @property
    def balances(self) -> Mapping[tuple[str, str], Decimal]:
        """Return the running balance by (account, currency). Raises ``LedgerError``."""
        return self._balances().table

    def keep_snapshots(self, version: str, take: TakeSnapshot, overdue: int | None = None) -> None:
        """Store snapshots of what ``take`` returns from now on: now and then, and at the end.

        ``overdue`` is the number of events after which one is taken even when there is no time;
        ``snapshots.SNAPSHOT_OVERDUE`` unless given. A period can only end at a snapshot, so they must not be rarer
        than periods are to be long.
        """
        self._overdue = overdue
        self._version = version
        self._take = take

    def checkpoint_if_due(self, *, is_idle: bool) -> bool:
        """Move the write-ahead log into the file when it has grown, sooner when ``is_idle``. Return whether it was
        moved.

        It is called between two batches, a few times a second; snapshots are taken here too, and what the inspection
        has found is raised here. Raises ``LedgerError``.
        """
        self._look_at_inspection()
        overdue = snapshots.SNAPSHOT_OVERDUE if self._overdue is None else self._overdue
        due = min(overdue, snapshots.SNAPSHOT_DUE) if is_idle else overdue
        # Never do two of these at once: each is a pause in which no request is answered.
        if self._write_snapshot() or self._prepare_snapshot(due):
            return False
        if self._unmoved < (_COMMITS_DUE if is_idle else _COMMITS_OVERDUE):
            return False
        self.checkpoint()
        return True

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file. Raises ``LedgerError``."""
        self._with_reserve(lambda: self._checkpoint("PASSIVE"))
        self._unmoved = 0

    def prepare_successor(self, successor: Path) -> None:
        """Do most of the work of ``take_over`` beforehand, because no request is answered during that.

        Raises ``LedgerError``.
        """
        try:
            bring_up_to_date(successor, self._reader, self.path, self.last_seq)
        except sqlite3.Error as error:
            raise failure(successor, "cannot be written", error) from error
        except OSError as error:
            raise LedgerError(f"{successor}: cannot be written: {error.strerror}") from error

    def take_over(self, successor: Path) -> None:
        """Put ``successor`` (``ledger.successor``) in the place of the ledger's file, and go on in it.

        It is brought up to date first. Whatever ends the process meanwhile, the file at the ledger's path is the old
        one or the new one, and whole. Raises ``LedgerBusy`` when another program is reading at the moment (nothing
        has changed, and another try is worth it), else ``LedgerError``.
        """
        if self._inspection is not None:
            raise LedgerBusy(f"{self.path}: it is still looked through for damage")
        self.check_files()
        self.prepare_successor(successor)
        try:
            with file.one_file(self.path, exclusive=True):
                # Both connections are closed before the renaming: SQLite would go on in the old file.
                self._empty_log()
                self._connection = None
                self._reader.close()
                put_in_place(successor, self.path)
                self._reader = file.open_reader(self.path)
                _, self.archived_seq = head_of_period(self._reader, self.path)
                # The successor holds no snapshot yet, not even one that was taken while it was being made.
                self._kept_seq = self.snapshot_seq = self.archived_seq
                self._files = FileWatch(self.path)  # from now on these files are the ledger's
        except sqlite3.Error as error:
            raise self._failed("cannot be exchanged", error) from error
        except OSError as error:
            self.failure = LedgerError(f"{self.path}: cannot be exchanged: {error.strerror}")
            raise self.failure from error
        self._unmoved = 0

    def _empty_log(self) -> None:
        """Move all of the log into the file, and close the writer. Raises ``LedgerBusy`` or ``sqlite3.Error``."""
        writer = self._writer()
        writer.execute("PRAGMA busy_timeout = 0")
        try:
            is_busy = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            writer.execute(f"PRAGMA busy_timeout = {int(file.BUSY_S * 1000)}")
        if is_busy:
            self._check(self._files.wrote)  # some of the log may have been moved
            raise LedgerBusy(f"{self.path}: another program is just reading it")
        writer.close()

    def _checkpoint(self, kind: str) -> None:
        self.check_files()
        try:
            self._writer().execute(f"PRAGMA wal_checkpoint({kind})")
        except sqlite3.Error as error:
            self._check(self._files.wrote)
            raise self._failed("cannot be checkpointed", error) from error
        if kind == "PASSIVE":  # any other kind may cut the log
            self._check(self._files.wrote)

    def close(self) -> None:
        """Take a snapshot, move everything into the file, empty the log, and release the lock.

        What can then be read at the ledger's path is compared with what was written. Raises ``LedgerError``.
        """
        if self._is_closed:
            return
        wrote = self._connection is not None
        try:
            self.check_files()
            self._prepare_snapshot(snapshots.SNAPSHOT_AT_STOP)
            self._write_snapshot()
            if wrote:
                self._let_go_of_reading()  # a connection that still reads would keep the log from being emptied
                self._with_reserve(lambda: self._checkpoint("TRUNCATE"))
                # This is done before the writer is closed, because the last connection to close removes SQLite's
                # other files.
                self._read_back()
        finally:
            self.abandon()

    def _read_back(self) -> None:
        wanted = LedgerIdentity(self.tag, self.last_seq)
        try:
            with LedgerReader(self.path) as reader:
                found = LedgerIdentity(reader.meta.get("tag", ""), reader.last_seq)
        except UsageError as error:  # there is no ledger
            self.failure = LedgerChanged(f"{error}: it was removed while it was being closed")
            raise self.failure from error
        except LedgerError as error:
            self.failure = error
            raise
        if found != wanted:
            self.failure = LedgerChanged(
                f"{self.path}: read back at its close it has the tag {found.tag} and ends with event "
                f"{found.last_seq}; written was tag {wanted.tag} up to event {wanted.last_seq}; "
                "put the right ledger back before you start again"
            )
            raise self.failure

    def abandon(self) -> None:
        """Close without writing anything more, after a failure. May be called again.

        The last connection to close moves the log into the file, unless it cannot write. So the reading one is
        closed last.
        """
        self._is_closed = True
        if self._connection is not None:
            self._connection.close()
        self._let_go_of_reading()
        self._lock.release()

    def _writer(self) -> sqlite3.Connection:
        if self._is_closed:
            raise sqlite3.ProgrammingError("it is closed")
        if self._connection is None:
            self.check_files()  # all that was read until now came from the file that is opened here
            self._connection = file.open_writer(self.path, durable=self._durable)
            self._check(self._files.wrote)
        return self._connection

    def _balances(self) -> RunningBalances:
        if self._running is None:
            self._running = self._read_balances(None)
        return self._running

    def _read_balances(self, snapshot: Snapshot | None) -> RunningBalances:
        if snapshot is None and (period := self.period) is not None:
            snapshot = period.state
        running = RunningBalances(snapshot.balances if snapshot is not None else None)
        try:
            running.read(self._reader, self.path, snapshot.seq if snapshot is not None else 0)
        except sqlite3.Error as error:
            raise self._failed("cannot be read", error) from error
        return running

    def _prepare_snapshot(self, due: int) -> bool:
        """Take a snapshot if ``due`` events have come since the last one. Return whether it was taken."""
        if self._take is None or self.last_seq - self._kept_seq < due:
            return False
        self._kept_seq = self.last_seq
        try:
            state_hash, body = self._take()
        except LedgerError as error:
            get_logger().warning("no snapshot of the ledger", seq=self.last_seq, why=str(error))
            return False
        balances = self._balances().table
        snapshot = Snapshot(self.last_seq, self._newest_ms, self._version, state_hash, balances, body)
        self._prepared = snapshots.prepare(snapshot)
        return True

    def _write_snapshot(self) -> bool:
        """Store the snapshot that was prepared. Return whether it was stored. A failure costs only time at a later
        start.
        """
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return False
        try:
            writer = self._writer()
            self.check_files()
            snapshots.save(writer, prepared)
        except sqlite3.Error as error:
            get_logger().warning("no snapshot of the ledger", seq=prepared.seq, why=str(error))
            self._roll_back()
            self._check(self._files.wrote)
            return False
        self._check(self._files.wrote)
        self._unmoved += 1
        self.snapshot_seq = prepared.seq
        get_logger().info("snapshot of the ledger", seq=prepared.seq, bytes=len(prepared.body))
        return True

    def _look_at_inspection(self) -> None:
        one = self._inspection
        if one is None or not one.is_over:
            return
        self._inspection = None
        one.stop()
        try:
            one.check()
        except LedgerError as error:
            self.failure = error
            raise

    def _let_go_of_reading(self) -> None:
        if self._inspection is not None:
            self._inspection.stop()
            self._inspection = None
        self._reader.close()

    def _roll_back(self) -> None:
        try:
            # After some errors (disk full) SQLite has rolled back by itself.
            if self._connection is not None and not self._is_closed and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self._failed("cannot be written nor rolled back", error) from error

    def _failed(self, doing: str, error: sqlite3.Error) -> LedgerError:
        self.failure = failure(self.path, doing, error)
        return self.failure
