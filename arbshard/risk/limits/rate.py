"""A token bucket: so many orders per second, as many at once after a pause. Pure; used by ``limits``.

In any span of t seconds it lets through at most (1 + t) times its rate. It begins full, also after a restart.
"""

_PAIR = 2.0
"""Orders of an entry: with room for fewer none could ever pass."""


class TokenBucket:
    """Tokens come with time, orders take them. The time is monotonic nanoseconds."""

    def __init__(self) -> None:
        self._tokens: float | None = None
        self._at_ns = 0

    def tokens(self, now_ns: int, per_s: float) -> float:
        """How many orders may go at once; negative after orders that did not wait."""
        most = max(per_s, _PAIR)
        if self._tokens is None:
            return most
        return min(most, self._tokens + max(0, now_ns - self._at_ns) / 1e9 * per_s)

    def take(self, count: int, now_ns: int, per_s: float) -> None:
        """So many orders go out, whether there are tokens or not; at most one second's worth is owed."""
        self._tokens = max(-per_s, self.tokens(now_ns, per_s) - count)
        self._at_ns = max(self._at_ns, now_ns)
