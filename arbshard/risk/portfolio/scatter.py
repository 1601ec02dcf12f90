"""How wide a symbol's results scatter, lately against before. Pure; part of ``results``, read by ``tightening``.

The measure of volatility that risk has without asking anybody: the result of a closed position, in basis points of
what was bought, is how the symbol's gap moved while it was held, less costs. Two exponential means of its squared
deviation, one over about the last 8 results, one over the last 64.
"""

from math import sqrt

import msgspec

_FAST, _SLOW = 1 / 8, 1 / 64
_RESULTS_MIN = 30
"""Before so many results nothing is known of what is usual."""


class Scatter(msgspec.Struct, frozen=True):
    """Exponential means of a symbol's results, in basis points."""

    count: int = 0
    mean: float = 0.0
    fast: float = 0.0
    slow: float = 0.0

    def after(self, bps: float) -> "Scatter":
        """With one more result."""
        count = self.count + 1
        deviation = (bps - self.mean) ** 2 if self.count else 0.0
        # The first results count fully, so that the beginning at 0 is forgotten.
        fast, slow = max(_FAST, 1 / count), max(_SLOW, 1 / count)
        return Scatter(
            count,
            self.mean + slow * (bps - self.mean),
            self.fast + fast * (deviation - self.fast),
            self.slow + slow * (deviation - self.slow),
        )

    @property
    def ratio(self) -> float | None:
        """How many times as wide as usual; None when that is not known yet."""
        if self.count < _RESULTS_MIN or self.slow <= 0:
            return None
        return sqrt(self.fast / self.slow)
