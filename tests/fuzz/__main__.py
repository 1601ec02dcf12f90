"""``python tests/fuzz --cases N --seed S``: mutated frames and messages into everything that reads any.

Without processes first, then against a running instance (``--no-sockets`` leaves that out). Exit code 0 when nothing
was found, 1 otherwise; a finding is printed with its case, its target and its number, and the command that brings it
back.
"""

import argparse
import random
import sys
from pathlib import Path

sys.path.extend(map(str, Path(__file__).resolve().parents[1:3]))  # tests, and the checkout

from arbshard.model.money import use_money_context
from fuzzing import everything
from fuzzing.campaign import Report, run
from fuzzing.instance import SOCKETS, siege

_SOCKETS_SHARE = 0.15


def _again(report: Report) -> str:
    return f"again: python tests/fuzz --cases {max(report.cases, 1)} --seed {report.seed} --target '{report.target}'"


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--target", action="append", help="only this one; may be given again")
    parser.add_argument("--no-sockets", action="store_true", help="start no instance")
    given = parser.parse_args()
    if given.cases < 1:
        parser.error("--cases: at least 1")
    use_money_context()
    seed = given.seed if given.seed is not None else random.randrange(1_000_000)
    _say(f"seed {seed}")
    if given.target is None:
        over_sockets = 0 if given.no_sockets else max(int(given.cases * _SOCKETS_SHARE), 1)
        reports = everything.campaign(given.cases - over_sockets, seed, _say)
        if over_sockets:
            reports.append(siege(over_sockets, seed, _say))
    else:
        reports = _only(given.target, given.cases, seed, parser)
    bad = [report for report in reports if report.findings]
    for report in bad:
        _say(_again(report))
    total = sum(report.cases for report in reports)
    _say(f"{total:,} cases, {sum(len(report.findings) for report in reports)} findings")
    return 1 if bad else 0


def _only(names: list[str], cases: int, seed: int, parser: argparse.ArgumentParser) -> list[Report]:
    reports = []
    for name in names:
        if name == SOCKETS:
            reports.append(siege(cases, seed, _say))
        elif name in everything.MAKERS:
            reports.append(run(everything.MAKERS[name](), range(cases), seed))
            _say(reports[-1].text())
        else:
            parser.error(f"--target: one of {', '.join([*everything.MAKERS, SOCKETS])}")
    return reports


if __name__ == "__main__":
    sys.exit(main())
