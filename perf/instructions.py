"""Counts the instructions of each stage: a measure that other work on the machine does not change.

``python -m perf.instructions`` runs the stages of ``stages`` and the append of an event under valgrind's callgrind
and compares the instructions per call with ``instructions.json``. Counts are divided by those of a loop of plain
Python, so that two builds of the interpreter can be compared. ``--save`` writes the file. Stages that have a compiled
twin (``arbshard.native``) are counted in both forms where it is built.

Exit codes: 0 nothing costs more than before, 1 a stage does, 2 there is no valgrind, or it failed.
"""

import argparse
import gc
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from arbshard import native
from arbshard.ledger.store import LedgerStore
from perf import stages
from perf.services import approval_event

PATH = Path(__file__).resolve().parent / "instructions.json"
ROOT = PATH.parent.parent
REFERENCE = "reference: a loop of Python"
WORSE, WORSE_ELSEWHERE = 1.05, 1.2
"""Factors above which a stage counts as worse: with the same interpreter, whose counts differ by 0.2 % from run to
run, and with another build, where counts were found to differ by up to 9 %.
"""
_CALLS, _WARM_UP, _ROUNDS = 200, 50, 3
_COMPILED = ", compiled"
"""End of the names of stages that were counted with the compiled twin."""
_TWINS = ("route ", "top of book ", "slot ", "ring ", "doorbell ", "latency ")
"""Beginnings of the names of the stages that have a twin."""
_THREADED = "zmq"
"""Stages with threads of a library: how much these do depends on the machine."""
_ALLOCATOR = ("_int_malloc", "_int_free", "_int_realloc", "unlink_chunk", "malloc_consolidate", "sysmalloc")
"""Beginnings of the names of functions that are not counted. The C library joins freed memory from 1 KiB on with what
is free beside it. The 250 instructions which that takes or spares depend on all that was allocated before, and so on
the machine.
"""
_FUNCTION = re.compile(r"(fn|cfn)=\((\d+)\) ?(.*)")
_COST = re.compile(r"(?:[+-]?\d+|\*) (\d+)$")
_TIMEOUT_S = 900.0


class Kept(msgspec.Struct, frozen=True):
    """Holds what was counted before, as multiples of the reference."""

    interpreter: str
    """``sys.version`` of the interpreter that was counted."""
    ratios: dict[str, float]


class Change(NamedTuple):
    """One stage now and before, as multiples of the reference. ``before`` is None for a new stage."""

    name: str
    now: float
    before: float | None
    is_worse: bool


class _Counts:
    """Runs each stage between calls of ``getpgrp``; callgrind writes its counts at each of these calls."""

    def note(self, name: str, call: Callable[[], object], calls: int = _CALLS) -> None:
        """Run ``call`` so often that the interpreter has specialised it, then ``_CALLS`` times in each round."""
        if _THREADED in name or (native.IS_BUILT and name != REFERENCE and not name.startswith(_TWINS)):
            return
        rounds = range(min(calls, _CALLS))
        for _ in range(_WARM_UP):
            call()
        gc.collect()
        os.getpgrp()
        for _ in range(_ROUNDS):
            for _ in rounds:
                call()
            os.getpgrp()
        print(f"{len(rounds)} {name}", flush=True)


def _loop() -> int:
    total = 0
    for number in range(100):
        total += len(str(number)) if number % 3 else number
    return total


def _run_stages() -> None:
    gc.disable()
    counts = _Counts()
    counts.note(REFERENCE, _loop)
    stages.visit(counts)
    if native.IS_BUILT:
        return
    with tempfile.TemporaryDirectory(prefix="arbperf-") as folder:
        path = Path(folder) / "ledger.sqlite"
        store = LedgerStore.open(path, name="perf", mode="sim-paper", now_ms=1, durable=False)
        numbers = itertools.count()
        try:
            counts.note("ledger append", lambda: store.append([approval_event(next(numbers))]))
        finally:
            store.close()


