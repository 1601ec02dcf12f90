"""Measures hftbacktest's engine on books alone: ``FOLDER`` has one ``.npz`` file for each market.

The script runs in an environment of its own. All markets are read at once, and the best prices of each are
read once per second of the tape. There are no orders and no strategy, so this is the speed of keeping the
books. One JSON object is printed; its time excludes start, compilation and loading of data.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest
from numba import njit

from perf.peers.memory import peak_memory_mb

STEP_NS = 1_000_000_000


def _run(hbt: Any, markets: int) -> int:
    """Run to the end of the data; return how many best bids were seen."""
    seen = 0
    while hbt.elapse(STEP_NS) == 0:
        for number in range(markets):
            seen += hbt.depth(number).best_bid > 0
    return seen


run: Any = njit(_run)


def tick_of(events: Any) -> float:
    """Return the largest step that divides all prices; with a smaller one the engine looks at empty levels."""
    return float(np.gcd.reduce(np.round(np.unique(events["px"]) * 1e8).astype(np.int64)) / 1e8)


def engine_of(events: list[Any], ticks: list[float]) -> Any:
    """Return an engine over the events of all markets."""
    assets = [
        BacktestAsset()
        .data([one])
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0, 0)
        .tick_size(tick)
        .lot_size(1e-8)
        for one, tick in zip(events, ticks, strict=True)
    ]
    return HashMapMarketDepthBacktest(assets)


def main() -> None:
    """Run the engine once, after a short run that compiles it."""
    events = [np.load(path)["data"] for path in sorted(Path(sys.argv[1]).glob("*.npz"))]
    snapshots = sum(len(np.unique(one["exch_ts"])) for one in events)
    ticks = [tick_of(one) for one in events]
    run(engine_of([one[:200] for one in events], ticks), len(events))
    engine = engine_of(events, ticks)
    began_s = time.process_time()
    run(engine, len(events))
    cpu_s = time.process_time() - began_s
    peak_mb = peak_memory_mb()
    found = {"frames": snapshots, "events": sum(map(len, events)), "cpu_s": cpu_s, "peak_mb": peak_mb}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
