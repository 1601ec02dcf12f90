"""``arbshard ledger info`` summarises what a ledger holds. It only reads, and may run while risk writes."""

from collections import Counter, deque
from pathlib import Path
from typing import Literal

import msgspec

from arbshard.errors import LedgerDamaged
from arbshard.ledger.archive import ArchiveReader
from arbshard.ledger.events import Started
from arbshard.ledger.export import iso
from arbshard.ledger.file import damaged, log_of
from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.lock import writer_of

_SESSIONS_SHOWN = 10
_PERIODS_SHOWN = 10

LastStop = Literal["none", "clean", "not clean", "running"]


class SessionInfo(msgspec.Struct, frozen=True):
    """Describes risk's work from a start to a stop. Times are ISO 8601 with their zone."""

    session: int
    version: str
    """Version of arbshard."""
    started: str
    stopped: str | None
    """Time of the stop; None for a session that was cut off or still runs."""
    events: int


class SnapshotInfo(msgspec.Struct, frozen=True):
    """Describes a snapshot, from which a start replays."""

    seq: int
    taken: str
    size: int
    """Size in bytes."""


class PeriodInfo(msgspec.Struct, frozen=True):
    """Describes an archived period."""

    period: int
    archive: str
    """Path of its file."""
    first_seq: int
    last_seq: int
    until: str
    """Time at which its last event was decided."""
    size: int
    """Size in bytes."""
    digest: str


class LedgerInfo(msgspec.Struct, frozen=True):
    """Describes what is in the file and in its archives."""

    path: str
    size: int
    """Bytes of what it holds, with the part that is still in the write-ahead log."""
    disk: int
    """Bytes of the file and of its write-ahead log, which has room from the start while the ledger is live."""
    name: str
    mode: str
    tag: str
    """Part of every order's name at its venue; empty until there is one."""
    schema: int
    created: str
    events: int
    postings: int
    kinds: dict[str, int]
    first: str | None
    last: str | None
    """Times at which the first and the last event were decided."""
    sessions: int
    newest: tuple[SessionInfo, ...]
    """The last ten sessions."""
    last_stop: LastStop
    writer: str | None
    """The process that writes it now."""
    snapshots: tuple[SnapshotInfo, ...]
    """The snapshots, newest first."""
    archives: int
    """Number of periods that are in archives."""
    archives_size: int
    """Size of all archives in bytes."""
    periods: tuple[PeriodInfo, ...]
    """The last ten archived periods."""


def look_into(path: Path) -> LedgerInfo:
    """Describe the ledger at ``path``. Raises ``UsageError`` when there is none, else ``LedgerError``."""
    with LedgerHistory(path) as history:
        try:
            return _look(history)
        except (OverflowError, ValueError) as error:
            raise damaged(path, f"it holds an invalid time: {error}") from error


def _look(history: LedgerHistory) -> LedgerInfo:
    reader = history.live
    path, meta = reader.path, reader.meta
    archives = history.archives()
    sessions, newest, ended_seq = _sessions(history)
    writer = writer_of(path)
    last_stop: LastStop = "not clean"
    if writer is not None:
        last_stop = "running"
    elif reader.last_seq == 0:
        last_stop = "none"
    elif ended_seq == reader.last_seq:
        last_stop = "clean"
    extent = reader.extent_ms()
    extents = [(one.header.first_ms, one.header.last_ms) for one in archives] + ([extent] if extent else [])
    counts = sum((Counter(one.header.kinds) for one in archives), Counter(reader.counts()))
    kinds = dict(sorted(counts.items()))
    log = log_of(path)
    return LedgerInfo(
        path=str(path),
        size=reader.bytes_used(),
        disk=path.stat().st_size + (log.stat().st_size if log.exists() else 0),
        name=meta.get("name", ""),
        mode=meta["mode"],
        tag=meta.get("tag", ""),
        schema=int(meta["schema"]),
        created=iso(int(meta["created_ms"])) if "created_ms" in meta else "",
        events=sum(kinds.values()),
        postings=reader.count_postings() + sum(one.header.postings for one in archives),
        kinds=kinds,
        first=iso(min(first for first, _ in extents)) if extents else None,
        last=iso(max(last for _, last in extents)) if extents else None,
        sessions=sessions,
        newest=tuple(newest),
        last_stop=last_stop,
        writer=writer,
        snapshots=tuple(
            SnapshotInfo(one.seq, iso(one.made_ms), len(one.body))
            for one in reader.snapshots()
            if not isinstance(one, LedgerDamaged)
        ),
        archives=len(archives),
        archives_size=sum(one.path.stat().st_size for one in archives),
        periods=tuple(_period(one) for one in archives[-_PERIODS_SHOWN:]),
    )


def _period(archive: ArchiveReader) -> PeriodInfo:
    path, header = archive.path, archive.header
    return PeriodInfo(
        *(header.period, str(path), header.first_seq, header.last_seq),
        *(iso(header.last_ms), path.stat().st_size, header.digest),
    )


def _sessions(reader: LedgerHistory) -> tuple[int, deque[SessionInfo], int]:
    """Return (number of sessions, the newest sessions, number of the last stop's event)."""
    count = ended_seq = began_seq = 0
    newest: deque[SessionInfo] = deque(maxlen=_SESSIONS_SHOWN)

    def finish(last_seq: int, stopped: str | None) -> None:
        newest[-1] = msgspec.structs.replace(newest[-1], stopped=stopped, events=last_seq - began_seq + 1)

    for seq, at_ms, kind, _, _, body in reader.rows(("Started", "Stopped")):
        if kind == "Stopped":
            ended_seq = seq
            if newest:
                finish(seq, iso(at_ms))
            continue
        event = reader.decode(seq, body)
        if not isinstance(event, Started):
            raise damaged(reader.path, f"event {seq} is not of the kind its row says")
        if newest and newest[-1].stopped is None:
            finish(seq - 1, None)
        count += 1
        began_seq = seq
        newest.append(SessionInfo(event.session, event.version, iso(at_ms), None, 0))
    if newest and newest[-1].stopped is None:
        finish(reader.live.last_seq, None)
    return count, newest, ended_seq
