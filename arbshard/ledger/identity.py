"""Whether the ledger is still the one that was opened: judgements over facts about its files. Pure.

Only risk writes the ledger while it runs, so between two of its own writes nothing about the files may change at
all. Its own writes make the database and its write-ahead log grow and give them a new time, but they never shrink or
replace them: a passive checkpoint lets SQLite write the log from its beginning again without cutting it, and only the
close of the ledger empties the log, after the last look. Of the shared index (``-shm``) only the place counts: every
reader writes to it. ``filewatch`` collects the facts.
"""

from typing import NamedTuple


class FileFacts(NamedTuple):
    """One file as ``stat`` describes it."""

    device: int
    inode: int
    size: int
    modified_ns: int


class LedgerFacts(NamedTuple):
    """The files of one ledger; None for a file that does not exist."""

    database: FileFacts | None
    log: FileFacts | None
    """The write-ahead log."""
    shared: FileFacts | None
    """SQLite's shared index of the log. Without it new readers and the writer no longer see each other's locks."""


def change_between(before: LedgerFacts, after: LedgerFacts, *, wrote: bool) -> str | None:
    """What somebody else did to the files, as the end of a sentence about the ledger; None for nothing.

    ``wrote``: risk itself wrote in between, so that files may have appeared, grown and become newer.
    """
    return (
        _change_of("its file", before.database, after.database, wrote=wrote)
        or _change_of("its write-ahead log", before.log, after.log, wrote=wrote)
        or _place_change(before.shared, after.shared)
    )


def _change_of(what: str, before: FileFacts | None, after: FileFacts | None, *, wrote: bool) -> str | None:
    if before is None:
        return None if after is None or wrote else f"{what} was made by another program"
    if after is None:
        return f"{what} was removed"
    if (before.device, before.inode) != (after.device, after.inode):
        return f"{what} was replaced by another file"
    if after.size < before.size:
        return f"{what} was cut from {before.size} to {after.size} bytes"
    if not wrote and (after.size, after.modified_ns) != (before.size, before.modified_ns):
        return f"{what} was written by another program"
    return None


def _place_change(before: FileFacts | None, after: FileFacts | None) -> str | None:
    if before is None:
        return None
    if after is None:
        return "its shared index was removed"
    if (before.device, before.inode) != (after.device, after.inode):
        return "its shared index was replaced by another file"
    return None


class LedgerIdentity(NamedTuple):
    """Which ledger it is, and how far it goes."""

    tag: str
    last_seq: int


def difference(began_with: LedgerIdentity, found: LedgerIdentity) -> str | None:
    """Why ``found`` is not the ledger that the run began with; None when it is.

    It may go further than what was noted: a commit is noted after it was made.
    """
    if found.tag != began_with.tag:
        return f"it has the tag {found.tag}, and this run began with {began_with.tag}"
    if found.last_seq < began_with.last_seq:
        return f"it ends with event {found.last_seq}, and this run has written event {began_with.last_seq}"
    return None
