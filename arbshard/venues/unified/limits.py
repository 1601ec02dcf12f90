"""Holds the share of a venue's rate limits that all processes of a run use together. Pure.

ccxt knows one pause between calls for each venue and keeps to it within a process (``data.ccxt_client`` leaves that
on); this limit is for all processes together.
"""

from collections.abc import Iterable, Mapping

from arbshard.shm.budget import Window
from arbshard.venues.base.limits import WindowUse

_CALLS_PER_S = 8
"""This is lower than the limit of every venue that ``data.ccxt_client`` trades on."""


def cost_of(name: str) -> Mapping[str, int]:
    """Return the cost of a call to the venue ``name``."""
    return {f"{name}_calls": 1}


class UnifiedLimits:
    """Implements ``RateLimits``."""

    connect: Mapping[str, int] = {}
    """ccxt opens no private connection here."""

    def __init__(self, name: str) -> None:
        self.windows = (Window(f"{name}_calls", name, _CALLS_PER_S, 1_000_000_000, is_of_account=True),)

    def read_headers(self, headers: Mapping[str, str]) -> Iterable[WindowUse]:
        """Return nothing: each venue has headers of its own."""
        del headers
        return ()

    def block_s(self, body: bytes) -> float | None:
        """Return None: each venue has texts of its own."""
        del body
        return None
