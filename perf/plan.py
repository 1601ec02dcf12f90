"""Decides what a run measures, in which order and how long. ``__main__`` makes the plan for ``measure``.

Parts are independent: each adds its results, and a part that cannot be measured leaves the reason.
"""

import importlib.util
import statistics
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from perf import approval, backtest, clients, failover, load, services, stages, startup, touch, wire
from perf.comparison import FIGURES
from perf.criterion import LADDER, faults, highest_sustained
from perf.figures import LoadRow
from perf.peers.environment import PeerUnavailable
from perf.peers.run import measure_peer
from perf.results import ARBSHARD, PEERS, Highest, Results
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
_COMPARED_MAX = 20_000
"""The highest rate at which peers are measured beside this system; the peers sustain less than that."""
_TURN_WARM_UP_S = 2.0
_STARTS = {ARBSHARD: 20_000, "ccxt": 3_000, "cryptofeed": 7_000}
"""Rates at which the search for a client's highest rate begins, near those that were found before."""
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
"""How many times each fault is injected."""

OnStep = Callable[[str], None]


class Plan(NamedTuple):
    """Holds what is measured, and how long."""

    parts: tuple[str, ...]
    rates: tuple[int, ...]
    seconds: float
    quick: bool
    peers: bool
    receiver: str | None

    @property
    def tries(self) -> int:
        """Return how often each rung of the search is tried before it counts as not held."""
        return 1 if self.quick else 2

    @property
    def turns(self) -> int:
        """Return how many turns clients take side by side."""
        return _QUICK_TURNS if self.quick else _TURNS

    @property
    def turn_s(self) -> float:
        """Return the window of each turn, in seconds.

        All turns of a rate together take little longer than one window without peers.
        """
        return self.seconds if self.quick else max(self.seconds * 3 / 8, 1.0)

    @property
    def with_peers(self) -> bool:
        """Return whether this system takes turns with the peers."""
        return "peers" in self.parts and self.peers

    @property
    def compared(self) -> tuple[int, ...]:
        """Return the rates at which this system takes turns with the peers, in messages per second,
        ascending.
        """
        return tuple(rate for rate in sorted(set(self.rates)) if self.with_peers and rate <= _COMPARED_MAX)

    @property
    def searches(self) -> bool:
        """Return whether highest rates are searched, which would take longer than one or two single rates."""
        return len(self.rates) >= 3

    @property
    def approval_s(self) -> float:
        """Return how long approvals and orders are measured, in seconds."""
        return _QUICK_APPROVAL_S if self.quick else _APPROVAL_S

    @property
    def search_s(self) -> float:
        """Return the window of each rung of the search, in seconds."""
        return _QUICK_SEARCH_S if self.quick else _SEARCH_S


def measure(plan: Plan, results: Results, on_step: OnStep) -> bool:
    """Carry out ``plan``, add to ``results``, and return whether all of this system was measured.

    ``on_step`` receives a line for each step. ``results.not_measured`` has the reason of what was not
    measured.
    """
    run = _Runner(results, on_step)
    if "stages" in plan.parts:
        run("stages", lambda: results.stages_us.update(stages.measure(3 if plan.quick else 7)))
        run("stages with other processes", lambda: results.stages_us.update(services.measure()))
    if "load" in plan.parts:
        _load(plan, results, run)
    _feeds(plan, results, run)
    if "approval" in plan.parts:
        run("approval", lambda: setattr(results, "approval_us", approval.measure(plan.approval_s)))
    if "wire" in plan.parts:
        run("order on the wire", lambda: _wire(plan, results))
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
    return is_whole and not any(part.startswith(ARBSHARD) for part in results.not_measured)


def _wire(plan: Plan, results: Results) -> None:
    times = wire.measure(plan.approval_s)
    results.wire_us = times.wire
    results.more[wire.GROUP] = times.rows()


class _Runner:
    """Reports each step, and stores why a step could not be measured."""

    def __init__(self, results: Results, on_step: OnStep) -> None:
        self._results = results
        self.on_step = on_step

    def __call__(self, name: str, step: Callable[[], object]) -> None:
        """Do ``step``, which may raise ``MeasurementFailed``."""
        self.on_step(f"{name} ...")
        try:
            step()
        except MeasurementFailed as error:
            self.on_step(f"  failed: {error}")
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
    for rate in sorted({*plan.rates} - {*plan.compared}):

        def at(rate: int = rate) -> None:
            results.load.append(load.measure(rate, plan.seconds, receiver=plan.receiver))

        run(f"{ARBSHARD} at {rate:,} msg/s", at)
    if not plan.searches:
        return
    if not plan.with_peers:  # otherwise it takes turns with the peers
        _search(ARBSHARD, load.SHARDS, 0, plan.tries, plan, results, run.on_step)
    if plan.receiver is None and not plan.quick and load.receiver_section() is not None:
        _receivers(plan, results, run)


def _receivers(plan: Plan, results: Results, run: _Runner) -> None:
    """Measure the same rate with each WebSocket client that is installed."""
    found = results.more.setdefault(f"WebSocket clients at {_RECEIVERS_RATE:,} msg/s, µs", {})
    for name in _RECEIVERS:
        if importlib.util.find_spec(name) is None:
            run.on_step(f"{name} is not installed")
            continue

        def at(name: str = name) -> None:
            row = load.measure(_RECEIVERS_RATE, plan.seconds, receiver=name)
            found[f"{name}: supervisor per message"] = row.cpu_us("supervisor", row.delivered)
            found[f"{name}: receive → decision p50"] = row.receive_us.p50
            found[f"{name}: receive → decision p99"] = row.receive_us.p99

        run(f"{ARBSHARD} with {name} at {_RECEIVERS_RATE:,} msg/s", at)


