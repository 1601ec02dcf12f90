"""Defines how a simulation ended: values that ``machine`` makes and ``report`` shows."""

from typing import NamedTuple

from arbshard.virtual.settings import Settings
from arbshard.virtual.tally import OracleCounts


class Memory(NamedTuple):
    """Is the memory use of the process at some virtual hour."""

    hour: float
    objects: int
    rss_mb: float


class SimulationReport(NamedTuple):
    """Holds how a simulation ended."""

    settings: Settings
    virtual_s: float
    cpu_s: float
    events_run: int
    frames: int
    hash: str
    lines: int
    faults: dict[str, int]
    starts: int
    """Number of starts of the whole system."""
    tally: OracleCounts
    memory: tuple[Memory, ...]
    violations: tuple[str, ...]
    violated_s: float
    """Virtual time in seconds at which the first violation was found."""
    last: tuple[str, ...]
    """The last lines of the trace."""

    @property
    def speed(self) -> float:
        """Return the virtual seconds per second of CPU time."""
        return self.virtual_s / max(self.cpu_s, 1e-9)
