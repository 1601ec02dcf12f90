"""Adds up what calls cost, and reads what a venue's answers state of its rate limits. Pure; ``rate_limiter`` uses
it.

The numbers are in the room ``limits`` of each venue's folder.
"""

from collections.abc import Iterable, Mapping

from arbshard.venues.base.limits import WindowUse
from arbshard.venues.registry import get_adapter

_BLOCKED_S = 1.0
"""How long a refusal without a time blocks, in seconds: one window of the stricter kind."""
_BANNED_S = 60.0
_BLOCK_S_MAX = 3 * 86_400.0


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


def blocked_s(venue: str, status: int, headers: Mapping[str, str], body: bytes) -> float:
    """Return how long, in seconds, a venue that answered ``status`` wants no call; 0 when it does not state it."""
    if status not in {418, 429}:
        return 0.0
    stated = headers.get("retry-after", "")
    if stated.isdecimal():
        return min(float(stated), _BLOCK_S_MAX)
    if status == 418:
        named_s = get_adapter(venue).limits.block_s(body)
        return min(named_s, _BLOCK_S_MAX) if named_s is not None else _BANNED_S
    return _BLOCKED_S
