"""Implements ``python -m arbshard.virtual.fuzz``: it simulates fresh seeds on all cores until stopped, one line for
each.

A seed that fails is printed with the command that repeats it, and the exit code is 1. Ctrl-C and SIGTERM end all
simulations at once, in order.
"""

import argparse
import multiprocessing
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from multiprocessing.pool import AsyncResult, Pool
from typing import get_args

from arbshard.virtual.machine import Simulation
from arbshard.virtual.outcome import SimulationReport
from arbshard.virtual.report import line_of
from arbshard.virtual.settings import SEED_MAX, Mode, Settings

HOURS = 1.0
_TASKS_MAX = 20
"""Number of simulations after which a process of the pool is replaced."""
_WAIT_S = 0.2
_END_S = 10
"""Time in seconds within which a process of the pool must end after the request to do so."""
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def cores() -> int:
    """Return how many simulations run side by side."""
    return os.cpu_count() or 1


def fresh_seed() -> int:
    """Return a random seed."""
    return secrets.randbelow(SEED_MAX)


def simulate(settings: Settings) -> SimulationReport:
    """Run one simulation in this process and return its report."""
    return Simulation(settings).run()


def _settings(given: Settings, count: int | None) -> Iterator[Settings]:
    """Yield ``given`` again and again, each time with a fresh seed; every other time with heavier faults."""
    number = 0
    while count is None or number < count:
        yield given._replace(seed=fresh_seed(), faults="heavy" if number % 2 else given.faults)
        number += 1


def run_many(given: Settings, count: int | None, jobs: int) -> int:
    """Simulate ``count`` fresh seeds, or until interrupted. Returns how many of them failed."""
    failed = done = 0
    wanted = _settings(given, count)
    # A process that ends this one ends everything in order: as by Ctrl-C.
    before = {number: signal.signal(number, signal.default_int_handler) for number in _ENDINGS}
    running: list[AsyncResult[SimulationReport]] = []
    # Spawned, not forked: a simulation must begin like one in a process of its own.
    pool = multiprocessing.get_context("spawn").Pool(jobs, _obey_the_parent, maxtasksperchild=_TASKS_MAX)
    try:
        while True:
            running += [pool.apply_async(simulate, (one,)) for one in islice(wanted, jobs - len(running))]
            if not running:
                break
            running[0].wait(_WAIT_S)
            for result in [one for one in running if one.ready()]:
                running.remove(result)
                report = result.get()
                print(line_of(report), flush=True)
                done += 1
                failed += bool(report.violations)
    except KeyboardInterrupt:
        print("stopped", flush=True)
    finally:
        _end(pool)
        for number, handler in before.items():
            signal.signal(number, handler)
    print(f"{done} seeds, {failed} failed", flush=True)
    return failed


def _end(pool: Pool) -> None:
    """End the pool's processes, by force after ``_END_S``.

    ``Pool.terminate`` waits for a lock without a time-out, and a process that ends while it holds the lock never
    gives it back.
    """
    ending = threading.Thread(target=pool.terminate, daemon=True)
    ending.start()
    ending.join(_END_S)
    for child in multiprocessing.active_children():
        child.kill()
    if not ending.is_alive():
        pool.join()


def _obey_the_parent() -> None:
    """Leave Ctrl-C to the parent process, which decides; a process that the parent ends cleans up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _break_off)


def _break_off(*_: object) -> None:
    """End at once, through every ``finally``. A simulation that is broken off reports nothing."""
    # The exception below is lost when it comes while an object is being finalised. The alarm then ends the process.
    signal.alarm(_END_S)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.__stderr__.fileno() if sys.__stderr__ is not None else 2)
    sys.exit(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m arbshard.virtual.fuzz")
    parser.add_argument("--hours", type=float, default=HOURS, help="virtual hours of each seed")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--seeds", type=int, help="stop after so many")
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--mode", choices=get_args(Mode), default="mixed", help="where orders go")
    given = parser.parse_args(arguments)
    settings = Settings(0, given.hours, given.pairs, given.shards, mode=given.mode)
    return 1 if run_many(settings, given.seeds, given.jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
