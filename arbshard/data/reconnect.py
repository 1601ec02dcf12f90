"""Decides when something that failed is tried again. The code is pure."""

from random import Random

_FIRST_S = 0.25
_MOST_S = 30.0
_STEADY_NS = 10_000_000_000
"""A connection that held this long starts the count anew."""


class Backoff:
    """Computes pauses: none the first time, then exponential with jitter between half and all of the pause."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._failures = 0

    def after_loss(self, held_ns: int) -> float:
        """Return the seconds to wait, given how long it had gone well before (0 for a try that failed)."""
        if held_ns >= _STEADY_NS:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            return 0.0
        pause: float = min(_FIRST_S * 2 ** min(self._failures - 2, 16), _MOST_S)
        return pause * self._random.uniform(0.5, 1.0)

    def succeeded(self) -> None:
        """Make the next failure count as a first one again."""
        self._failures = 0
