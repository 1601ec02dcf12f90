"""Writes the accounts process's counters to its page."""

from arbshard.log import error_count
from arbshard.shm.pages import PageWriter


class AccountsMeter:
    """Adds to counters by name; ``of`` returns the counters of one venue."""

    def __init__(self, page: PageWriter) -> None:
        self._page = page

    def count(self, name: str) -> None:
        """Add one to the counter ``name``."""
        self._page.add(self._page.counter(name))

    def set(self, name: str, value: int) -> None:
        """Set the gauge ``name``."""
        self._page.set(self._page.counter(name), value)

    def beat(self, now_ns: int, late_ns: int) -> None:
        """Record that the loop is alive. ``late_ns``: how much later than planned its timer came."""
        self.count("beat")
        self.set("beat_ns", now_ns)
        self.set("errors", error_count())
        self._page.record(self._page.histogram("loop_gap"), late_ns)

    def of(self, venue: str) -> "VenueMeter":
        """Return the counters of ``venue``."""
        return VenueMeter(self, venue)


class VenueMeter:
    """Adds to the counters of one venue."""

    def __init__(self, meter: AccountsMeter, venue: str) -> None:
        self._meter = meter
        self._venue = venue

    def count(self, name: str) -> None:
        """Add one to the counter ``name`` of this venue."""
        self._meter.count(f"{name}_{self._venue}")

    def set(self, name: str, value: int) -> None:
        """Set the gauge ``name`` of this venue."""
        self._meter.set(f"{name}_{self._venue}", value)
