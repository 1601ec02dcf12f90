"""Measures how soon the system recovers when one of its processes dies, is stopped, or loses its exchange.

The processes are real and use the embedded exchanges: 3 shards, and 20 coins with ten updates a second each
(``breaking``). Each figure is the worst of several measurements.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from typing import Literal, Self

import psutil

from arbshard.config import Config
from perf.breaking import SHARDS, TIMEOUT_S, Breaker, Recovery, config_of, slowed_of
from perf.running import ROOT, MeasurementFailed, System
from perf.watching import Watcher

GROUP = "Failover (worst of several)"
SIMULATION_GROUP = "Simulation"
SPEED = "4 pairs, orders on paper, × real time"
LIVE_SPEED = "4 pairs, live orders and accounts, × real time"
KILLED_SPARE = "worker killed, with a spare → decides again, ms"
KILLED_ALONE = "worker killed, no spare → decides again, ms"
STOPPED = "worker stopped → decides again, ms beyond stuck_after_ms"
RISK_KILLED = "risk killed → answers again, ms"
CUT = "connections cut → all books live, ms"
OTHERS_KILLED = "p99 of the other shards while a worker is replaced, killed, ×"
OTHERS_STOPPED = "p99 of the other shards while a worker is replaced, stopped, ×"
_SIMULATED_HOURS = 4
_SIMULATED_PAIRS = 4
_SIMULATION_S = 240.0


def measure(times: int = 5) -> dict[str, float]:
    """Return the figures by name. Raises ``MeasurementFailed``, also when the system is not whole
    afterwards.
    """
    with _running(spares=1) as system, Watcher(system, SHARDS) as watcher:
        breaker = Breaker(system, watcher)
        killed, stopped, risks, drops = [], [], [], []
        for number in range(times):
            drops.append(breaker.connections())
            killed.append(breaker.worker(number % SHARDS, "SIGKILL"))
            stopped.append(breaker.worker(number % SHARDS, "SIGSTOP"))
            risks.append(breaker.risk("SIGKILL"))
        exchanges = [breaker.sim("SIGKILL") for _ in range(max(times // 2, 1))]
        spares = [breaker.spare("SIGKILL") for _ in range(max(times // 2, 1))]
        stalled = [breaker.sim("SIGSTOP"), breaker.risk("SIGSTOP"), breaker.worker_with_stopped_spare(0)]
        breaker.settle()
        _require_whole(system)
    with _running(spares=0) as system, Watcher(system, SHARDS) as watcher:
        breaker = Breaker(system, watcher, spares=0)
        alone = [breaker.worker(number % SHARDS, "SIGKILL") for number in range(times)]
        breaker.settle()
        _require_whole(system)
    orphans_ms = max(_orphaned() for _ in range(max(times // 2, 1)))
    found = {
        KILLED_SPARE: _worst(killed),
        KILLED_ALONE: _worst(alone),
        STOPPED: _worst(stopped) - Config().run.stuck_after_ms,
        RISK_KILLED: _worst(risks),
        CUT: _worst(drops),
        "exchanges killed → all books live, ms": _worst(exchanges),
        "spare killed → another is ready, ms": _worst(spares),
        "exchanges stopped → all books live, ms": stalled[0].took_ms,
        "risk stopped → answers again, ms": stalled[1].took_ms,
        "worker killed, its spare stopped → decides again, ms": stalled[2].took_ms,
        "supervisor killed → its children gone, ms": orphans_ms,
        **_accounts(times),
        OTHERS_KILLED: slowed_of(killed + alone),
        OTHERS_STOPPED: slowed_of(stopped),
    }
    return {name: round(figure, 2) for name, figure in found.items()}


def _orphaned() -> float:
    """Return the milliseconds from the supervisor's death until the last of its children has ended."""
    with _running(spares=1) as system:
        family = psutil.Process(system.pid).children(recursive=True)
        began_ns = time.monotonic_ns()
        os.kill(system.pid, signal.SIGKILL)
        while any(_runs(process) for process in family):
            if time.monotonic_ns() - began_ns > TIMEOUT_S * 1e9:
                raise MeasurementFailed("children outlived their supervisor")
            time.sleep(0.005)
        return (time.monotonic_ns() - began_ns) / 1e6


def _runs(process: psutil.Process) -> bool:
    """Return whether ``process`` still runs. One that has ended may remain in the process table as a
    zombie.
    """
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _accounts(times: int) -> dict[str, float]:
    """Measure the recovery of accounts in a live run; return the figures by name."""
    config = {**config_of(spares=1), "mode": "live"}
    with (
        _Started(("-m", "arbshard", "run", "--live"), config) as system,
        Watcher(system, SHARDS) as watcher,
    ):
        breaker = Breaker(system, watcher)
        killed = [breaker.accounts("SIGKILL") for _ in range(max(times // 2, 1))]
        stopped = breaker.accounts("SIGSTOP")
        _require_whole(system)
    return {
        "live, accounts killed → another one is ready, ms": _worst(killed),
        "live, accounts stopped → another one is ready, ms": stopped.took_ms,
    }


def simulation_speed(mode: Literal["paper", "live"]) -> float:
    """Return the virtual seconds that ``arbshard simulate`` simulates in a second of CPU time, start-up
    included.

    CPU time is used in place of wall time, so that other work on the machine matters little. Raises
    ``MeasurementFailed``.
    """
    command = [sys.executable, "-m", "arbshard", "simulate", "--seed", "1", "--mode", mode]
    command += ["--hours", str(_SIMULATED_HOURS), "--pairs", str(_SIMULATED_PAIRS)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=_SIMULATION_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementFailed(
            f"{_SIMULATED_HOURS} hours were not simulated within {_SIMULATION_S:g} s"
        ) from error
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise MeasurementFailed(f"arbshard simulate ended with code {done.returncode}: {''.join(last)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return _SIMULATED_HOURS * 3600 / cpu_s


def _worst(recoveries: list[Recovery]) -> float:
    return max(one.took_ms for one in recoveries)


def _running(*, spares: int) -> System:
    return _Started(("-m", "arbshard", "run"), config_of(spares=spares))


class _Started(System):
    """Is a system whose ``with`` block is entered only once it runs and decides."""

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.until_running()
            self.until_deciding()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self


def _require_whole(system: System) -> None:
    """Ensure that the system ends in order and reports its restarts, and that its ledger is valid.

    Raises ``MeasurementFailed``.
    """
    code = system.end(40.0)
    if code != 1:  # a run with restarts is not a clean one
        raise MeasurementFailed(f"the run ended with code {code}, not 1: {system.last_words()}")
    verified = system.call("ledger", "verify")
    if verified.code:
        raise MeasurementFailed(f"ledger verify: {verified.out}{verified.err}")
