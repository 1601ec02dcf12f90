"""Many mutated cases into one target: what became of them, and the findings with all it takes to see them again.

A case is drawn from the seed, the target's name and its own number, so each can be made again alone.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from traceback import format_exception

import structlog

from fuzzing.mutator import mutated
from fuzzing.target import Target

FINDINGS_MAX = 20
_SHOWN = 600


@dataclass
class Finding:
    """One case that went wrong."""

    target: str
    number: int
    case: bytes
    error: BaseException

    def text(self) -> str:
        """For a person."""
        shown = repr(self.case[:_SHOWN]) + (f" … {len(self.case)} bytes" if len(self.case) > _SHOWN else "")
        trace = "".join(format_exception(self.error)[-4:])
        return f"{self.target} case {self.number}: {self.error!r}\n  {shown}\n{trace}"


@dataclass
class Report:
    """What became of a target's cases."""

    target: str
    seed: int
    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def text(self) -> str:
        """For a person."""
        shares = ", ".join(f"{name} {count:,}" for name, count in self.outcomes.most_common(6))
        lines = [f"{self.target}: {self.cases:,} cases, seed {self.seed}: {shares}"]
        return "\n".join(lines + [finding.text() for finding in self.findings])


def case_of(target: Target, seed: int, number: int) -> bytes:
    """Case ``number``; every tenth is a good one, so that a target which refuses everything is noticed."""
    rng = Random(f"{seed}:{target.name}:{number}")
    good = rng.choice(target.corpus)
    return good if number % 10 == 0 else mutated(good, target.corpus, rng, target.blind)


@contextmanager
def silence() -> Iterator[None]:
    """What is fed has a lot to be warned of."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def run(target: Target, numbers: Iterable[int], seed: int) -> Report:
    """Feed these cases, and close the target; ends early when there are too many findings."""
    with silence():
        return _run(target, numbers, seed)


def _run(target: Target, numbers: Iterable[int], seed: int) -> Report:
    report = Report(target.name, seed)
    number = -1
    try:
        for number in numbers:
            case = case_of(target, seed, number)
            report.cases += 1
            try:
                report.outcomes[target(case)] += 1
            except Exception as error:  # noqa: BLE001 - the very thing that is looked for
                report.findings.append(Finding(target.name, number, case, error))
                if len(report.findings) >= FINDINGS_MAX:
                    break
    finally:
        try:
            target.close()
        except Exception as error:  # noqa: BLE001 - likewise
            report.findings.append(Finding(target.name, number, b"", error))
    return report
