"""Delays the start of a service until the venues answer.

A service manager gives up a service whose starts have failed too often, and no process would close what is open. So
the run asks again itself, with pauses that grow, and not before the end of a ban that a venue states: each earlier
question would make it longer. What a person has to change (``UsageError``) ends the start.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable

from arbshard.data.address_block import CallRefused, blocked_s
from arbshard.errors import RunStopped, VenueError
from arbshard.model.universe import Universe

_PAUSE_S = 2.0
_PAUSE_S_MAX = 60.0
_DOUBLINGS_MAX = 10


def pause_after(error: VenueError, failures: int) -> float:
    """Return after how many seconds the venues are asked again: twice as long after each of ``failures`` in a row, up
    to a minute, and at least as long as a venue wants.
    """
    pause_s: float = min(_PAUSE_S * 2 ** min(failures - 1, _DOUBLINGS_MAX), _PAUSE_S_MAX)
    if isinstance(error, CallRefused):
        return max(pause_s, blocked_s(error.venue, error.answer))
    return pause_s


async def find_once_reachable(
    find: Callable[[], Awaitable[Universe]],
    stop: asyncio.Event,
    on_wait: Callable[[str, float], None],
    limit_s: float | None = None,
) -> Universe:
    """Return what ``find`` does, once the venues answer. ``on_wait`` is called with why they are asked again, and in
    how many seconds. ``limit_s``: for how long they are waited for; None for as long as that takes.

    An answer that cannot be read, as in maintenance, counts like no answer. Raises ``RunStopped`` when ``stop`` is
    set meanwhile, the last ``VenueError`` when the time is over, and whatever else ``find`` raises.
    """
    loop = asyncio.get_running_loop()
    end_s = math.inf if limit_s is None else loop.time() + limit_s
    failures = 0
    while True:
        try:
            return await find()
        except VenueError as error:
            failures += 1
            pause_s = pause_after(error, failures)
            left_s = end_s - loop.time()
            if left_s <= 0:
                raise
            on_wait(str(error), min(pause_s, left_s))
            if await _is_stopped(stop, min(pause_s, left_s)):
                raise RunStopped("the run was stopped while it waited for the venues") from None
            if pause_s >= left_s:
                raise


async def _is_stopped(stop: asyncio.Event, pause_s: float) -> bool:
    """Return True when ``stop`` is set within ``pause_s``, and False after that."""
    try:
        async with asyncio.timeout(pause_s):
            return await stop.wait()
    except TimeoutError:
        return False
