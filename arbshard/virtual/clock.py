"""``VirtualClock``: monotonic time is the loop's; the wall clock may jump. One for all processes of a machine."""

from arbshard.clock import SystemClock
from arbshard.virtual.loop import VirtualLoop

WALL_START_MS = 1_795_000_000_000


class VirtualClock(SystemClock):
    """Stands in wherever the machine's clocks are asked for."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._offset_ms = WALL_START_MS - loop.now_ns // 1_000_000

    def monotonic_ns(self) -> int:
        """See ``Clock``. Never goes back."""
        return self._loop.now_ns

    def wall_ms(self) -> int:
        """See ``Clock``."""
        return self._loop.now_ns // 1_000_000 + self._offset_ms

    def jump(self, milliseconds: int) -> None:
        """Set the wall clock forward, or back."""
        self._offset_ms += milliseconds


class SteadyClock:
    """A clock that is never set: that of a venue, whatever happens to the machine's. See ``clock.Clock``."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._offset_ms = WALL_START_MS - loop.now_ns // 1_000_000

    def monotonic_ns(self) -> int:
        """The loop's time."""
        return self._loop.now_ns

    def wall_ms(self) -> int:
        """The true time of day."""
        return self._loop.now_ns // 1_000_000 + self._offset_ms
