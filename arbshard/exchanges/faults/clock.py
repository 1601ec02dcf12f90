"""Provides the clock of a venue, which may be wrong while the machine's is not; server and sessions use it."""

from arbshard.clock import Clock
from arbshard.exchanges.faults.spells import Spells


class SkewedClock:
    """Implements ``clock.Clock``: a fault may shift its wall time, and its durations are never wrong."""

    def __init__(self, clock: Clock, spells: Spells) -> None:
        self._clock = clock
        self._spells = spells

    def monotonic_ns(self) -> int:
        """Return the machine's monotonic time in nanoseconds."""
        return self._clock.monotonic_ns()

    def wall_ms(self) -> int:
        """Return the venue's wall time in milliseconds, with the skew of the fault."""
        return self._clock.wall_ms() + self._spells.skew_ms
