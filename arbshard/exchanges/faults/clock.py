"""The clock of a venue, which may be wrong while the machine's is not. Server and sessions of the venue go by it."""

from arbshard.clock import Clock
from arbshard.exchanges.faults.spells import Spells


class SkewedClock:
    """See ``clock.Clock``; durations are never wrong."""

    def __init__(self, clock: Clock, spells: Spells) -> None:
        self._clock = clock
        self._spells = spells

    def monotonic_ns(self) -> int:
        """See ``Clock``."""
        return self._clock.monotonic_ns()

    def wall_ms(self) -> int:
        """What the venue believes."""
        return self._clock.wall_ms() + self._spells.skew_ms
