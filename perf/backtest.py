"""Measures how fast a tape is traded: frames per second of CPU time, peak memory, and the size of the tape.

``tapes`` makes the tape in virtual time, with 30 pairs on two venues. Three kinds of runs never trade: the
first one with screening, which also parses the best prices; later ones with screening; and those in which
every frame is fed to the engine. A fourth kind trades as usual. All use the same tape, and each run has a
process of its own. NautilusTrader's engine does the same where nothing trades, and hftbacktest only keeps
the books; both have environments of their own (``peers``). All take turns, and the least CPU time of each
counts, because other work on the machine can only add to it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from arbshard.backtest.rows import universe_on_tape
from arbshard.tape.compaction import compact
from arbshard.tape.exports import write_catalog, write_events
from arbshard.tape.reading import Tape
from perf.peers.environment import PeerUnavailable, ensure_environment
from perf.running import ROOT, MeasurementFailed
from perf.tapes import make_tape

GROUP = "Backtest of 30 pairs on two venues, one core"
UNSCREENED = "nothing trades, every frame fed: frames per CPU second"
FIRST = "nothing trades, screened for the first time: frames per CPU second"
SCREENED = "nothing trades, screened: frames per CPU second"
TRADING = "trading, screened: frames per CPU second"
NAUTILUS = "NautilusTrader, quotes, nothing trades: frames per CPU second"
HFTBACKTEST = "hftbacktest, books alone: frames per CPU second"
FUSED = "nothing trades, levels and touches in two streams, screened: frames per CPU second"
_PAIRS = 30
_UPDATES_PER_S = 20.0
_SECONDS, _QUICK_SECONDS = 600.0, 30.0
_NOTHING = "strategy.entry_bps=450"
_TIMEOUT_S = 600.0
_TURNS = 3
_LEVELS = 5
"""Levels per side of each book that hftbacktest gets."""


class _Measured(NamedTuple):
    frames: int
    cpu_s: float
    peak_mb: float


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return the figures by their names. Raises ``MeasurementFailed``.

    A peer that cannot be installed here is left out, and a line on standard error says why.
    """
    with tempfile.TemporaryDirectory(prefix="arbshard-perf-") as scratch:
        place = Path(scratch)
        tape = place / "tape"
        seconds = _QUICK_SECONDS if quick else _SECONDS
        make_tape(tape, seconds=seconds, pairs=_PAIRS, updates_per_s=_UPDATES_PER_S)
        size = sum(path.stat().st_size for path in tape.glob("*.arrows"))
        fused = place / "fused"
        make_tape(fused, seconds=seconds, pairs=_PAIRS, updates_per_s=_UPDATES_PER_S, is_fused=True)
        first = _run(tape, place / "first", "--set", _NOTHING)
        works: dict[str, Callable[[Path], _Measured]] = {
            SCREENED: lambda out: _run(tape, out, "--set", _NOTHING),
            UNSCREENED: lambda out: _run(tape, out, "--no-screening", "--set", _NOTHING),
            TRADING: lambda out: _run(tape, out),
            FUSED: lambda out: _run(fused, out, "--set", _NOTHING),
        }
        compact(Tape(tape), place / "parquet", levels=_LEVELS)
        for name, prepare in ((NAUTILUS, _nautilus), (HFTBACKTEST, _hftbacktest)):
            try:
                works[name] = prepare(tape, place)
            except PeerUnavailable as error:
                sys.stderr.write(f"{name.split(',')[0]} is not measured: {error}\n")
        found: dict[str, list[_Measured]] = {name: [] for name in works}
        for turn in range(1 if quick else _TURNS):
            for number, (name, work) in enumerate(works.items()):
                found[name].append(work(place / f"out-{turn}-{number}"))
    best = {name: min(times, key=lambda one: one.cpu_s) for name, times in found.items()}
    return {
        FIRST: first.frames / first.cpu_s,
        **{name: one.frames / one.cpu_s for name, one in best.items()},
        **{f"peak memory, MB: {name.rpartition(':')[0]}": one.peak_mb for name, one in best.items()},
        "tape, MB per million frames": size / first.frames,
        "tape, frames per second": first.frames / seconds,
    }


def _nautilus(tape: Path, place: Path) -> Callable[[Path], _Measured]:
    """Write the tape as a catalog; return the function that trades it once. Raises ``PeerUnavailable``."""
    python = ensure_environment("nautilus", (3, 12))
    segment = next(Tape(tape).segments())
    write_catalog(place / "parquet", place / "catalog", universe_on_tape(segment.info, segment.path).legs())
    entry_bps = _NOTHING.partition("=")[2]
    script = "perf.peers.nautilus_backtest"
    return lambda _: _printed_by(str(python), "-m", script, str(place / "catalog"), entry_bps)


def _hftbacktest(tape: Path, place: Path) -> Callable[[Path], _Measured]:
    """Write the events of all markets; return the function that reads them once. Raises
    ``PeerUnavailable``.
    """
    python = ensure_environment("hftbacktest")
    events = place / "events"
    events.mkdir()
    del tape
    frames = 0
    for path in (place / "parquet").glob(f"*/book_snapshot_{_LEVELS}/*/*.parquet"):
        write_events(path, events / f"{path.parts[-4]}-{path.stem}.npz")
        frames += pq.read_metadata(path).num_rows
    script = "perf.peers.hftbacktest_backtest"
    return lambda _: _printed_by(str(python), "-m", script, str(events))._replace(frames=frames)


def _printed_by(*command: str) -> _Measured:
    """Return the figures that a process prints. Raises ``MeasurementFailed`` when it fails or hangs."""
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementFailed(f"{command[2]} did not end within {_TIMEOUT_S:g} s") from error
    if ended.returncode:
        raise MeasurementFailed(
            f"{command[2]} ended with code {ended.returncode}: {ended.stderr.strip()[-500:]}"
        )
    found = json.loads(ended.stdout.splitlines()[-1])
    return _Measured(found["frames"], found["cpu_s"], found["peak_mb"])


def _run(tape: Path, out: Path, *options: str) -> _Measured:
    """Run one backtest in a process of its own. Raises ``MeasurementFailed``.

    The CPU time excludes the start of the interpreter.
    """
    arguments = ["backtest", str(tape), "--out", str(out), "--json", *options]
    return _printed_by(sys.executable, "-m", "arbshard", *arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures of one run, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m perf.backtest", description="Measures backtests of a tape."
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tape of 30 s instead of ten minutes, one turn"
    )
    given = parser.parse_args(arguments)
    try:
        figures = measure(quick=given.quick)
    except MeasurementFailed as error:
        print(f"perf.backtest: failed: {error}", file=sys.stderr)
        return 1
    for name, value in figures.items():
        print(f"{name:<75} {value:>12,.0f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
