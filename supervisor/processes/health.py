"""What a child shows of itself to the supervisor: whether it is up, and when its loop was last alive.

``process_supervisor`` and ``watchdog`` read it. Only the incarnation that runs counts: what a predecessor left behind
says nothing of its successor.
"""

from pathlib import Path
from typing import Protocol

import msgspec

from arbshard.errors import SharedMemoryError
from arbshard.shm.pages import PageReader


class ChildHealth(Protocol):
    """The health of one child, through all its incarnations."""

    def is_up(self, pid: int) -> bool:
        """Whether the incarnation ``pid`` has come so far that it works."""
        ...

    def progress(self, pid: int) -> int:
        """A number that moves while it is getting there; 0 where that is not known."""
        ...

    def beat_ns(self, pid: int) -> int:
        """When its loop was last alive (monotonic ns); 0 where that is not known."""
        ...

    def close(self) -> None:
        """Let go of what was read."""
        ...


class PageHealth:
    """Implements ``ChildHealth`` by counters on the page of the child."""

    def __init__(self, path: Path, counter: str, least: int) -> None:
        """It is up when ``counter`` is at ``least``."""
        self._path = path
        self._counter = counter
        self._least = least
        self._page: PageReader | None = None

    def is_up(self, pid: int) -> bool:
        """See ``ChildHealth``."""
        return self.value(self._counter, pid) >= self._least

    def progress(self, pid: int) -> int:
        """See ``ChildHealth``."""
        return self.value("beat", pid)

    def beat_ns(self, pid: int) -> int:
        """See ``ChildHealth``."""
        return self.value("beat_ns", pid)

    def value(self, counter: str, pid: int) -> int:
        """A counter of the incarnation ``pid``; 0 as long as it has no page."""
        page = self._page
        if page is None or page.value("pid") != pid:
            self._attach()
            page = self._page
            if page is None or page.value("pid") != pid:
                return 0
        return page.value(counter)

    def note(self, pid: int) -> bytes:
        """The newest note of the incarnation ``pid``; empty as long as it has none, or is writing too fast."""
        if self.value("pid", pid) != pid or self._page is None:
            return b""
        try:
            return self._page.note()
        except SharedMemoryError:
            return b""

    def newest(self, counter: str) -> int:
        """A counter of whichever incarnation was read last; 0 before the first."""
        return self._page.value(counter) if self._page is not None else 0

    def close(self) -> None:
        """See ``ChildHealth``."""
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
    """Implements ``ChildHealth`` by a file that the child writes once it is up: its pid, as JSON.

    The simulated exchanges have no page.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_up(self, pid: int) -> bool:
        """See ``ChildHealth``. A file that names nobody counts for whoever asks."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_Ready)
        except (OSError, msgspec.MsgspecError):
            return False
        return found.pid in (pid, 0)

    def progress(self, pid: int) -> int:  # noqa: ARG002 - nothing tells, whoever it is
        """See ``ChildHealth``."""
        return 0

    def beat_ns(self, pid: int) -> int:  # noqa: ARG002 - likewise
        """See ``ChildHealth``."""
        return 0

    def close(self) -> None:
        """See ``ChildHealth``."""
