"""Binance's keep-alive: a ping every 20 s, a pong within 60 s, or the client is sent away. Pure; for both sockets."""

from collections.abc import Sequence

from arbshard.exchanges.session import SECOND_NS, Action, CloseClient, SendPing

PING_EVERY_NS = 20 * SECOND_NS
PONG_WITHIN_NS = 60 * SECOND_NS


class KeepAlive:
    """The pings of one connection. Times are monotonic nanoseconds."""

    def __init__(self, now_ns: int) -> None:
        self._ping_at_ns = now_ns + PING_EVERY_NS
        self._pings: dict[bytes, int] = {}

    def on_pong(self, payload: bytes) -> None:
        """Only a pong with the payload of a ping shows life."""
        if payload in self._pings:
            self._pings.clear()

    def on_time(self, now_ns: int) -> Sequence[Action]:
        """Ping, or close a client that left one unanswered."""
        oldest = min(self._pings.values(), default=now_ns)
        if now_ns - oldest >= PONG_WITHIN_NS:
            return (CloseClient(1008, "Pong timeout"),)
        if now_ns < self._ping_at_ns:
            return ()
        self._ping_at_ns += PING_EVERY_NS
        payload = str(now_ns // 1_000_000).encode()
        self._pings[payload] = now_ns
        return (SendPing(payload),)
