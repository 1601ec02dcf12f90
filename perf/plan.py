"""What a run measures, in which order, and how long. ``__main__`` makes the plan, ``measure`` carries it out.

Parts are independent: each fills its place in the results, and one that cannot be measured says why.
"""

import importlib.util
import statistics
from collections.abc import Callable
from typing import NamedTuple

from perf import approval, backtest, clients, failover, load, services, stages, startup, touch, wire
from perf.criterion import LADDER, faults, highest_sustained
from perf.figures import LoadRow
from perf.peers.environment import PeerUnavailable
from perf.peers.run import PEERS, measure_peer
from perf.results import ARBSHARD, EQUAL_RATES, Highest, Results
from perf.running import MeasurementFailed

PARTS = (
    "stages",
    "load",
    "touch",
    "transports",
    "approval",
    "wire",
    "startup",
    "failover",
    "backtest",
    "peers",
)
_SEARCH_S, _QUICK_SEARCH_S = 4.0, 2.0
_PEER_STARTS = {"ccxt": 3_000, "cryptofeed": 7_000}
"""Where the search for a peer's highest rate begins: near what was found the last time."""
_RECEIVERS = ("websockets", "picows")
_RECEIVERS_RATE = 20_000
_TRANSPORTS = ("local", "zmq")
_TRANSPORTS_RATE = 5_000
_TURNS, _QUICK_TURNS = 3, 1
_TRANSPORT_FIGURES: dict[str, Callable[[LoadRow], float]] = {
    "receive → decision p50": lambda row: row.receive_us.p50,
    "receive → decision p99": lambda row: row.receive_us.p99,
    "CPU of the supervisor per message": lambda row: row.cpu_us("supervisor", row.delivered),
    "CPU of the worker per tick": lambda row: row.cpu_us("worker", row.decided),
}
_APPROVAL_S, _QUICK_APPROVAL_S = 20.0, 8.0
_FAILOVERS, _QUICK_FAILOVERS = 5, 1
"""Times that each fault is made."""

Tell = Callable[[str], None]


class Plan(NamedTuple):
    """What to do."""

    parts: tuple[str, ...]
    rates: tuple[int, ...]
    seconds: float
    quick: bool
    peers: bool
    receiver: str | None

    @property
    def tries(self) -> int:
        """Of each rung of the search."""
        return 1 if self.quick else 2

    @property
    def approval_s(self) -> float:
        """How long approvals and orders are watched."""
        return _QUICK_APPROVAL_S if self.quick else _APPROVAL_S

    @property
    def search_s(self) -> float:
        """Window of each rung of the search."""
        return _QUICK_SEARCH_S if self.quick else _SEARCH_S


def measure(plan: Plan, results: Results, tell: Tell) -> bool:
    """Carry ``plan`` out into ``results``; ``tell`` gets a line for each step.

    Whether all of this system was measured. What could not be stands with its reason in ``results.not_measured``.
    """
    run = _Runner(results, tell)
    if "stages" in plan.parts:
        run("stages", lambda: results.stages_us.update(stages.measure(3 if plan.quick else 7)))
        run("stages with other processes", lambda: results.stages_us.update(services.measure()))
    if "load" in plan.parts:
        _load(plan, results, run)
    _feeds(plan, results, run)
    if "approval" in plan.parts:
        run("approval", lambda: setattr(results, "approval_us", approval.measure(plan.approval_s)))
    if "wire" in plan.parts:
        run("order on the wire", lambda: setattr(results, "wire_us", wire.measure(plan.approval_s)))
        run("order clients", lambda: results.more.update({clients.GROUP: clients.measure(plan.approval_s)}))
    if "startup" in plan.parts:
        starts = 1 if plan.quick else 3
        run("start-up and memory", lambda: setattr(results, "startup", startup.measure(starts)))
    if "failover" in plan.parts:
        _failover(plan, results, run)
    if "backtest" in plan.parts:
        run("backtest", lambda: results.more.update({backtest.GROUP: backtest.measure(quick=plan.quick)}))
    is_whole = not results.not_measured
    if "peers" in plan.parts:
        _peers(plan, results, run)
    return is_whole


class _Runner:
    """Says what is being done, and notes what could not be."""

    def __init__(self, results: Results, tell: Tell) -> None:
        self._results = results
        self.tell = tell

    def __call__(self, name: str, step: Callable[[], object]) -> None:
        """Do ``step``, which may raise ``MeasurementFailed``."""
        self.tell(f"{name} ...")
        try:
            step()
        except MeasurementFailed as error:
            self.tell(f"  failed: {error}")
            self._results.not_measured[name] = str(error)


def _failover(plan: Plan, results: Results, run: _Runner) -> None:
    times = _QUICK_FAILOVERS if plan.quick else _FAILOVERS
    run("failover", lambda: results.more.update({failover.GROUP: failover.measure(times)}))

    def speed() -> None:
        results.more[failover.SIMULATION_GROUP] = {
            failover.SPEED: failover.simulation_speed("paper"),
            failover.LIVE_SPEED: failover.simulation_speed("live"),
        }

    run("simulation", speed)


