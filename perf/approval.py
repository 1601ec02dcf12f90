"""Measures how long risk takes to approve a decision, on paper.

The system is a normal one on the embedded exchanges, with many gaps and a light load. The workers' pages
give the time that a worker waits for ``Approved``, which includes the commit of the ledger.
"""

import time

from arbshard.shm.pages import Histogram, PageReader
from perf.figures import Percentiles, percentiles_of
from perf.running import MeasurementFailed, System

_SHARDS = 2
_COINS = 60
_WARM_UP_S = 2.0


def measure(seconds: float = 20.0) -> Percentiles:
    """Return the percentiles over ``seconds``. Raises ``MeasurementFailed``, also when nothing was
    approved.
    """
    config = {
        "run": {"shards": _SHARDS, "log_level": "warning"},
        "sim": {"coins": _COINS, "updates_per_s": 10.0, "regime": "high-win"},
        # Positions are closed soon, so there are more approvals in the same time, of entries and exits.
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
