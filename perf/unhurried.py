"""Provides venue sessions without message limits, so that clients under test subscribe as fast as they can.

To wait minutes for a thousand subscriptions would measure nothing. A session receives the time as an
argument, so each message is given a time long after that of the message before. ``generator`` uses this.
"""

from collections.abc import Sequence
from itertools import count

from typing_extensions import override

from arbshard.exchanges.session import SECOND_NS, ClientSession, SessionAction, SharedStream

_APART_NS = 120 * SECOND_NS
"""Nanoseconds between two messages, more than any window in which a venue counts messages."""


class UnhurriedSession(ClientSession):
    """Forwards everything to a session, with the time of each message long after that of the message
    before.
    """

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._message_ns = count(0, _APART_NS)

    @property
    @override
    def streams(self) -> frozenset[SharedStream]:
        return self._session.streams

    @override
    def on_open(self, now_ms: int) -> Sequence[SessionAction]:
        return self._session.on_open(now_ms)

    @override
    def on_text(self, text: str, now_ns: int, now_ms: int) -> Sequence[SessionAction]:
        return self._session.on_text(text, now_ns + next(self._message_ns), now_ms)

    @override
    def on_ping(self, now_ns: int) -> Sequence[SessionAction]:
        return self._session.on_ping(now_ns + next(self._message_ns))

    @override
    def on_pong(self, payload: bytes, now_ns: int) -> Sequence[SessionAction]:
        return self._session.on_pong(payload, now_ns + next(self._message_ns))

    @override
    def on_time(self, now_ns: int, quiet_ns: int) -> Sequence[SessionAction]:
        return self._session.on_time(now_ns, quiet_ns)
