"""``RateLimits``: what a venue allows per second, minute and day, and what its answers say of that. Pure.

The room ``limits`` of a venue's folder implements it; ``execution.live.rate_limiter`` keeps to it.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from arbshard.shm.budget import Window


class WindowUse(NamedTuple):
    """A window, and how much of it is gone by the venue's word."""

    window: str
    used: int


class RateLimits(Protocol):
    """A venue's published limits for an ordinary account."""

    @property
    def windows(self) -> tuple[Window, ...]:
        """All of them; the name of each begins with the venue's."""
        ...

    def read_headers(self, headers: Mapping[str, str]) -> Iterable[WindowUse]:
        """What an answer's headers (names in lower case) say; nothing for headers in another form."""
        ...

    def block_s(self, body: bytes) -> float | None:
        """How long a block (HTTP 418) lasts by its text; None where the text does not say."""
        ...
