"""Provides time as an argument: monotonic nanoseconds for durations, wall milliseconds for people and venues."""

import time
from typing import Protocol


class Clock(Protocol):
    """Gives the time to code that may not read a clock itself."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds of the machine's monotonic clock, which processes of one machine can compare."""
        ...

    def wall_ms(self) -> int:
        """Return milliseconds since the Unix epoch."""
        ...


class SystemClock:
    """Gives the time of the machine's monotonic clock and wall clock."""

    monotonic_ns = staticmethod(time.monotonic_ns)
    """The function itself: a worker reads the time twice per frame, and a call around it would double the cost."""

    def wall_ms(self) -> int:
        """Return milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000


_LEASE_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_ns() -> int:
    """Return the time of the clock of leases: monotonic, and where the system has such a clock, it goes on while the
    machine is suspended. All processes of a machine can compare its times.
    """
    return time.clock_gettime_ns(_LEASE_CLOCK)


def monotonic_of(at_ms: int, now_ns: int, now_ms: int) -> int:
    """Return an instant of the wall clock as monotonic nanoseconds; one in the future counts as now.

    ``now_ns`` and ``now_ms`` are the same instant by both clocks.
    """
    return now_ns - max(now_ms - at_ms, 0) * 1_000_000


class KnownInstants:
    """Converts instants of the wall clock to monotonic time, by name.

    Each is converted once, when it is first asked for. From then on its age is right even when the wall clock is
    set.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}

    def monotonic_of(self, name: str, at_ms: int, now_ns: int, now_ms: int) -> int:
        """Return the instant ``at_ms`` of ``name`` as monotonic nanoseconds; a later instant replaces it."""
        known = self._known.get(name)
        if known is None or known[0] != at_ms:
            known = self._known[name] = at_ms, monotonic_of(at_ms, now_ns, now_ms)
        return known[1]


class ManualClock:
    """Gives a time that moves only when a test or a simulation moves it."""

    def __init__(self, monotonic_ns: int = 1_000_000_000, wall_ms: int = 1_795_000_000_000) -> None:
        self._ns = monotonic_ns
        self._wall_offset_ms = wall_ms - monotonic_ns // 1_000_000

    def monotonic_ns(self) -> int:
        """Return the monotonic time in nanoseconds."""
        return self._ns

    def wall_ms(self) -> int:
        """Return the wall time in milliseconds."""
        return self._ns // 1_000_000 + self._wall_offset_ms

    def set_wall_ms(self, wall_ms: int) -> None:
        """Set the wall clock alone."""
        self._wall_offset_ms = wall_ms - self._ns // 1_000_000

    def advance_ms(self, milliseconds: float) -> None:
        """Move both clocks forward."""
        assert milliseconds >= 0, milliseconds
        self._ns += int(milliseconds * 1_000_000)
