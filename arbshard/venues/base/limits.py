"""Defines ``RateLimits``: a venue's limits per second, minute and day, and how its answers report their use. Pure.

The module ``limits`` of a venue's folder implements it; ``execution.live.rate_limiter`` enforces them.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from arbshard.shm.budget import Window


class WindowUse(NamedTuple):
    """States how much of a window is used, as the venue reports it."""

    window: str
    used: int


class RateLimits(Protocol):
    """Holds a venue's published limits for an ordinary account."""

    @property
    def windows(self) -> tuple[Window, ...]:
        """Return all windows; the name of each begins with the venue's name."""
        ...

    @property
    def connect(self) -> Mapping[str, int]:
        """Return what an attempt to open a private connection costs: the stream of an account, or one for orders."""
        ...

    def read_headers(self, headers: Mapping[str, str]) -> Iterable[WindowUse]:
        """Read the use that an answer's headers (names in lower case) report; yield nothing for another form."""
        ...

    def block_s(self, body: bytes) -> float | None:
        """Return for how many seconds a block (HTTP 418) lasts by its text; None if the text does not say."""
        ...
