"""Compares two runs: the same figures of both, and their differences. It is pure except for ``write_comparison``."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from time import time_ns
from typing import Literal

import msgspec
from msgspec.structs import replace

from arbshard.ledger.reader import EVER
from arbshard.model.money import ZERO, plain
from arbshard.report.build import build
from arbshard.report.document import (
    Cell,
    Document,
    PageSection,
    PageTable,
    Tile,
    bps,
    gain,
    number,
    plain_bps,
    share,
    table,
    wall,
)
from arbshard.report.findings import amount
from arbshard.report.html import plotly_script
from arbshard.report.model import Finding, Plot, PlotLine, RunReport, SymbolReport
from arbshard.report.sources import read_sources
from arbshard.report.write import ReportPaths, write_forms

_HOUR_MS = 3_600_000

Figure = Decimal | float | None
FigureKind = Literal["money", "cost", "hours", "count", "share", "bps"]
FIGURES: tuple[tuple[str, FigureKind, Callable[[RunReport], Figure]], ...] = (
    ("result", "money", lambda one: one.pnl.total),
    ("result per hour", "money", lambda one: one.per_hour),
    ("prices, before fees", "money", lambda one: one.pnl.trade),
    ("fees", "money", lambda one: one.pnl.fees),
    ("FX", "money", lambda one: one.pnl.fx),
    ("transfers", "money", lambda one: one.pnl.transfers),
    ("unexplained", "money", lambda one: one.pnl.unexplained),
    ("largest drawdown", "cost", lambda one: one.drawdown_max),
    ("hours", "hours", lambda one: one.active_s / 3600),
    ("entries", "count", lambda one: one.total.entries),
    ("exits", "count", lambda one: one.total.exits),
    ("won", "share", lambda one: one.total.win_rate),
    ("mean result", "money", lambda one: one.total.mean_pnl),
    ("edge at decision, bps", "bps", lambda one: one.total.decided_bps),
    ("edge at arrival, bps", "bps", lambda one: one.total.arrived_bps),
    ("kept, bps", "bps", lambda one: one.total.kept_bps),
    ("worst twentieth, bps", "bps", lambda one: one.total.results_bps.tail),
    ("held, median s", "hours", lambda one: one.total.held_s.median),
    ("refused by risk", "count", lambda one: one.total.refused),
    ("errors and warnings logged", "count", lambda one: sum(one.log_levels.values())),
)
"""The figures that are compared: name, kind, and the function that returns it for a report."""


class Comparison(msgspec.Struct, frozen=True):
    """Holds two reports, and their differences: those of ``b`` less those of ``a``."""

    a: RunReport
    b: RunReport
    difference: dict[str, Decimal | float | None]


def compare(a: RunReport, b: RunReport) -> Comparison:
    """Compare two runs; the figures are those of the first table of the page."""
    figures = {name: _less(two, one) for name, one, two, _ in _figures(a, b)}
    return Comparison(a, b, figures)


def write_comparison(one: Path, other: Path, out_dir: Path, *, since_ms: int = EVER) -> ReportPaths:
    """Analyse two runs and write them side by side. Raises ``UsageError``, ``LedgerError``."""
    plotly = plotly_script()
    now_ms = time_ns() // 1_000_000
    a, b = (build(read_sources(folder, since_ms), now_ms) for folder in (one, other))
    return write_forms(out_dir, comparison_document(a, b), compare(a, b), plotly)


def comparison_document(a: RunReport, b: RunReport) -> Document:
    """Return the page of two runs."""
    return Document(
        title=f"{a.name} and {b.name}",
        subtitle=" · ".join(
            f"{letter}: {one.source} ({one.mode}, {wall(one.first_ms)} to {wall(one.last_ms)} UTC)"
            for letter, one in (("A", a), ("B", b))
        ),
        verdict=None,
        findings=tuple(_findings(a, b)),
        tiles=tuple(_tiles(a, b)),
        sections=tuple(one for one in _sections(a, b) if one.parts),
    )


def _less(one: Figure, other: Figure) -> Figure:
    if one is None or other is None:
        return None
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return Decimal(plain(one - other))
    return float(one) - float(other)


def _figures(a: RunReport, b: RunReport) -> Iterator[tuple[str, Figure, Figure, FigureKind]]:
    """Yield name, figure of ``a``, figure of ``b`` and kind."""
    for name, kind, of in FIGURES:
        yield name, of(a), of(b), kind


def _write(value: Figure, kind: FigureKind, *, is_difference: bool) -> Cell:
    if value is None:
        return Cell("–")
    match kind:
        case "money":
            return gain(Decimal(value))
        case "cost":
            return Cell(amount(value, signed=is_difference))
        case "share":
            return Cell(f"{value:+.1%}".replace("-", "−")) if is_difference else share(float(value))
        case "bps":
            return bps(float(value)) if is_difference else plain_bps(float(value))
        case "hours":
            return number(float(value), 2)
        case _:
            return number(float(value))


def _findings(a: RunReport, b: RunReport) -> Iterator[Finding]:
    for letter, one in (("A", a), ("B", b)):
        for found in one.findings:
            if found.kind != "plain":
                yield replace(found, text=f"{letter}: {found.text}")
    if a.currency != b.currency:
        yield Finding("warn", f"Amounts of A are in {a.currency}, those of B in {b.currency}.")
    if a.mode != b.mode:
        yield Finding("warn", f"A ran as {a.mode}, B as {b.mode}.")


def _tiles(a: RunReport, b: RunReport) -> Iterator[Tile]:
    shown = ("result", "result per hour", "exits", "won", "kept, bps", "largest drawdown")
    for name, one, other, kind in _figures(a, b):
        if name in shown:
            first, second = (_write(value, kind, is_difference=False).text for value in (one, other))
            change = _write(_less(other, one), kind, is_difference=True)
            yield Tile(name, f"{first} → {second}", f"{change.text} in B")


def _sections(a: RunReport, b: RunReport) -> Iterator[PageSection]:
    rows = [
        (
            name,
            _write(one, kind, is_difference=False),
            _write(other, kind, is_difference=False),
            _write(_less(other, one), kind, is_difference=True),
        )
        for name, one, other, kind in _figures(a, b)
    ]
    yield PageSection(
        "figures",
        "Both runs",
        f"Money is in {b.currency}. The difference is B less A.",
        (table(("figure", "A", "B", "difference"), rows), *_plots(a, b)),
    )
    yield PageSection("steps", "Where the edges went", "", (_steps(a, b),))
    yield PageSection("by-symbol", "Symbols", "", (_symbols(a, b),))


def _steps(a: RunReport, b: RunReport) -> PageTable:
    steps = {step.name: step for step in b.funnel}
    rows: list[tuple[Cell | str, ...]] = []
    for step in a.funnel:
        other = steps.get(step.name)
        if other is not None:
            rows.append(
                (
                    *(step.name, f"{step.count:,}", f"{other.count:,}"),
                    *(plain_bps(step.bps), plain_bps(other.bps)),
                    *(gain(step.lost), gain(other.lost)),
                )
            )
    columns = ("step", "count, A", "count, B", "mean bps, A", "mean bps, B", "lost here, A", "lost here, B")
    return table(columns, rows)


def _symbols(a: RunReport, b: RunReport) -> PageTable:
    ones, others = ({one.symbol: one for one in report.symbols} for report in (a, b))

    def pnl(one: SymbolReport | None) -> Decimal:
        return one.pnl if one is not None else ZERO

    names = sorted(
        ones.keys() | others.keys(), key=lambda name: (pnl(ones.get(name)) - pnl(others.get(name)), name)
    )
    rows: list[tuple[Cell | str, ...]] = []
    for name in names:
        one, other = ones.get(name), others.get(name)
        rows.append(
            (
                name,
                *(number(None if each is None else each.exits) for each in (one, other)),
                *(share(None if each is None else each.win_rate) for each in (one, other)),
                *(gain(None if each is None else each.pnl) for each in (one, other)),
                gain(pnl(other) - pnl(one)),
                *(plain_bps(None if each is None else each.kept_bps) for each in (one, other)),
            )
        )
    columns = (
        *("symbol", "exits, A", "exits, B", "won, A", "won, B", "PnL, A", "PnL, B", "difference"),
        *("kept bps, A", "kept bps, B"),
    )
    return table(columns, rows)


def _plots(a: RunReport, b: RunReport) -> Iterator[Plot]:
    """Draw equity and drawdown of both, by hours since each began."""
    for name in ("equity", "drawdown"):
        lines = []
        for letter, one in (("A", a), ("B", b)):
            plot = next(plot for plot in one.plots if plot.name == name)
            for line in plot.lines[:1]:
                hours = tuple((float(at) - (one.first_ms or 0)) / _HOUR_MS for at in line.x)
                lines.append(PlotLine(f"{letter}: {line.name}", hours, line.y))
        title = "Equity, realised" if name == "equity" else "Drawdown, realised"
        if lines:
            yield Plot(name, title, b.currency, "steps", tuple(lines), "figures", "hours since the beginning")
