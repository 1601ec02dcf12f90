"""Closes a period: verifies it, writes it into archives, and prepares the file in which the ledger goes on.

Nothing here changes the ledger; ``store.take_over`` does, when everything is ready. A period is verified from its
fills up before it is archived, because an archive is never changed. ``arbshard ledger archive`` uses this and, while
risk trades, ``archiver``.
"""

import fcntl
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, localcontext
from pathlib import Path
from time import sleep

from arbshard.errors import LedgerBusy, LedgerError
from arbshard.ledger.archive import ArchiveReader, Closed, folder_of, partial_of, write_archive
from arbshard.ledger.file import damaged
from arbshard.ledger.period import ArchiveLink, PeriodOpening, rows_of_balances
from arbshard.ledger.postings import Line
from arbshard.ledger.reader import EventRow, LedgerReader
from arbshard.ledger.replay import State, StateCodec, state_at
from arbshard.ledger.snapshots import Snapshot
from arbshard.ledger.successor import make_successor, remove, successor_of
from arbshard.ledger.verify import Verifier, differing
from arbshard.model.money import MONEY_CONTEXT, plain

PERIOD_EVENTS = 50_000
"""Number of events in one archive, within a half; a longer period becomes several archives. All of them are in
memory at once.
"""
_FOLDER_MODE = 0o700
_PROGRESS_EVERY = 1000
_TRIES = 50
_PAUSE_S = 0.1
_STATEMENTS = ("PositionOpened", "PositionChanged", "PositionClosed")


def _no_progress() -> None:
    pass


def close_period(reader: LedgerReader, cut: Snapshot, on_progress: Callable[[], None] = _no_progress) -> Path:
    """Archive the events up to ``cut`` and make the ledger's successor. Return the path of the successor.

    ``on_progress`` is called every thousand events. Raises ``LedgerError``; the ledger is then as before.
    """
    folder = folder_of(reader.path)
    try:
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"{folder}: cannot be made: {error.strerror}") from error
    with localcontext(MONEY_CONTEXT), _alone(folder):
        # Attempts that were cut off left these: they are never whole, and no archive or ledger names them.
        for left in folder.glob(partial_of("*")):
            left.unlink()
        archives = _Archives(reader, folder)
        archives.write(cut, on_progress)
        assert archives.newest is not None, cut.seq
        try:
            return make_successor(reader, PeriodOpening(archives.period, cut, archives.newest))
        except LedgerError:
            remove(successor_of(reader.path))  # a full disk needs the room
            raise


class _Archives:
    """Holds the archives of one ledger, with the one that is being written."""

    def __init__(self, reader: LedgerReader, folder: Path) -> None:
        self._reader = reader
        self._folder = folder
        self.period = 1
        """Number of the period that the next archive closes."""
        self.newest: ArchiveLink | None = None
        self._verifier = Verifier()
        opening = reader.period
        if opening is not None:
            self.period, self.newest = opening.number, opening.archive
            before = ArchiveReader(folder / opening.archive.name)
            self._verifier = Verifier(opening.seq, before.header.carry, before.closing_balances())
            self._verifier.compare_opening(opening, before, None)
        self._opening = rows_of_balances(self._verifier.balances)
        self._postings = 0
        """Number of postings that the verifier had counted when the last archive was written."""
        self._rows: list[EventRow] = []

    def write(self, cut: Snapshot, on_progress: Callable[[], None]) -> None:
        """Write archives of all events up to ``cut``. Raises ``LedgerError``."""
        reader, verifier = self._reader, self._verifier
        if not reader.first_seq <= cut.seq <= reader.last_seq:
            raise LedgerError(f"{reader.path}: event {cut.seq} is not in its period")
        for row in verifier.walk(reader.rows(until=cut.seq), _lines_until(reader, cut.seq)):
            if verifier.differences:
                break
            self._rows.append(row)
            if row[0] % _PROGRESS_EVERY == 0:
                on_progress()
            is_long = len(self._rows) >= PERIOD_EVENTS and cut.seq - row[0] >= PERIOD_EVENTS // 2
            if is_long and verifier.is_settled:
                self._write_one()
        if not verifier.is_settled:
            raise LedgerError(f"{reader.path}: a period cannot end at event {cut.seq}, within a conclusion")
        for account, said, found in differing(cut.balances, verifier.balances):
            verifier.differ(
                f"after event {cut.seq} the balance of {' '.join(account)} is stated as {plain(said)}, "
                f"the postings add up to {plain(found)}"
            )
        if verifier.differences:
            raise damaged(
                reader.path, f"it is not archived, for it does not verify: {verifier.differences[0]}"
            )
        self._write_one()

    def _write_one(self) -> None:
        verifier, meta = self._verifier, self._reader.meta
        closing = rows_of_balances(verifier.balances)
        closed = Closed(
            period=self.period,
            mode=meta["mode"],
            tag=meta.get("tag", ""),
            previous=self.newest,
            opening=self._opening,
            closing=closing,
            postings=verifier.postings - self._postings,
            carry=verifier.carry(),
        )
        self.newest = write_archive(self._folder, closed, self._rows)
        self.period += 1
        self._opening, self._postings = closing, verifier.postings
        self._rows.clear()
        verifier.forget_ended()


def _lines_until(reader: LedgerReader, seq: int) -> Iterator[Line]:
    return itertools.takewhile(lambda line: line[0] <= seq, reader.lines())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``, so that one archiver works at a time.

    An archiver may outlive its parent by a moment, and must not meet the next one. Raises ``LedgerBusy`` when
    another process keeps the lock.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for attempt in range(1, _TRIES + 1):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if attempt == _TRIES:
                    raise LedgerBusy(f"{folder}: another process is just writing an archive") from error
                sleep(_PAUSE_S)
            else:
                break
        yield
    finally:
        os.close(descriptor)


def cut_before(reader: LedgerReader, until_ms: int | None) -> int | None:
    """Return the event at which the period can end, or None when there is none.

    That is the last event before the first one at ``until_ms`` or later (None: the last event of all). The period
    never ends between a conclusion and the statement of its position.
    """
    last = reader.last_seq
    if until_ms is not None:
        newer = next(reader.rows(since_ms=until_ms), None)
        last = newer[0] - 1 if newer is not None else last
    statement = next(reader.rows(after=last, until=last + 1), None)
    if statement is not None and statement[2] in _STATEMENTS:
        last -= 1
    return last if last >= reader.first_seq else None


def take_cut(reader: LedgerReader, codec: StateCodec[State], seq: int) -> Snapshot:
    """Return the state after the event ``seq``, replayed from the beginning of the period. Raises ``LedgerError``."""
    state = state_at(reader, codec, seq)
    state_hash, body = codec.dump(state)
    row = next(reader.rows(after=seq - 1, until=seq))
    return Snapshot(seq, row[1], codec.version, state_hash, _balances_at(reader, seq), body)


def _balances_at(reader: LedgerReader, seq: int) -> dict[tuple[str, str], Decimal]:
    """Return the balance of every account after the event ``seq`` as the postings state it.

    ``close_period`` adds the amounts up itself and compares.
    """
    opening = reader.period
    table = dict(opening.state.balances) if opening is not None else {}
    for number, line, account, currency, _, balance in _lines_until(reader, seq):
        try:
            table[account, currency] = Decimal(balance)
        except ArithmeticError as error:
            raise damaged(reader.path, f"posting {number}.{line}: {balance!r} is not an amount") from error
    return table
