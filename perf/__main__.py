"""Runs the measurements of ``make perf``, prints their tables, and saves them as JSON in
``perf/out/latest.json``.

``python -m perf --help`` lists the parts that can be measured alone.

Exit codes: 0 when the parts were measured, whether budgets are met or not; 1 when this system could not be
measured; 2 for wrong arguments; 130 after Ctrl-C.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec
from rich.console import Console

from arbshard.config import load_config
from arbshard.errors import UsageError
from perf import baseline, report, screen
from perf.budgets import judge
from perf.conditions import Watch
from perf.figures import middle_rows
from perf.load import RATES, receiver_section
from perf.other_work import other_work
from perf.plan import PARTS, Plan, measure
from perf.results import Results

_OUT = Path(__file__).resolve().parent / "out" / "latest.json"
_RATE_MAX = 200_000
_SECONDS, _QUICK_SECONDS = 8.0, 3.0
_QUICK_RATES = (1_000, 5_000, 10_000, 20_000, 50_000)
_WIDTH = 100


def _rates(text: str) -> tuple[int, ...]:
    rates = tuple(int(part.replace("_", "")) for part in text.split(","))
    if not all(100 <= rate <= _RATE_MAX for rate in rates):
        raise argparse.ArgumentTypeError(f"rates are 100 to {_RATE_MAX:,} messages per second")
    return rates


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 0.95:
        raise argparse.ArgumentTypeError("0 to 0.95 of a core")
    return share


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 600:
        raise argparse.ArgumentTypeError("1 to 600 seconds")
    return seconds


class _OneLine(argparse.ArgumentParser):
    """Is an argument parser that reports a mistake in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End the run on SIGTERM as on Ctrl-C, so that the processes that it started end too."""
    raise KeyboardInterrupt


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _OneLine(prog="python -m perf", description="Measures speed, and says which budgets are met.")
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"], default="all", help="default: all")
    parser.add_argument("--quick", action="store_true", help="shorter windows, one turn: about 5 minutes")
    parser.add_argument(
        "--seconds", type=_seconds, help="measured window of each rate; beside peers 3/8 of it, three times"
    )
    parser.add_argument("--rates", type=_rates, help="messages per second, comma-separated")
    parser.add_argument("--no-peers", action="store_true", help="leave ccxt.pro and cryptofeed out")
    parser.add_argument(
        "--other-work", type=_share, default=0.0, help="share of a core that another program uses meanwhile"
    )
    parser.add_argument("--receiver", help="WebSocket client of the feeds, as in the configuration")
    parser.add_argument("--save-baseline", action="store_true", help=f"write {baseline.PATH.name}")
    given = parser.parse_args(arguments)
    if given.receiver is not None:
        section = receiver_section()
        if section is None:
            parser.error("--receiver: this version has one WebSocket client only")
        try:
            load_config(None, {section: {"receiver": given.receiver}})
        except UsageError as error:
            parser.error(f"--receiver: {error}")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the chosen parts, print and save the results, and return the exit code."""
    given = _parse(arguments)
    console = Console(width=_WIDTH if not sys.stdout.isatty() else None)
    signal.signal(signal.SIGTERM, _interrupt)
    watch = Watch(quick=given.quick)
    results = Results(conditions=watch.conditions())
    plan = Plan(
        parts=tuple(PARTS) if given.part == "all" else (given.part,),
        rates=given.rates or (_QUICK_RATES if given.quick else RATES),
        seconds=given.seconds or (_QUICK_SECONDS if given.quick else _SECONDS),
        quick=given.quick,
        peers=not given.no_peers,
        receiver=given.receiver,
    )
    try:
        kept = baseline.load()
        with other_work(given.other_work):
            is_whole = measure(plan, results, lambda line: console.print(line, style="dim", markup=False))
    except ValueError as error:
        console.print(f"[bold red]failed[/]: {error}", highlight=False)
        return 2
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    results.conditions = msgspec.structs.replace(watch.end(), other_work=given.other_work)
    _show(console, results)
    ratios = baseline.ratios_of(results)
    if kept is not None:
        report.show_changes(console, kept.commit, baseline.compare(kept.ratios, ratios))
    _OUT.parent.mkdir(exist_ok=True)
    _OUT.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    console.print(f"saved as {_OUT}", highlight=False, soft_wrap=True)
    if given.save_baseline:
        # What was not measured this time is kept as it was.
        before = kept.ratios if kept is not None else {}
        baseline.save(baseline.Baseline(results.conditions.commit, {**before, **ratios}))
        console.print(f"saved as {baseline.PATH}", highlight=False, soft_wrap=True)
    return 0 if is_whole else 1


def _show(console: Console, results: Results) -> None:
    if results.load:
        screen.show(console, results)
    report.show_conditions(console, results.conditions)
    if results.stages_us:
        report.show_stages(console, results.stages_us)
    if results.load:
        report.show_load(console, middle_rows(results.load))
    if results.equal:
        rates = {row.rate for row in results.equal}
        ours = [row for row in results.load if row.rate in rates]
        report.show_equal(console, middle_rows([*ours, *results.equal]))
    report.show_rest(console, results)
    report.show_budgets(console, judge(results))


if __name__ == "__main__":
    raise SystemExit(main())
