"""Prints the first screen, which has this system beside its peers, the machine's noise, and the verdicts.

It fits a terminal of 100 columns and 40 lines. Everything is decided in ``comparison``.
"""

from rich.console import Console
from rich.table import Table

from perf.comparison import TURNS_MIN, AtRate, Extent, HighestHeld, Ratio, highest_of, rates_of
from perf.results import ARBSHARD, Conditions, Results
from perf.steadiness import Steadiness

RATES_MAX = 8
_STYLES = {"better": "green", "worse": "bold red", "can't tell": "yellow"}
_UNIT_MAX = 10_000
_UNITS = (("", 1), (" ms", 1_000), (" s", 1_000_000))
"""Units in which microseconds are shown, with their divisors, so that no number is wider than its column."""
_HELD_WIDTH = 4


def show(console: Console, results: Results) -> None:
    """Print the screen."""
    rates, highest = rates_of(results), highest_of(results)
    console.print(
        "[bold]arbshard beside other clients[/], same frames and machine: from the intended send to the decision,\n"
        "and CPU of the whole client for each message. Ratios say how many times better arbshard is."
    )
    _show_noise(console, results.conditions)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("msg/s", justify="right", no_wrap=True)
    for heading in ("client", "p50, µs", "p99, µs", "CPU, µs"):
        table.add_column(heading, no_wrap=True)
    table.add_column("held", justify="right", no_wrap=True, min_width=_HELD_WIDTH)
    for one in rates[:RATES_MAX]:
        _add_rate(table, one)
    console.print(table)
    if len(rates) > RATES_MAX:
        console.print(f"{len(rates) - RATES_MAX} more rates are in the tables below.", highlight=False)
    if highest:
        _show_highest(console, highest)
    _show_meaning(console, rates, highest, is_quick=results.conditions.quick)


def _show_noise(console: Console, conditions: Conditions) -> None:
    for when, one in zip(("before", "after"), conditions.steadiness, strict=False):
        console.print(f"noise {when}: {_noise(one)}", highlight=False)
    console.print(
        f"other work: {conditions.others_cores:.2f} of {conditions.cores} cores, "
        f"load {conditions.load_before:.1f} before, {conditions.load_after:.1f} after",
        highlight=False,
    )


def _noise(one: Steadiness) -> str:
    return (
        f"a loop of {one.loop_ms:.1f} ms varies by {one.loop_share:.0%} (its CPU by {one.cpu_share:.0%}), "
        f"a timer is late by {one.late_p50_us:,.0f} µs (p99 {one.late_p99_us:,.0f})"
    )


def _add_rate(table: Table, one: AtRate) -> None:
    table.add_row(f"{one.rate / 1000:g}k", ARBSHARD, *map(_ours, one.ours), _held(one.held))
    for peer in one.peers:
        cells = [_ratio(ratio) for ratio in peer.ratios] if peer.ratios else [_styled(peer.note), "", ""]
        table.add_row("", peer.client, *cells, _held(peer.held))


def _held(held: tuple[int, int]) -> str:
    return f"{held[0]}/{held[1]}"


def _ours(extent: Extent) -> str:
    unit, divisor = next(
        ((unit, divisor) for unit, divisor in _UNITS if extent.median < _UNIT_MAX * divisor), _UNITS[-1]
    )
    low, median, high = (f"{number / divisor:,.0f}" for number in extent)
    return f"{median}{unit}" if low == high else f"{median}{unit} {low}–{high}"


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "not measured"
    low, median, high = map(_factor, ratio.extent)
    spread = f"{low}–{high}" if ratio.turns > 1 else ""
    return " ".join(filter(None, (median, spread, _styled(ratio.verdict))))


def _styled(note: str) -> str:
    """Return ``note`` in the colour of the verdict that it begins with."""
    return f"[{_STYLES[note.partition(':')[0]]}]{note}[/]"


def _factor(number: float) -> str:
    """Return three digits, or ">999"."""
    if number >= 999.5:
        return ">999"
    return f"{number:.2f}" if number < 9.995 else f"{number:.1f}" if number < 99.95 else f"{number:.0f}"


def _show_highest(console: Console, highest: tuple[HighestHeld, ...]) -> None:
    console.print("[bold]highest rate held[/], messages per second")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for one in highest:
        low, median, high = (f"{rate:,.0f}" if rate else "below 1,000" for rate in one.rate)
        shown = median if low == high else f"{median} ({low}–{high})"
        table.add_row(one.client, shown, _ratio(one.ratio) if one.client != ARBSHARD else "")
    console.print(table)


def _show_meaning(
    console: Console, rates: tuple[AtRate, ...], highest: tuple[HighestHeld, ...], *, is_quick: bool
) -> None:
    ratios = [ratio for rate in rates for peer in rate.peers for ratio in peer.ratios if ratio is not None]
    ratios += [one.ratio for one in highest if one.ratio is not None]
    if not any(rate.peers for rate in rates):
        console.print("No other client was measured, so there is nothing to compare with.")
        return
    console.print(
        'Behind each median are the least and the most of all turns. "can\'t tell": the turns disagree, or\n'
        "the spread of either client or the machine's noise is as large as the difference.",
        highlight=False,
    )
    if any(peer.is_unclear for rate in rates for peer in rate.peers):
        console.print(
            "At rates where the generator was late in most turns there is no verdict.", highlight=False
        )
    turns = min([peer.held[1] for rate in rates for peer in rate.peers] + [ratio.turns for ratio in ratios])
    if turns < TURNS_MIN:
        number = "one turn" if turns == 1 else "two turns"
        hint = " A run without --quick makes them." if is_quick else ""
        console.print(f"Can't tell from {number}: a verdict needs {TURNS_MIN}.{hint}", highlight=False)
