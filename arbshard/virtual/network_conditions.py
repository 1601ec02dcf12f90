"""Holds the state of the network: ``faults`` sets it; ``network`` and ``exchange`` read it for every message."""

from random import Random

from arbshard.virtual.spells import Spell

_REQUEST_NS = (60_000, 300_000)
_FRAME_NS = (400_000, 2_500_000)
_CALL_NS = (2_000_000, 25_000_000)


class NetworkConditions:
    """Draws latencies and losses of the network from one seed."""

    def __init__(self, random: Random) -> None:
        self._random = random.random
        self.request_slow_ns = 0
        """Largest delay in ns that is added to a request and to a reply."""
        self.frame_slow_ns = 0
        """Largest delay in ns that is added to a frame."""
        self.call_slow_ns = 0
        """Largest delay in ns that is added to a REST call and to its response."""
        self.call_lost_share = 0.0
        """Share of REST calls and of their responses that are lost without an error."""
        self.lost_share = 0.0
        """Share of requests and replies that are lost."""
        self.doubled_share = 0.0
        """Share of requests that arrive twice."""
        self.late_share = 0.0
        """Share of orders with several executions of which the last is reported after the order's end."""
        self.late = 0
        self.calls_lost = 0
        self.lost = 0
        self.doubled = 0

    def request_ns(self) -> int:
        """Return the latency of a request or a reply."""
        least, most = _REQUEST_NS
        return least + int(self._random() * (most - least + self.request_slow_ns))

    def frame_ns(self) -> int:
        """Return the latency of a frame."""
        least, most = _FRAME_NS
        return least + int(self._random() * (most - least + self.frame_slow_ns))

    def call_ns(self) -> int:
        """Return the latency of a REST call or its response."""
        least, most = _CALL_NS
        return least + int(self._random() * (most - least + self.call_slow_ns))

    def loses_call(self) -> bool:
        """Return whether this REST call, or this response, is lost."""
        if self.call_lost_share and self._random() < self.call_lost_share:
            self.calls_lost += 1
            return True
        return False

    def loses(self) -> bool:
        """Return whether this message is lost."""
        if self.lost_share and self._random() < self.lost_share:
            self.lost += 1
            return True
        return False

    def doubles(self) -> bool:
        """Return whether this message arrives twice."""
        if self.doubled_share and self._random() < self.doubled_share:
            self.doubled += 1
            return True
        return False

    def spell(self, seconds: float, what: str, **values: float) -> Spell:
        """Return a spell in which the named attributes have ``values``; at its end they are 0.

        Raises ``AttributeError`` for a name that this class does not have.
        """
        for name in values:
            getattr(self, name)

        def change(changed: dict[str, float]) -> None:
            for name, value in changed.items():
                setattr(self, name, value)

        return Spell(seconds, lambda: change(values), lambda: change(dict.fromkeys(values, 0)), what)

    def restore(self) -> None:
        """Restore the usual latencies, without losses."""
        self.request_slow_ns = self.frame_slow_ns = self.call_slow_ns = 0
        self.call_lost_share = 0.0
        self.lost_share = self.doubled_share = self.late_share = 0.0
