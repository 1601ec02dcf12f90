"""What the former owners of a page have counted, so that no count is lost when a process is replaced.

A page begins at 0 with each incarnation, and whoever follows one incarnation reads it alone. Before a process makes
its page anew it adds what its predecessor had counted to a file beside the page. Readers that want the counts of the
whole run add that file to the page.
"""

import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from arbshard.errors import SharedMemoryError
from arbshard.shm.pages import Histogram, PageReader

FORMER = ".former"
"""What is added to the name of the page."""


class FormerCounts(msgspec.Struct, frozen=True):
    """Holds the sums over all former incarnations."""

    pid: int = 0
    """The last one that is part of the sums; 0 for none."""
    counters: dict[str, int] = {}
    """Without gauges."""
    histograms: dict[str, Histogram] = {}

    def total(self, page: PageReader) -> dict[str, int]:
        """Return the counters of ``page`` with those of its predecessors, and its gauges as they are."""
        now = page.values()
        if now["pid"] == self.pid:
            return now | self.counters
        return {name: value + self.counters.get(name, 0) for name, value in now.items()}

    def total_of(self, page: PageReader, name: str) -> Histogram:
        """Return a histogram of ``page`` with those of its predecessors."""
        former = self.histograms.get(name, Histogram())
        return former if page.value("pid") == self.pid else page.histogram(name).merge(former)


def read_former(page: Path) -> FormerCounts:
    """Return what the predecessors of the owner of the page at ``page`` have counted."""
    try:
        raw = page.with_name(page.name + FORMER).read_bytes()
    except FileNotFoundError:
        return FormerCounts()  # it is the first
    return _decoder.decode(raw)


def keep_counts(page: Path, gauges: Collection[str]) -> None:
    """Add the counts of the page at ``page`` to those of its predecessors, before it is made anew.

    ``gauges``: names of the page's counters that say something of one incarnation only. What a process adds after
    its successor has begun is not counted. Counts that cannot be read or written are lost, and that is logged.
    """
    try:
        with PageReader.attach(page) as former:
            counters = former.values()
            histograms = {name: former.histogram(name) for name in former.histograms}
    except SharedMemoryError:
        return  # there is none
    try:
        known = read_former(page)
    except (OSError, msgspec.MsgspecError) as error:
        _log_loss(page, error)
        known = FormerCounts()
    if counters["pid"] in (0, known.pid):
        return  # its owner never began, or a process between it and this one has added it
    sums = FormerCounts(
        pid=counters["pid"],
        counters={
            name: count + known.counters.get(name, 0)
            for name, count in counters.items()
            if name not in gauges
        },
        histograms={
            name: found.merge(known.histograms.get(name, Histogram())) for name, found in histograms.items()
        },
    )
    target = page.with_name(page.name + FORMER)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(msgspec.json.encode(sums))
        unfinished.replace(target)
    except OSError as error:
        _log_loss(page, error)


def _log_loss(page: Path, error: Exception) -> None:
    """Log that counts are lost: nothing is decided by them, so they keep no process from its start."""
    from arbshard.log import get_logger  # status reads counts, and keeps no log

    get_logger().error("counts of former processes are lost", page=str(page), why=str(error))


_decoder = msgspec.json.Decoder(FormerCounts)
