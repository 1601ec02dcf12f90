"""``arbshard ledger backup`` copies the ledger and its archives while risk may go on writing.

The copy is made by SQLite's own online backup, read through a connection that cannot write. A series of backups in
one folder is bounded: the oldest are removed, and an archive that the backup before has is linked, not copied again.
"""

import os
import re
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from arbshard.errors import LedgerError, UsageError
from arbshard.ledger import schema
from arbshard.ledger.archive import ArchiveReader, folder_of
from arbshard.ledger.file import damaged, failure, sync_directory
from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.output import new_file
from arbshard.ledger.reader import LedgerReader

_PAGES_AT_ONCE = 4096
"""Pages per piece of a copy. Ctrl-C takes effect between two pieces."""
_STAMP = "%Y%m%dT%H%M%SZ"
_OURS = re.compile(r"\.?(ledger-(\d{8}T\d{6}Z))\.(sqlite|sqlite\.partial|archive)")
"""The names of the files and folders of a series."""
_UNFINISHED = timedelta(days=1)
"""A backup that has no ledger after so long was cut off."""
_ROOM_BYTES = 200_000_000
"""What must be left free beside a backup: the ledger may be on the same disk."""


class Backup(NamedTuple):
    """Says what was copied."""

    events: int
    """Number of the last event in the copy."""
    size: int
    """Size of the ledger itself, in bytes."""
    archives: int
    """Number of archived periods that were copied."""
    archives_size: int
    """Size of these archives, in bytes."""
    damaged_before: tuple[str, ...] = ()
    """What is wrong with archives of the backup before, which were not linked for that reason."""


class DatedBackup(NamedTuple):
    """A backup that was added to a series."""

    path: Path
    made: Backup
    removed: tuple[str, ...]
    """Names of the backups that were removed, oldest first."""


def back_up_into(ledger: Path, folder: Path, keep: int, now: datetime) -> DatedBackup:
    """Copy ``ledger`` to a file of ``folder`` that is named by ``now``; then keep the newest ``keep`` and no others.

    Nothing is removed before the new one is whole. Raises ``UsageError`` (no ledger, no such folder, not enough room
    on its disk), ``LedgerError``.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such directory")
    whole = [stamp for stamp, names in _series_in(folder).items() if f"ledger-{stamp}.sqlite" in names]
    before = folder_of(folder / f"ledger-{whole[-1]}.sqlite") if whole else None
    _require_room(ledger, folder, before)
    target = folder / f"ledger-{now.astimezone(UTC):{_STAMP}}.sqlite"
    made = back_up(ledger, target, before)
    return DatedBackup(target, made, tuple(_remove_old(folder, keep, now)))


def _require_room(ledger: Path, folder: Path, before: Path | None) -> None:
    """Refuse to begin where too little room would be left. Raises ``UsageError``."""
    archives = {path.name: path.stat().st_size for path in folder_of(ledger).glob("*.xz")}
    linked = {path.name for path in before.glob("*.xz")} if before is not None else set()
    wal = ledger.with_name(f"{ledger.name}-wal")
    needed = sum(path.stat().st_size for path in (ledger, wal) if path.exists()) + _ROOM_BYTES
    needed += sum(size for name, size in archives.items() if name not in linked)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"{folder}: {free / 1e6:,.0f} MB are free on its disk and {needed / 1e6:,.0f} MB are needed, "
            f"{_ROOM_BYTES / 1e6:,.0f} MB of them to stay free"
        )


def _series_in(folder: Path) -> dict[str, list[str]]:
    """Return the names that belong to a series of backups, by the time in them, oldest first."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if match := _OURS.fullmatch(path.name):
            found.setdefault(match[2], []).append(path.name)
    return dict(sorted(found.items()))


def _remove_old(folder: Path, keep: int, now: datetime) -> list[str]:
    """Remove the oldest backups beyond ``keep``, and what is left of those that were cut off. Returns their names."""
    series = _series_in(folder)
    whole = [stamp for stamp, names in series.items() if f"ledger-{stamp}.sqlite" in names]
    cut_off = (now.astimezone(UTC) - _UNFINISHED).strftime(_STAMP)
    surplus = whole[: max(len(whole) - keep, 0)]
    removed: list[str] = []
    for stamp in sorted([*surplus, *(stamp for stamp in series if stamp not in whole and stamp < cut_off)]):
        # The ledger goes first: without it the rest cannot be taken for a backup.
        for name in sorted(series[stamp], key=lambda name: name.endswith("archive")):
            path = folder / name
            try:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            except OSError as error:
                raise LedgerError(f"{path}: cannot be removed: {error.strerror}") from error
        removed.append(f"ledger-{stamp}")
    return removed


