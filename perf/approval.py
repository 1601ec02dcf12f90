"""Decision → risk approval on paper: the normal embedded exchanges, a world full of gaps, light load.

From the workers' pages: the time a worker waits for ``Approved``, the ledger's commit included.
"""

import time

from arbshard.shm.pages import Histogram, PageReader
from perf.figures import Percentiles, percentiles_of
from perf.running import MeasurementFailed, System

_SHARDS = 2
_COINS = 60
_WARM_UP_S = 2.0


def measure(seconds: float = 20.0) -> Percentiles:
    """Raises ``MeasurementFailed``, also when nothing was approved."""
    config = {
        "run": {"shards": _SHARDS, "log_level": "warning"},
        "sim": {"coins": _COINS, "updates_per_s": 10.0, "regime": "high-win"},
        # Positions are left again soon: more approvals in the same time, of entries and exits.
        "strategy": {"max_hold_s": 2.0, "cooldown_ms": 100.0},
    }
    with System(("-m", "arbshard", "run"), config) as system:
        system.until_running()
        time.sleep(_WARM_UP_S)
        first = _read(system)
        time.sleep(seconds)
        system.require_alive()
        approvals = _read(system).minus(first)
    if not approvals.count:
        raise MeasurementFailed(f"nothing was approved within {seconds:g} s")
    return percentiles_of(approvals)


def _read(system: System) -> Histogram:
    found = Histogram.of(())
    for shard in range(_SHARDS):
        with PageReader.attach(system.files.worker_page(shard)) as page:
            found = found.merge(page.histogram("decision_approval"))
    return found
