"""How fast a tape is traded: frames per second of CPU, memory, and the size of the tape.

The tape is made in virtual time (``tapes``): 30 pairs on two venues. Nothing trades with every frame fed, with
screening for the first time, when the best prices are parsed, and with screening again; then it is traded as usual.
The same tape is used for all, in one run, each in a process of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Timer
from typing import NamedTuple

from perf.running import ROOT, MeasurementFailed
from perf.tapes import make_tape

GROUP = "Backtest of 30 pairs on two venues, one core"
UNSCREENED = "nothing trades, every frame fed: frames per CPU second"
FIRST = "nothing trades, screened for the first time: frames per CPU second"
SCREENED = "nothing trades, screened: frames per CPU second"
TRADING = "trading, screened: frames per CPU second"
_PAIRS = 30
_UPDATES_PER_S = 20.0
_SECONDS, _QUICK_SECONDS = 120.0, 30.0
_NOTHING = "strategy.entry_bps=450"
_TIMEOUT_S = 600.0


class _Measured(NamedTuple):
    frames: int
    cpu_s: float
    peak_mb: float


def measure(*, quick: bool = False) -> dict[str, float]:
    """The figures by their names. Raises ``MeasurementFailed``."""
    with tempfile.TemporaryDirectory(prefix="arbshard-perf-") as scratch:
        tape = Path(scratch) / "tape"
        seconds = _QUICK_SECONDS if quick else _SECONDS
        make_tape(tape, seconds=seconds, pairs=_PAIRS, updates_per_s=_UPDATES_PER_S)
        size = sum(path.stat().st_size for path in tape.glob("*.arrows"))
        fed = _run(tape, Path(scratch) / "fed", "--no-screening", "--set", _NOTHING)
        first = _run(tape, Path(scratch) / "first", "--set", _NOTHING)
        screened = _run(tape, Path(scratch) / "screened", "--set", _NOTHING)
        trading = _run(tape, Path(scratch) / "trading")
    return {
        UNSCREENED: fed.frames / fed.cpu_s,
        FIRST: first.frames / first.cpu_s,
        SCREENED: screened.frames / screened.cpu_s,
        TRADING: trading.frames / trading.cpu_s,
        "peak memory, MB": max(one.peak_mb for one in (fed, first, screened, trading)),
        "tape, MB per million frames": size / fed.frames,
        "tape, frames per second": fed.frames / seconds,
    }


def _run(tape: Path, out: Path, *options: str) -> _Measured:
    """One backtest in a process of its own. The CPU time leaves out the start of the interpreter."""
    command = [sys.executable, "-m", "arbshard", "backtest", str(tape), "--out", str(out), "--json", *options]
    with (out.parent / f"{out.name}.txt").open("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT)
        limit = Timer(_TIMEOUT_S, process.kill)
        limit.start()
        _, status, usage = os.wait4(process.pid, 0)
        limit.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read()
    if process.returncode:
        raise MeasurementFailed(f"arbshard backtest ended with code {process.returncode}: {text.strip()}")
    found = json.loads(text)
    return _Measured(found["frames"], found["cpu_s"], usage.ru_maxrss / 1024)


if __name__ == "__main__":
    for name, value in measure(quick="--quick" in sys.argv).items():
        sys.stdout.write(f"{name:<75} {value:>12,.0f}\n")
