"""Measures how long a decision takes to be an order on the wire, in a live run on the embedded exchanges.

It contains planning, risk's approval with its durable commit, the rate budget, signing, and the transfer of
the request to the socket: what the workers' pages call ``decision_wire``. The stages before and within it come from
the pages of the same run. ``python -m perf.wire`` prints them alone, and how many calls waited for a venue's rate
limit: with 30 coins there are at times more exits than Upbit takes orders, and their wait is the tail; with
``--coins 7`` hardly any call waits.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

from arbshard.shm.pages import Histogram, PageReader
from perf.figures import Percentiles, percentiles_of
from perf.running import MeasurementFailed, System

GROUP = "From book to wire, live, µs"
_SHARDS = 2
_COINS = 30
_WARM_UP_S = 4.0
_WORKERS = {
    "receive → decision (all)": "receive_decision",
    "decision → approval": "decision_approval",
    "decision → wire": "decision_wire",
    "book → wire, home leg": "book_wire_upbit",
    "book → wire, away leg": "book_wire_binance",
}
"""Histograms of the workers' pages, by stage."""
_RISK = {"risk: a batch of requests": "handle", "of that: durable commit": "commit"}
"""Histograms of risk's page, by stage."""


class WireTimes(NamedTuple):
    """Holds what one run has measured."""

    wire: Percentiles
    stages: dict[str, Percentiles]
    waits: int
    """Number of calls that waited for a venue's rate limit."""

    def rows(self) -> dict[str, float]:
        """Return p50 and p99 of every stage, by name."""
        return {
            f"{name}, {label}": value
            for name, found in self.stages.items()
            for label, value in (("p50", found.p50), ("p99", found.p99))
        }


def measure(
    seconds: float = 20.0, order_api: Literal["ws", "rest"] | None = None, coins: int = _COINS
) -> WireTimes:
    """Return the percentiles over ``seconds``. Raises ``MeasurementFailed``, also when nothing was sent."""
    config = {
        "mode": "live",
        "run": {"shards": _SHARDS, "log_level": "warning"},
        "sim": {"coins": coins, "updates_per_s": 10.0, "regime": "high-win"},
        "strategy": {"max_hold_s": 5.0},
    }
    if order_api is not None:
        config["venues"] = {"binance": {"order_api": order_api}}
    with System(("-m", "arbshard", "run", "--live"), config) as system:
        system.until_running()
        time.sleep(_WARM_UP_S)
        first, waits = _read(system), _waits(system)
        time.sleep(seconds)
        system.require_alive()
        last, waits = _read(system), _waits(system) - waits
    found = {name: histogram.minus(first[name]) for name, histogram in last.items()}
    stages = {name: percentiles_of(one) for name, one in found.items() if one.count}
    wire = stages.get("decision → wire")
    if wire is None:
        raise MeasurementFailed(f"nothing was sent within {seconds:g} s")
    return WireTimes(wire, stages, waits)


def _read(system: System) -> dict[str, Histogram]:
    found = {name: Histogram.of(()) for name in (*_WORKERS, *_RISK)}
    pages = [(system.files.worker_page(shard), _WORKERS) for shard in range(_SHARDS)]
    for path, names in (*pages, (system.files.risk_page, _RISK)):
        with PageReader.attach(path) as page:
            for name, histogram in names.items():
                found[name] = found[name].merge(page.histogram(histogram))
    return found


def _waits(system: System) -> int:
    return sum(system.worker(shard).get("budget_waits", 0) for shard in range(_SHARDS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the stages of one run, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf.wire", description="Measures orders on the wire.")
    parser.add_argument(
        "order_api", nargs="?", choices=("ws", "rest"), help="default: that of the configuration"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="measured window (default: 20)")
    parser.add_argument(
        "--coins", type=int, default=_COINS, help=f"pairs that are traded (default: {_COINS})"
    )
    given = parser.parse_args(arguments)
    if given.seconds <= 0 or given.coins < 1:
        parser.error("--seconds must be above 0 and --coins at least 1")
    try:
        times = measure(given.seconds, given.order_api, given.coins)
    except MeasurementFailed as error:
        print(f"perf.wire: failed: {error}", file=sys.stderr)
        return 1
    for name, one in times.stages.items():
        print(f"{name:32} p50 {one.p50:9.1f}  p90 {one.p90:9.1f}  p99 {one.p99:9.1f}  times {one.count:,}")
    print(f"{'waited for a rate limit':32} times {times.waits:,}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
