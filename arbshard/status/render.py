"""Draws a ``Status`` or ``Summary`` as tables for a terminal."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from arbshard.config import REGIMES
from arbshard.model.notes import RECORDING, JournalNote
from arbshard.model.risk_note import EquityNote, FxNote, PortfolioTally, PositionNote, Tally, ValueChangeNote
from arbshard.status.hints import name_instance
from arbshard.status.model import (
    AlertsStatus,
    ClusterHostStatus,
    ClusterStatus,
    EntriesStatus,
    Latency,
    LedgerStatus,
    MetricsStatus,
    RuleWorth,
    SeriesStatus,
    ShardStatus,
    Status,
    WebStatus,
)
from arbshard.status.summary import Summary, clock_of
from arbshard.status.tables import WholeTable

_GOOD = {"running", "connected", "drained", "ready", "idle", "elsewhere"}
_WAITING = {"starting", "connecting", "draining", "restarting", "partly", "degraded", "missing"}
_ORDERS = {
    RECORDING: "records only, no orders",
    "paper": "paper orders",
    "dry run": "DRY RUN: no order is sent",
    "live": "LIVE ORDERS",
}
"""The first words on the screen."""
_ORDERS_STYLE = {RECORDING: "", "paper": "", "dry run": "bold black on yellow", "live": "bold white on red"}
_SYMBOLS_SHOWN = 12
_WARNINGS_SHOWN = 10
_PROBLEMS_SHOWN = 6
"""Number of problems that the last line of a run names; ``--summary`` has all."""
_DECISIONS_SHOWN = 12
_BESIDE = "fees and losses of transfers, and unexplained differences"
"""Results that come from no position."""
_PLAIN_WIDTH = 140
"""Width in columns where the output is not a terminal."""


def terminal() -> Console:
    """Return the console for tables: the terminal, or wide plain text."""
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


def render_status(status: Status, *, symbols_shown: int = _SYMBOLS_SHOWN) -> RenderableType:
    """Return the whole status. What needs a person comes before every table, for a low terminal shows
    only the top.
    """
    parts: list[RenderableType] = [_headline(status)]
    parts.extend(Text(f"! {line}", style=_style_of(line, status)) for line in _problems_first(status))
    parts.extend(Text(f"  {_alert(line)}", style="yellow") for line in reversed(status.alerts))
    parts.extend(_behaviour(status.regime))
    if status.order_mode == RECORDING:
        parts.append(_venues(status))
    else:
        parts.extend(_trading(status, symbols_shown))
    parts.extend(Text(line, style="dim") for line in status.warnings[:_WARNINGS_SHOWN])
    if len(status.warnings) > _WARNINGS_SHOWN:
        parts.append(
            Text(f"and {len(status.warnings) - _WARNINGS_SHOWN} more: --json lists them", style="dim")
        )
    return Group(*parts)


def _problems_first(status: Status) -> list[str]:
    """Return the problems: the halt before all others, and last those that end with the orders under way."""
    urgency = {status.halted: 0, **dict.fromkeys(status.passing, 2)}
    return sorted(status.problems, key=lambda line: urgency.get(line, 1))


def _style_of(problem: str, status: Status) -> str:
    if problem == status.halted:
        return "bold white on red"
    return "yellow" if problem in status.passing else "bold red"


def _trading(status: Status, symbols_shown: int) -> list[RenderableType]:
    """Return the parts of the status of a run that trades."""
    parts: list[RenderableType] = []
    parts.extend(_cluster(one) for one in (status.cluster,) if one is not None)
    parts.append(_portfolio(status.portfolio, status.lifetime, status.as_of))
    parts.append(_equity(status.equity, status.portfolio.currency))
    parts.append(Text.assemble(("FX ", "bold"), _fx(status.fx)))
    parts.append(_shards(status))
    parts.append(_spares(status))
    parts.append(_venues(status))
    parts.append(_risk(status))
    if status.risk.entries.pairs:
        parts.append(_entries(status.risk.entries, status.name))
    if status.ledger is not None:
        parts.append(_ledger(status.ledger))
    if status.series is not None:
        parts.append(_series(status.series))
    if status.metrics is not None:
        parts.append(_metrics(status.metrics))
    if status.alerting is not None:
        parts.append(_alerting(status.alerting))
    if status.web is not None:
        parts.append(_web(status.web))
    if status.accounts:
        parts.append(_accounts(status))
    if status.symbols:
        parts.append(_symbols(status.symbols, symbols_shown))
    parts.extend(_beside(status))
    if status.inventory:
        parts.append(Text(f"Inventory: {status.inventory}", style="yellow"))
    return parts


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
        Text.assemble(_money(portfolio.pnl), f" {portfolio.currency} realised{_parts(portfolio)}"),
    )
    if float(portfolio.beside):
        beside = Text.assemble(_money(portfolio.beside), f" {portfolio.currency} of it: {_BESIDE}")
        table.add_row("beside trading", beside)
    table.add_row("equity", _equity(summary.equity, portfolio.currency, label=""))
    table.add_row("FX", _fx(summary.fx))
    table.add_row("exits by", _counts(summary.reasons))
    table.add_row(
        "orders",
        f"{summary.orders} prepared, none sent"
        if summary.order_mode == "dry run"
        else f"{summary.orders}, {summary.partial_orders} partly filled, {summary.rejected_orders} rejected",
    )
    table.add_row("refused by risk", _counts(summary.refusals))
    table.add_row("refused by workers", _counts(summary.data_refusals))
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
    parts: list[RenderableType] = [table, *_behaviour(summary.regime)]
    if summary.rules:
        parts.append(_rules(summary.rules))
    if summary.positions:
        parts.append(_still_open(summary.positions, summary.as_of))
    if summary.symbols:
        parts.append(_symbols(summary.symbols, len(summary.symbols)))
    if summary.problems:
        parts.append(Text(f"Not a clean run: {_listed(summary.problems)}", style="bold red"))
    parts.extend(Text(_alert(line), style="yellow") for line in summary.alerts)
    return Group(*parts)


def _journal(journal: Sequence[JournalNote]) -> Text:
    """Return what people and rules decided, the newest last."""
    left_out = len(journal) - _DECISIONS_SHOWN
    lines = [f"{left_out} earlier ones are in the log and in --summary"] if left_out > 0 else []
    lines += [f"{clock_of(one.at_ms)} {one.text}" for one in journal[-_DECISIONS_SHOWN:]]
    return Text("\n".join(lines), style="yellow")


def _where(data: str, order_mode: str) -> str:
    if data == "sim":
        return "SIMULATED exchanges"
    return "public feeds" if order_mode in (RECORDING, "paper") else "REAL exchanges"


def _title(summary: Summary) -> str:
    where = _where(summary.data, summary.order_mode)
    return f"arbshard '{summary.name}': {summary.duration_s:.0f} s on {where}, {_ORDERS[summary.order_mode]}"


def _headline(status: Status) -> Text:
    where = _where(status.data, status.order_mode)
    orders = _ORDERS[status.order_mode]
    is_paper = status.order_mode in (RECORDING, "paper")
    # What may cost money comes before everything else, in a line of its own.
    banner = "" if is_paper else f" {orders} on {where} \n"
    return Text.assemble(
        (banner, _ORDERS_STYLE[status.order_mode]),
        ("arbshard ", "bold"),
        (status.name, "bold"),
        "  ",
        _state(status.state),
        ("  HALTED" if status.halted else "", "bold white on red"),
        f"  {where}, {orders}" if is_paper else "",
        f"  up {status.uptime_s:.0f} s  {status.memory_mb:.0f} MB",
        f"  {status.messages:,} messages  ",
        (f"{status.errors} error" + "s" * (status.errors != 1), "bold red" if status.errors else "dim"),
        (f"  {status.bad_requests} bad requests" if status.bad_requests else "", "yellow"),
    )


def _behaviour(regime: str) -> Iterable[Text]:
    """Return one line on the behaviour of the simulated prices, and what that means for the results below."""
    return [Text(f"{name}: {what}", style="dim") for name, what in REGIMES.items() if name == regime]


def _portfolio(session: PortfolioTally, lifetime: PortfolioTally, as_of: str) -> WholeTable:
    table = WholeTable(f"Portfolio as of {as_of}: risk says nothing newer" if as_of else "Portfolio")
    headings = ("", "entries", "exits", "open", "win rate", "realised", "trade", "fees", "FX", "exposure")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for label, totals in (("this run", session), ("ledger", lifetime)):
        table.add_row(
            label,
            str(totals.entries),
            str(totals.exits),
            str(totals.open),
            _rate(totals.win_rate),
            Text.assemble(_money(totals.pnl), f" {totals.currency}"),
            _money(totals.trade),
            _plain(totals.fees),
            _money(totals.fx),
            _plain(totals.exposure),
        )
    return table


def _equity(equity: EquityNote, currency: str, label: str = "Equity ") -> Text:
    """Return the result of trading, and in a second line the value of the account."""
    parts: list[str | Text | tuple[str, str]] = [
        (label, "bold"),
        _money(equity.equity),
        f" {currency}: realised ",
        _money(equity.realised),
        ", unrealised ",
        _money(equity.unrealised),
        f"; {_plain(equity.drawdown)} below the high-water mark of {_plain(equity.high_water)}",
        f"; today {0 - round(float(equity.day_loss)):+,}, this week {0 - round(float(equity.week_loss)):+,}",
        "\nNaked exposure ",
        (_plain(equity.naked), "bold red" if float(equity.naked) else ""),
        f"; account value {_plain(equity.account_value)} at the bids of now, deposits and inventory included",
    ]
    if equity.change is not None:
        parts += ["\n", *_change(equity.change)]
    if equity.unpriced:
        parts.append(f", without {', '.join(equity.unpriced)} (no price)")
    if equity.unvalued:
        unvalued = f"\nNot valued, because no book has come yet: {', '.join(equity.unvalued)}"
        parts.append((unvalued, "yellow"))
    return Text.assemble(*parts)


def _change(change: ValueChangeNote) -> list[str | Text]:
    """Return where the account value began in this run, and what has moved it since."""
    parts: list[str | Text] = [f"Account value at the start {_plain(change.started)}; since then trading "]
    parts.append(_money(change.trading))
    for label, amount in (("inventory prices", change.inventory), ("FX", change.fx)):
        parts += [f", {label} ", _money(amount)]
    if float(change.moved):
        parts += [", moved in or out ", _money(change.moved)]
    return parts


def _beside(status: Status) -> Iterator[Text]:
    """Yield what results contain from no position, and what is on no venue; only where there is anything."""
    beside, currency = status.lifetime.beside, status.portfolio.currency
    if float(beside):
        yield Text.assemble("Of the ledger's results ", _money(beside), f" {currency} are {_BESIDE}")
    if float(status.under_way_worth):
        yield Text(
            f"Under way between venues: {_plain(status.under_way_worth)} {currency}, in the account value"
        )


def _shards(status: Status) -> WholeTable:
    table = WholeTable("Shards: receive → decision, µs")
    for heading in (
        "shard", "state", "pid", "epoch", "restarts", "pairs", "msg/s", "p50", "p99", "approval p50", "refused most",
    ):  # fmt: skip
        justify: JustifyMethod = "right" if heading != "state" else "left"
        table.add_column(heading, justify=justify)
    for shard in status.shards:
        table.add_row(
            str(shard.id),
            _shard_state(shard),
            str(shard.pid or "-"),
            str(shard.epoch),
            str(shard.restarts),
            str(shard.pairs),
            f"{shard.msg_s:,.0f}",
            f"{shard.latency_us.p50:,.0f}",
            f"{shard.latency_us.p99:,.0f}",
            f"{shard.approval_us.p50:,.0f}",
            _most_refused(shard),
        )
    return table


def _cluster(cluster: ClusterStatus) -> WholeTable:
    leader = f"{cluster.leader} leads in term {cluster.term}" if cluster.leader else "no leader is known"
    contact = f", confirmed {cluster.contact_s:.1f} s ago" if cluster.contact_s is not None else ""
    phase = ", ENDING" if cluster.phase == "ending" else ""
    title = f"Cluster {cluster.name}: {leader}; this is {cluster.host}{contact}; {cluster.replication} copies{phase}"
    table = WholeTable(title)
    for heading in ("host", "state", "shards", "frames/s", "CPU", "events behind", "NATS", "what it says"):
        justify: JustifyMethod = "right" if heading in ("frames/s", "CPU", "events behind") else "left"
        table.add_column(heading, justify=justify, no_wrap=heading != "what it says")
    for host in cluster.hosts:
        state = _host_state(host, cluster.leader)
        if state == "away":  # what it last said of itself is no longer true
            table.add_row(host.name, Text(state, style="bold red"), *["-"] * 6)
            continue
        table.add_row(
            host.name,
            Text(state, style="green" if state in ("leads", "follows") else "yellow"),
            ", ".join(map(str, host.shards)) or "-",
            f"{host.frames_s:,.0f}",
            f"{host.cpu:.0%}",
            "-" if host.behind is None else f"{host.behind:,}",
            Text("connected") if host.nats else Text("away", style="bold red"),
            host.note or "-",
        )
    table.caption = _leading_line(cluster)
    return table


def _leading_line(cluster: ClusterStatus) -> str:
    """Return how the copies of the ledger keep up, and what went wrong with them; empty where nothing is known."""
    found = cluster.leading
    if not found:
        return ""
    line = (
        f"{found['followers']} of {len(cluster.hosts) - 1} other hosts follow the leader; "
        f"{found['uncommitted']:,} events and {found['held_replies']:,} replies wait for a majority"
    )
    troubles = {
        "requests not answered": found["unanswered"],
        "refused connections": found["link_refused"],
        "invalid messages": found["link_bad"],
        "books of other pairs": found["samples_ignored"],
    }
    counted = ", ".join(f"{count:,} {what}" for what, count in troubles.items() if count)
    return f"{line}; since it leads: {counted}" if counted else line


def _host_state(host: ClusterHostStatus, leader: str) -> str:
    if host.leaving:
        return "left"
    if host.away:
        return "away"
    if host.leads:
        return "leads"
    return "follows" if leader else "waits"


def _shard_state(shard: ShardStatus) -> Text:
    state = _state(shard.state)
    return state.append(f" in {shard.again_in_s:g} s") if shard.state == "restarting" else state


def _spares(status: Status) -> Text:
    if not status.spares_wanted:
        return Text("Spare workers: none kept", style="dim")
    missing = ["missing"] * (status.spares_wanted - len(status.spares))
    states = [_state(state) for state in (*status.spares, *missing)]
    return Text.assemble("Spare workers: ", Text(", ").join(states))


def _venues(status: Status) -> WholeTable:
    table = WholeTable("Venues")
    for heading in (
        "venue",
        "state",
        "source",
        "connections",
        "symbols",
        "msg/s",
        "oldest book",
        "lag",
        "answers after",
        "reconnects",
        "planned",
        "stalls",
        "bad frames",
    ):
        justify: JustifyMethod = "left" if heading in ("venue", "state", "source") else "right"
        table.add_column(heading, justify=justify)
    for venue in status.venues:
        table.add_row(
            f"{venue.name} (simulated)" if venue.simulated else venue.name,
            _state(venue.state) if venue.state != "rest" or venue.is_well else Text("rest", style="yellow"),
            venue.source if venue.touches is None else f"{venue.source}, touch",
            f"{venue.connections} of {venue.wanted}" if venue.wanted else str(venue.connections),
            str(venue.symbols),
            f"{venue.msg_s:,.0f}",
            f"{venue.oldest_ms:,.0f} ms",
            _lag(venue.lag_ms, venue.lag_ms_max),
            f"{venue.answer_us.p50 / 1000:,.0f} ms" if venue.answer_us.count else "-",
            str(venue.reconnects),
            str(venue.planned),
            str(venue.stalls),
            str(venue.bad_frames),
        )
    return table


def _lag(lag_ms: int | None, lag_ms_max: int | None) -> str:
    """Return how late frames come; where that is too late, the limit as well."""
    if lag_ms is None:
        return "-"
    is_late = lag_ms_max is not None and lag_ms > lag_ms_max
    return f"{lag_ms:,} of {lag_ms_max:,} ms" if is_late else f"{lag_ms:,} ms"


def _risk(status: Status) -> Text:
    risk = status.risk
    return Text.assemble(
        ("Risk ", "bold"),
        _state(risk.state),
        f"  pid {risk.pid or '-'}  session {risk.session}  {risk.approvals} approved  refused: ",
        _counts(risk.refusals),
        f"  commit p50 {risk.commit_us.p50:,.0f} µs",
    )


def _entries(entries: EntriesStatus, name: str) -> Text:
    """Return how many pairs may be entered, and by which rule the others may not."""
    parts: list[str | Text | tuple[str, str]] = [
        ("Entries ", "bold"),
        f"{entries.free} of {entries.pairs} pairs may be entered",
    ]
    if entries.barred:
        why = name_instance(" (`arbshard symbols` says why)", name)
        parts += ["; barred: ", _counts(entries.barred), why]
    return Text.assemble(*parts)


def _ledger(ledger: LedgerStatus) -> Text:
    new = f"new ledger, begun {ledger.begun}  " if ledger.is_new else ""
    return Text.assemble(
        ("Ledger ", "bold"),
        (new, "yellow"),
        (f"{ledger.path}  ", "" if ledger.is_there else "bold red"),
        ("" if ledger.is_there else "IS NOT THERE  ", "bold red"),
        f"event {ledger.last_seq:,}  {ledger.disk_free_mb:,} MB free",
        ("" if ledger.reserve_kept else ", no reserve", "yellow"),
    )


def _companion(name: str, state: str, text: str, trouble: str) -> Text:
    """Return the line of a process beside the run; ``trouble`` is why it could not do its work, or empty."""
    return Text.assemble(
        (f"{name} ", "bold"), _state(state), f"  {text}", (trouble and f"  {trouble}", "yellow")
    )


def _series(series: SeriesStatus) -> Text:
    lost = f", {series.lost_rows:,} rows lost" if series.lost_rows else ""
    missed = f", {series.missed} missed" if series.missed else ""
    restarted = f", {series.restarts} restarts" if series.restarts else ""
    text = f"{series.samples:,} samples{missed}{lost}{restarted}  {series.kept_mb:,.1f} MB kept"
    return _companion("Series", series.state, text, series.trouble)


def _metrics(metrics: MetricsStatus) -> Text:
    failed = f", {metrics.failures:,} failed" if metrics.failures else ""
    text = f"port {metrics.port or '-'}: /metrics, /health/live, /health/ready  {metrics.requests:,} requests{failed}"
    return _companion("Metrics", metrics.state, text, metrics.trouble)


def _alert(line: str) -> str:
    """Return an alert with the zone of the time that it begins with, which is UTC."""
    return re.sub(r"^\d\d:\d\d:\d\d(?= )", r"\g<0> UTC", line)


def _alerting(alerts: AlertsStatus) -> Text:
    waits = f", {alerts.outbox:,} wait to be delivered" if alerts.outbox else ""
    failed = f", {alerts.failures:,} tries failed" if alerts.failures else ""
    text = f"{alerts.holding:,} hold, {alerts.delivered:,} messages delivered{waits}{failed}"
    return _companion("Alerts", alerts.state, text, alerts.trouble)


def _web(web: WebStatus) -> Text:
    refused = f", {web.refused:,} requests refused" if web.refused else ""
    failed = f", {web.failures:,} failed" if web.failures else ""
    text = f"{web.url or 'not up yet'}  {web.viewers} looking, {web.actions} actions{refused}{failed}"
    return _companion("Desk", web.state, text, web.trouble)


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
            reason, str(worth.followed), f"{worth.won / worth.followed:.0%}", _money(str(worth.pnl))
        )
    return table


def _still_open(positions: tuple[PositionNote, ...], as_of: str) -> WholeTable:
    table = WholeTable(f"Still open, as of {as_of}" if as_of else "Still open")
    for heading in ("position", "pair", "direction"):
        table.add_column(heading)
    for heading in ("quantity", "entered for", "fees", "unrealised"):
        table.add_column(heading, justify="right")
    for one in positions:
        unrealised = _money(one.unrealised) if one.unrealised is not None else "-"
        table.add_row(
            one.position_id,
            one.pair,
            one.direction,
            one.quantity,
            _plain(one.notional),
            _plain(one.fees),
            unrealised,
        )
    return table


def _accounts(status: Status) -> WholeTable:
    table = WholeTable("Accounts: what the venues say, against the ledger")
    for heading in (
        "venue",
        "last statement",
        "all compared",
        "differences",
        "stray orders",
        "unknown orders",
    ):
        table.add_column(heading, justify="left" if heading == "venue" else "right")
    for account in status.accounts:
        counts = [
            sum(one.venue == account.venue for one in found)
            for found in (status.differences, status.strays, status.unknown)
        ]
        said = _ago(account.statement_age_s) + ("" if account.settled else ", not settled")
        table.add_row(
            account.venue,
            Text(said, style="bold red" if account.is_late else ""),
            _ago(account.compared_age_s),
            *(Text(str(count), style="bold red" if count else "") for count in counts),
        )
    return table


def _ago(age_s: float | None) -> str:
    return f"{age_s:,.0f} s ago" if age_s is not None else "not yet"


def _symbols(symbols: dict[str, Tally], shown: int) -> WholeTable:
    title = "Symbols" if shown >= len(symbols) else f"Symbols: the {shown} busiest of {len(symbols)}"
    table = WholeTable(title)
    for heading in ("symbol", "entries", "exits", "open", "win rate", "PnL", "fees", "FX"):
        table.add_column(heading, justify="left" if heading == "symbol" else "right")
    busiest = sorted(symbols.items(), key=lambda item: (-item[1].entries, item[0]))[:shown]
    for base, totals in busiest:
        table.add_row(
            base,
            str(totals.entries),
            str(totals.exits),
            str(totals.open),
            _rate(totals.win_rate),
            _money(totals.pnl),
            _plain(totals.fees),
            _money(totals.fx),
        )
    return table


def _parts(totals: PortfolioTally) -> str:
    """Return the components of the result."""
    return (
        f": trade {float(totals.trade):+,.0f}, fees {-float(totals.fees):+,.0f}, FX {float(totals.fx):+,.0f}"
    )


def _fx(fx: FxNote) -> Text:
    """Return the FX rate beside the one that the coins imply, and what open positions hold of the away quote."""
    parts: list[str | tuple[str, str]] = []
    if fx.rate:
        parts.append(f"{fx.rate:,.2f}")
        usual = f", usually {fx.level_bps:+.0f}" if fx.level_bps is not None else ""
        if fx.implied is not None and fx.premium_bps is not None:
            parts.append(f"; {fx.pairs} coins imply {fx.implied:,.2f} ({fx.premium_bps:+.0f} bps{usual})")
        else:
            parts.append(f"; not compared, for only {fx.pairs} pairs have fresh books")
        parts.append("; ")
    verb = "owe" if fx.held.startswith("-") else "hold"
    parts.append(f"open positions {verb} {abs(float(fx.held)):,.0f} {fx.quote} ({_plain(fx.worth)})")
    if fx.doubt:
        parts.append(("; in doubt, no pair is entered", "bold red"))
    return Text.assemble(*parts)


def _trades(totals: PortfolioTally) -> str:
    return (
        f"{totals.entries} entries, {totals.exits} exits, {totals.open} open; "
        f"{totals.wins} won, {totals.losses} lost, win rate {_rate(totals.win_rate)}"
    )


def _listed(problems: Sequence[str]) -> str:
    more = len(problems) - _PROBLEMS_SHOWN
    return "; ".join(problems[:_PROBLEMS_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _rate(rate: float | None) -> str:
    return f"{rate:.1%}" if rate is not None else "-"


def _plain(amount: str) -> str:
    return f"{float(amount):,.0f}"


def _money(amount: str) -> Text:
    value = float(amount)
    return Text(
        f"{value:+,.0f}" if value else "0", style="green" if value > 0 else "red" if value < 0 else ""
    )


def _counts(counts: dict[str, int]) -> str:
    return (
        ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda i: -i[1])) or "none"
    )


def _most_refused(shard: ShardStatus) -> str:
    if not shard.refusals:
        return "-"
    reason, count = max(shard.refusals.items(), key=lambda item: item[1])
    return f"{reason} {count}"


def _percentiles(latency: Latency) -> str:
    if not latency.count:
        return "nothing was measured"
    return (
        f"p50 {latency.p50:,.0f}  p90 {latency.p90:,.0f}  p99 {latency.p99:,.0f}  p99.9 {latency.p999:,.0f}"
        f"  max {latency.max:,.0f} µs  ({latency.count:,})"
    )


def _state(state: str) -> Text:
    style = "green" if state in _GOOD else "yellow" if state in _WAITING else "bold red"
    return Text(state, style=style)
