"""Measure the time from a change of the best bid or ask at the exchange to the first decision on it.

The embedded exchanges send levels every 100 ms and the touch with every change, as Binance does. The kinds are
measured in turns. A touch that was replaced before it was seen does not count, so levels alone are shown better than
they are.
"""

import statistics
import time

from arbshard.shm.pages import Histogram, PageReader
from perf.figures import percentiles_of
from perf.running import MeasurementFailed, System
from perf.worker import SEND_DECISION

GROUP = "Change of the touch → first decision"
STREAMS = ("partial", "fused")
_SHARDS = 2
_COINS = 30
_UPDATES_PER_S = 7.3
"""A rate whose steps fall on all parts of the interval between two sets of levels."""
_WARM_UP_S = 3.0


def measure(seconds: float, turns: int = 3) -> dict[str, float]:
    """Return the figures by name. Raises ``MeasurementFailed``."""
    found: dict[str, list[float]] = {}
    for _ in range(turns):
        for stream in STREAMS:
            for name, value in _measure_once(stream, seconds).items():
                found.setdefault(f"{stream}: {name}", []).append(value)
    return {name: round(statistics.median(values), 2) for name, values in found.items()}


def _measure_once(stream: str, seconds: float) -> dict[str, float]:
    config = {
        "run": {"shards": _SHARDS, "log_level": "warning"},
        "sim": {"coins": _COINS, "updates_per_s": _UPDATES_PER_S, "regime": "calm"},
        "venues": {"binance": {"stream": stream}},
    }
    program = ("-m", "perf.system", "--exchanges", "perf.stamped", "--worker", "perf.first_seen")
    with System(program, config) as system:
        system.until_running()
        system.until_deciding()
        time.sleep(_WARM_UP_S)
        began_s, first, frames, cpu_s = time.monotonic(), _seen(system), _frames(system), _cpu_s(system)
        time.sleep(seconds)
        system.require_alive()
        took_s = time.monotonic() - began_s
        seen = _seen(system).minus(first)
        frames, cpu_s = _frames(system) - frames, _cpu_s(system) - cpu_s
    if not seen.count:
        raise MeasurementFailed(f"no touch was decided on within {seconds:g} s")
    shown = percentiles_of(seen)
    return {
        "p50, ms": shown.p50 / 1000,
        "p90, ms": shown.p90 / 1000,
        "p99, ms": shown.p99 / 1000,
        "touches decided on per second": seen.count / took_s,
        "frames from the venue per second": frames / took_s,
        "CPU of supervisor and workers, % of a core": 100 * cpu_s / took_s,
    }


def _seen(system: System) -> Histogram:
    found = Histogram.of(())
    for shard in range(_SHARDS):
        with PageReader.attach(system.files.worker_page(shard)) as page:
            found = found.merge(page.histogram(SEND_DECISION))
    return found


def _frames(system: System) -> int:
    note = system.note()
    assert note is not None, "it runs"
    return next(venue.frames for venue in note.venues if venue.name == "binance")


def _cpu_s(system: System) -> float:
    """Return the CPU seconds of the supervisor and the workers so far."""
    total_s = 0.0
    for name, process in system.processes().items():
        if name == "supervisor" or name.startswith("worker"):
            times = process.cpu_times()
            total_s += times.user + times.system
    return total_s
