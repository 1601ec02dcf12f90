"""Draws a ``Status`` as tables for a terminal."""

import sys
from collections.abc import Iterator

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.text import Text

from arbshard.model.notes import RECORDING
from arbshard.model.risk_note import PortfolioTally
from arbshard.status.hints import name_instance
from arbshard.status.model import (
    AlertsStatus,
    ClusterHostStatus,
    ClusterStatus,
    EntriesStatus,
    LedgerStatus,
    MetricsStatus,
    SeriesStatus,
    ShardStatus,
    Status,
    WebStatus,
)
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
    state_text,
    symbols_table,
    where_of,
)
from arbshard.status.tables import WholeTable

_ORDERS_STYLE = {RECORDING: "", "paper": "", "dry run": "bold black on yellow", "live": "bold white on red"}
_SYMBOLS_SHOWN = 12
_WARNINGS_SHOWN = 10
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
    parts.extend(Text(f"  {alert_text(line)}", style="yellow") for line in reversed(status.alerts))
    parts.extend(regime_lines(status.regime))
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
    parts.append(equity_text(status.equity, status.portfolio.currency))
    parts.append(Text.assemble(("FX ", "bold"), fx_text(status.fx)))
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
        parts.append(symbols_table(status.symbols, symbols_shown))
    parts.extend(_beside(status))
    if status.inventory:
        parts.append(Text(f"Inventory: {status.inventory}", style="yellow"))
    return parts


def _headline(status: Status) -> Text:
    where = where_of(status.data, status.order_mode)
    orders = ORDER_WORDS[status.order_mode]
    is_paper = status.order_mode in (RECORDING, "paper")
    # What may cost money comes before everything else, in a line of its own.
    banner = "" if is_paper else f" {orders} on {where} \n"
    return Text.assemble(
        (banner, _ORDERS_STYLE[status.order_mode]),
        ("arbshard ", "bold"),
        (status.name, "bold"),
        "  ",
        state_text(status.state),
        ("  HALTED" if status.halted else "", "bold white on red"),
        f"  {where}, {orders}" if is_paper else "",
        f"  up {status.uptime_s:.0f} s  {status.memory_mb:.0f} MB",
        f"  {status.messages:,} messages  ",
        (f"{status.errors} error" + "s" * (status.errors != 1), "bold red" if status.errors else "dim"),
        (f"  {status.bad_requests} bad requests" if status.bad_requests else "", "yellow"),
    )


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
            rate_text(totals.win_rate),
            Text.assemble(money_text(totals.pnl), f" {totals.currency}"),
            money_text(totals.trade),
            plain_text(totals.fees),
            money_text(totals.fx),
            plain_text(totals.exposure),
        )
    return table


def _beside(status: Status) -> Iterator[Text]:
    """Yield what results contain from no position, and what is on no venue; only where there is anything."""
    beside, currency = status.lifetime.beside, status.portfolio.currency
    if float(beside):
        yield Text.assemble("Of the ledger's results ", money_text(beside), f" {currency} are {BESIDE}")
    if float(status.under_way_worth):
        yield Text(
            f"Under way between venues: {plain_text(status.under_way_worth)} {currency}, in the account value"
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
    state = state_text(shard.state)
    return state.append(f" in {shard.again_in_s:g} s") if shard.state == "restarting" else state


def _spares(status: Status) -> Text:
    if not status.spares_wanted:
        return Text("Spare workers: none kept", style="dim")
    missing = ["missing"] * (status.spares_wanted - len(status.spares))
    states = [state_text(state) for state in (*status.spares, *missing)]
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
            state_text(venue.state)
            if venue.state != "rest" or venue.is_well
            else Text("rest", style="yellow"),
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
        state_text(risk.state),
        f"  pid {risk.pid or '-'}  session {risk.session}  {risk.approvals} approved  refused: ",
        counts_text(risk.refusals),
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
        parts += ["; barred: ", counts_text(entries.barred), why]
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
        (f"{name} ", "bold"), state_text(state), f"  {text}", (trouble and f"  {trouble}", "yellow")
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


def _most_refused(shard: ShardStatus) -> str:
    if not shard.refusals:
        return "-"
    reason, count = max(shard.refusals.items(), key=lambda item: item[1])
    return f"{reason} {count}"
