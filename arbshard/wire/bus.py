"""One publisher, many subscribers: topics with a sequence number each, so that a loss is seen and counted.

Frames: topic, sequence (8 bytes, little endian, from 1), payload parts. A subscriber that reads too slowly loses
messages at the high-water mark; it then knows how many, and where the truth is (shared memory, ledger).
"""

from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

import zmq

from arbshard.wire.sockets import SocketReader, descriptor, open_socket, receive

_SUBSCRIBE = 1
_UNSUBSCRIBE = 0
_SEQUENCE_BYTES = 8
_BATCH = 1024
_TOPIC_BYTES_MAX = 4096
"""What subscribers send is topics."""


class BusMessage(NamedTuple):
    """What a subscriber gets."""

    topic: bytes
    sequence: int
    parts: list[bytes]


class Publisher:
    """Binds ``endpoint``. ``high_water``: messages kept per subscriber. Raises ``TransportError``."""

    def __init__(self, endpoint: str, *, high_water: int = 4096) -> None:
        self._socket = open_socket(
            zmq.XPUB, endpoint, bind=True, high_water=high_water, frame_max=_TOPIC_BYTES_MAX
        )
        self._reader: SocketReader | None = None
        self._prefixes: set[bytes] = set()
        self._wanted: dict[bytes, bool] = {}
        self._sequences: dict[bytes, int] = {}
        self.published = 0
        self.unwanted = 0
        """Messages that nobody had subscribed to and that were not sent."""

    def start(self) -> None:
        """Notice subscriptions in the running loop from now on."""
        assert self._reader is None, "started already"
        self._reader = SocketReader(self._socket, self.pump)

    def pump(self) -> None:
        """Notice the subscriptions that have come. To be called by those who have no loop."""
        for _ in range(_BATCH):
            frames = receive(self._socket)
            if frames is None:
                return
            kind, prefix = frames[0][:1], frames[0][1:]
            if kind == bytes([_SUBSCRIBE]):
                self._prefixes.add(prefix)
            elif kind == bytes([_UNSUBSCRIBE]):
                self._prefixes.discard(prefix)
            self._wanted.clear()

    def wanted(self, topic: bytes) -> bool:
        """Whether anybody has subscribed to a prefix of ``topic``."""
        known = self._wanted.get(topic)
        if known is None:
            known = self._wanted[topic] = any(topic.startswith(prefix) for prefix in self._prefixes)
        return known

    def publish(self, topic: bytes, payload: bytes | tuple[bytes, ...]) -> bool:
        """Send if anybody wants it; whether that was so. Never waits."""
        if not self.wanted(topic):
            self.unwanted += 1
            return False
        sequence = self._sequences[topic] = self._sequences.get(topic, 0) + 1
        parts = (payload,) if isinstance(payload, bytes) else payload
        self._socket.send_multipart(
            (topic, sequence.to_bytes(_SEQUENCE_BYTES, "little"), *parts), zmq.NOBLOCK
        )
        self.published += 1
        if self._reader is not None:
            self._reader.poke()
        return True

    def close(self) -> None:
        """Close the socket. May be called again."""
        if self._reader is not None:
            self._reader.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Subscriber:
    """Connects to ``endpoint``, there or not yet. ``high_water``: messages kept. Raises ``TransportError``."""

    def __init__(self, endpoint: str, topics: tuple[bytes, ...] = (), *, high_water: int = 4096) -> None:
        self._socket = open_socket(zmq.SUB, endpoint, bind=False, high_water=high_water)
        self._reader: SocketReader | None = None
        self._last: dict[bytes, int] = {}
        self.gaps: dict[bytes, int] = {}
        """Messages lost, by topic."""
        self.restarts = 0
        """Times that a topic's sequence began anew: its publisher was restarted."""
        self.bad = 0
        """Messages without topic and sequence, dropped."""
        for topic in topics:
            self.subscribe(topic)

    def subscribe(self, prefix: bytes) -> None:
        """Ask for all topics that begin with ``prefix``."""
        self._socket.setsockopt(zmq.SUBSCRIBE, prefix)
        self._poke()

    def unsubscribe(self, prefix: bytes) -> None:
        """Take one ``subscribe`` of ``prefix`` back. What is missed from then on is no gap."""
        self._socket.setsockopt(zmq.UNSUBSCRIBE, prefix)
        for topic in [topic for topic in self._last if topic.startswith(prefix)]:
            del self._last[topic]
        self._poke()

    def fileno(self) -> int:
        """The socket's edge-triggered descriptor: ``drain`` until it gives nothing, then wait for it."""
        return descriptor(self._socket)

    def start(self, on_message: Callable[[BusMessage], None]) -> None:
        """Call ``on_message`` for each message in the running loop. What it raises, the loop reports."""
        assert self._reader is None, "started already"

        def drain() -> None:
            for _ in range(_BATCH):
                frames = receive(self._socket)
                if frames is None:
                    return
                message = self._check(frames)
                if message is not None:
                    on_message(message)

        self._reader = SocketReader(self._socket, drain)

    def drain(self, max_messages: int = _BATCH) -> list[BusMessage]:
        """The messages waiting now, at most so many. Does not wait."""
        messages: list[BusMessage] = []
        for _ in range(max_messages):
            frames = receive(self._socket)
            if frames is None:
                break
            message = self._check(frames)
            if message is not None:
                messages.append(message)
        return messages

    @property
    def lost(self) -> int:
        """Messages lost on all topics."""
        return sum(self.gaps.values())

    def _check(self, frames: list[bytes]) -> BusMessage | None:
        if len(frames) < 2 or len(frames[1]) != _SEQUENCE_BYTES:
            self.bad += 1
            return None
        topic, number, *parts = frames
        sequence = int.from_bytes(number, "little")
        last = self._last.get(topic)
        self._last[topic] = sequence
        if last is not None and sequence != last + 1:
            if sequence > last:
                self.gaps[topic] = self.gaps.get(topic, 0) + sequence - last - 1
            else:
                self.restarts += 1
        return BusMessage(topic, sequence, parts)

    def _poke(self) -> None:
        if self._reader is not None:
            self._reader.poke()

    def close(self) -> None:
        """Close the socket. May be called again."""
        if self._reader is not None:
            self._reader.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
