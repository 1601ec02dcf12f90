"""Reads the whole ledger from its first event on: the archives, oldest first, then the ledger itself."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from arbshard.closable import Closable
from arbshard.errors import LedgerDamaged, LedgerError
from arbshard.ledger.archive import ArchiveReader, folder_of
from arbshard.ledger.events import Event
from arbshard.ledger.period import ArchiveLink
from arbshard.ledger.postings import Line
from arbshard.ledger.reader import EVER, EventRow, LedgerReader


class LedgerHistory(Closable):
    """Holds all periods as of the moment it was made. Its methods return the same shapes as those of
    ``LedgerReader``.
    """

    def __init__(self, ledger: Path) -> None:
        """Open the ledger. Raises ``UsageError`` when there is none, ``LedgerError`` when it cannot be read."""
        self.live = LedgerReader(ledger)
        self.path = ledger
        self._folder = folder_of(ledger)
        self._archives: list[ArchiveReader] | None = None

    def newest_first(self) -> Iterator[ArchiveReader]:
        """Yield the archives, newest first, each found by the name that its successor gives. Raises
        ``LedgerError``.
        """
        opening = self.live.period
        link = opening.archive if opening is not None else None
        named_by = self.path
        while link is not None:
            archive = self.open_archive(link, named_by)
            yield archive
            named_by, link = archive.path, archive.header.previous

    def archives(self) -> list[ArchiveReader]:
        """Return the archives, oldest first. Raises ``LedgerError``."""
        if self._archives is None:
            self._archives = [*self.newest_first()][::-1]
        return self._archives

    def open_archive(self, link: ArchiveLink, named_by: Path) -> ArchiveReader:
        """Open the archive that ``named_by`` follows.

        Raises ``LedgerError`` when it is missing, and ``LedgerDamaged`` when it is another one.
        """
        path = self._folder / link.name
        if not path.is_file():
            raise LedgerError(
                f"{path}: missing: {named_by.name} follows this archive (digest {link.digest}); "
                "put it back from a backup"
            )
        archive = ArchiveReader(path)
        if archive.header.digest != link.digest:
            raise LedgerDamaged(
                f"{path}: expected digest {link.digest}, as {named_by.name} names it, found {archive.header.digest}"
            )
        return archive

    def rows(self, kinds: Sequence[str] = (), since_ms: int = EVER) -> Iterator[EventRow]:
        """Yield every event by seq: all, or those of ``kinds``, that were decided at ``since_ms`` or later."""
        for archive in self.archives():
            yield from archive.rows(kinds, since_ms)
        yield from self.live.rows(kinds, since_ms)

    def decode(self, seq: int, body: str) -> Event:
        """Return the event of a row. Raises ``LedgerDamaged`` naming the event."""
        return self.live.decode(seq, body)

    def dated_lines(self, since_ms: int = EVER) -> Iterator[tuple[int, Line]]:
        """Yield (wall time in ms, posting) of each posting whose event was decided at ``since_ms`` or later, in
        order.
        """
        for archive in self.archives():
            if archive.header.last_ms >= since_ms:
                yield from (dated for dated in archive.lines() if dated[0] >= since_ms)
        yield from self.live.dated_lines(since_ms)

    def close(self) -> None:
        """Close the ledger."""
        self.live.close()