def _load(plan: Plan, results: Results, run: _Runner) -> None:
    equal = EQUAL_RATES if "peers" in plan.parts else ()
    for rate in sorted({*plan.rates, *equal}):

        def at(rate: int = rate) -> None:
            results.load.append(load.measure(rate, plan.seconds, receiver=plan.receiver))

        run(f"{ARBSHARD} at {rate:,} msg/s", at)
    if len(plan.rates) < 3:
        return  # somebody looks at single rates: the search would take longer than all of them

    def own(rate: int) -> LoadRow:
        return load.measure(rate, plan.search_s, receiver=plan.receiver)

    held = max((row.rate for row in results.load if not faults(row)), default=0)
    _search(ARBSHARD, load.SHARDS, own, int(held), plan.tries, results, run.tell)
    if plan.receiver is None and not plan.quick and load.receiver_section() is not None:
        _receivers(plan, results, run)


def _receivers(plan: Plan, results: Results, run: _Runner) -> None:
    """The same rate with each WebSocket client there is."""
    found = results.more.setdefault(f"WebSocket clients at {_RECEIVERS_RATE:,} msg/s, µs", {})
    for name in _RECEIVERS:
        if importlib.util.find_spec(name) is None:
            run.tell(f"{name} is not installed")
            continue

        def at(name: str = name) -> None:
            row = load.measure(_RECEIVERS_RATE, plan.seconds, receiver=name)
            found[f"{name}: supervisor per message"] = row.cpu_us("supervisor", row.delivered)
            found[f"{name}: receive → decision p50"] = row.receive_us.p50
            found[f"{name}: receive → decision p99"] = row.receive_us.p99

        run(f"{ARBSHARD} with {name} at {_RECEIVERS_RATE:,} msg/s", at)


def _feeds(plan: Plan, results: Results, run: _Runner) -> None:
    """What kinds of stream and of transport differ in."""
    if "touch" in plan.parts:
        turns = _QUICK_TURNS if plan.quick else _TURNS
        run("touch", lambda: results.more.update({touch.GROUP: touch.measure(plan.seconds, turns)}))
    if "transports" in plan.parts:
        _transports(plan, results, run)


def _transports(plan: Plan, results: Results, run: _Runner) -> None:
    """The same rate over both transports in turn; of each figure the median."""
    rows: dict[str, list[LoadRow]] = {name: [] for name in _TRANSPORTS}
    for _ in range(_QUICK_TURNS if plan.quick else _TURNS):
        for name, found in rows.items():

            def at(name: str = name, found: list[LoadRow] = found) -> None:
                found.append(
                    load.measure(_TRANSPORTS_RATE, plan.seconds, receiver=plan.receiver, transport=name)
                )

            run(f"{ARBSHARD} with transport {name} at {_TRANSPORTS_RATE:,} msg/s", at)
    shown = results.more.setdefault(f"Transports at {_TRANSPORTS_RATE:,} msg/s, µs", {})
    for name, found in rows.items():
        for figure, value in _TRANSPORT_FIGURES.items():
            if found:
                shown[f"{name}: {figure}"] = statistics.median(value(row) for row in found)


def _search(
    client: str,
    processes: int,
    measure_at: Callable[[int], LoadRow],
    start: int,
    tries: int,
    results: Results,
    tell: Tell,
) -> None:
    def attempt(rate: int) -> LoadRow:
        tell(f"{client} x {processes}: can it hold {rate:,} msg/s? ...")
        try:
            row = measure_at(rate)
            tell(f"  {'; '.join(faults(row)) or 'yes'}")
            return row
        except MeasurementFailed as error:
            tell(f"  {error}")
            # A client that does not even come up at this rate has not held it.
            return LoadRow(
                client=client, processes=processes, rate=rate, coins=0, seconds=0, offered=0, delivered=0
            )

    rate, _ = highest_sustained(attempt, start, LADDER, tries)
    results.highest.append(Highest(client=client, processes=processes, rate=rate))


def _peers(plan: Plan, results: Results, run: _Runner) -> None:
    if not plan.peers:
        results.not_measured["peers"] = "left out by --no-peers"
        return
    for name in PEERS:
        _peer(name, plan, results, run)


def _peer(name: str, plan: Plan, results: Results, run: _Runner) -> None:
    """Once with one process, once with two that have half the coins each; a quick run takes one."""
    try:
        for processes in (1,) if plan.quick else (1, 2):

            def search(rate: int, processes: int = processes) -> LoadRow:
                return measure_peer(name, rate, plan.search_s, processes=processes)

            for rate in EQUAL_RATES:

                def at(rate: int = rate, processes: int = processes) -> None:
                    results.equal.append(measure_peer(name, rate, plan.seconds, processes=processes))

                run(f"{name} x {processes} at {rate:,} msg/s", at)
            _search(name, processes, search, _PEER_STARTS[name], plan.tries, results, run.tell)
    except PeerUnavailable as error:
        results.not_measured[name] = str(error)
