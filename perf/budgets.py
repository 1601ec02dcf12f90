"""Defines the budgets as data, and judges whether each is met. Pure."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from perf import backtest, failover
from perf.results import ARBSHARD, Results

Found = Callable[[Results], float | None]
Verdict = Literal["met", "missed", "not measured"]


class Budget(NamedTuple):
    """Is a limit that a measured number has to keep."""

    name: str
    limit: float
    unit: str
    at_most: bool
    found: Found
    """Returns the number to compare; None when it was not measured."""


class Judged(NamedTuple):
    """Is a budget with the measured number and the verdict."""

    budget: Budget
    number: float | None
    verdict: Verdict


def _cpu(rate: int, process: Literal["supervisor", "worker"]) -> Found:
    def found(results: Results) -> float | None:
        row = results.load_at(rate)
        if row is None:
            return None
        # A worker's CPU time is divided by the ticks it evaluated: conflation must not make it look cheap.
        return row.cpu_us(process, row.delivered if process == "supervisor" else row.decided)

    return found


def _receive(rate: int, percentile: Literal["p50", "p99"]) -> Found:
    def found(results: Results) -> float | None:
        row = results.load_at(rate)
        if row is None or not row.receive_us.count:
            return None
        return row.receive_us.p50 if percentile == "p50" else row.receive_us.p99

    return found


def _sustained(results: Results) -> float | None:
    return results.highest_of(ARBSHARD)


def _times(client: str) -> Found:
    def found(results: Results) -> float | None:
        ours, theirs = results.highest_of(ARBSHARD), results.highest_of(client)
        return ours / theirs if ours is not None and theirs else None

    return found


def _p99_share(client: str) -> Found:
    def found(results: Results) -> float | None:
        ours, theirs = results.load_at(10_000), results.peer_at(client, 10_000)
        if ours is None or theirs is None or not theirs.send_us.p99:
            return None
        return ours.send_us.p99 / theirs.send_us.p99

    return found


def _approval(results: Results) -> float | None:
    return results.approval_us.p50 if results.approval_us is not None else None


def _wire(results: Results) -> float | None:
    return results.wire_us.p50 if results.wire_us is not None else None


def _first_decision(results: Results) -> float | None:
    return max(results.startup.first_decision_s) if results.startup is not None else None


def _failover(name: str, group: str = failover.GROUP) -> Found:
    return lambda results: results.more.get(group, {}).get(name)


def _footprint(pairs: int) -> Found:
    def found(results: Results) -> float | None:
        footprints = results.startup.footprints if results.startup is not None else ()
        return next((one.total_mb for one in footprints if one.pairs == pairs), None)

    return found


def _worker_memory(results: Results) -> float | None:
    found = [row.rss_mb[name] for row in results.load for name in row.rss_mb if name.startswith("worker")]
    if results.startup is not None:
        found += [one.worker_rss_mb for one in results.startup.footprints]
    return max(found, default=None)


BUDGETS = (
    Budget("supervisor, CPU per message at 20,000 msg/s", 10, "µs", True, _cpu(20_000, "supervisor")),
    Budget("worker, CPU per evaluated tick at 20,000 msg/s", 12, "µs", True, _cpu(20_000, "worker")),
    Budget("5,000 msg/s: receive → decision p50", 80, "µs", True, _receive(5_000, "p50")),
    Budget("5,000 msg/s: receive → decision p99", 500, "µs", True, _receive(5_000, "p99")),
    Budget("20,000 msg/s: receive → decision p50", 150, "µs", True, _receive(20_000, "p50")),
    Budget("20,000 msg/s: receive → decision p99", 1_500, "µs", True, _receive(20_000, "p99")),
    Budget("highest sustained rate", 50_000, "msg/s", False, _sustained),
    Budget("highest sustained rate against ccxt.pro", 4, "×", False, _times("ccxt")),
    Budget("highest sustained rate against cryptofeed", 2, "×", False, _times("cryptofeed")),
    Budget("p99 at 10,000 msg/s, send → decision, to ccxt.pro", 1, "×", True, _p99_share("ccxt")),
    Budget("p99 at 10,000 msg/s, send → decision, to cryptofeed", 1, "×", True, _p99_share("cryptofeed")),
    Budget("decision → risk approval p50, paper", 250, "µs", True, _approval),
    Budget("decision → order on the wire p50, live", 1_000, "µs", True, _wire),
    Budget("largest worker, resident", 60, "MB", True, _worker_memory),
    Budget("1,000 pairs in all (USS + shared once)", 500, "MB", True, _footprint(1_000)),
    Budget("arbshard run --shards 4 → first decision, slowest", 3, "s", True, _first_decision),
    Budget("worker killed, a spare there → decides again", 100, "ms", True, _failover(failover.KILLED_SPARE)),
    Budget("worker killed, no spare → decides again", 500, "ms", True, _failover(failover.KILLED_ALONE)),
    Budget("worker stuck → decides again, beyond stuck_after", 500, "ms", True, _failover(failover.STOPPED)),
    Budget("risk killed → answers again", 2_000, "ms", True, _failover(failover.RISK_KILLED)),
    Budget("connections cut → all books live", 300, "ms", True, _failover(failover.CUT)),
    Budget("other shards' p99, worker killed", 2, "×", True, _failover(failover.OTHERS_KILLED)),
    Budget("other shards' p99, worker stuck", 2, "×", True, _failover(failover.OTHERS_STOPPED)),
    Budget(
        "simulation of 4 pairs on paper, against real time",
        500,
        "×",
        False,
        _failover(failover.SPEED, failover.SIMULATION_GROUP),
    ),
    Budget(
        "simulation of 4 pairs with live orders, against real time",
        300,
        "×",
        False,
        _failover(failover.LIVE_SPEED, failover.SIMULATION_GROUP),
    ),
    Budget(
        "backtest where nothing trades, every frame fed",
        60_000,
        "frames/s",
        False,
        _failover(backtest.UNSCREENED, backtest.GROUP),
    ),
    Budget(
        "backtest where nothing trades, screened",
        1_000_000,
        "frames/s",
        False,
        _failover(backtest.SCREENED, backtest.GROUP),
    ),
)


def judge(results: Results) -> tuple[Judged, ...]:
    """Return every budget with its number and verdict."""
    return tuple(_judge(budget, budget.found(results)) for budget in BUDGETS)


def _judge(budget: Budget, number: float | None) -> Judged:
    if number is None:
        return Judged(budget, None, "not measured")
    is_met = number <= budget.limit if budget.at_most else number >= budget.limit
    return Judged(budget, number, "met" if is_met else "missed")
