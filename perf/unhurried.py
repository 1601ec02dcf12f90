"""Venue sessions without message limits: clients under test subscribe as fast as they can.

Waiting minutes for a thousand subscriptions measures nothing. A session learns the time
as an argument, so each message is given one of its own. Used by ``generator``.
"""

from collections.abc import Sequence
from itertools import count

from arbshard.exchanges.session import SECOND_NS, Action, ClientSession, SharedStream

_APART_NS = 120 * SECOND_NS
"""Longer than any window in which a venue counts messages."""


class UnhurriedSession:
    """See ``sim.session.ClientSession``; every message comes long after the one before."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._message_ns = count(0, _APART_NS)

    @property
    def streams(self) -> frozenset[SharedStream]:
        """See ``ClientSession``."""
        return self._session.streams

    def on_open(self, now_ms: int) -> Sequence[Action]:
        """See ``ClientSession``."""
        return self._session.on_open(now_ms)

    def on_text(self, text: str, now_ns: int, now_ms: int) -> Sequence[Action]:
        """See ``ClientSession``."""
        return self._session.on_text(text, now_ns + next(self._message_ns), now_ms)

    def on_ping(self, now_ns: int) -> Sequence[Action]:
        """See ``ClientSession``."""
        return self._session.on_ping(now_ns + next(self._message_ns))

    def on_pong(self, payload: bytes, now_ns: int) -> Sequence[Action]:
        """See ``ClientSession``."""
        return self._session.on_pong(payload, now_ns + next(self._message_ns))

    def on_time(self, now_ns: int, quiet_ns: int) -> Sequence[Action]:
        """See ``ClientSession``."""
        return self._session.on_time(now_ns, quiet_ns)
