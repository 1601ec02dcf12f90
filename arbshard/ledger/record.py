"""Records which ledger a run uses, on a page in the run directory that outlives the process which writes the ledger.

The first risk process of a run makes it, each successor continues it, and its last event moves with every commit.
The values are plain numbers, so that the page never holds half a record: the tag, which is written last, is its five
letters read as one number.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from arbshard.errors import LedgerChanged, SharedMemoryError
from arbshard.ledger.filewatch import LedgerIdentity, difference
from arbshard.shm.pages import PageReader, PageWriter

if TYPE_CHECKING:
    from arbshard.ledger.store import LedgerStore  # readers of the page need no ledger

_COUNTERS = ("last_seq", "began_ms", "is_new", "tag")


class LedgerRecord:
    """Updates the record for the risk process that writes the ledger now."""

    def __init__(self, page: PageWriter) -> None:
        self._page = page
        self._last_seq = page.counter("last_seq")

    @classmethod
    def begin(cls, path: Path, store: "LedgerStore", *, is_new: bool) -> Self:
        """Record ``store`` as the ledger of the run that begins. ``is_new``: it had no event before this run.

        Raises ``SharedMemoryError``.
        """
        page = PageWriter.create(path, _COUNTERS, note_bytes=0)
        for name, value in (
            ("last_seq", store.last_seq),
            ("began_ms", store.began_ms),
            ("is_new", int(is_new)),
            ("tag", _number_of(store.tag)),
        ):
            page.set(page.counter(name), value)
        return cls(page)

    @classmethod
    def go_on(cls, path: Path) -> Self:
        """Continue the record of the predecessor. Raises ``SharedMemoryError``."""
        return cls(PageWriter.reopen(path))

    def note(self, last_seq: int) -> None:
        """Record ``last_seq`` as the last event of the ledger."""
        self._page.set(self._last_seq, last_seq)

    def close(self) -> None:
        """Close the page."""
        self._page.close()


class NotedLedger(NamedTuple):
    """Is what a record holds."""

    identity: LedgerIdentity
    began_ms: int
    """Wall time at which the ledger was begun, in milliseconds."""
    is_new: bool
    """Whether this run is the ledger's first."""


def read_record(path: Path) -> NotedLedger | None:
    """Return the record at ``path``; None when nothing is recorded yet."""
    try:
        with PageReader.attach(path) as page:
            found = page.values()
    except SharedMemoryError:
        return None
    if not found["tag"]:
        return None
    return NotedLedger(
        LedgerIdentity(_tag_of(found["tag"]), found["last_seq"]), found["began_ms"], bool(found["is_new"])
    )


def require_same(noted: NotedLedger, store: "LedgerStore") -> None:
    """Raise ``LedgerChanged`` unless ``store`` is the ledger that was recorded."""
    problem = difference(noted.identity, LedgerIdentity(store.tag, store.last_seq))
    if problem is not None:
        raise not_the_same(store.path, problem)


def not_the_same(path: Path, problem: str) -> LedgerChanged:
    """Return the error that says why the ledger at ``path`` is not the one of this run, and what to do."""
    return LedgerChanged(
        f"the ledger at {path} is not the one this run began with: {problem}; "
        "put that one back, then start again"
    )


def _number_of(tag: str) -> int:
    return int.from_bytes(tag.encode("ascii"), "big")


def _tag_of(number: int) -> str:
    return number.to_bytes(8, "big").lstrip(b"\0").decode("ascii")