def _feeds(plan: Plan, results: Results, run: _Runner) -> None:
    """Measure what kinds of streams and of transports differ in."""
    if "touch" in plan.parts:
        run("touch", lambda: results.more.update({touch.GROUP: touch.measure(plan.seconds, plan.turns)}))
    if "transports" in plan.parts:
        _transports(plan, results, run)


def _transports(plan: Plan, results: Results, run: _Runner) -> None:
    """Measure the same rate over both transports in turn; the median of each figure is stored."""
    rows: dict[str, list[LoadRow]] = {name: [] for name in _TRANSPORTS}
    for _ in range(plan.turns):
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


def _measure(client: str, processes: int, rate: int, seconds: float, plan: Plan) -> LoadRow:
    if client == ARBSHARD:
        warm_up_s = _TURN_WARM_UP_S if plan.with_peers else load.WARM_UP_S
        return load.measure(rate, seconds, receiver=plan.receiver, warm_up_s=warm_up_s)
    return measure_peer(client, rate, seconds, processes=processes)


def _search(
    client: str, processes: int, turn: int, tries: int, plan: Plan, results: Results, on_step: OnStep
) -> None:
    """Find the highest rate that ``client`` sustains, beginning at the rate of the turn before."""

    def attempt(rate: int) -> LoadRow:
        on_step(f"{client} x {processes}: can it hold {rate:,} msg/s? ...")
        try:
            row = _measure(client, processes, rate, plan.search_s, plan)
            on_step(f"  {'; '.join(faults(row)) or 'yes'}")
            return row
        except MeasurementFailed as error:
            on_step(f"  {error}")
            # A client that does not even come up at this rate has not held it.
            return LoadRow(
                client=client, processes=processes, rate=rate, coins=0, seconds=0, offered=0, delivered=0
            )

    before = [one.rate for one in results.highest if (one.client, one.processes) == (client, processes)]
    rows = [row for row in results.load if row.client == client and not faults(row)]
    held = max((int(row.rate) for row in rows), default=_STARTS[client])
    rate, _ = highest_sustained(attempt, before[-1] if before else held, LADDER, tries)
    results.highest.append(Highest(client=client, processes=processes, rate=rate, turn=turn))


def _peers(plan: Plan, results: Results, run: _Runner) -> None:
    """Measure this system and the peers in turns, each turn in another order."""
    if not plan.peers:
        results.not_measured["peers"] = "left out by --no-peers"
        return
    if not plan.compared:
        results.not_measured["peers at these rates"] = f"they are measured up to {_COMPARED_MAX:,} msg/s"
    clients = [ARBSHARD, *PEERS]
    for turn in range(plan.turns):
        for rate in plan.compared:
            for client in _rotated(clients, turn):
                if client not in results.not_measured:
                    _turn(client, rate, turn, plan, results, run)
        if plan.searches:
            for client in _rotated(clients, turn):
                if client not in results.not_measured:
                    _turn_of_search(client, turn, plan, results, run)


def _rotated(clients: list[str], turn: int) -> list[str]:
    first = turn % len(clients)
    return clients[first:] + clients[:first]


def _turn(client: str, rate: int, turn: int, plan: Plan, results: Results, run: _Runner) -> None:
    rows = results.load if client == ARBSHARD else results.equal
    before = [row for row in rows if row.client == client and row.rate == rate]
    for processes in _processes(client, plan) if turn == 0 else _better(before, client, plan):

        def at(processes: int = processes) -> None:
            row = _measure(client, processes, rate, plan.turn_s, plan)
            rows.append(msgspec.structs.replace(row, turn=turn))

        try:
            run(f"{client} x {processes} at {rate:,} msg/s, turn {turn + 1} of {plan.turns}", at)
        except PeerUnavailable as error:
            results.not_measured[client] = str(error)
            return


def _processes(client: str, plan: Plan) -> tuple[int, ...]:
    """Return the numbers of processes that a client is measured with.

    A peer has one process, and also two with half of the coins each; in a quick run it has one only.
    """
    if client == ARBSHARD:
        return (load.SHARDS,)
    return (1,) if plan.quick else (1, 2)


def _better(rows: list[LoadRow], client: str, plan: Plan) -> tuple[int, ...]:
    """Return the numbers of processes that go on after the first turn: each that was the best one in something."""
    first = [row for row in rows if row.turn == 0 and row.decided]
    if not first:
        return _processes(client, plan)
    best = [min(first, key=figure.value) for figure in FIGURES]
    best.append(min(first, key=lambda row: (bool(faults(row)), row.send_us.p99)))
    return tuple(sorted({row.processes for row in best}))


def _turn_of_search(client: str, turn: int, plan: Plan, results: Results, run: _Runner) -> None:
    tried = _processes(client, plan)
    if turn > 0:
        first = [one for one in results.highest if one.client == client and one.turn == 0]
        tried = (max(first, key=lambda one: one.rate).processes,) if first else tried
    for processes in tried:
        try:
            _search(client, processes, turn, 1, plan, results, run.on_step)
        except PeerUnavailable as error:
            results.not_measured[client] = str(error)
            return
