"""Decides whether, and when, a child that ended is started again. Pure: the time is an argument."""

from collections import deque

from arbshard.config import RunConfig

_FIRST_PAUSE_S = 0.1
_PAUSE_MAX_S = 5.0
_NEVER_UP_WEIGHT = 2
"""An end before the child ever came up counts as so many: what cannot start will hardly start the next time."""


def pause_s(failures: int) -> float:
    """Return how long to wait, in seconds, after so many failures in a row: twice as long each time, up to five."""
    pause: float = min(_FIRST_PAUSE_S * 2 ** min(failures - 1, 10), _PAUSE_MAX_S)
    return pause


class RestartPolicy:
    """Decides when one child is restarted: at once the first time, then after doubling pauses, until it fails too
    often.
    """

    def __init__(self, run: RunConfig) -> None:
        self._tries = run.restart_tries
        self._window_ns = int(run.restart_window_s * 1e9)
        self._ends: deque[int] = deque(maxlen=run.restart_tries + 1)

    def after_end(self, now_ns: int, *, came_up: bool = True) -> float | None:
        """Count an end. Return the seconds to wait before the child is started again, or None to give it up."""
        self._ends.extend([now_ns] * (1 if came_up else _NEVER_UP_WEIGHT))
        recent = sum(1 for end in self._ends if now_ns - end <= self._window_ns)
        if recent > self._tries:
            return None
        if recent == 1:
            return 0.0
        return pause_s(recent - 1)

    def reset(self) -> None:
        """Begin to count anew, because a person has restarted the child."""
        self._ends.clear()
