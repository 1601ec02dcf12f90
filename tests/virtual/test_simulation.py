"""The whole system on virtual time: a fixed set of seeds, some fresh ones, and the same seed twice."""

import gc
import os
import subprocess
import sys

import pytest

from arbshard.virtual.fuzz import fresh_seed
from arbshard.virtual.machine import Simulation
from arbshard.virtual.outcome import SimulationReport
from arbshard.virtual.rates import PER_HOUR
from arbshard.virtual.settings import Settings
from support.effort import effort


def _hold(report: SimulationReport) -> None:
    assert not report.violations, f"{report.violations}\nagain: {report.settings.command()}"


@pytest.mark.nightly  # the same kinds as heavy faults, and fewer of them
@pytest.mark.parametrize("seed", [101, 102])
def test_the_invariants_hold_with_the_usual_faults(seed: int) -> None:
    report = Simulation(Settings(seed, hours=0.15)).run()
    _hold(report)
    assert report.tally.exits > 20
    assert report.faults


@pytest.mark.parametrize("seed", [201, pytest.param(202, marks=pytest.mark.nightly)])
def test_the_invariants_hold_with_heavy_faults(seed: int) -> None:
    report = Simulation(Settings(seed, hours=effort(4, 12) / 100, faults="heavy")).run()
    _hold(report)
    assert sum(report.faults.values()) > effort(4, 15)


def test_what_ends_the_whole_process_leaves_no_process_that_reports_a_defect(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A fuzz that is stopped does this. Coroutines that await in a ``finally`` refuse to be closed at once."""
    lines = 0

    def write(_line: str) -> None:
        nonlocal lines
        lines += 1
        if lines == 1500:
            sys.exit(1)

    simulation = Simulation(Settings(1, hours=0.2, mode="live"), write)
    with pytest.raises(SystemExit):
        simulation.run()
    del simulation
    gc.collect()
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


@pytest.mark.nightly
def test_the_invariants_hold_with_fresh_seeds() -> None:
    for level in ("usual", "heavy"):
        settings = Settings(fresh_seed(), hours=0.1, faults=level)
        print(settings.command())
        _hold(Simulation(settings).run())


_GROUPS = {
    "connections": ("cut", "stall", "outage", "slow_frames"),
    "requests": ("slow_requests", "lossy", "straggler", "late_fills"),
    "workers": ("kill_worker", "kill_worker_at", "stop_worker", "wake_fenced", "slow_callback"),
    "risk": ("kill_risk", "kill_risk_at", "stop_risk"),
    "everything": ("stop_supervisor", "kill_supervisor", "restart", "disk_full", "no_room"),
    "people": ("command", "move", "symbols", "clock_jump"),
}


# The seeds above have all kinds of faults at once; here is what one group alone brings to light.
@pytest.mark.nightly
@pytest.mark.parametrize("name", _GROUPS)
def test_each_group_of_faults_alone_is_survived(name: str) -> None:
    report = Simulation(Settings(7, hours=0.1, faults="heavy", only=_GROUPS[name])).run()
    _hold(report)
    assert report.faults.keys() <= set(_GROUPS[name])
    assert sum(report.faults.values()) > 2
    assert report.tally.approved > 10


def test_every_kind_of_fault_is_in_a_group() -> None:
    assert sorted(kind for group in _GROUPS.values() for kind in group) == sorted(PER_HOUR)


def test_without_faults_nothing_is_restarted() -> None:
    report = Simulation(Settings(1, hours=0.05, faults="none")).run()
    _hold(report)
    assert report.starts == 1
    assert set(report.tally.ends) == {"worker ended in order", "risk ended in order"}


def test_more_shards_and_another_regime() -> None:
    _hold(Simulation(Settings(4, hours=effort(10, 100) / 1000, pairs=6, shards=3, regime="crash")).run())


_PROGRAM = """
import sys
from arbshard.virtual.machine import Simulation
from arbshard.virtual.settings import Settings
lines = []
seed, mode, hours = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
report = Simulation(Settings(seed, hours=hours, faults="heavy", mode=mode), lines.append).run()
assert not report.violations, report.violations
sys.stdout.write("".join(lines) + report.hash)
"""


# After the faults of some seeds it takes minutes of virtual time, and thus seconds, until all has come to rest.
# A live run has every process of one on paper, and one more.
@pytest.mark.parametrize(
    ("seed", "mode"), [pytest.param(55, "paper", marks=pytest.mark.nightly), (5, "live")]
)
def test_one_seed_gives_one_trace_whatever_the_interpreters_own_randomness(seed: int, mode: str) -> None:
    outputs = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(seed), mode, str(effort(5, 100) / 1000)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=500,
            check=True,
        )
        outputs.append(done.stdout)
    first, second = outputs
    assert first.count("\n") > 300
    different = [
        pair for pair in zip(first.splitlines(), second.splitlines(), strict=False) if pair[0] != pair[1]
    ]
    assert not different, different[:1]
    assert first == second


def test_another_seed_gives_another_trace() -> None:
    one, other = (
        Simulation(Settings(seed, hours=0.01, pairs=1, shards=1, faults="none")).run() for seed in (1, 2)
    )
    assert one.hash != other.hash
