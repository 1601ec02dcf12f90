"""Enforces the request budgets of the simulated REST interfaces: per caller, and per second or minute.

The venues' ``rest`` uses it. Windows are whole seconds or minutes and do not slide, because both venues report whole
windows in their headers.
"""

from arbshard.exchanges.session import SECOND_NS

_CALLERS_MAX = 1024


class WeightBudget:
    """Counts the weight that each caller has spent in the current window."""

    def __init__(self, limit: int, window_s: int) -> None:
        self.limit = limit
        self._window_ns = window_s * SECOND_NS
        self._window = -1
        self._spent: dict[str, int] = {}

    def spend(self, caller: str, weight: int, now_ns: int) -> int:
        """Add ``weight`` to ``caller``; return what it has spent in this window, this request included."""
        window = now_ns // self._window_ns
        # Memory is bounded: when there are too many callers, all of them begin anew.
        if window != self._window or len(self._spent) >= _CALLERS_MAX:
            self._window = window
            self._spent.clear()
        spent = self._spent.get(caller, 0) + weight
        self._spent[caller] = spent
        return spent

    def wait_s(self, now_ns: int) -> int:
        """Return the whole seconds until the window is over, at least 1."""
        return -(-(self._window_ns - now_ns % self._window_ns) // SECOND_NS)
