"""Follows what risk shows to the workers on its page.

Some of its numbers change with every news of a kind (``risk_news``); one is the lowest epoch that may still trade
(``fence``).
"""

from pathlib import Path

from arbshard.errors import SharedMemoryError
from arbshard.shm.pages import PageReader

_STILL_NS = 1_000_000_000
"""A beat that is older (nanoseconds) belongs to a risk process that ended; its successor writes another file."""
_AGAIN_NS = 200_000_000


class RiskPage:
    """Reads the page of whichever risk process is alive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._page: PageReader | None = None
        self._attached_ns = 0
        self.attached = 0
        """How often a page was found."""
        self._fences: dict[int, int] = {}

    def serial(self, name: str, now_ns: int) -> int | None:
        """Return a number that changes with every news of its kind; None while there is no page."""
        self._look(now_ns)
        return self._page.value(name) if self._page is not None else None

    def fence(self, shard: int, now_ns: int) -> int:
        """Return the lowest epoch of ``shard`` that may trade: the highest that any page has shown; 0 for none."""
        # The fence of a risk process that has ended is still valid, also before its successor shows it.
        lowest = self._note_fence(shard)
        return self._note_fence(shard) if self._look(now_ns) else lowest

    def _note_fence(self, shard: int) -> int:
        known = self._fences.get(shard, 0)
        if self._page is not None:
            shown = self._page.value(f"fence_{shard}")
            if shown > known:
                known = self._fences[shard] = shown
        return known

    def _look(self, now_ns: int) -> bool:
        """Attach to a successor's page if this one has no recent beat; return whether there is another page now."""
        is_still = self._page is None or now_ns - self._page.value("beat_ns") > _STILL_NS
        if not is_still or now_ns - self._attached_ns < _AGAIN_NS:
            return False
        self._attached_ns = now_ns
        return self._attach()

    def close(self) -> None:
        """Close the page."""
        if self._page is not None:
            self._page.close()
            self._page = None

    def _attach(self) -> bool:
        try:
            page = PageReader.attach(self._path)
        except SharedMemoryError:
            return False  # risk is being restarted: what was read last is valid until it is back
        self.close()
        self._page = page
        self.attached += 1
        return True
