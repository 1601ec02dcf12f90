"""Implements Binance's keep-alive: a ping every 20 s; a client without a pong within 60 s is disconnected.

It is pure; both kinds of sockets use it.
"""

from collections.abc import Sequence

from arbshard.exchanges.session import SECOND_NS, CloseClient, SendPing, SessionAction

PING_EVERY_NS = 20 * SECOND_NS
PONG_WITHIN_NS = 60 * SECOND_NS


class KeepAlive:
    """Holds the pings of one connection. Times are monotonic nanoseconds."""

    def __init__(self, now_ns: int) -> None:
        self._ping_at_ns = now_ns + PING_EVERY_NS
        self._pings: dict[bytes, int] = {}

    def on_pong(self, payload: bytes) -> None:
        """Accept a pong, if it has the payload of a ping."""
        if payload in self._pings:
            self._pings.clear()

    def on_time(self, now_ns: int) -> Sequence[SessionAction]:
        """Return a ping when it is due, or the close of a client that has left one unanswered."""
        oldest = min(self._pings.values(), default=now_ns)
        if now_ns - oldest >= PONG_WITHIN_NS:
            return (CloseClient(1008, "Pong timeout"),)
        if now_ns < self._ping_at_ns:
            return ()
        self._ping_at_ns += PING_EVERY_NS
        payload = str(now_ns // 1_000_000).encode()
        self._pings[payload] = now_ns
        return (SendPing(payload),)
