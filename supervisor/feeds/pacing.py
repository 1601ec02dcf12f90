"""How often a venue may be bothered: a bucket shared by all of its connections, and a gap between messages. Pure."""

from arbshard.venues.base.market import RateLimit


class Bucket:
    """Never more than ``limit.count`` in any ``limit.window_s``: half of it at once, the rest as time goes by.

    What a full bucket holds and what a whole window adds make up the limit together, so no window can see more.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._most = max(limit.count // 2, 1)
        rest = max(limit.count - self._most, 1)
        # A limit of one: the whole window between two.
        self._gap_ns = int(limit.window_s * 1e9 / rest)
        self._empty_ns: int | None = None
        """When the bucket will have been filled up to here: the time of which its next token is."""

    def reserve(self, now_ns: int) -> int:
        """Take the next token: nanoseconds to wait until it may be used. The order of calls is the order of turns."""
        full_ns = now_ns - self._most * self._gap_ns
        token_ns = full_ns if self._empty_ns is None else max(self._empty_ns, full_ns)
        token_ns += self._gap_ns
        self._empty_ns = token_ns
        return max(token_ns - now_ns, 0)


class Spacing:
    """At least ``gap_s`` between two messages."""

    def __init__(self, gap_s: float) -> None:
        self._gap_ns = int(gap_s * 1e9)
        self._next_ns = 0

    def reserve(self, now_ns: int) -> int:
        """Take the next turn: nanoseconds to wait until then."""
        at_ns = max(self._next_ns, now_ns)
        self._next_ns = at_ns + self._gap_ns
        return at_ns - now_ns
