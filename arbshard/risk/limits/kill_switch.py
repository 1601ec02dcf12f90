"""The kill switch: when risk halts by itself. Pure: counts and times in, a verdict out; owned by ``core``.

What was acknowledged by the last ``Resumed`` does not halt again on the same trading day, unless the limit was
changed since. Errors are counted in monotonic time and anew after each start and each resume.
"""

from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from arbshard.config import LimitsConfig
from arbshard.ledger.events import Event, HaltCause, OrderExtended, OrderReported
from arbshard.model.money import plain
from arbshard.risk.objection import Moment
from arbshard.risk.portfolio.state import PortfolioState

_MINUTE_NS = 60_000_000_000
_WINDOW_MAX = 100_000
"""No limit can be above it."""


class Verdict(NamedTuple):
    """Why to halt."""

    cause: HaltCause
    reason: str
    key: str
    """What a person acknowledges by resuming; empty where resuming begins to count anew."""


class _Window:
    """How often something happened within the last minute."""

    def __init__(self) -> None:
        self._times: deque[int] = deque(maxlen=_WINDOW_MAX)

    def add(self, now_ns: int) -> None:
        self._times.append(now_ns)

    def count(self, now_ns: int) -> int:
        times = self._times
        while times and now_ns - times[0] >= _MINUTE_NS:
            times.popleft()
        return len(times)

    def clear(self) -> None:
        self._times.clear()


class KillSwitch:
    """Watches what risk decides and hears."""

    def __init__(self) -> None:
        self._rejects = _Window()
        self._hedges = _Window()
        self._unknown = _Window()
        self._silent_since_ns: int | None = None

    def take(self, event: Event, now_ns: int) -> bool:
        """Count ``event`` if it is a kind of trouble; whether it is."""
        window: _Window | None = None
        if isinstance(event, OrderExtended):
            window = self._hedges
        elif isinstance(event, OrderReported):
            window = {"REJECTED": self._rejects, "UNKNOWN": self._unknown}.get(event.state)
        if window is not None:
            window.add(now_ns)
        return window is not None

    def hear_feeds(self, now_ns: int, *, is_silent: bool) -> None:
        """Whether no venue sends anything."""
        if not is_silent:
            self._silent_since_ns = None
        elif self._silent_since_ns is None:
            self._silent_since_ns = now_ns

    def reset(self) -> None:
        """Begin to count anew."""
        for window in (self._rejects, self._hedges, self._unknown):
            window.clear()
        self._silent_since_ns = None

    def verdict(self, state: PortfolioState, limits: LimitsConfig, moment: Moment) -> Verdict | None:
        """Why to halt now; None when there is no reason, or everything is halted already."""
        if state.standing.halt is not None:
            return None
        for loss in losses(state, limits, moment.day):
            if loss.key not in state.standing.acknowledged:
                return loss
        for name, window, limit in (
            ("orders rejected", self._rejects, limits.halt_rejects_per_min),
            ("hedges and unwinds", self._hedges, limits.halt_hedges_per_min),
            ("orders of unknown fate", self._unknown, limits.halt_unknown_per_min),
        ):
            count = window.count(moment.now_ns)
            if count >= limit:
                return Verdict("errors", f"{count} {name} within a minute, the limit is {limit}", "")
        since_ns = self._silent_since_ns
        if since_ns is not None and moment.now_ns - since_ns >= limits.halt_stale_feeds_s * 1e9:
            reason = f"no venue has sent anything for {limits.halt_stale_feeds_s:g} s"
            return Verdict("stale_feeds", reason, "")
        return None


def losses(state: PortfolioState, limits: LimitsConfig, day: int) -> Iterator[Verdict]:
    """The losses of a trading day that are reason to halt, acknowledged or not."""
    results = state.results
    checks: tuple[tuple[HaltCause, str, Decimal, Decimal], ...] = (
        ("daily_loss", "lost today", results.loss(day), limits.halt_daily_loss),
        ("drawdown", "below today's peak", results.drawdown(day), limits.halt_drawdown),
    )
    for cause, what, value, limit in checks:
        if value >= limit:
            reason = f"{plain(value)} {what}, the limit is {plain(limit)}"
            yield Verdict(cause, reason, f"{cause} {day} {plain(limit)}")
