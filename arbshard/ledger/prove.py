"""``arbshard ledger prove`` recomputes the chain of digests from the first archive to the ledger. It only reads.

The chain shows that nothing was altered, removed or inserted after a period was closed. ``verify`` checks whether
the figures follow from the fills, which was done before each period was closed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from arbshard.errors import LedgerError
from arbshard.ledger.archive import ArchiveReader
from arbshard.ledger.file import damaged
from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.period import PeriodOpening, rows_of_balances


class Proven(NamedTuple):
    """Is one link of the chain that was proven."""

    name: str
    first_seq: int
    last_seq: int
    """Number of the link's last event; below ``first_seq`` for a period without an event yet."""
    digest: str
    """Digest of the archive; empty for the ledger itself, whose period is not closed."""


def prove(ledger: Path) -> Iterator[Proven]:
    """Yield each link, oldest first. Raises ``LedgerError`` naming the first one that is broken, or
    ``UsageError``.
    """
    with LedgerHistory(ledger) as history:
        archives, broken = _found(history)
        before: ArchiveReader | None = None
        for archive in archives:
            if before is not None or broken is None:
                _follows(archive, before)
            for _ in archive.bodies():
                pass
            header = archive.header
            yield Proven(archive.path.name, header.first_seq, header.last_seq, header.digest)
            before = archive
        if broken is not None:
            raise broken
        opening = history.live.period
        if opening is not None and before is not None:
            _opens(opening, before, ledger)
        history.live.check_numbers()
        yield Proven(ledger.name, history.live.first_seq, history.live.last_seq, "")


def _found(history: LedgerHistory) -> tuple[list[ArchiveReader], LedgerError | None]:
    """Return the archives that can be reached, oldest first, and why no older one can; None for the latter if all
    can.
    """
    archives: list[ArchiveReader] = []
    try:
        archives.extend(history.newest_first())
    except LedgerError as error:
        return archives[::-1], error
    return archives[::-1], None


def _follows(archive: ArchiveReader, before: ArchiveReader | None) -> None:
    """Raise ``LedgerDamaged`` unless ``archive`` continues ``before`` (None: it begins the ledger)."""
    header, path = archive.header, archive.path
    previous = before.header if before is not None else None
    period, first = (previous.period + 1, previous.last_seq + 1) if previous is not None else (1, 1)
    if (header.period, header.first_seq) != (period, first):
        raise damaged(
            path,
            f"expected period {period} from event {first} on, "
            f"found period {header.period} from event {header.first_seq} on",
        )
    expected = previous.closing if previous is not None else ()
    if header.opening != expected:
        raise damaged(
            path, f"event {first}: its opening balances are not those that the period before closed with"
        )


def _opens(opening: PeriodOpening, before: ArchiveReader, ledger: Path) -> None:
    header = before.header
    if (opening.number, opening.seq) != (header.period + 1, header.last_seq):
        raise damaged(
            ledger,
            f"expected period {header.period + 1} after event {header.last_seq}, "
            f"found period {opening.number} after event {opening.seq}",
        )
    if rows_of_balances(opening.state.balances) != header.closing:
        raise damaged(
            ledger,
            f"event {opening.seq + 1}: its opening balances are not those that {before.path.name} closed with",
        )
