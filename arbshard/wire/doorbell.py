"""The doorbell of kind ``zmq``: rung over the bus, for systems without FIFOs. Same ends as ``shm.doorbell``."""

from arbshard.wire.bus import Publisher, Subscriber

_DRAINS_MAX = 16
"""More rings than so many batches hold are left for the next look: the descriptor stays readable."""


def _topic(shard: int) -> bytes:
    return b"bell.%d." % shard  # the last dot, because a topic is a prefix: bell.1 would wake for bell.10


class BusRinger:
    """The supervisor's side. The bus is its owner's to close."""

    def __init__(self, bus: Publisher, shard: int) -> None:
        self._bus = bus
        self._topic = _topic(shard)

    def ring(self) -> None:
        """Wake the worker. A ring before its subscription has arrived is lost; its sleeps have a limit."""
        self._bus.publish(self._topic, b"")

    def close(self) -> None:
        """Nothing of its own to close."""


class BusBell:
    """The worker's side."""

    def __init__(self, endpoint: str, shard: int) -> None:
        self._subscriber = Subscriber(endpoint, (_topic(shard),))

    def fileno(self) -> int:
        """The descriptor that becomes readable when the bell was rung."""
        return self._subscriber.fileno()

    def clear(self) -> None:
        """Take back all rings so far."""
        for _ in range(_DRAINS_MAX):
            if not self._subscriber.drain():
                return

    def close(self) -> None:
        """Close the socket. May be called again."""
        self._subscriber.close()
