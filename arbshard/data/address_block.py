"""Keeps calls and attempts to connect from a venue that refuses them from this address.

A ban (HTTP 418) concerns both, and every venue makes it longer when more comes; so one process that has learned of
it must stop all others. Too many calls (429) leave connections possible, and too many attempts to connect leave
calls possible: an order must not wait for a stream. In a run with real orders all processes share what they learn in
``shm.budget``. The supervisor's feeds and ``execution.live`` use this.
"""

from arbshard.clock import Clock
from arbshard.errors import VenueUnavailable
from arbshard.log import get_logger
from arbshard.shm.budget import Budget
from arbshard.venues.base.client import PAUSE_S_MAX, Answer, Fetch
from arbshard.venues.registry import get_adapter


def blocked_s(venue: str, answer: Answer) -> float:
    """Return how long, in seconds, a venue wants no call after ``answer``; 0 when it does not want that."""
    if answer.status == 418 and "retry-after" not in answer.headers:
        named_s = get_adapter(venue).limits.block_s(answer.body)
        if named_s is not None:
            return min(named_s, PAUSE_S_MAX)
    return answer.pause_s


class CallRefused(VenueUnavailable):
    """Is raised when a venue answered a call by refusing this address for a time, which ``answer`` may name."""

    def __init__(self, why: str, venue: str, answer: Answer) -> None:
        super().__init__(why)
        self.venue = venue
        self.answer = answer


class AddressBlock:
    """Knows until when a venue refuses what comes from this address."""

    def __init__(self, venue: str, clock: Clock, budget: Budget | None = None) -> None:
        """Begin without a block. ``budget``: where all processes of a run learn of one; None when no other process
        calls the venue.
        """
        self._venue = venue
        self._clock = clock
        self._budget = budget
        self._calls_ns = self._connects_ns = 0
        """Until when calls, and attempts to connect, are refused (monotonic nanoseconds)."""

    def calls_left_s(self) -> float:
        """Return for how many seconds more no call may be sent; 0 when one may."""
        now_ns, until_ns = self._clock.monotonic_ns(), self._calls_ns
        if self._budget is not None:
            until_ns = max(until_ns, self._budget.blocked_until_ns(self._venue, now_ns))
        return max(until_ns - now_ns, 0) / 1e9

    def connects_left_s(self) -> float:
        """Return for how many seconds more no connection may be tried; 0 when one may."""
        now_ns, until_ns = self._clock.monotonic_ns(), self._connects_ns
        if self._budget is not None:
            until_ns = max(until_ns, self._budget.connects_blocked_until_ns(self._venue, now_ns))
        return max(until_ns - now_ns, 0) / 1e9

    def learn(self, answer: Answer, *, is_handshake: bool = False) -> float:
        """Note for all processes what ``answer``, to a call or a handshake, says of further ones. Return for how many
        seconds the venue refuses them; 0 when it does not.
        """
        wait_s = blocked_s(self._venue, answer)
        if not wait_s:
            return 0.0
        until_ns, is_ban = self._clock.monotonic_ns() + int(wait_s * 1e9), answer.status == 418
        if is_ban or not is_handshake:
            self._calls_ns = max(self._calls_ns, until_ns)
            if self._budget is not None:
                self._budget.block(self._venue, until_ns)
        if is_ban or is_handshake:
            self._connects_ns = max(self._connects_ns, until_ns)
            if self._budget is not None:
                self._budget.block_connects(self._venue, until_ns)
        what = "all" if is_ban else "connections" if is_handshake else "calls"
        get_logger().warning(
            "rate limit", venue=self._venue, status=answer.status, refused=what, blocked_s=wait_s
        )
        return wait_s

    def check(self) -> None:
        """Raise ``VenueUnavailable`` while the venue refuses calls."""
        left_s = self.calls_left_s()
        if left_s:
            raise VenueUnavailable(f"{self._venue} refuses calls from this address for {left_s:.0f} s more")

    def heeded_by(self, fetch: Fetch) -> Fetch:
        """Return a ``fetch`` that sends nothing while the venue refuses calls, and learns from each answer."""

        async def fetch_if_allowed(address: str) -> Answer:
            self.check()
            answer = await fetch(address)
            self.learn(answer)
            return answer

        return fetch_if_allowed
