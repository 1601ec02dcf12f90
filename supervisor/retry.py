"""``Retried`` does something that must be done in the end, and that the system may refuse for a while.

``run`` uses it.
"""

from collections.abc import Callable

import psutil

from arbshard.log import get_logger
from supervisor.processes.restarts import pause_s

REFUSALS = (OSError, psutil.Error)
"""Errors by which the system refuses: it is full, or the object of the call is gone."""


class Retried:
    """Does one thing whenever it is requested, and again after growing pauses until it succeeds."""

    def __init__(self, what: str, do: Callable[[], None], alert: Callable[[str], None]) -> None:
        """Begin. ``what``: the subject of the alert, such as "the list of children"."""
        self._what = what
        self._do = do
        self._alert = alert
        self._failures = 0
        self._due_ns = 0
        self.is_wanted = False
        """Whether it is still to be done."""

    def request(self) -> None:
        """Do it at the next ``run_if_due``."""
        self.is_wanted = True

    def run_if_due(self, now_ns: int) -> None:
        """Do it if it is wanted and due. A refusal is an alert, the first time in a row, and a line in the log."""
        if not self.is_wanted or now_ns < self._due_ns:
            return
        try:
            self._do()
        except REFUSALS as error:
            self._failures += 1
            self._due_ns = now_ns + int(pause_s(self._failures) * 1e9)
            get_logger().warning("refused", what=self._what, error=str(error), tries=self._failures)
            if self._failures == 1:
                self._alert(f"{self._what} cannot be written: {error}; this is tried again")
            return
        self.is_wanted = False
        self._failures = self._due_ns = 0
