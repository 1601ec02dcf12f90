"""Reports how a run goes to the service manager that started it, such as systemd, by the protocol of ``sd_notify``.

A message is a datagram of ``KEY=VALUE`` lines to the socket that ``$NOTIFY_SOCKET`` names. Nothing is sent where
that variable is not set.
"""

import os
import socket
from collections.abc import MutableMapping

from arbshard.log import get_logger
from arbshard.model.notes import RunState
from arbshard.status.model import Status

_STATUS_CHARACTERS_MAX = 400
_START_S = 600.0
"""How long a start may take once the venues answer; ``TimeoutStartSec`` of the unit says the same."""
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_FEEDS_IN_A_TIME = 4
"""Number of feeds within the watchdog's time-out, so that one delay ends nothing."""
_FEED_S_MAX = 5.0
_STATES = {
    "starting": ("STATUS=starting",),
    "running": ("READY=1", "STATUS=running"),
    "draining": ("STOPPING=1", "STATUS=stopping: nothing new is entered"),
    "ended": ("STOPPING=1", "STATUS=ended"),
}
"""What is sent when a run comes to a state."""


class ServiceManager:
    """Reports to the service manager what a run is and does.

    A message that cannot be sent at once ends nothing: the first of a series is logged, and a change of the run's
    state is sent again with the next message.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        """Open the socket. ``address``: its address; empty to send nothing. ``watchdog_s``: its time-out; 0 where
        none is set.

        Raises ``OSError`` when the system refuses a socket.
        """
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self.feed_s = min(watchdog_s / _FEEDS_IN_A_TIME, _FEED_S_MAX) if address else 0.0
        """How often the watchdog is to be fed, in seconds; 0 for never."""
        self._is_failing = False
        self._unsent: tuple[str, ...] = ()
        """The change of state that could not be sent."""

    def change_state(self, state: RunState) -> None:
        """Report how far the run has come: ready once it trades, stopping from the first step of its end."""
        self._unsent = _STATES[state]
        self._send_unsent()

    def delay_start(self, why: str, pause_s: float) -> None:
        """Report that the start waits for ``pause_s`` seconds, and has its usual time after that."""
        self._send_unsent()
        extended_us = int((pause_s + _START_S) * 1e6)
        self._send(f"STATUS=waits for the venues: {_one_line(why)}", f"EXTEND_TIMEOUT_USEC={extended_us}")

    def show(self, status: Status) -> None:
        """Report in one sentence how the run is."""
        self._send_unsent()
        self._send(f"STATUS={sentence_of(status)}")

    def feed_watchdog(self) -> None:
        """Report that the run is well. When this stops, the manager ends the run and starts it again."""
        self._send_unsent()
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Stop sending. May be called again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send_unsent(self) -> None:
        if self._unsent and self._send(*self._unsent):
            self._unsent = ()

    def _send(self, *lines: str) -> bool:
        """Return whether the message was sent."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._is_failing:
                get_logger().warning("the service manager takes no message", what=lines[0], error=str(error))
            self._is_failing = True
            return False
        self._is_failing = False
        return True


def take_service_manager(environ: MutableMapping[str, str], pid: int) -> ServiceManager:
    """Return the manager that ``environ`` names, and remove its variables: no child may report for the run.

    ``pid``: that of this process; a watchdog that waits for another one is not fed. Raises ``OSError``.
    """
    address, usec, whose = (environ.pop(name, "") for name in _VARIABLES)
    if not address.startswith(("/", "@")):
        # No manager, or one that is reached in a way that no systemd uses for services.
        return ServiceManager()
    is_ours = usec.isdecimal() and whose in ("", str(pid))
    return ServiceManager(address, int(usec) / 1e6 if is_ours else 0.0)


def _one_line(text: str) -> str:
    return text.replace("\n", " ")[:_STATUS_CHARACTERS_MAX]


def sentence_of(status: Status) -> str:
    """Return how a run is, in one line: the halt or the first problem, and what trading has brought."""
    portfolio = status.portfolio
    lasting = [problem for problem in status.problems if problem not in status.passing]
    urgent = status.halted or next(iter((*lasting, *status.passing)), "")
    others = len(status.problems) - 1
    parts = [status.state]
    if urgent:
        parts.append(f": {_one_line(urgent)}")
    if urgent and others > 0:
        parts.append(f" (and {others} more)")
    trades = f"{portfolio.entries} entries, {portfolio.open} open"
    parts.append(f"; {trades}, PnL {float(portfolio.pnl):+,.0f} {portfolio.currency} since the start")
    return "".join(parts)


def service_manager_of_this_process() -> ServiceManager:
    """Return the manager that has started this process."""
    return take_service_manager(os.environ, os.getpid())
