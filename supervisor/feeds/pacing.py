"""Limits how often requests are sent to a venue: a bucket that its connections share, and a gap between messages.

Pure.
"""

from arbshard.venues.base.market import RateLimit


class Bucket:
    """Allows at most ``limit.count`` in any ``limit.window_s``: half of it at once, the rest as time passes.

    The tokens of a full bucket and those that a whole window adds make up the limit together, so no window can see
    more.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._most = max(limit.count // 2, 1)
        rest = max(limit.count - self._most, 1)
        # With a limit of one the gap is the whole window.
        self._gap_ns = int(limit.window_s * 1e9 / rest)
        self._empty_ns: int | None = None
        """Until when the tokens are taken: the next one becomes available a gap after it (monotonic nanoseconds)."""

    def reserve(self, now_ns: int) -> int:
        """Take the next token, and return how many nanoseconds to wait until it may be used.

        Callers get their tokens in the order of their calls.
        """
        full_ns = now_ns - self._most * self._gap_ns
        token_ns = full_ns if self._empty_ns is None else max(self._empty_ns, full_ns)
        token_ns += self._gap_ns
        self._empty_ns = token_ns
        return max(token_ns - now_ns, 0)


class Spacing:
    """Keeps at least ``gap_s`` seconds between two messages."""

    def __init__(self, gap_s: float) -> None:
        self._gap_ns = int(gap_s * 1e9)
        self._next_ns = 0

    def reserve(self, now_ns: int) -> int:
        """Take the next turn, and return how many nanoseconds to wait until then."""
        at_ns = max(self._next_ns, now_ns)
        self._next_ns = at_ns + self._gap_ns
        return at_ns - now_ns
