"""Defines a report as sections of sentences, tables and plots; page and Markdown render it, so that both agree."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from arbshard.report.findings import amount
from arbshard.report.model import (
    Finding,
    FunnelStep,
    LogRecord,
    Plot,
    RunReport,
    SymbolReport,
)

Tone = Literal["", "good", "bad", "warn"]
_TIMELINE_SHOWN = 400


class Cell(NamedTuple):
    """Holds one cell of a table."""

    text: str
    tone: Tone = ""
    link: str = ""
    """An anchor of the page."""


class PageTable(NamedTuple):
    """Holds rows below a header."""

    columns: tuple[str, ...]
    numbers: frozenset[int]
    """The columns that hold numbers."""
    rows: tuple[tuple[Cell, ...], ...]


class Tile(NamedTuple):
    """Holds one figure for the top of the page."""

    title: str
    value: str
    detail: str = ""
    tone: Tone = ""


class PageSection(NamedTuple):
    """Holds a part of a report below a heading of its own."""

    anchor: str
    title: str
    intro: str
    parts: tuple[PageTable | Plot | LogRecord, ...]


class Document(NamedTuple):
    """Holds everything that is shown."""

    title: str
    subtitle: str
    verdict: tuple[Tone, str, tuple[str, ...]] | None
    """Tone, outcome and reasons."""
    findings: tuple[Finding, ...]
    tiles: tuple[Tile, ...]
    sections: tuple[PageSection, ...]


# --- formatting of values


def gain(value: Decimal | None) -> Cell:
    """Format money that is a gain or a loss."""
    if not value:
        return Cell(amount(value))
    return Cell(amount(value, signed=True), "good" if value > 0 else "bad")


def bps(value: float | None) -> Cell:
    """Format basis points with their sign."""
    if value is None:
        return Cell("–")
    return Cell(f"{value:+,.1f}".replace("-", "−"), "bad" if value < 0 else "")


def plain_bps(value: float | None) -> Cell:
    """Format basis points that are neither good nor bad."""
    return Cell("–" if value is None else f"{value:,.1f}".replace("-", "−"))


def number(value: float | None, places: int = 0) -> Cell:
    """Format a count or measure."""
    return Cell("–" if value is None else f"{value:,.{places}f}".replace("-", "−"))


def fault(count: int | None) -> Cell:
    """Format a count that should be 0."""
    return Cell("–" if count is None else f"{count:,}", "warn" if count else "")


def share(value: float | None) -> Cell:
    """Format a share in per cent."""
    return Cell("–" if value is None else f"{value:.1%}")


def seconds(value: float | None) -> Cell:
    """Format a duration."""
    if value is None:
        return Cell("–")
    if value < 120:
        return Cell(f"{value:,.1f} s")
    return Cell(f"{value / 60:,.1f} min" if value < 7200 else f"{value / 3600:,.1f} h")


def micros(value: float | None) -> Cell:
    """Format a latency that is given in microseconds."""
    if value is None:
        return Cell("–")
    return Cell(f"{value:,.0f} µs" if value < 10_000 else f"{value / 1000:,.1f} ms")


def wall(at_ms: int | None) -> str:
    """Format a wall time to the second, in UTC."""
    if at_ms is None:
        return "–"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell | str]], texts: Sequence[int] = (0,)
) -> PageTable:
    """Return a table whose columns hold numbers, except those of ``texts``; columns without any value are
    left out.
    """
    cells = [tuple(one if isinstance(one, Cell) else Cell(one) for one in row) for row in rows]
    assert all(len(row) == len(columns) for row in cells), columns
    kept = [place for place in range(len(columns)) if any(row[place].text != "–" for row in cells)]
    return PageTable(
        tuple(columns[place] for place in kept),
        frozenset(new for new, place in enumerate(kept) if place not in texts),
        tuple(tuple(row[place] for place in kept) for row in cells),
    )


# --- the report of one run


def document_of(report: RunReport) -> Document:
    """Return the report of one run."""
    span = f"{wall(report.first_ms)} to {wall(report.last_ms)} UTC"
    verdict = None
    if (found := report.verdict) is not None:
        tone: Tone = "good" if found.outcome == "passed" else "bad"
        verdict = (tone, found.outcome.replace("_", " "), found.reasons)
    return Document(
        title=report.title,
        subtitle=f"{report.mode} · {span} · {report.events:,} events of {report.source}",
        verdict=verdict,
        findings=report.findings,
        tiles=tiles_of(report),
        sections=tuple(_filled(_sections(report))),
    )


def _filled(sections: Iterator[PageSection]) -> Iterator[PageSection]:
    for one in sections:
        parts = tuple(
            part
            for part in one.parts
            if isinstance(part, LogRecord) or (part.lines if isinstance(part, Plot) else part.rows)
        )
        if parts or one.intro:
            yield one._replace(parts=parts)


def tiles_of(report: RunReport) -> tuple[Tile, ...]:
    """Return the figures at the top."""
    total, unit = report.total, report.currency
    result = gain(report.pnl.total)
    errors = sum(count for level, count in report.log_levels.items() if level != "warning")
    hourly = f"{amount(report.per_hour, signed=True)} per hour" if report.per_hour is not None else ""
    return (
        Tile(f"Result, {unit}", result.text, hourly, result.tone),
        Tile("Closed positions", f"{total.exits:,}", f"{total.open:,} open, {total.entries:,} entered"),
        Tile("Won", share(total.win_rate).text, f"{total.wins:,} of {total.exits:,}"),
        Tile(
            "Kept of the edge",
            bps(total.kept_bps).text,
            f"bps; {plain_bps(total.decided_bps).text} at decision, {plain_bps(total.arrived_bps).text} at arrival",
        ),
        Tile(f"Fees, {unit}", amount(total.fees), f"{plain_bps(_of(total.fees, total.notional)).text} bps"),
        Tile(f"Largest drawdown, {unit}", amount(report.drawdown_max), wall(report.drawdown_max_ms)),
        Tile(
            "Errors logged",
            f"{errors:,}",
            f"{report.log_levels.get('warning', 0):,} warnings",
            "bad" if errors else "good",
        ),
    )


def _of(part: Decimal, whole: Decimal) -> float | None:
    return float(part) / float(whole) * 10_000 if whole else None


def _sections(report: RunReport) -> Iterator[PageSection]:
    if report.verdict is not None:
        checks = [
            (Cell("passed", "good") if one.passed else Cell("failed", "bad"), one.name, one.text)
            for one in report.verdict.checks
        ]
        yield PageSection(
            "checks", "Checks of the verdict", "", (table(("", "check", "what it found"), checks, (0, 1, 2)),)
        )
    yield PageSection("result", "Result", "", (_split(report), *_plots(report, "result")))
    yield PageSection(
        "edges",
        "Where the edges went",
        "Each line is a step that an edge passes. A sampled second is one direction of a pair in one second, an "
        "evaluation is one of a direction by a worker; counts of different units are not to be divided. What is lost "
        "by orders that did not fill was missed, all other losses were paid.",
        (_funnel(report), *_plots(report, "edges")),
    )
    yield PageSection("symbols", "Symbols", "", (*_symbols(report), *_plots(report, "symbols")))
    yield PageSection(
        "rules",
        "What the rules cost",
        "Refused entries are followed at the books that come, by the rules of exit, without latency and failed "
        "orders. A rule whose refused entries would have lost has saved money.",
        (_rules(report), *_plots(report, "rules")),
    )
    yield PageSection(
        "pairs",
        "Gaps in the books",
        ""
        if not report.pairs
        else "How often each pair had an edge. Up to 'sound', directions in sampled seconds are "
        "counted; up to 'decided', evaluations by workers.",
        (_pairs(report), *_plots(report, "pairs")),
    )
    yield PageSection("venues", "Venues", "", (_venues(report), *_plots(report, "venues")))
    if report.recorded:
        yield PageSection(
            "recording",
            "Recording",
            "What the tape of the run holds (arbshard tape verify checks it). Rows without a venue are decisions of "
            "risk and messages about the run.",
            (_recorded(report),),
        )
    yield PageSection("shards", "Shards", "", (_shards(report), *_plots(report, "shards")))
    yield PageSection(
        "processes", "Memory, CPU and descriptors", "", (_processes(report), *_plots(report, "processes"))
    )
    yield _timeline(report)
    yield PageSection(
        "logs",
        "Logs",
        "" if not report.logs else "Records of level warning and above; equal ones are shown once.",
        report.logs,
    )
    yield PageSection("sessions", "Sessions", "", (_sessions(report),))
    notes = tuple((Cell(one),) for one in report.notes)
    yield PageSection("notes", "What this analysis could not know", "", (table(("note",), notes),))


def _plots(report: RunReport, section: str) -> tuple[Plot, ...]:
    return tuple(one for one in report.plots if one.section == section)


def _split(report: RunReport) -> PageTable:
    parts = report.pnl
    rows: list[tuple[str, Cell]] = [
        ("prices, before fees", gain(parts.trade)),
        ("fees", gain(parts.fees)),
        ("FX while positions were open", gain(parts.fx)),
        ("transfers", gain(parts.transfers)),
        ("unexplained differences", gain(parts.unexplained)),
        ("total", gain(parts.total)),
    ]
    if parts.not_split:
        rows.insert(3, ("positions of older programs, after fees", gain(parts.not_split)))
    if report.unrealised is not None and report.total.open:
        rows.append(("not realised, at the last valuation", gain(report.unrealised)))
    return table(("part of the result", report.currency), rows)


def _funnel(report: RunReport) -> PageTable:
    rows: list[tuple[Cell | str, ...]] = []
    before: FunnelStep | None = None
    for step in report.funnel:
        is_same_unit = before is not None and before.unit == step.unit and before.count > 0
        rows.append(
            (
                *(step.name, step.unit, f"{step.count:,}"),
                share(step.count / before.count) if before is not None and is_same_unit else Cell(""),
                *(plain_bps(step.bps), amount(step.money), gain(step.lost), step.why),
            )
        )
        before = step
    columns = (
        *("step", "unit", "count", "of the step before", "mean bps", f"worth, {report.currency}"),
        *("lost here", "what is lost, and why"),
    )
    return table(columns, rows, (0, 1, 7))


def _symbols(report: RunReport) -> Iterator[PageTable]:
    every = (report.total, *report.symbols)
    results = [_result_row(one) for one in every]
    columns = (
        *("symbol", "entries", "exits", "won", f"PnL, {report.currency}", "fees", "mean PnL", "mean bps"),
        *("5 % below, bps", "worst bps", "mean of worst 5 %, bps", "held, median", "held, 95 % below"),
    )
    yield table(columns, results)
    of_edges = ("symbol", "decided bps", "arrived bps", "kept bps", "approved", "refused by risk")
    yield table((*of_edges, "exits by reason"), [_edge_row(one) for one in every], (0, 6))


def _result_row(one: SymbolReport) -> Sequence[Cell | str]:
    spread, held = one.results_bps, one.held_s
    return (
        *(one.symbol, f"{one.entries:,}", f"{one.exits:,}", share(one.win_rate), gain(one.pnl)),
        *(amount(one.fees), gain(one.mean_pnl), bps(spread.mean), bps(spread.p5), bps(spread.worst)),
        *(bps(spread.tail), seconds(held.median), seconds(held.p95)),
    )


def _edge_row(one: SymbolReport) -> Sequence[Cell | str]:
    reasons = ", ".join(f"{name} {count:,}" for name, count in one.reasons.items())
    return (
        *(one.symbol, plain_bps(one.decided_bps), plain_bps(one.arrived_bps), bps(one.kept_bps)),
        *(f"{one.approved:,}", f"{one.refused:,}", reasons or "–"),
    )


def _rules(report: RunReport) -> PageTable:
    rows = [
        (
            *(one.reason, f"{one.by_risk:,}", f"{one.by_workers:,}", f"{one.followed:,}"),
            share(one.won / one.followed if one.followed else None),
            gain(Decimal(one.pnl)) if one.followed else "–",
            _worth(one.followed, one.pnl),
        )
        for one in report.rules
    ]
    columns = (
        *("rule", "refused by risk", "evaluations refused by workers", "followed", "would have won"),
        *(f"would have brought, {report.currency}", "so the rule"),
    )
    return table(columns, rows, (0, 6))


def _worth(followed: int, pnl: int) -> Cell:
    if not followed:
        return Cell("was not followed")
    if not pnl:
        return Cell("cost nothing")
    return Cell(f"cost {amount(pnl)}", "bad") if pnl > 0 else Cell(f"saved {amount(-pnl)}", "good")


def _pairs(report: RunReport) -> PageTable:
    rows = [
        (
            *(one.pair, f"{one.sampled:,}", f"{one.gross:,}", plain_bps(one.gross_bps), f"{one.net:,}"),
            *(
                plain_bps(one.net_bps),
                f"{one.deep:,}",
                f"{one.sound:,}",
                f"{one.wanted:,}",
                f"{one.barred:,}",
            ),
            *(f"{one.sized:,}", f"{one.decided:,}", plain_bps(one.decided_bps), f"{one.approved:,}"),
        )
        for one in report.pairs
    ]
    columns = (
        *("pair", "looked at", "gap above 0", "mean bps", "after fees", "mean bps", "deep enough", "sound"),
        *("worth an entry", "barred by a rule", "deep enough", "decided", "mean bps", "approved"),
    )
    return table(columns, rows)


def _venues(report: RunReport) -> PageTable:
    rows = [
        (
            *(one.venue, f"{one.orders:,}", f"{one.filled:,}", f"{one.partial:,}", f"{one.unfilled:,}"),
            *(fault(one.rejected), fault(one.not_accepted), fault(one.refusals), amount(one.fees)),
            *(bps(-one.slippage_bps if one.slippage_bps is not None else None), number(one.msg_s)),
            *(number(one.reconnects), fault(one.stalls), fault(one.resyncs), fault(one.bad_frames)),
            *(fault(one.requests_refused), number(one.oldest_ms_max), number(one.lag_ms, 1)),
            *(micros(one.answer_p50_us), micros(one.answer_p99_us)),
        )
        for one in report.venues
    ]
    columns = (
        *("venue", "orders", "filled", "in part", "not filled", "rejected", "not accepted", "refuses us"),
        *(f"fees, {report.currency}", "price gained, bps", "messages/s", "reconnects"),
        *("stalls", "resyncs", "bad frames", "requests refused", "oldest book, ms", "lag, ms"),
        *("answer p50", "answer p99"),
    )
    return table(columns, rows)


def _recorded(report: RunReport) -> PageTable:
    rows = [
        (
            *(one.venue or "none", f"{one.frames:,}", f"{one.requests:,}", f"{one.decisions:,}"),
            *(f"{one.disconnects:,}", fault(one.resubscribed), fault(one.gaps), fault(one.lost)),
        )
        for one in report.recorded
    ]
    columns = ("venue", "frames", "answers over REST", "decisions", "disconnects", "resubscribed", "gaps")
    return table((*columns, "rows lost and marked"), rows)


def _shards(report: RunReport) -> PageTable:
    rows = [
        (
            *(f"{one.shard}", f"{one.starts:,}", fault(one.fenced), fault(one.restarts), number(one.pairs)),
            number(one.msg_s),
            *(micros(one.decision_p50_us), micros(one.decision_p99_us), micros(one.decision_max_us)),
            *(micros(one.approval_p99_us), micros(one.loop_gap_max_us)),
        )
        for one in report.shards
    ]
    columns = (
        *("shard", "starts", "fenced", "restarts", "pairs", "evaluations/s", "decision p50", "decision p99"),
        *("decision, longest", "approval p99", "longest gap of its loop"),
    )
    return table(columns, rows)


def _processes(report: RunReport) -> PageTable:
    rows = [
        (
            *(one.name, number(one.rss_mb, 1), number(one.rss_mb_max, 1), number(one.rss_mb_per_h, 2)),
            *(number(one.cpu_pct, 1), number(one.fds), number(one.fds_max)),
        )
        for one in report.processes
    ]
    columns = ("process", "memory, MB", "most, MB", "growth, MB/h", "CPU, %", "descriptors", "most")
    return table(columns, rows)


def _timeline(report: RunReport) -> PageSection:
    entries = report.timeline
    if len(entries) > _TIMELINE_SHOWN:
        grave = [one for one in entries if one.severity != "note"]
        entries = tuple(grave[:_TIMELINE_SHOWN]) if grave else entries[:_TIMELINE_SHOWN]
    tones: dict[str, Tone] = {"note": "", "warn": "warn", "stop": "bad"}
    rows = [
        (
            wall(one.first_ms),
            seconds((one.last_ms - one.first_ms) / 1000) if one.last_ms > one.first_ms else "",
            Cell(one.severity, tones[one.severity]),
            one.source,
            one.subject,
            Cell(one.text, link=one.anchor),
        )
        for one in entries
    ]
    left_out = len(report.timeline) - len(entries) + report.timeline_left_out
    intro = f"{left_out:,} further entries are not shown." if left_out else ""
    if not rows:
        intro = "Nothing happened to the desk itself, and nothing was logged as a warning or an error."
    columns = ("time, UTC", "lasted", "severity", "from", "about", "what")
    return PageSection("timeline", "What happened", intro, (table(columns, rows, range(6)),))


def _sessions(report: RunReport) -> PageTable:
    rows = [
        (
            *(f"{one.session}", one.version, one.mode, wall(one.began_ms), wall(one.ended_ms)),
            seconds((one.ended_ms - one.began_ms) / 1000),
            Cell("in order") if one.in_order else Cell("not in order, or it still runs", "warn"),
        )
        for one in report.sessions
    ]
    return table(
        ("session", "version", "mode", "began", "last event", "lasted", "end"), rows, (0, 1, 2, 3, 4, 6)
    )
