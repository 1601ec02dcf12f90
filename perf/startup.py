"""Measures how long ``arbshard run`` takes to its first decision, and how much memory it uses.

The total is what the operating system would get back: what each process has for itself (USS), and once what
they share. The sum of resident sizes counts shared pages once per process; it is shown as well. The
simulated exchanges are not counted, because a run on real ones does not have them.
"""

import time

import msgspec

from perf.load import config_of
from perf.running import System

_SETTLE_S = 3.0
_CLI = ("-m", "arbshard", "run")
_PAIRS = 1_000
_PAIRS_RATE = 2_000.0
_STARTS = 3


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the memory of a running system, in MB of 1,000,000 bytes."""

    pairs: int
    shards: int
    total_mb: float
    """Sum of all USS, and the largest shared part once."""
    uss_mb: float
    rss_mb: float
    """Sum of the resident sizes, which counts shared pages in every process."""
    worker_rss_mb: float
    """Resident size of the largest worker."""
    exchanges_rss_mb: float
    """Resident size of the simulated exchanges or the generator, which the other figures exclude."""


class Startup(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the times and the memory of start-up."""

    first_decision_s: tuple[float, ...]
    """Seconds from the start of ``arbshard run --shards 4`` to the first evaluated tick, for each try."""
    footprints: tuple[Footprint, ...]


def measure(starts: int = _STARTS) -> Startup:
    """Return the times and the memory. Raises ``MeasurementFailed``."""
    took, small = [], None
    for number in range(starts):
        with System((*_CLI, "--shards", "4"), {}) as system:
            took.append(round(system.until_deciding() / 1e9, 3))
            if number == starts - 1:
                small = _footprint(system, shards=4)
    assert small is not None
    with System(("-m", "perf.system"), config_of(_PAIRS_RATE, _PAIRS, 4, None)) as system:
        large = _footprint(system, shards=4)
    return Startup(first_decision_s=tuple(took), footprints=(small, large))


def _footprint(system: System, shards: int) -> Footprint:
    note = system.until_running()
    system.until_deciding()
    time.sleep(_SETTLE_S)
    memory = {name: process.memory_full_info() for name, process in system.processes().items()}
    exchanges = memory.pop("sim")
    parts = memory.values()
    shared = max(part.rss - part.uss for part in parts)
    uss = sum(part.uss for part in parts)
    workers = [part.rss for name, part in memory.items() if name.startswith("worker")]
    return Footprint(
        pairs=note.pairs,
        shards=shards,
        total_mb=_mb(uss + shared),
        uss_mb=_mb(uss),
        rss_mb=_mb(sum(part.rss for part in parts)),
        worker_rss_mb=_mb(max(workers)),
        exchanges_rss_mb=_mb(exchanges.rss),
    )


def _mb(size: int) -> float:
    return round(size / 1e6, 1)
