"""Decides which calls may use the venues' rate limits when they run short: exits and hedges first, entries wait.

Every call of ``port`` passes here, and every answer is shown here. The sum over all processes is in ``shm.budget``.
"""

import asyncio
from collections.abc import Callable, Mapping

from arbshard.clock import Clock
from arbshard.config import LiveConfig
from arbshard.data.address_block import AddressBlock
from arbshard.data.redirects import is_redirect, refusal
from arbshard.execution.live import limits
from arbshard.log import get_logger
from arbshard.shm.budget import Budget
from arbshard.venues.base.client import Answer

_PAUSE_S = 0.002
_PAUSE_MAX_S = 0.05


class RateLimiter:
    """Admits calls within the venues' budgets. ``count`` adds one to a counter by name."""

    def __init__(self, budget: Budget, live: LiveConfig, clock: Clock, count: Callable[[str], None]) -> None:
        self._budget = budget
        self._live = live
        self._clock = clock
        self._count = count

    async def admit_entry(self, costs: Mapping[str, int]) -> bool:
        """Take ``costs`` if that leaves the others their reserve; waits ``entry_wait_ms`` at most."""
        return await self._admit(costs, 1 - self._live.reserve_share, self._live.entry_wait_ms / 1000)

    async def admit(self, costs: Mapping[str, int]) -> bool:
        """Take ``costs`` if there is anything left; waits ``budget_wait_s`` at most."""
        return await self._admit(costs, 1.0, self._live.budget_wait_s)

    def has_room_for_entry(self, costs: Mapping[str, int]) -> bool:
        """Return whether ``admit_entry`` would take ``costs`` without a wait."""
        return self._budget.has_room(costs, 1 - self._live.reserve_share, self._clock.monotonic_ns())

    def take_beforehand(self, costs: Mapping[str, int], now_ns: int, *, is_entry: bool) -> bool:
        """Take ``costs`` now if they are there, for calls that are perhaps not made: then ``give_back`` is called."""
        return self._budget.spend(costs, 1 - self._live.reserve_share if is_entry else 1.0, now_ns)

    def give_back(self, costs: Mapping[str, int], taken_ns: int) -> None:
        """Give back what was taken at ``taken_ns`` for calls that are not made."""
        self._budget.give_back(costs, taken_ns)

    def is_blocked(self, costs: Mapping[str, int]) -> bool:
        """Return whether a venue that ``costs`` concern refuses all calls now."""
        return self._budget.is_blocked(costs, self._clock.monotonic_ns())

    def spare(self, costs: Mapping[str, int]) -> bool:
        """Take ``costs`` now if that leaves the reserve, for calls that can as well be left out."""
        return self._budget.spend(costs, 1 - self._live.reserve_share, self._clock.monotonic_ns())

    def read_limits(self, venue: str, answer: Answer) -> None:
        """Note what an answer states of the limits. A redirect may come from any host and states nothing."""
        if is_redirect(answer.status):
            location = answer.headers.get("location", "")
            get_logger().error("redirect", venue=venue, what=refusal(answer.status, location, ""))
            return
        now_ns = self._clock.monotonic_ns()
        for said in limits.read_headers(venue, answer.headers):
            self._budget.correct(said.window, said.used, now_ns)
        if AddressBlock(venue, self._clock, self._budget).learn(answer):
            self._count("rate_limited")

    async def _admit(self, costs: Mapping[str, int], share: float, wait_s: float) -> bool:
        if self._budget.spend(costs, share, self._clock.monotonic_ns()):
            return True
        self._count("budget_waits")
        pause_s, waited_s = _PAUSE_S, 0.0
        while waited_s < wait_s:
            pause_s = min(pause_s, wait_s - waited_s)
            await asyncio.sleep(pause_s)
            waited_s += pause_s
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)
            if self._budget.spend(costs, share, self._clock.monotonic_ns()):
                return True
        self._count("budget_refused")
        return False
