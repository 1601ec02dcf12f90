"""Reads what a child shows to the supervisor: whether it is up, and when its loop was last alive.

``process_supervisor`` and ``watchdog`` use it. Only the incarnation that runs counts: what a predecessor left behind
shows nothing about its successor.
"""

from pathlib import Path
from typing import Protocol

import msgspec

from arbshard.errors import SharedMemoryError
from arbshard.shm.pages import PageReader


class ChildHealth(Protocol):
    """Is the health of one child, through all its incarnations."""

    def is_up(self, pid: int) -> bool:
        """Return whether the incarnation ``pid`` has finished its start."""
        ...

    def progress(self, pid: int) -> int:
        """Return a number that changes while it starts; 0 where that is not known."""
        ...

    def beat_ns(self, pid: int) -> int:
        """Return when its loop was last alive (monotonic ns); 0 where that is not known."""
        ...

    def close(self) -> None:
        """Close what was read."""
        ...


class PageHealth:
    """Is ``ChildHealth`` by counters on the page of the child."""

    def __init__(self, path: Path, counter: str, least: int) -> None:
        """Begin without a page. The child is up when ``counter`` is at least ``least``."""
        self._path = path
        self._counter = counter
        self._least = least
        self._page: PageReader | None = None

    def is_up(self, pid: int) -> bool:
        """Return whether the counter is high enough."""
        return self.value(self._counter, pid) >= self._least

    def progress(self, pid: int) -> int:
        """Return the counter of the child's beats."""
        return self.value("beat", pid)

    def beat_ns(self, pid: int) -> int:
        """Return the time of the child's newest beat (monotonic ns); 0 without a page."""
        return self.value("beat_ns", pid)

    def value(self, counter: str, pid: int) -> int:
        """Return a counter of the incarnation ``pid``; 0 as long as it has no page."""
        page = self._page
        if page is None or page.value("pid") != pid:
            self._attach()
            page = self._page
            if page is None or page.value("pid") != pid:
                return 0
        return page.value(counter)

    def note(self, pid: int) -> bytes:
        """Return the newest note of the incarnation ``pid``; empty as long as it has none, or writes too fast."""
        if self.value("pid", pid) != pid or self._page is None:
            return b""
        try:
            return self._page.note()
        except SharedMemoryError:
            return b""

    def newest(self, counter: str) -> int:
        """Return a counter of the incarnation that was read last, whichever it is; 0 before the first."""
        return self._page.value(counter) if self._page is not None else 0

    def close(self) -> None:
        """Close the page. May be called again."""
        if self._page is not None:
            self._page.close()
            self._page = None

    def _attach(self) -> None:
        try:
            page = PageReader.attach(self._path)
        except SharedMemoryError:
            return  # not made yet
        self.close()
        self._page = page


class _Ready(msgspec.Struct, frozen=True):
    pid: int = 0


class FileHealth:
    """Is ``ChildHealth`` by a file that the child writes once it is up: its pid, as JSON.

    The simulated exchanges have no page.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_up(self, pid: int) -> bool:
        """Return whether the file names the incarnation ``pid``. A file without a pid counts for any incarnation."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_Ready)
        except (OSError, msgspec.MsgspecError):
            return False
        return found.pid in (pid, 0)

    def progress(self, pid: int) -> int:  # noqa: ARG002 - it is unknown for every incarnation
        """Return 0: the progress is not known."""
        return 0

    def beat_ns(self, pid: int) -> int:  # noqa: ARG002 - it is unknown for every incarnation
        """Return 0: there are no beats."""
        return 0

    def close(self) -> None:
        """Do nothing: no file is kept open."""
