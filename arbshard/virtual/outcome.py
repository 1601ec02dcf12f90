"""How a simulation ended: values, made by ``machine``, shown by ``report``."""

from typing import NamedTuple

from arbshard.virtual.settings import Settings
from arbshard.virtual.tally import OracleCounts


class Memory(NamedTuple):
    """What the process has in memory at some virtual hour."""

    hour: float
    objects: int
    rss_mb: float


class SimulationReport(NamedTuple):
    """How a simulation ended."""

    settings: Settings
    virtual_s: float
    cpu_s: float
    events_run: int
    frames: int
    hash: str
    lines: int
    faults: dict[str, int]
    starts: int
    """Of the whole system."""
    tally: OracleCounts
    memory: tuple[Memory, ...]
    violations: tuple[str, ...]
    violated_s: float
    """When the first was found (virtual)."""
    last: tuple[str, ...]
    """The last lines of the trace."""

    @property
    def speed(self) -> float:
        """Return the virtual seconds in a second of the CPU."""
        return self.virtual_s / max(self.cpu_s, 1e-9)
