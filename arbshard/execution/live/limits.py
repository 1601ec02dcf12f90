"""Adds up what calls cost, and reads what a venue's answers state of its rate limits. Pure; ``rate_limiter`` uses
it.

The numbers are in the room ``limits`` of each venue's folder.
"""

from collections.abc import Iterable, Mapping

from arbshard.venues.base.limits import WindowUse
from arbshard.venues.registry import get_adapter


def sum_costs(*costs: Mapping[str, int]) -> dict[str, int]:
    """Return the sum of several calls' costs."""
    total: dict[str, int] = {}
    for cost in costs:
        for window, amount in cost.items():
            total[window] = total.get(window, 0) + amount
    return total


def read_headers(venue: str, headers: Mapping[str, str]) -> Iterable[WindowUse]:
    """Return what an answer's headers (names in lower case) state of the windows; nothing for other headers."""
    return get_adapter(venue).limits.read_headers(headers)
