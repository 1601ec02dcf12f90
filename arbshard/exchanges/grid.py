"""Computes when each market's next update is due. It is pure; ``loop`` passes the time.

Every market updates once per step, each at its own phase, so that updates are spread evenly and never come in
bursts. Positions count through all markets, step after step.
"""

from arbshard.exchanges.session import SECOND_NS

LATE_STEPS = 1.0
"""An update that is later than this is made, but not sent."""
JUMP_STEPS = 50.0
"""When the next update is later than this, the process was suspended: the missed updates are skipped."""


class Grid:
    """Computes positions in time, one for each update of each market."""

    def __init__(self, start_ns: int, step_s: float, markets: int) -> None:
        assert markets > 0, markets
        self._start_ns = start_ns
        self._step_ns = int(step_s * SECOND_NS)
        self._markets = markets
        self._position = 0

    @property
    def due_ns(self) -> int:
        """Return when the next update is due, in monotonic nanoseconds."""
        return self._start_ns + self._position * self._step_ns // self._markets

    def next_due(self, now_ns: int) -> tuple[int, bool] | None:
        """Return the next market that is due and whether its update may still be sent; None when none is due."""
        late_ns = now_ns - self.due_ns
        if late_ns < 0:
            return None
        place = self._position % self._markets
        self._position += 1
        return place, late_ns <= LATE_STEPS * self._step_ns

    def jumped(self, now_ns: int) -> bool:
        """Begin the grid anew at ``now_ns`` if the process was suspended; return whether it was."""
        late_ns = now_ns - self.due_ns
        if late_ns <= JUMP_STEPS * self._step_ns:
            return False
        self._start_ns += late_ns
        return True
