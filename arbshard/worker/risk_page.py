"""Where a worker sees that risk has something to say: one word on risk's page. Used by ``standing_orders``."""

from pathlib import Path

from arbshard.errors import SharedMemoryError
from arbshard.shm.pages import PageReader

_STILL_NS = 1_000_000_000
"""A beat that is older belongs to a risk process that ended; its successor writes another file."""
_AGAIN_NS = 200_000_000


class RiskPage:
    """Reads the page of whichever risk process is alive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._page: PageReader | None = None
        self._attached_ns = 0
        self.attached = 0
        """Times a page was found."""

    def serial(self, now_ns: int) -> int | None:
        """The word ``instructions``; None while there is no page."""
        is_still = self._page is None or now_ns - self._page.value("beat_ns") > _STILL_NS
        if is_still and now_ns - self._attached_ns >= _AGAIN_NS:
            self._attached_ns = now_ns
            self._attach()
        return self._page.value("instructions") if self._page is not None else None

    def close(self) -> None:
        """Let go of the page."""
        if self._page is not None:
            self._page.close()
            self._page = None

    def _attach(self) -> None:
        try:
            page = PageReader.attach(self._path)
        except SharedMemoryError:
            return  # risk is being restarted: what was read last stands until it is back
        self.close()
        self._page = page
        self.attached += 1
