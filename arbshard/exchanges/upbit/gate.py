"""Enforces Upbit's request limits: groups of calls, each with a number of requests per window and caller. It is
pure.

A request beyond the limit is answered with 429; a caller that goes on is blocked with 418, longer each time. The
venue does not publish when it blocks, nor for how long; the numbers here are invented. ``rest`` uses it, and so do
new sockets.
"""

from typing import NamedTuple

from arbshard.exchanges.limits import WeightBudget
from arbshard.exchanges.session import SECOND_NS, MessageWindow

REFUSALS_MAX = 50
"""Requests that are refused within the span before the caller is blocked."""
_SPAN_S = 10
_BLOCK_S_MIN = 10
_BLOCK_S_MAX = 3600
_CALLERS_MAX = 1024
"""Largest number of callers whose refusals are remembered."""

# Requests, seconds.
LIMITS: dict[str, tuple[int, int]] = {
    "market": (10, 1),
    "orderbook": (10, 1),
    "ticker": (10, 1),
    "trade": (10, 1),
    "candle": (10, 1),
    "default": (30, 1),
    "order": (12, 1),
    "order-test": (8, 1),
    "order-cancel-all": (1, 2),
    "origin": (1, 10),
    "websocket-connect": (5, 1),
}


class RateVerdict(NamedTuple):
    """Says whether a request may pass."""

    status: int
    """200, 429 or 418."""
    header: str
    """Value of the header ``Remaining-Req``."""
    blocked_s: int
    """Seconds until the block ends; 0 where there is none."""


class _Offender:
    """Holds the refusals and the block of one caller."""

    def __init__(self) -> None:
        self.refusals = MessageWindow(REFUSALS_MAX, _SPAN_S)
        self.block_s = _BLOCK_S_MIN
        """How long the next block lasts, in seconds."""
        self.blocked_until_ns = 0


class RequestCounter:
    """Enforces the limits: it counts requests by group and caller."""

    def __init__(self) -> None:
        self._budgets = {group: WeightBudget(limit, window_s) for group, (limit, window_s) in LIMITS.items()}
        self._offenders: dict[str, _Offender] = {}

    def admit(self, group: str, caller: str, now_ns: int) -> RateVerdict:
        """Count a request of ``caller`` (key or address) in ``group``; return whether it may pass."""
        budget = self._budgets[group]
        spent = budget.spend(caller, 1, now_ns)
        limit, window_s = LIMITS[group]
        header = f"group={group}; min={60 * limit // window_s}; sec={max(0, limit - spent)}"
        offender = self._offenders.get(caller)
        if offender is not None and now_ns < offender.blocked_until_ns:
            return RateVerdict(418, header, -(-(offender.blocked_until_ns - now_ns) // SECOND_NS))
        if spent <= limit:
            return RateVerdict(200, header, 0)
        if offender is None:
            offender = self._remember(caller)
        if offender.refusals.admit(now_ns):
            return RateVerdict(429, header, 0)
        blocked_s = offender.block_s
        offender.blocked_until_ns = now_ns + blocked_s * SECOND_NS
        offender.block_s = min(2 * blocked_s, _BLOCK_S_MAX)
        return RateVerdict(418, header, blocked_s)

    def _remember(self, caller: str) -> _Offender:
        if len(self._offenders) >= _CALLERS_MAX:
            del self._offenders[next(iter(self._offenders))]
        offender = self._offenders[caller] = _Offender()
        return offender
