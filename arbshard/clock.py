"""Time, as an argument: monotonic nanoseconds for durations, wall milliseconds for people and venues."""

import time
from typing import Protocol


class Clock(Protocol):
    """The time, for code that may not read a clock itself."""

    def monotonic_ns(self) -> int:
        """Nanoseconds of the machine's monotonic clock: comparable between processes of one machine."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's monotonic clock and wall clock."""

    def monotonic_ns(self) -> int:
        """See ``Clock``."""
        return time.monotonic_ns()

    def wall_ms(self) -> int:
        """See ``Clock``."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that stands still until it is moved: for tests and virtual time."""

    def __init__(self, monotonic_ns: int = 1_000_000_000, wall_ms: int = 1_795_000_000_000) -> None:
        self._ns = monotonic_ns
        self._wall_offset_ms = wall_ms - monotonic_ns // 1_000_000

    def monotonic_ns(self) -> int:
        """See ``Clock``."""
        return self._ns

    def wall_ms(self) -> int:
        """See ``Clock``."""
        return self._ns // 1_000_000 + self._wall_offset_ms

    def advance_ms(self, milliseconds: float) -> None:
        """Move both clocks forward."""
        assert milliseconds >= 0, milliseconds
        self._ns += int(milliseconds * 1_000_000)
