"""``Tap`` reads what a running instance publishes, for recorders, screens, and ``arbshard tap``.

A tap never slows the instance down: what it does not read in time is lost, and it knows how many messages of each
topic those were.
"""

import select
from collections.abc import Callable, Iterable
from typing import NamedTuple

from arbshard.closable import Closable
from arbshard.errors import ProtocolError
from arbshard.wire.bus import BusMessage, Subscriber
from arbshard.wire.topics import ALL_TOPICS, Publication, decode


class Received(NamedTuple):
    """Is a message with its number in its topic."""

    topic: str
    sequence: int
    """Grows by one with each message of the topic since the instance began, as long as there is a subscriber."""
    message: Publication


class Tap(Closable):
    """Subscribes to topics (prefixes, see ``topics``) of the bus at ``endpoint``. Raises ``TransportError``.

    Read it with ``read`` from a program without a loop, or with ``start`` in a running loop.
    """

    def __init__(self, endpoint: str, topics: Iterable[str] = ALL_TOPICS, *, high_water: int = 4096) -> None:
        """Subscribe. ``high_water``: messages that are kept until they are read, at each end."""
        self._subscriber = Subscriber(
            endpoint, tuple(topic.encode() for topic in topics), high_water=high_water
        )
        self._unreadable = 0

    @property
    def missed(self) -> dict[str, int]:
        """Return the number of messages lost so far, by topic: their sequence numbers did not come."""
        return {topic.decode(errors="replace"): lost for topic, lost in self._subscriber.gaps.items()}

    @property
    def bad(self) -> int:
        """Return the number of invalid messages, and of messages of another version, which were dropped."""
        return self._subscriber.bad + self._unreadable

    def read(self, timeout_s: float) -> list[Received]:
        """Return what has been received; where nothing has, wait up to ``timeout_s`` seconds for it."""
        found = self._drain()
        if not found and timeout_s > 0:
            # The descriptor is edge-triggered: it is waited for only after the socket reported that it has nothing
            # more.
            select.select([self._subscriber.fileno()], [], [], timeout_s)
            found = self._drain()
        return found

    def start(self, on_message: Callable[[Received], None]) -> None:
        """Call ``on_message`` for each message in the running loop."""

        def handle(message: BusMessage) -> None:
            received = self._typed(message)
            if received is not None:
                on_message(received)

        self._subscriber.start(handle)

    def close(self) -> None:
        """Close the socket. May be called again."""
        self._subscriber.close()

    def _drain(self) -> list[Received]:
        typed = (self._typed(message) for message in self._subscriber.drain())
        return [received for received in typed if received is not None]

    def _typed(self, message: BusMessage) -> Received | None:
        try:
            return Received(message.topic.decode(), message.sequence, decode(message.parts))
        except (ProtocolError, UnicodeDecodeError):
            self._unreadable += 1
            return None
