"""Reads from the cluster agent's page whether the worker of a shard may send orders at this moment.

Only a run on several hosts has that page. The agent writes until when the host's workers may send orders, by the
clock of leases, and which grant the host holds of each shard. Neither needs a message: a host that is cut off, or
whose agent was stopped, stops to trade when the time is over.
"""

from collections.abc import Callable
from pathlib import Path

from arbshard.closable import Closable
from arbshard.errors import SharedMemoryError
from arbshard.shm.pages import PageReader
from arbshard.wire.cluster import EPOCHS_PER_GRANT


class LeasePage(Closable):
    """Follows the page of whichever agent runs, for one incarnation of a worker."""

    def __init__(
        self, path: Path, shard: int, epoch: int, lease_ns: Callable[[], int], pause_ns: int = 0
    ) -> None:
        """Begin. ``lease_ns`` returns the time of the clock of leases.

        ``pause_ns``: how long the time of this host may be over until the worker must end.
        """
        self._path = path
        self._shard = shard
        self._grant = epoch // EPOCHS_PER_GRANT
        self._lease_ns = lease_ns
        self._pause_ns = pause_ns
        self._page: PageReader | None = None
        self._read: Callable[[], tuple[int, ...]] = lambda: (0, 0)

    def why_not(self) -> str:
        """Return why no order may be sent at this moment; empty if one may."""
        # The page of an agent that has ended stays mapped, and what it allowed is valid until its time is over.
        return self._judge() and (self._why_no_page() or self._judge())

    def is_paused(self) -> bool:
        """Return whether none may be sent only because the time of this host is over, lately and perhaps not for
        good: the page shows no other grant.
        """
        # Another agent may have begun another page, and shows what it allows there.
        return self._is_just_over() and not self._why_no_page() and self._is_just_over()

    def _is_just_over(self) -> bool:
        until_ns, grant = self._read()
        return 0 < self._lease_ns() - until_ns <= self._pause_ns and grant in (0, self._grant)

    def close(self) -> None:
        """Close the page."""
        if self._page is not None:
            self._page.close()
            self._page = None

    def _judge(self) -> str:
        until_ns, grant = self._read()
        if grant != self._grant:
            held = f"grant {grant}" if grant else "no grant"
            return f"this host has {held} of shard {self._shard}, and this worker is of grant {self._grant}"
        late_ns = self._lease_ns() - until_ns
        return f"this host may not trade since {late_ns / 1e6:.0f} ms ago" if late_ns > 0 else ""

    def _why_no_page(self) -> str:
        """Attach to the newest page. Return why that is not possible; empty if it is."""
        try:
            page = PageReader.attach(self._path)
        except SharedMemoryError as error:
            return str(error)
        self.close()
        self._page = page
        self._read = page.reader("valid_until_ns", f"grant_{self._shard}")
        return ""