def back_up(ledger: Path, target: Path, before: Path | None = None) -> Backup:
    """Copy ``ledger`` to the new file ``target``, and its archives into a new folder beside that.

    The copy is whole when it appears and needs no second file beside it, and all archives that it follows are there
    before it. ``before`` is the archive folder of another backup, whose archives are linked.

    Raises ``UsageError`` (no ledger, ``target`` or its folder exists or cannot be made) or ``LedgerError``.
    """
    with LedgerHistory(ledger) as history, new_file(target) as partial:
        try:
            archives = history.archives()
            damaged_before: list[str] = []
            size = _copy_archives(archives, folder_of(target), before, damaged_before) if archives else 0
            events = _copy(history.live, partial)
        except OSError as error:
            raise LedgerError(f"{target}: cannot be written: {error.strerror}") from error
        return Backup(events, partial.stat().st_size, len(archives), size, tuple(damaged_before))


def _copy_archives(
    archives: Sequence[ArchiveReader], folder: Path, before: Path | None, damaged_before: list[str]
) -> int:
    """Copy ``archives``, or link those that ``before`` has. Each is compared with its digest before it counts.

    Return their size in bytes. What is wrong in ``before`` is added to ``damaged_before``. Raises ``OSError``.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError as error:
        raise UsageError(f"{folder}: exists already, and nothing is overwritten") from error
    size = 0
    with ExitStack() as undo:
        undo.callback(folder.rmdir)
        for archive in archives:
            copy = folder / archive.path.name
            undo.callback(copy.unlink, missing_ok=True)
            if before is None or not _link(before / copy.name, copy, archive.header.digest, damaged_before):
                with archive.path.open("rb") as source, copy.open("xb") as target:
                    shutil.copyfileobj(source, target)
                    target.flush()
                    os.fsync(target.fileno())
                copy.chmod(0o400)
                _prove(copy)
            size += copy.stat().st_size
        sync_directory(folder)
        undo.pop_all()
    return size


def _link(there: Path, copy: Path, digest: str, damaged_before: list[str]) -> bool:
    """Link ``there`` as ``copy`` if it is the archive with ``digest`` and undamaged. Return whether it was linked.

    What is wrong with ``there`` is added to ``damaged_before``.
    """
    if not there.is_file():
        return False
    try:
        if ArchiveReader(there).header.digest != digest:
            return False  # it is of a ledger that was restored or begun anew
        _prove(there)
    except LedgerError as error:
        damaged_before.append(str(error))
        return False
    try:
        copy.hardlink_to(there)
    except OSError:  # a file system without links: it is copied
        return False
    return True


def _prove(archive: Path) -> None:
    """Compare an archive with its digest. Raises ``LedgerError``."""
    for _ in ArchiveReader(archive).bodies():
        pass  # reading it is what compares it


def _copy(reader: LedgerReader, partial: Path) -> int:
    """Copy the ledger into ``partial``. Return the number of the last event that was copied."""
    try:
        copy = sqlite3.connect(partial, isolation_level=None)
    except sqlite3.Error as error:
        raise failure(partial, "cannot be written", error) from error
    try:
        reader.copy_to(copy, _PAGES_AT_ONCE)
        # The copy is one file without a log beside it; its first writer puts it back into WAL mode.
        copy.execute("PRAGMA journal_mode = DELETE")
        # Without this a copy that is put in the place of its original would continue the original's numbers, and
        # give order names that the venues have already received.
        copy.execute(schema.FORGET_TAG)
        last: int = copy.execute(schema.LAST_SEQ).fetchone()[0] or reader.first_seq - 1
    except sqlite3.Error as error:
        raise failure(partial, "cannot be written", error) from error
    finally:
        copy.close()
    if last < reader.last_seq:
        raise damaged(reader.path, f"its copy ends at event {last}, not at {reader.last_seq}")
    descriptor = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return last
