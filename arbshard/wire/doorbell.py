"""Is the doorbell of kind ``zmq``: it is rung over the bus, for systems without FIFOs. Same ends as
``shm.doorbell``.
"""

from arbshard.wire.bus import Publisher, Subscriber

_DRAINS_MAX = 16
"""Number of batches that one ``clear`` reads. Further rings are read next time: the descriptor stays readable."""


def _topic(shard: int) -> bytes:
    return b"bell.%d." % shard  # the last dot, because a topic is a prefix: bell.1 would wake for bell.10


class BusRinger:
    """Lets the supervisor ring a worker's doorbell over the bus, which its owner closes."""

    def __init__(self, bus: Publisher, shard: int) -> None:
        self._bus = bus
        self._topic = _topic(shard)

    def ring(self) -> None:
        """Wake the worker. A ring before its subscription has arrived is lost, but the worker's sleep has a time
        limit.
        """
        self._bus.publish(self._topic, b"")

    def close(self) -> None:
        """Do nothing: the bus is not closed here."""


class BusBell:
    """Lets a worker wait for its doorbell on the bus."""

    def __init__(self, endpoint: str, shard: int) -> None:
        self._subscriber = Subscriber(endpoint, (_topic(shard),))

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the bell was rung."""
        return self._subscriber.fileno()

    def clear(self) -> None:
        """Discard all rings so far."""
        for _ in range(_DRAINS_MAX):
            if not self._subscriber.drain():
                return

    def close(self) -> None:
        """Close the socket. May be called again."""
        self._subscriber.close()
