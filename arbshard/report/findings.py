"""Writes the sentences at the top of a report: result, its sources, losses, doubts, and health. It is pure."""

from collections.abc import Iterator
from decimal import Decimal

from arbshard.report.facts import RunFacts
from arbshard.report.model import Finding, RunReport

_WINS_IN_A_ROW = 30
"""So many wins without a loss are not believed; the number is that of a campaign's verdict."""
_SAME_SHARE = 0.9
_MEASURED_MIN = 10


def findings_of(report: RunReport, facts: RunFacts) -> tuple[Finding, ...]:
    """Return the sentences, in the order in which a person asks."""
    return (
        _earned(report),
        *_where(report),
        *_lost(report),
        *_doubts(report),
        *_health(report, facts),
    )


def amount(value: Decimal | float | None, *, signed: bool = False) -> str:
    """Format money: whole units from 1,000 on, two places below."""
    if value is None:
        return "–"
    places = 0 if not value or abs(float(value)) >= 1000 else 2
    text = f"{value:+,.{places}f}" if signed else f"{value:,.{places}f}"
    return text.replace("-", "−")


def money(value: Decimal, currency: str) -> str:
    """Format an amount with its currency."""
    return f"{amount(value)} {currency}"


def _earned(report: RunReport) -> Finding:
    total, closed = report.pnl.total, report.total.exits
    if not closed:
        return Finding("bad", "It closed no position, so it earned and lost nothing.")
    did = "earned" if total > 0 else "lost" if total < 0 else "neither earned nor lost anything:"
    hours = report.active_s / 3600
    rate = ""
    if report.per_hour is not None:
        rate = f", {money(abs(report.per_hour), report.currency)} per hour"
    length = f"{hours:.1f} hours" if hours >= 1 else f"{report.active_s / 60:.1f} minutes"
    share = report.total.win_rate or 0.0
    return Finding(
        "good" if total > 0 else "bad",
        f"It {did} {money(abs(total), report.currency)} in {length}{rate}; "
        f"{closed:,} positions were closed, {share:.0%} of them with a gain.",
    )


def _where(report: RunReport) -> Iterator[Finding]:
    gained = [one for one in report.symbols if one.pnl > 0]
    lost = [one for one in report.symbols[::-1] if one.pnl < 0]
    for word, some in (("Most was earned on", gained[:3]), ("Most was lost on", lost[:3])):
        if some:
            named = ", ".join(f"{one.symbol} ({money(one.pnl, report.currency)})" for one in some)
            yield Finding("plain", f"{word} {named}.")


def _lost(report: RunReport) -> Iterator[Finding]:
    edges = report.edges
    losses = sorted(
        (value, name)
        for name, value in (
            ("edges that were ordered and did not fill (missed, not paid)", edges.not_filled),
            ("entries that filled on one venue alone", edges.one_legged),
            ("prices that were worse at arrival than at the decision", edges.arrival),
            ("the fees of exits", edges.exit_fees),
            ("FX", edges.fx),
            ("gaps that had not come back, and spreads on the way out", edges.way_out),
            ("transfers", report.pnl.transfers),
            ("unexplained differences", report.pnl.unexplained),
        )
        if value < 0
    )
    if losses:
        named = "; ".join(f"{name}: {money(value, report.currency)}" for value, name in losses[:3])
        yield Finding("plain", f"The edges that were sent lost most to {named}.")


def _doubts(report: RunReport) -> Iterator[Finding]:
    """Yield what would be too good to be true."""
    total = report.total
    if total.exits > _WINS_IN_A_ROW and not total.losses:
        yield Finding("bad", f"All {total.exits:,} closed positions won: no real market allows that.")
    if total.measured >= _MEASURED_MIN and total.arrived_as_decided >= _SAME_SHARE * total.measured:
        yield Finding(
            "bad",
            f"{total.arrived_as_decided:,} of {total.measured:,} entries filled exactly at the edge of their "
            "decision: what lies between decision and fill is not simulated.",
        )
    if report.edges.kept > max(report.edges.decided, Decimal(0)) and report.edges.kept > 0:
        yield Finding(
            "warn",
            f"More was kept ({money(report.edges.kept, report.currency)}) than the edges at the decision promised "
            f"({money(report.edges.decided, report.currency)}): gaps closed beyond zero.",
        )
    if total.entries and not total.exits:
        yield Finding("bad", f"{total.entries:,} positions were entered and none was closed.")


def _health(report: RunReport, facts: RunFacts) -> Iterator[Finding]:
    takeovers = sum(max(0, one.starts - report.session_count) for one in report.shards)
    errors = sum(count for level, count in report.log_levels.items() if level != "warning")
    spells = sum(one.source == "status" for one in report.timeline)
    counts = (
        ("bad", errors, "error was logged", "errors were logged"),
        ("bad", facts.differences, "balance differed from the venue", "balances differed from the venues"),
        ("bad", facts.halts, "halt of entries", "halts of entries"),
        ("warn", facts.set_apart, "pair was set apart", "times a pair was set apart"),
        ("warn", takeovers, "shard was started again", "times a shard was started again"),
        ("warn", spells, "spell of a degraded status", "spells of a degraded status"),
        ("warn", facts.strays, "open order belonged to no intent", "open orders belonged to no intent"),
        ("warn", report.log_levels.get("warning", 0), "warning was logged", "warnings were logged"),
    )
    said = [(kind, f"{count:,} {one if count == 1 else many}") for kind, count, one, many in counts if count]
    cut_off = facts.cut_off - (not report.sessions[-1].in_order if report.sessions else 0)
    if cut_off:
        said.append(("bad", f"{cut_off:,} of {report.session_count:,} sessions were cut off"))
    if not said:
        yield Finding("good", "It was healthy: no error, warning, restart, halt or difference.")
        return
    worst = "bad" if any(kind == "bad" for kind, _ in said) else "warn"
    text = "; ".join(sentence for _, sentence in said)
    yield Finding("bad" if worst == "bad" else "warn", f"It was not without faults: {text}.")
