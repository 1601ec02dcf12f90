"""Detects that risk has replaced this worker: risk's page is read on the loop's timer and before every real order.

A worker that was stopped and wakes may have a successor by now. If it has nothing to ask risk for, nothing else
would inform it. In a run on several hosts the page of the cluster agent is read as well, also before paper orders.

When a cluster's leader is lost, its hosts may not trade for a moment, and get the same shards again. A worker that
has nothing to send meanwhile pauses, and goes on.
"""

from collections.abc import Callable
from typing import Protocol

from arbshard.clock import Clock
from arbshard.execution.ports import Fenced


class FencePage(Protocol):
    """Is where risk shows the lowest epoch that may trade: ``risk_page.RiskPage``."""

    def fence(self, shard: int, now_ns: int) -> int:
        """Return the lowest epoch of ``shard`` that may trade."""
        ...


class Permit(Protocol):
    """Is where the cluster agent shows whether this host may trade: ``lease_page.LeasePage``."""

    def why_not(self) -> str:
        """Return why no order may be sent at this moment; empty if one may."""
        ...

    def is_paused(self) -> bool:
        """Return whether none may be sent only because the time of this host is over, lately and perhaps not for
        good.
        """
        ...


class Fence:
    """Watches for the replacement of one incarnation. ``on_fenced`` is called once."""

    def __init__(
        self,
        page: FencePage,
        shard: int,
        epoch: int,
        clock: Clock,
        on_fenced: Callable[[Fenced], None],
        permit: Permit | None = None,
    ) -> None:
        """Begin. ``permit`` is None where one host runs all shards."""
        self._page = page
        self._shard = shard
        self._epoch = epoch
        self._clock = clock
        self._on_fenced = on_fenced
        self._permit = permit
        self._is_fenced = False

    def must_wait(self) -> bool:
        """Return whether nothing may be decided at this moment. It ends this worker, unless its host may not trade
        for a moment.
        """
        if self._permit is not None and not self._is_fenced and self._permit.is_paused():
            is_replaced = self._epoch < self._page.fence(self._shard, self._clock.monotonic_ns())
            return self.is_fenced() if is_replaced else True
        return self.is_fenced()

    def is_fenced(self) -> bool:
        """Return whether nothing may be sent any more, as of this moment."""
        if not self._is_fenced:
            lowest = self._page.fence(self._shard, self._clock.monotonic_ns())
            self._is_fenced = self._epoch < lowest
            if self._is_fenced:
                self._on_fenced(Fenced(f"shard {self._shard} is at epoch {lowest}, this is {self._epoch}"))
            elif self._permit is not None and (why := self._permit.why_not()):
                self._is_fenced = True
                self._on_fenced(Fenced(why))
        return self._is_fenced
