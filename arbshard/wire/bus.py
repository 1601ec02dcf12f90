"""Connects one publisher with many subscribers. Each topic has sequence numbers, so that a loss is seen and counted.

A message has these frames: topic, sequence (8 bytes, little endian, from 1), payload parts. A subscriber that reads
too slowly loses messages at the high-water mark; it then knows how many, and can read the present state elsewhere
(shared memory, ledger).

A publisher knows what is subscribed to. Code that has something to publish asks ``wanted`` first, or is called when
that changes (``on_subscriptions``), and does nothing for a topic without a subscriber.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import zmq

from arbshard.closable import Closable
from arbshard.wire.sockets import SocketReader, descriptor, open_socket, receive

_SUBSCRIBE = b"\x01"
_UNSUBSCRIBE = b"\x00"
_SEQUENCE_BYTES = 8
_BATCH = 1024
HIGH_WATER = 4096
"""Number of messages that are usually kept for a subscriber."""
_TOPIC_BYTES_MAX = 4096
"""Limit of a frame from a subscriber, which sends only topics."""
_PREFIXES_MAX = 65536
"""Number of prefixes of all subscribers together that a publisher keeps."""


class BusMessage(NamedTuple):
    """Is what a subscriber receives."""

    topic: bytes
    sequence: int
    parts: list[bytes]


class Prefixes:
    """Is a set of topic prefixes. ``match`` costs one look-up for each different length, however many there are."""

    def __init__(self, prefixes: Iterable[bytes] = ()) -> None:
        self._all: set[bytes] = set()
        self._lengths: dict[int, int] = {}
        """Number of prefixes of each length."""
        for prefix in prefixes:
            self.add(prefix)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._all)

    def add(self, prefix: bytes) -> None:
        """Add ``prefix``, also if it is in the set already."""
        if prefix not in self._all:
            self._all.add(prefix)
            self._lengths[len(prefix)] = self._lengths.get(len(prefix), 0) + 1

    def discard(self, prefix: bytes) -> None:
        """Remove ``prefix`` if it is in the set."""
        if prefix in self._all:
            self._all.remove(prefix)
            self._lengths[len(prefix)] -= 1
            if not self._lengths[len(prefix)]:
                del self._lengths[len(prefix)]

    def match(self, topic: bytes) -> bool:
        """Return whether ``topic`` begins with one of them."""
        return any(topic[:length] in self._all for length in self._lengths)


class Publisher(Closable):
    """Binds ``endpoint`` and sends. ``high_water``: messages kept per subscriber. Raises ``TransportError``."""

    def __init__(self, endpoint: str, *, high_water: int = HIGH_WATER) -> None:
        self._socket = open_socket(
            zmq.XPUB, endpoint, bind=True, high_water=high_water, frame_max=_TOPIC_BYTES_MAX
        )
        # Without this the second subscriber of a topic would not be noticed, and it wants the newest message too.
        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._reader: SocketReader | None = None
        self._prefixes = Prefixes()
        self._on_subscriptions: list[Callable[[Prefixes], None]] = []
        self._wanted: dict[bytes, bool] = {}
        self._sequences: dict[bytes, int] = {}
        self.published = 0
        self.unwanted = 0
        """Number of messages that had no subscriber and were not sent."""
        self.refused = 0
        """Number of subscriptions that were not kept because there are too many."""

    def on_subscriptions(self, callback: Callable[[Prefixes], None]) -> None:
        """Call ``callback`` after every change of the subscriptions, with the prefixes that are new."""
        self._on_subscriptions.append(callback)

    def start(self) -> None:
        """Handle subscriptions in the running loop from now on."""
        assert self._reader is None, "started already"
        self._reader = SocketReader(self._socket, self.pump)

    def pump(self) -> None:
        """Handle the subscriptions that have arrived. Programs without a loop call this."""
        subscribed, gone = Prefixes(), False
        for _ in range(_BATCH):
            frames = receive(self._socket)
            if frames is None:
                break
            kind, prefix = frames[0][:1], frames[0][1:]
            if kind == _UNSUBSCRIBE:
                self._prefixes.discard(prefix)
                subscribed.discard(prefix)
                gone = True
            elif kind == _SUBSCRIBE and len(self._prefixes) < _PREFIXES_MAX:
                self._prefixes.add(prefix)
                subscribed.add(prefix)
            else:
                self.refused += 1
        if subscribed or gone:
            self._wanted.clear()
            for callback in self._on_subscriptions:
                callback(subscribed)

    def wanted(self, topic: bytes) -> bool:
        """Return whether anything has subscribed to a prefix of ``topic``."""
        known = self._wanted.get(topic)
        if known is None:
            known = self._wanted[topic] = self._prefixes.match(topic)
        return known

    def publish(self, topic: bytes, payload: bytes | tuple[bytes, ...]) -> bool:
        """Send if there is a subscriber. Return whether there is one. Never waits."""
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
        """Close the socket; nothing is wanted from then on. May be called again."""
        if self._reader is not None:
            self._reader.close()
        self._socket.close()
        self._prefixes = Prefixes()
        self._wanted.clear()


class Subscriber(Closable):
    """Connects to ``endpoint``, even before it is bound. ``high_water``: messages kept. Raises ``TransportError``."""

    def __init__(
        self, endpoint: str, topics: tuple[bytes, ...] = (), *, high_water: int = HIGH_WATER
    ) -> None:
        self._socket = open_socket(zmq.SUB, endpoint, bind=False, high_water=high_water)
        self._reader: SocketReader | None = None
        self._last: dict[bytes, int] = {}
        self.gaps: dict[bytes, int] = {}
        """Number of messages lost, by topic."""
        self.restarts = 0
        """How often a topic's sequence began anew because its publisher was restarted."""
        self.bad = 0
        """Number of messages without topic and sequence, which were dropped."""
        for topic in topics:
            self.subscribe(topic)

    def subscribe(self, prefix: bytes) -> None:
        """Subscribe to all topics that begin with ``prefix``."""
        self._socket.setsockopt(zmq.SUBSCRIBE, prefix)
        self._poke()

    def unsubscribe(self, prefix: bytes) -> None:
        """Cancel one ``subscribe`` of ``prefix``. What is missed from then on is no gap."""
        self._socket.setsockopt(zmq.UNSUBSCRIBE, prefix)
        for topic in [topic for topic in self._last if topic.startswith(prefix)]:
            del self._last[topic]
        self._poke()

    def fileno(self) -> int:
        """Return the socket's edge-triggered descriptor: call ``drain`` until it returns nothing, then wait for
        this.
        """
        return descriptor(self._socket)

    def start(self, on_message: Callable[[BusMessage], None]) -> None:
        """Call ``on_message`` for each message in the running loop. The loop reports what it raises."""
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
        """Return the messages waiting now, at most ``max_messages``. Does not wait."""
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
        """Return the number of messages lost on all topics."""
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
