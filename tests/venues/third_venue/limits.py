"""What the venue allows."""

from collections.abc import Iterable, Mapping

from arbshard.shm.budget import Window
from arbshard.venues.base.limits import WindowUse

CALL: Mapping[str, int] = {"third_calls": 1}


class ThirdLimits:
    """Implements ``RateLimits``."""

    windows = (Window("third_calls", "third", 100, 1_000_000_000),)
    connect = CALL

    def read_headers(self, headers: Mapping[str, str]) -> Iterable[WindowUse]:
        """One header."""
        used = headers.get("x-calls-used", "")
        return (WindowUse("third_calls", int(used)),) if used.isdecimal() else ()

    def block_s(self, body: bytes) -> float | None:
        """Not told."""
        del body
        return None
