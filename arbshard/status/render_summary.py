"""Draws a ``Summary`` at the end of a run."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from arbshard.model.notes import JournalNote
from arbshard.model.risk_note import PortfolioTally, PositionNote
from arbshard.status.model import Latency, RuleWorth
from arbshard.status.parts import (
    BESIDE,
    ORDER_WORDS,
    alert_text,
    counts_text,
    equity_text,
    fx_text,
    money_text,
    plain_text,
    rate_text,
    regime_lines,
    symbols_table,
    where_of,
)
from arbshard.status.summary import Summary, clock_of
from arbshard.status.tables import WholeTable

_PROBLEMS_SHOWN = 6
"""Number of problems that the last line of a run names; ``--summary`` has all."""
_DECISIONS_SHOWN = 12


def render_summary(summary: Summary) -> RenderableType:
    """Return what is printed at the end of a run."""
    portfolio = summary.portfolio
    table = Table(title=_title(summary), title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    as_of = f"; as of {summary.as_of}, when risk last reported" if summary.as_of else ""
    table.add_row("trades", _trades(portfolio) + as_of)
    table.add_row(
        "result",
        Text.assemble(money_text(portfolio.pnl), f" {portfolio.currency} realised{_parts(portfolio)}"),
    )
    if float(portfolio.beside):
        beside = Text.assemble(money_text(portfolio.beside), f" {portfolio.currency} of it: {BESIDE}")
        table.add_row("beside trading", beside)
    table.add_row("equity", equity_text(summary.equity, portfolio.currency, label=""))
    table.add_row("FX", fx_text(summary.fx))
    table.add_row("exits by", counts_text(summary.reasons))
    table.add_row(
        "orders",
        f"{summary.orders} prepared, none sent"
        if summary.order_mode == "dry run"
        else f"{summary.orders}, {summary.partial_orders} partly filled, {summary.rejected_orders} rejected",
    )
    table.add_row("refused by risk", counts_text(summary.refusals))
    table.add_row("refused by workers", counts_text(summary.data_refusals))
    table.add_row("receive → decision", _percentiles(summary.latency_us))
    table.add_row("decision → approval", _percentiles(summary.approval_us))
    table.add_row("ledger commit", _percentiles(summary.commit_us))
    table.add_row(
        "messages",
        f"{summary.messages:,} received, {summary.ticks:,} evaluated, {summary.conflated:,} superseded unread,"
        f" {summary.bad_frames} bad",
    )
    table.add_row("errors", f"{summary.errors} logged, {summary.restarts} restarts")
    if summary.journal:
        table.add_row("decided", _journal(summary.journal))
    if summary.order_mode != "paper":
        table.add_row(
            "accounts",
            f"{len(summary.differences)} differences from the venues, {len(summary.strays)} stray orders, "
            f"{len(summary.unknown)} of unknown fate",
        )
    table.add_row("memory", f"{summary.memory_mb:,.0f} MB in all processes")
    table.add_row("ledger", _ledger_at_end(summary))
    table.add_row("logs", Text(f"{summary.state_dir}/logs"))
    parts: list[RenderableType] = [table, *regime_lines(summary.regime)]
    if summary.rules:
        parts.append(_rules(summary.rules))
    if summary.positions:
        parts.append(_still_open(summary.positions, summary.as_of))
    if summary.symbols:
        parts.append(symbols_table(summary.symbols, len(summary.symbols)))
    if summary.problems:
        parts.append(Text(f"Not a clean run: {_listed(summary.problems)}", style="bold red"))
    parts.extend(Text(alert_text(line), style="yellow") for line in summary.alerts)
    return Group(*parts)


def _journal(journal: Sequence[JournalNote]) -> Text:
    """Return what people and rules decided, the newest last."""
    left_out = len(journal) - _DECISIONS_SHOWN
    lines = [f"{left_out} earlier ones are in the log and in --summary"] if left_out > 0 else []
    lines += [f"{clock_of(one.at_ms)} {one.text}" for one in journal[-_DECISIONS_SHOWN:]]
    return Text("\n".join(lines), style="yellow")


def _title(summary: Summary) -> str:
    where = where_of(summary.data, summary.order_mode)
    return (
        f"arbshard '{summary.name}': {summary.duration_s:.0f} s on {where}, {ORDER_WORDS[summary.order_mode]}"
    )


def _ledger_at_end(summary: Summary) -> Text:
    ledger = summary.ledger
    if ledger is None and summary.is_copy:
        return Text(f"{summary.state_dir}/ledger.sqlite is a copy of the leader's")
    if ledger is None:
        return Text("was not opened")
    written = f"the last event written was {ledger.last_seq:,}"
    if not ledger.is_there:
        return Text(f"NOT THERE any more: {ledger.path}; {written}", style="bold red")
    if not ledger.is_closed:
        return Text(f"{ledger.path}, NOT closed in order; {written}", style="bold red")
    return Text(f"{ledger.path}, {ledger.last_seq:,} events")


def _rules(rules: dict[str, RuleWorth]) -> WholeTable:
    """Return a table of what each rule has saved or cost, by the entries that it refused."""
    table = WholeTable("What refused entries would have brought")
    table.add_column("refused by")
    for heading in ("followed", "would have won", "would have brought"):
        table.add_column(heading, justify="right")
    for reason, worth in sorted(rules.items(), key=lambda item: item[1].pnl):
        table.add_row(
            reason, str(worth.followed), f"{worth.won / worth.followed:.0%}", money_text(str(worth.pnl))
        )
    return table


def _still_open(positions: tuple[PositionNote, ...], as_of: str) -> WholeTable:
    table = WholeTable(f"Still open, as of {as_of}" if as_of else "Still open")
    for heading in ("position", "pair", "direction"):
        table.add_column(heading)
    for heading in ("quantity", "entered for", "fees", "unrealised"):
        table.add_column(heading, justify="right")
    for one in positions:
        unrealised = money_text(one.unrealised) if one.unrealised is not None else "-"
        table.add_row(
            one.position_id,
            one.pair,
            one.direction,
            one.quantity,
            plain_text(one.notional),
            plain_text(one.fees),
            unrealised,
        )
    return table


def _parts(totals: PortfolioTally) -> str:
    """Return the components of the result."""
    return (
        f": trade {float(totals.trade):+,.0f}, fees {-float(totals.fees):+,.0f}, FX {float(totals.fx):+,.0f}"
    )


def _trades(totals: PortfolioTally) -> str:
    return (
        f"{totals.entries} entries, {totals.exits} exits, {totals.open} open; "
        f"{totals.wins} won, {totals.losses} lost, win rate {rate_text(totals.win_rate)}"
    )


def _listed(problems: Sequence[str]) -> str:
    more = len(problems) - _PROBLEMS_SHOWN
    return "; ".join(problems[:_PROBLEMS_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _percentiles(latency: Latency) -> str:
    if not latency.count:
        return "nothing was measured"
    return (
        f"p50 {latency.p50:,.0f}  p90 {latency.p90:,.0f}  p99 {latency.p99:,.0f}  p99.9 {latency.p999:,.0f}"
        f"  max {latency.max:,.0f} µs  ({latency.count:,})"
    )
