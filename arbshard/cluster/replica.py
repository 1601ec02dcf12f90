"""Keeps this host's copy of the ledger while another host leads the cluster. The agent runs it.

The copy is a ledger like risk's own: the same events under the same numbers and with the same texts, the same
postings, and snapshots and archives of its own. Each event is applied to a state before it is stored, so a copy that
contradicts itself is never acknowledged, and risk can begin with it at once when this host is elected.

A message of events is acknowledged after the commit; on a live ledger that has then reached the disk. A ledger that
contradicts the leader's is replaced by a whole copy. The old one stays in place, and this host votes with it, until
the copy is whole; then it is set aside under the name ``ledger.diverged-<term>.sqlite`` and never removed. The newest
archive comes with a copy, so that its chain goes on; older ones stay on the hosts that have them.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from arbshard.clock import Clock
from arbshard.closable import Closable
from arbshard.config import Config
from arbshard.errors import LedgerDamaged, LedgerError, ProtocolError
from arbshard.ledger.archive import folder_of, is_name, put_in_place
from arbshard.ledger.events import Event, decode_event
from arbshard.ledger.file import damaged, log_of, shared_of, sync_directory
from arbshard.ledger.replay import CONTRADICTIONS, recover
from arbshard.ledger.snapshots import SNAPSHOT_OVERDUE
from arbshard.ledger.store import LedgerStore
from arbshard.log import get_logger
from arbshard.risk.archivist import Archivist
from arbshard.risk.core import mode_of
from arbshard.risk.leadership.following import digest_of
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.wire.cluster import VERSION, CopyPart, Events, Join, Joined, LogPosition, Stored

_KEEP_NS = 100_000_000
"""Interval in ns at which the files are examined, and snapshots and archives are considered."""


class Replica(Closable):
    """Is the writer of this host's ledger while its own risk does not run.

    ``open`` it, then give it the messages of the leader; ``close`` it before risk is started.
    """

    def __init__(self, path: Path, config: Config, clock: Clock, environ: Mapping[str, str]) -> None:
        self._path = path
        self._incoming_path = path.with_name(f"{path.name}.incoming")
        self._config = config
        self._clock = clock
        self._environ = environ
        self._store: LedgerStore | None = None
        self._state = PortfolioState()
        self._archivist: Archivist | None = None
        self._term = 0
        """The term of the leader that accepted this host; 0 for none."""
        self._incoming: int | None = None
        """Descriptor of the file of a copy that arrives."""
        self._offset = 0
        self._archive = ""
        """Name of the archive that arrives; empty for the ledger's file."""
        self._kept_ns = 0
        self._kept_seq = 0
        self.copies = 0
        """Number of whole copies that were put in place."""
        self.is_open = False

    def open(self) -> None:
        """Open the ledger, if there is one; this takes its lock and replays what follows its newest snapshot.

        Raises ``LedgerError``, ``RunDirError`` (risk has not ended yet), ``UsageError``.
        """
        assert not self.is_open
        self._incoming_path.unlink(missing_ok=True)  # of an agent that ended before it was whole
        try:
            self._undo_replacement()
        except OSError as error:
            raise LedgerError(f"{self._path}: cannot be put back: {error}") from error
        if self._path.exists():
            self._open_store()
        self.is_open = True

    @property
    def position(self) -> LogPosition:
        """Return how much of the ledger this host has."""
        return LogPosition(self._state.term, self._store.last_seq if self._store is not None else 0)

    @property
    def is_concluded(self) -> bool:
        """Return whether the copy ends with an end in order, with nothing open and nothing under way."""
        state = self._state
        return self.is_open and state.is_stopped and not state.positions and not state.trades

    def join(self, host: str, term: int) -> Join:
        """Return the message by which this host begins to follow the leader of ``term``. Raises ``LedgerError``."""
        self._end_incoming()
        self._term = 0
        store, digest = self._store, b""
        if store is not None and store.last_body:
            digest = digest_of(store.tag, store.last_body)
        return Join(VERSION, host, term, self.position, digest)

    def receive(self, message: Joined | Events | CopyPart) -> Stored | None:
        """Act on a message of the leader. Return the acknowledgement; use ``position`` before you send it.

        Raises ``ProtocolError`` when something is missing before it (the host joins again), ``LedgerError``.
        """
        match message:
            case Joined():
                self._term = message.term
                if message.must_copy:
                    self._begin_incoming()
                return None
            case Events():
                return self._store_events(message)
            case CopyPart():
                return self._store_part(message)

    def tick(self, now_ns: int) -> None:
        """Examine the files, and take snapshots and archive when that is due. Raises ``LedgerError``."""
        store = self._store
        if store is None or now_ns - self._kept_ns < _KEEP_NS:
            return
        self._kept_ns = now_ns
        store.check_files()
        is_idle = store.last_seq == self._kept_seq
        self._kept_seq = store.last_seq
        if not store.checkpoint_if_due(is_idle=is_idle) and self._archivist is not None:
            self._archivist.poll(now_ns, self._clock.monotonic_ns)

    def close(self) -> None:
        """Close the ledger in order, so that risk can open it. May be called again. Raises ``LedgerError``."""
        self._end_incoming()
        self._term = 0
        self.is_open = False
        self._close_store()

    # the ledger

    def _open_store(self) -> None:
        config = self._config
        store = LedgerStore.open(
            self._path,
            name=config.name,
            mode=mode_of(config),
            now_ms=self._clock.wall_ms(),
            durable=config.mode == "live",
            opening="existing",
        )
        try:
            codec = PortfolioCodec()
            found = recover(store, codec)
            for why in found.ignored:
                get_logger().warning("snapshot ignored", why=why)
        except BaseException:
            store.abandon()
            raise
        self._state, self._store = found.state, store
        archive_events = config.ledger.archive_events
        overdue = min(SNAPSHOT_OVERDUE, archive_events or SNAPSHOT_OVERDUE)
        store.keep_snapshots(codec.version, lambda: codec.dump(self._state), overdue)
        self._archivist = Archivist(store, archive_events, self._environ, _ignore)
        get_logger().info(
            "replica opened", events=store.last_seq, term=self._state.term, replayed=found.replayed
        )

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if self._archivist is not None:
            self._archivist.stop()
            self._archivist = None
        if store is not None:
            store.close()

    def _store_events(self, message: Events) -> Stored | None:
        if message.term != self._term:
            return None  # of a leader that this host does not follow
        if self._incoming is not None:
            return Stored(message.term, 0)
        store = self._store
        if store is None:
            raise ProtocolError("events came before the copy of the ledger")
        known = store.last_seq + 1 - message.first
        if known < 0:
            raise ProtocolError(f"event {message.first} came after event {store.last_seq}")
        if message.bodies[known:]:
            self._append(store, message.bodies[known:])
        return Stored(message.term, store.last_seq)

    def _append(self, store: LedgerStore, bodies: Sequence[bytes]) -> None:
        events: list[Event] = []
        texts: list[str] = []
        try:
            for body in bodies:
                texts.append(body.decode())
                event = decode_event(texts[-1])
                self._state.apply(event)
                events.append(event)
        except CONTRADICTIONS as error:
            self._state.rollback()
            number = store.last_seq + len(events) + 1
            text = str(error) if isinstance(error, LedgerDamaged) else repr(error)
            raise damaged(
                self._path, f"event {number} of the leader contradicts this ledger: {text}"
            ) from error
        try:
            store.append_copied(events, texts)
        except LedgerError:
            self._state.rollback()
            raise
        self._state.commit()

    # whole copies

    def _begin_incoming(self) -> None:
        self._end_incoming()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._open_incoming("")
        except OSError as error:
            raise LedgerError(f"{self._incoming_path}: cannot be written: {error.strerror}") from error

    def _open_incoming(self, archive: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._incoming = os.open(self._incoming_path, flags, 0o600)
        self._offset, self._archive = 0, archive

    def _end_incoming(self) -> None:
        descriptor, self._incoming = self._incoming, None
        if descriptor is not None:
            os.close(descriptor)
            self._incoming_path.unlink(missing_ok=True)

    def _store_part(self, message: CopyPart) -> Stored | None:
        if self._incoming is None:
            raise ProtocolError("a part of a copy came, and no copy was begun")
        try:
            if message.archive != self._archive and message.offset == 0:
                self._change_file(message.archive)
            if message.archive != self._archive or message.offset != self._offset:
                raise ProtocolError(f"a part of a copy came at {message.offset}, expected was {self._offset}")
            while self._offset < message.offset + len(message.data):
                self._offset += os.write(self._incoming, message.data[self._offset - message.offset :])
            if not message.is_last:
                return None
            self._close_incoming()
            self._put_in_place()
        except OSError as error:
            raise LedgerError(f"{self._incoming_path}: cannot be written: {error}") from error
        self._open_store()
        self.copies += 1
        if self.position.seq != message.seq:
            raise damaged(self._path, f"its copy ends at event {self.position.seq}, not at {message.seq}")
        return Stored(self._term, message.seq)

    def _change_file(self, archive: str) -> None:
        """Put an archive in place that has arrived, and begin the next file. Raises ``OSError``."""
        if archive and not is_name(archive):
            raise ProtocolError(f"{archive!r} is not the name of an archive")
        self._close_incoming()
        if self._archive:
            folder = folder_of(self._path)
            folder.mkdir(exist_ok=True, mode=0o700)
            put_in_place(self._incoming_path, folder / self._archive)
        self._open_incoming(archive)

    def _close_incoming(self) -> None:
        descriptor, self._incoming = self._incoming, None
        assert descriptor is not None
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _put_in_place(self) -> None:
        """Make the copy the ledger; at every instant one of both is there, whole. Raises ``OSError``.

        A crash before the last renaming leaves the old ledger under both of its names, and its log at least beside
        the new one: ``_undo_replacement`` puts that back.
        """
        try:
            self._close_store()
        except LedgerError as error:
            get_logger().error("the ledger that is set aside could not be closed in order", error=str(error))
        if self._path.exists():
            aside, log = self._aside(), log_of(self._path)
            aside.hardlink_to(self._path)
            if log.exists() and log.stat().st_size:  # it could not be closed in order
                log_of(aside).hardlink_to(log)
            sync_directory(self._path.parent)
            shared_of(self._path).unlink(missing_ok=True)
            log.unlink(missing_ok=True)
            get_logger().error("the ledger contradicts the leader's and was set aside", file=str(aside))
        self._incoming_path.rename(self._path)
        sync_directory(self._path.parent)

    def _undo_replacement(self) -> None:
        """Give the old ledger its log back when an agent ended before the copy had its name. Raises ``OSError``."""
        for aside in self._path.parent.glob(f"{self._path.stem}.diverged-*{self._path.suffix}"):
            if not self._path.exists() or not aside.samefile(self._path):
                continue
            kept = log_of(aside)
            if kept.exists():
                shared_of(self._path).unlink(missing_ok=True)  # it may be of a reader that saw no log
                kept.rename(log_of(self._path))
                kept.unlink(missing_ok=True)  # renaming leaves both names of one file
            sync_directory(self._path.parent)
            aside.unlink()
            get_logger().warning("a copy of the ledger was not put in place", file=str(self._path))

    def _aside(self) -> Path:
        """Return the name for a ledger that is set aside, one that is free."""
        name = f"{self._path.stem}.diverged-{self._term}"
        free = self._path.with_name(f"{name}{self._path.suffix}")
        number = 1
        while free.exists():
            number += 1
            free = self._path.with_name(f"{name}-{number}{self._path.suffix}")
        return free


def _ignore(_: bool) -> None:
    """Count nothing: an attempt to archive that failed is an error in the log."""
