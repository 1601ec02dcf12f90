"""Shows on a host that does not lead what the leader's risk shows: the same page, written by the agent.

Workers, status and the supervisor read it as if risk ran here. The beat is this host's time of receipt, so the page
becomes as old as that of a risk process that has ended when the leader sends nothing any more. Fences never go down.
"""

import os
from pathlib import Path

from arbshard.closable import Closable
from arbshard.errors import SharedMemoryError
from arbshard.log import get_logger
from arbshard.risk.counters import COUNTERS, HISTOGRAMS, NOTE_BYTES
from arbshard.shm.former import FORMER
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.wire.cluster import PageState

_NAMES = frozenset(COUNTERS)
_OWN = frozenset({"pid", "beat_ns"})
"""What says something of the process that writes the page."""
_FENCE = "fence_"


class RiskMirror(Closable):
    """Writes risk's page on a host that does not lead."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._page: PageWriter | None = None
        self._fences: dict[str, int] = {}
        """The lowest epoch that may trade, by the name of its counter."""
        self.unknown = 0
        """Number of counters that this version does not know."""

    def fence(self, shard: int) -> int:
        """Return the lowest epoch of the shard that may trade; 0 for any."""
        return self._fences.get(f"{_FENCE}{shard}", 0)

    def open(self) -> None:
        """Make the page anew, with the fences and the note that were shown last. Raises ``SharedMemoryError``."""
        assert self._page is None
        note = b""
        try:
            with PageReader.attach(self._path) as former:
                note = former.note()
                for name, value in former.values().items():
                    if name.startswith(_FENCE):
                        self._raise(name, value)
        except SharedMemoryError:
            pass  # there is none
        # What risk counted on this host is part of what the leader counts, or of an earlier leadership.
        self._path.with_name(self._path.name + FORMER).unlink(missing_ok=True)
        page = self._page = PageWriter.create(self._path, COUNTERS, HISTOGRAMS, NOTE_BYTES)
        page.set(page.counter("pid"), os.getpid())
        for name, value in self._fences.items():
            page.set(page.counter(name), value)
        if note:
            page.write_note(note)

    def show(self, state: PageState, now_ns: int) -> None:
        """Show what the leader has sent, and that it is alive at ``now_ns`` (monotonic)."""
        page = self._page
        if page is None:
            return
        for name, value in state.values.items():
            if name not in _NAMES:
                self.unknown += 1
            elif name.startswith(_FENCE):
                page.set(page.counter(name), self._raise(name, value))
            elif name not in _OWN:
                page.set(page.counter(name), value)
        if state.note:
            try:
                page.write_note(state.note)
            except SharedMemoryError as error:
                get_logger().error("the leader's note cannot be shown", error=str(error))
        page.set(page.counter("beat_ns"), now_ns)

    def close(self) -> None:
        """Write no more. The page stays until risk, or the next mirror, makes it anew. May be called again."""
        if self._page is not None:
            self._page.close()
            self._page = None

    def _raise(self, name: str, value: int) -> int:
        known = self._fences[name] = max(self._fences.get(name, 0), value)
        return known
