"""Measures how long a decision takes to be an order on the wire, in a live run on the embedded exchanges.

It contains planning, risk's approval with its durable commit, the rate budget, signing, and the transfer of
the request to the socket: what the workers' pages call ``decision_wire``.
"""

import time

from arbshard.shm.pages import Histogram, PageReader
from perf.figures import Percentiles, percentiles_of
from perf.running import MeasurementFailed, System

_SHARDS = 2
_COINS = 30
_WARM_UP_S = 4.0


def measure(seconds: float = 20.0) -> Percentiles:
    """Return the percentiles over ``seconds``. Raises ``MeasurementFailed``, also when nothing was sent."""
    config = {
        "mode": "live",
        "run": {"shards": _SHARDS, "log_level": "warning"},
        "sim": {"coins": _COINS, "updates_per_s": 10.0, "regime": "high-win"},
        "strategy": {"max_hold_s": 5.0},
    }
    with System(("-m", "arbshard", "run", "--live"), config) as system:
        system.until_running()
        time.sleep(_WARM_UP_S)
        first = _read(system)
        time.sleep(seconds)
        system.require_alive()
        sent = _read(system).minus(first)
    if not sent.count:
        raise MeasurementFailed(f"nothing was sent within {seconds:g} s")
    return percentiles_of(sent)


def _read(system: System) -> Histogram:
    found = Histogram.of(())
    for shard in range(_SHARDS):
        with PageReader.attach(system.files.worker_page(shard)) as page:
            found = found.merge(page.histogram("decision_wire"))
    return found
