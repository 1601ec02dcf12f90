"""Carries order events on virtual time: PUB/SUB from the accounts process to the workers.

As over ZeroMQ, nothing is kept for a subscriber that is not connected yet, and a connection keeps its order. A
subscriber finds a new publisher after a while, and so does a new subscriber.
"""

from collections.abc import Callable
from random import Random

from arbshard.virtual.loop import VirtualLoop, VirtualProcess
from arbshard.virtual.network_conditions import NetworkConditions
from arbshard.wire.bus import BusMessage

_JOINS_S = (0.005, 0.12)


class EventBus:
    """Is the endpoint of the bus, which outlives publisher and subscribers."""

    def __init__(self, loop: VirtualLoop, network: NetworkConditions, random: Random) -> None:
        self._loop = loop
        self._network = network
        self._random = random
        self._subscribers: dict[VirtualSubscriber, None] = {}
        self._publisher: VirtualPublisher | None = None

    def publisher(self) -> "VirtualPublisher":
        """Return the publisher of a new accounts process, which replaces any before."""
        made = self._publisher = VirtualPublisher(self)
        for subscriber in self._subscribers:
            self._connect(subscriber)
        return made

    def subscriber(self, process: VirtualProcess, topic: bytes) -> "VirtualSubscriber":
        """Return a subscriber of ``process`` to ``topic``."""
        for one in tuple(self._subscribers):
            if not one.process.alive:
                del self._subscribers[one]
        made = VirtualSubscriber(self, process, topic)
        self._subscribers[made] = None
        self._connect(made)
        return made

    def leave(self, subscriber: "VirtualSubscriber") -> None:
        """Remove a subscriber."""
        self._subscribers.pop(subscriber, None)

    def send(self, topic: bytes, sequence: int, payload: bytes) -> bool:
        """Send a message to the subscribers of its topic. Returns whether there are any."""
        now_ns, is_wanted = self._loop.now_ns, False
        for subscriber in self._subscribers:
            if subscriber.topic == topic and subscriber.joined_ns <= now_ns and subscriber.process.alive:
                is_wanted = True
                arrives_ns = max(subscriber.arrives_ns, now_ns + self._network.request_ns())
                subscriber.arrives_ns = arrives_ns
                message = BusMessage(topic, sequence, [payload])
                self._loop.deliver(subscriber.process, arrives_ns, subscriber.receive, message)
        return is_wanted

    def _connect(self, subscriber: "VirtualSubscriber") -> None:
        subscriber.joined_ns = self._loop.now_ns + int(self._random.uniform(*_JOINS_S) * 1e9)


class VirtualPublisher:
    """Implements ``accounts.assembly.EventPublisher``."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._sequences: dict[bytes, int] = {}

    def publish(self, topic: bytes, payload: bytes, /) -> bool:
        """Send to the subscribers of ``topic``. Returns whether there are any."""
        sequence = self._sequences.get(topic, 0) + 1
        is_wanted = self._bus.send(topic, sequence, payload)
        if is_wanted:
            self._sequences[topic] = sequence
        return is_wanted


class VirtualSubscriber:
    """Implements ``worker.live.OrderEvents``."""

    lost = 0
    """A connection loses nothing while both ends live."""

    def __init__(self, bus: EventBus, process: VirtualProcess, topic: bytes) -> None:
        self._bus = bus
        self.process = process
        self.topic = topic
        self.joined_ns = 0
        self.arrives_ns = 0
        self._on_message: Callable[[BusMessage], None] | None = None

    def start(self, on_message: Callable[[BusMessage], None], /) -> None:
        """Call ``on_message`` for each message from now on."""
        self._on_message = on_message

    def receive(self, message: BusMessage) -> None:
        """Pass on a message that has arrived."""
        if self._on_message is not None:
            self._on_message(message)

    def close(self) -> None:
        """End the subscription."""
        self._bus.leave(self)
        self._on_message = None
