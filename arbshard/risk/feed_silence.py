"""Finds which venues still send something: reads the supervisor's page once a second. ``assembly`` uses it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from arbshard.errors import SharedMemoryError
from arbshard.log import get_logger
from arbshard.model.notes import FeedState, RunState, SupervisorNote
from arbshard.risk.rest import next_due
from arbshard.shm.pages import PageReader

_EVERY_NS = 1_000_000_000
_SILENT = ("stale", "down")


class _Venue(msgspec.Struct):
    name: str
    state: FeedState


class _Note(msgspec.Struct):
    """Is what is read of ``SupervisorNote``: to read all of it would cost several times as much."""

    state: RunState
    venues: tuple[_Venue, ...]


_decoder = msgspec.json.Decoder(_Note)


def is_silent(note: SupervisorNote | _Note) -> bool:
    """Return whether every venue's feed is lost. A run that is ending or has no venues yet is not silent."""
    return note.state == "running" and bool(note.venues) and all(one.state in _SILENT for one in note.venues)


class FeedWatch:
    """Finds silent feeds in the supervisor's note."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._page: PageReader | None = None
        self._next_ns = 0
        self._silent = False
        self.lost: frozenset[str] = frozenset()
        """Venues whose feed was lost at the last check; none as long as nothing is known."""

    def poll(self, now_ns: int) -> bool:
        """Return whether all feeds were silent at the last check; False as long as nothing is known."""
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + _EVERY_NS
            self._silent = self._read()
        return self._silent

    def rest(self, ticks: Sequence[int]) -> None:
        """Continue as if ``poll`` had been called at each of ``ticks``, while no feed changes its state."""
        self._next_ns = next_due(ticks, self._next_ns, _EVERY_NS)

    def close(self) -> None:
        """Close the page of the note."""
        if self._page is not None:
            self._page.close()
            self._page = None

    def _read(self) -> bool:
        try:
            if self._page is None:
                if not self._path.exists():
                    return False
                self._page = PageReader.attach(self._path)
            raw = self._page.note()
            if not raw:
                return False
            note = _decoder.decode(raw)
            self.lost = frozenset(one.name for one in note.venues if one.state in _SILENT)
            return is_silent(note)
        except (SharedMemoryError, msgspec.MsgspecError) as error:
            get_logger().warning("the supervisor's page cannot be read", error=str(error))
            return False
