"""Observes a running system from outside, every millisecond: its pages, and when a condition became true.

A process that replaces another one makes its page anew, and the new page is read from then on. ``breaking``
and the tests of supervision use this.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from arbshard.errors import SharedMemoryError
from arbshard.shm.books import BooksReader
from arbshard.shm.pages import Histogram, PageReader
from perf.running import MeasurementFailed, System

_STEP_S = 0.001
RECEIVE_DECISION = "receive_decision"


class FollowedPage:
    """Follows the page at a path, whichever incarnation of the process made it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._page: PageReader | None = None
        self._inode = 0

    def value(self, counter: str) -> int:
        """Return the current value of a counter; 0 while there is no page."""
        page = self._newest()
        return page.value(counter) if page is not None else 0

    def histogram(self, name: str) -> Histogram:
        """Return a histogram as it is now; empty while there is no page."""
        page = self._newest()
        return page.histogram(name) if page is not None else Histogram()

    def close(self) -> None:
        """Unmap the page. May be called again."""
        if self._page is not None:
            self._page.close()
            self._page = None

    def _newest(self) -> PageReader | None:
        try:
            inode = self._path.stat().st_ino
            if inode != self._inode:
                page = PageReader.attach(self._path)
                self.close()
                self._page, self._inode = page, inode
        except (OSError, SharedMemoryError):
            pass  # no page exists yet, or the next one is being made: the old page has the last values
        return self._page


class Watcher:
    """Holds all pages and the books of one system."""

    def __init__(self, system: System, shards: int) -> None:
        self._system = system
        self.workers = tuple(FollowedPage(system.files.worker_page(shard)) for shard in range(shards))
        self.risk = FollowedPage(system.files.risk_page)
        self.accounts = FollowedPage(system.files.accounts_page)
        self._books = BooksReader.attach(system.files.books)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for page in (*self.workers, self.risk, self.accounts):
            page.close()
        self._books.close()

    def until(self, holds: Callable[[], bool], timeout_s: float, what: str) -> int:
        """Wait until ``holds`` is true; return the monotonic nanoseconds at which that was first seen.

        ``holds`` is called every millisecond. Raises ``MeasurementFailed`` after ``timeout_s``; ``what``
        names the condition.
        """
        deadline_ns = time.monotonic_ns() + int(timeout_s * 1e9)
        while not holds():
            if time.monotonic_ns() > deadline_ns:
                self._system.require_alive()
                raise MeasurementFailed(f"{what}: not within {timeout_s:g} s")
            time.sleep(_STEP_S)
        return time.monotonic_ns()

    def decides(self, shard: int, pid: int) -> bool:
        """Return whether another process than ``pid`` has decided on pairs of ``shard``."""
        page = self.workers[shard]
        return page.value("pid") not in (pid, 0) and page.value("ticks") > 0

    def answers(self, pid: int) -> bool:
        """Return whether another risk process than ``pid`` is ready and has answered a request."""
        risk = self.risk
        return risk.value("pid") not in (pid, 0) and risk.value("ready") == 1 and risk.value("requests") > 0

    def disconnected(self) -> list[int]:
        """Return the slots that have had a frame and whose connection is not up."""
        books = self._books
        return [slot for slot in range(books.slot_count) if books.sequence(slot) > 0 and not books.live(slot)]

    def frames(self) -> int:
        """Return the sum of the sequence numbers of all slots, which grow with each frame."""
        return sum(self._books.sequence(slot) for slot in range(self._books.slot_count))

    def decisions_of(self, shards: set[int]) -> Histogram:
        """Return the receive → decision latency of ``shards`` together, since their workers began."""
        found = Histogram()
        for shard in shards:
            found = found.merge(self.workers[shard].histogram(RECEIVE_DECISION))
        return found
