"""Defects put into the product on purpose, and the search for a seed whose simulation finds them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest

from arbshard.virtual.machine import Simulation
from arbshard.virtual.rates import FaultLevel
from arbshard.virtual.settings import Mode, Settings

SEEDS = range(1, 11)
HOURS = 0.2

Break = Callable[[pytest.MonkeyPatch], None]


class Mutation(NamedTuple):
    """A defect, and how it is found."""

    break_it: Break
    faults: str
    """Kinds that bring it to light, separated by commas; empty for none."""
    says: str
    """What the violation begins with, one of several, separated by bars."""
    seed: int = 1
    """The seed tried first: one that is known to find the defect soon."""
    is_nightly: bool = False
    """Whether it takes seconds, and another mutation of the gate breaks the same invariant."""

    def find(self, patch: pytest.MonkeyPatch, mode: Mode = "paper") -> None:
        """Break the system and simulate it, with the known seed first. Fails when no seed finds the defect."""
        self.break_it(patch)
        only = tuple(self.faults.split(",")) if self.faults else ()
        level: FaultLevel = "heavy" if only else "none"
        for seed in (self.seed, *(one for one in SEEDS if one != self.seed)):
            report = Simulation(Settings(seed, hours=HOURS, faults=level, only=only, mode=mode)).run()
            if report.violations:
                assert report.violations[0].startswith(tuple(self.says.split("|"))), report.violations
                return
        pytest.fail(f"not found with seeds {list(SEEDS)}")


def each(mutations: Sequence[Mutation]) -> pytest.MarkDecorator:
    """Return the parameter ``mutation`` of a test, with one test for each of ``mutations``."""
    params = [
        pytest.param(one, id=one.break_it.__name__, marks=[pytest.mark.nightly] if one.is_nightly else [])
        for one in mutations
    ]
    return pytest.mark.parametrize("mutation", params)
