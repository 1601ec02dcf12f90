"""Implements ``python -m arbshard.virtual.cluster.fuzz``: it simulates clusters on all cores, one line for each seed.

A seed that fails is printed with the command that repeats it, and the exit code is 1. With ``--seed`` one seed is
simulated, and its last events are printed when it fails.
"""

import argparse
import multiprocessing
import os
import secrets
import sys
from collections.abc import Sequence
from typing import get_args

from arbshard.virtual.cluster.faults import KINDS
from arbshard.virtual.cluster.simulation import ClusterReport, ClusterSettings, ClusterSimulation, Replication

SEED_MAX = 2**32
GOAL_MS = 3000
"""The time after all faults in which all shards should be decided on; seeds that take longer are counted."""


def simulate(settings: ClusterSettings) -> ClusterReport:
    """Run one simulation."""
    return ClusterSimulation(settings).run()


def line_of(report: ClusterReport) -> str:
    """Return one line, and for a failure also the command that repeats it."""
    settings = report.settings
    text = (
        f"seed {settings.seed:>10}  {settings.hosts} hosts {settings.replication:>5}  {report.orders:>5} orders  "
        f"{report.elections:>3} elections  {sum(report.faults.values()):>3} faults  settled after "
        f"{report.settled_ms:>5} ms  "
    )
    if not report.violations:
        return text + "ok"
    return f"{text}VIOLATED: {report.violations[0]}\n  {settings.command()}"


def _variant(given: ClusterSettings, number: int) -> ClusterSettings:
    """Return ``given``, or for every other number another count of hosts or asynchronous replication."""
    variants = (
        given,
        given._replace(hosts=5, shards=6),
        given,
        given._replace(replication="async"),
        given,
        given._replace(hosts=2),
        given,
        given._replace(hosts=1),
    )
    return variants[number % len(variants)]


def run_many(given: ClusterSettings, count: int | None, jobs: int, first: int | None = None) -> int:
    """Simulate ``count`` seeds, or until interrupted. Returns how many of them failed."""
    failed = late = done = number = 0
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        try:
            while count is None or number < count:
                batch = range(number, number + 8 * jobs if count is None else min(number + 8 * jobs, count))
                number = batch.stop
                seeds = [first + one if first is not None else secrets.randbelow(SEED_MAX) for one in batch]
                settings = [
                    _variant(given, one)._replace(seed=seed) for one, seed in zip(batch, seeds, strict=True)
                ]
                for report in pool.imap_unordered(simulate, settings):
                    print(line_of(report), flush=True)
                    done += 1
                    failed += bool(report.violations)
                    late += not report.violations and report.settled_ms > GOAL_MS
        except KeyboardInterrupt:
            pool.terminate()
            print("stopped", flush=True)
    print(f"{done} seeds, {failed} failed, {late} settled later than {GOAL_MS} ms", flush=True)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m arbshard.virtual.cluster.fuzz")
    parser.add_argument("--seed", type=int, help="simulate this one only")
    parser.add_argument("--seeds", type=int, help="stop after so many")
    parser.add_argument("--first", type=int, help="take seeds from this one on, not fresh ones")
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="for how long faults begin, in virtual seconds"
    )
    parser.add_argument("--replication", choices=get_args(Replication), default="sync")
    parser.add_argument(
        "--only", default="", help=f"kinds of faults, separated by commas: {', '.join(KINDS)}"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    only = tuple(one for one in given.only.split(",") if one)
    unknown = sorted(set(only) - set(KINDS))
    if unknown:
        parser.error(f"--only: there is no kind of fault {', '.join(unknown)}")
    settings = ClusterSettings(
        given.seed or 0, given.hosts, given.shards, given.seconds, given.replication, only
    )
    if given.seed is None:
        return 1 if run_many(settings, given.seeds, given.jobs, given.first) else 0
    report = simulate(settings)
    if report.violations:
        print("\n".join(report.last))
    print(line_of(report))
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