def count() -> dict[str, float]:
    """Return the instructions per call of each stage. Raises ``RuntimeError`` when valgrind does not do its work."""
    found = _count({native.SWITCH: "0"})
    if native.IS_BUILT:
        compiled = _count({})
        # As multiples of its own reference, which is that of the same run.
        factor = found[REFERENCE] / compiled.pop(REFERENCE)
        found |= {f"{name}{_COMPILED}": counted * factor for name, counted in compiled.items()}
    return found


def _count(environment: dict[str, str]) -> dict[str, float]:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise RuntimeError("valgrind is not installed: apt-get install valgrind")
    with tempfile.TemporaryDirectory(prefix="arbperf-") as folder:
        command = [valgrind, "--tool=callgrind", "--dump-before=getpgrp", "--log-file=/dev/null"]
        command += [
            f"--callgrind-out-file={folder}/out",
            sys.executable,
            "-m",
            "perf.instructions",
            "--stages",
        ]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0", **environment},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the stages ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
        found = {}
        for number, line in enumerate(done.stdout.splitlines(), 1):
            calls, _, name = line.partition(" ")
            # The first file of a stage has what came before its first mark, the others one round each. What happens
            # once, such as memory that the interpreter asks of the system, falls into one round, and into which stage
            # differs from machine to machine. The cheapest round is without it.
            last = (_ROUNDS + 1) * number
            rounds = [count_in(Path(f"{folder}/out.{part}")) for part in range(last - _ROUNDS + 1, last + 1)]
            found[name] = min(rounds) / int(calls)
        return found


def count_in(path: Path) -> int:
    """Add the instructions of all functions in a file of callgrind but those of the allocator.

    Format: https://valgrind.org/docs/manual/cl-format.html
    """
    names: dict[str, str] = {}
    total, counted, is_call = 0, True, False
    for line in path.read_text().splitlines():
        if named := _FUNCTION.match(line):
            name = names.setdefault(named[2], named[3])
            if named[1] == "fn":
                counted = not name.startswith(_ALLOCATOR)
        elif line.startswith("calls="):
            is_call = True
        elif cost := _COST.match(line):
            # The line after "calls=" has what the called function cost, which stands with that function, too.
            total += int(cost[1]) if counted and not is_call else 0
            is_call = False
    return total


def compare(now: dict[str, float], kept: Kept, interpreter: str) -> list[Change]:
    """Compare counts per call with those of before; the most expensive stage comes first."""
    limit = WORSE if interpreter == kept.interpreter else WORSE_ELSEWHERE
    changes = []
    for name, counted in sorted(now.items(), key=lambda item: -item[1]):
        if name != REFERENCE:
            ratio, before = counted / now[REFERENCE], kept.ratios.get(name)
            changes.append(Change(name, ratio, before, before is not None and ratio > before * limit))
    return changes


def main(arguments: Sequence[str] | None = None) -> int:
    """Count and compare the instructions of each stage; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf.instructions", description=__doc__)
    parser.add_argument("--save", action="store_true", help=f"write {PATH.name}")
    parser.add_argument("--stages", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.stages:
        _run_stages()
        return 0
    try:
        now = count()
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"instructions: {error}", file=sys.stderr)
        return 2
    changes = compare(now, msgspec.json.decode(PATH.read_bytes(), type=Kept), sys.version)
    print(f"{'stage':<50} {'instructions':>13} {'of reference':>13} {'before':>9}")
    for change in changes:
        then = f"{change.before:9.3f}" if change.before is not None else "        -"
        worse = "  worse" if change.is_worse else ""
        print(f"{change.name:<50} {now[change.name]:13,.0f} {change.now:13.3f} {then}{worse}")
    if given.save:
        ratios = {change.name: round(change.now, 5) for change in changes}
        kept = Kept(sys.version, dict(sorted(ratios.items())))
        PATH.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
        print(f"saved as {PATH.name}")
        return 0
    return 1 if any(change.is_worse for change in changes) else 0


if __name__ == "__main__":
    raise SystemExit(main())
