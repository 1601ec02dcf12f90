"""Builds the ``RunReport`` from what was read. It is pure."""

from collections.abc import Iterator, Sequence
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

from msgspec.structs import replace

from arbshard.ledger.reader import EVER
from arbshard.model.money import MONEY_CONTEXT, plain
from arbshard.model.verdict import Anomaly, Verdict
from arbshard.report.facts import RunFacts, SymbolFacts, VenueTrading
from arbshard.report.findings import findings_of
from arbshard.report.logs import LogsRead
from arbshard.report.model import (
    EdgeSteps,
    FunnelStep,
    LogRecord,
    Plot,
    PlotLine,
    PnlSplit,
    RuleCost,
    RunReport,
    ShardReport,
    SymbolReport,
    TimelineEntry,
    VenueReport,
    bps_of,
)
from arbshard.report.sources import RunSummary, Sources
from arbshard.status.model import RuleWorth
from arbshard.version import __version__

if TYPE_CHECKING:
    from arbshard.report.sampled import Sampled

_CENT = Decimal("0.01")
_BARS = 40
_LINES_SHOWN = 8
_HOUR_MS = Decimal(3_600_000)
_MINUTE_MS = 60_000
_NEAR_MS = 5_000
"""A log record belongs to an anomaly that was seen within this time of it."""


def build(
    sources: Sources,
    now_ms: int,
    *,
    verdict: Verdict | None = None,
    anomalies: Sequence[Anomaly] = (),
    title: str = "",
) -> RunReport:
    """Return the report of one run; ``anomalies`` are those of a campaign's monitor."""
    with localcontext(MONEY_CONTEXT):
        facts, logs, sampled = sources.facts, sources.logs, sources.sampled
        symbols = sorted(
            (_symbol(name, one) for name, one in facts.symbols.items()),
            key=lambda one: (-one.pnl, one.symbol),
        )
        total = _symbol("all", facts.all)
        edges = _edges(facts.all)
        pnl = _split(facts)
        timeline = _timeline(facts, logs, sampled.spells if sampled is not None else (), anomalies)
        report = RunReport(
            title=title or f"Run {sources.name}",
            source=str(sources.state_dir),
            made_ms=now_ms,
            version=__version__,
            name=sources.name,
            mode=facts.mode,
            currency=facts.currency,
            first_ms=facts.first_ms,
            last_ms=facts.last_ms,
            active_s=facts.active_ms / 1000,
            events=sources.events,
            since_ms=None if sources.since_ms == EVER else sources.since_ms,
            sessions=tuple(facts.sessions),
            session_count=facts.session_count,
            verdict=verdict,
            findings=(),
            pnl=pnl,
            per_hour=_per_hour(pnl.total, facts.active_ms),
            unrealised=facts.unrealised,
            drawdown_max=_tidy(facts.drawdown_max),
            drawdown_max_ms=facts.drawdown_max_ms,
            total=total,
            symbols=tuple(symbols),
            edges=edges,
            funnel=(*(sampled.funnel if sampled is not None else ()), *_funnel(facts, edges)),
            rules=_rules(facts, sources.summary, sampled),
            shards=tuple(_shards(facts, sampled)),
            venues=tuple(_venues(facts, sampled)),
            recorded=sources.recorded,
            processes=sampled.processes if sampled is not None else (),
            pairs=sampled.pairs if sampled is not None else (),
            timeline=timeline,
            timeline_left_out=facts.timeline.left_out,
            log_levels=logs.levels,
            logs=logs.records,
            unread_log_lines=logs.unread,
            plots=(*_plots(facts, symbols), *(sampled.plots if sampled is not None else ())),
            notes=tuple(_notes(sources)),
        )
        return replace(report, findings=findings_of(report, facts))


def _tidy(value: Decimal) -> Decimal:
    """Return the same amount without exponent and trailing zeros."""
    return Decimal(plain(value))


def _per_hour(total: Decimal, active_ms: int) -> Decimal | None:
    if active_ms < _MINUTE_MS:
        return None
    return MONEY_CONTEXT.divide(total * _HOUR_MS, Decimal(active_ms)).quantize(_CENT)


def _split(facts: RunFacts) -> PnlSplit:
    every = facts.all
    fees_of_split = every.trade + every.fx + every.not_split - every.pnl
    return PnlSplit(
        trade=_tidy(every.trade),
        fees=_tidy(facts.fees_beside - fees_of_split),
        fx=_tidy(every.fx),
        transfers=_tidy(facts.transfers),
        unexplained=_tidy(facts.unexplained),
        not_split=_tidy(every.not_split),
        total=_tidy(every.pnl + facts.beside),
    )


def _symbol(name: str, one: SymbolFacts) -> SymbolReport:
    edges = one.edges
    decided = edges.sent + edges.not_filled
    return SymbolReport(
        symbol=name,
        approved=one.approved,
        refused=one.refused,
        entries=one.entries,
        exits=one.exits,
        wins=one.wins,
        losses=one.exits - one.wins,
        win_rate=one.wins / one.exits if one.exits else None,
        notional=_tidy(one.notional),
        pnl=_tidy(one.pnl),
        trade=_tidy(one.trade),
        fees=_tidy(one.fees),
        fx=_tidy(one.fx),
        mean_pnl=MONEY_CONTEXT.divide(one.pnl, Decimal(one.exits)).quantize(_CENT) if one.exits else None,
        results_bps=one.results_bps.spread(),
        held_s=one.held_s.spread(),
        reasons=dict(one.reasons.most_common()),
        decided_bps=bps_of(decided, edges.filled_notional),
        arrived_bps=bps_of(decided + edges.arrival, edges.filled_notional),
        kept_bps=bps_of(edges.pnl_of_filled, edges.filled_notional),
        arrived_as_decided=one.arrived_as_decided,
        measured=one.measured,
    )


def _edges(every: SymbolFacts) -> EdgeSteps:
    sums = every.edges
    return EdgeSteps(
        sent_notional=_tidy(sums.sent_notional),
        filled_notional=_tidy(sums.filled_notional),
        sent=_tidy(sums.sent),
        not_filled=_tidy(sums.not_filled),
        one_legged=_tidy(sums.one_legged),
        arrival=_tidy(sums.arrival),
        exit_fees=_tidy(sums.exit_fees),
        fx=_tidy(sums.fx),
        way_out=_tidy(sums.way_out),
        kept=_tidy(sums.pnl_of_filled + sums.one_legged),
    )


def _funnel(facts: RunFacts, edges: EdgeSteps) -> Iterator[FunnelStep]:
    """Yield the steps from what was sent to what was kept, with what was lost at each of them."""
    sums = facts.all.edges
    after_fees = edges.arrived + edges.exit_fees
    after_fx = after_fees + edges.fx
    intents, filled = "entries sent", edges.filled_notional
    expired = "orders that expired, were rejected or filled in part: missed, not paid"
    moved = "the books moved before the orders came, or a hedge completed a leg at a worse price"
    for name, unit, count, notional, money, lost, why in (
        ("sent", intents, sums.ended, edges.sent_notional, edges.sent, None, "approved by risk, and ended by now"),
        ("both filled", intents, sums.filled, filled, edges.decided, edges.not_filled, expired),
        ("at arrival", intents, sums.filled, filled, edges.arrived, edges.arrival, moved),
        ("after the fees of the exit", intents, sums.filled, filled, after_fees, edges.exit_fees,
         "both venues take a fee again on the way out"),
        ("after FX", intents, sums.filled, filled, after_fx, edges.fx, "the rate changed while positions were open"),
        ("after the way out", "closed positions", sums.filled, filled, after_fx + edges.way_out, edges.way_out,
         "the gap had not come back, and two spreads were crossed"),
        ("kept", "of them with a gain", sums.won, filled, edges.kept, edges.one_legged,
         f"{sums.taken_back:,} entries filled on one venue alone and were taken back"),
    ):  # fmt: skip
        yield FunnelStep(name, unit, count, bps_of(money, notional), money, lost, why)


def _rules(facts: RunFacts, summary: RunSummary | None, sampled: "Sampled | None") -> tuple[RuleCost, ...]:
    """Return what rules refused: by risk from the ledger, the rest from the series or the summary of the last run."""
    rules: dict[str, RuleCost] = {}
    if sampled is not None and sampled.rules:
        rules = dict(sampled.rules)
    elif summary is not None:
        for reason in summary.data_refusals.keys() | summary.rules.keys():
            worth = summary.rules.get(reason, RuleWorth())
            count = summary.data_refusals.get(reason, 0)
            rules[reason] = RuleCost(reason, 0, count, worth.followed, worth.won, worth.pnl)
    for refusal, count in facts.refused.items():
        rules[refusal.name] = replace(rules.get(refusal.name, RuleCost(refusal.name)), by_risk=count)
    return tuple(
        sorted(rules.values(), key=lambda one: (-one.pnl, -one.by_risk, -one.by_workers, one.reason))
    )


def _shards(facts: RunFacts, sampled: "Sampled | None") -> Iterator[ShardReport]:
    known = sampled.shards if sampled is not None else {}
    for shard in sorted(facts.joined.keys() | facts.fenced.keys() | known.keys()):
        one = known.get(shard, ShardReport(shard, 0, 0))
        yield replace(one, starts=facts.joined[shard], fenced=facts.fenced[shard])


def _venues(facts: RunFacts, sampled: "Sampled | None") -> Iterator[VenueReport]:
    known = sampled.venues if sampled is not None else {}
    for name in sorted(facts.venues.keys() | known.keys()):
        yield _venue(known.get(name, VenueReport(name)), facts.venues.get(name, VenueTrading()))


def _venue(known: VenueReport, one: VenueTrading) -> VenueReport:
    states = one.states
    return replace(
        known,
        orders=states.total(),
        filled=states["FILLED"],
        partial=states["partial"],
        unfilled=states["unfilled"],
        rejected=states["REJECTED"],
        not_accepted=states["NOT_ACCEPTED"],
        fees=_tidy(one.fees),
        refusals=one.refusals,
        slippage_bps=bps_of(one.slipped, one.expected),
    )


def _timeline(
    facts: RunFacts, logs: LogsRead, spells: Sequence[TimelineEntry], anomalies: Sequence[Anomaly]
) -> tuple[TimelineEntry, ...]:
    entries = [*facts.timeline.entries(), *spells]
    for record in logs.records:
        times = f" ({record.count:,} times)" if record.count > 1 else ""
        entries.append(
            TimelineEntry(
                *(record.first_ms, record.last_ms, "warn" if record.level == "warning" else "stop", "log"),
                *(record.process, f"{record.level}: {record.event}{times}", record.anchor),
            )
        )
    entries.extend(
        TimelineEntry(
            *(one.first_ms, one.last_ms, one.severity, "monitor", one.subject or one.rule),
            *(f"{one.rule}: {one.text}{_measured(one)}", _anchor_of(one, logs.records)),
        )
        for one in anomalies
    )
    return tuple(sorted(entries, key=lambda one: (one.first_ms, one.last_ms)))


def _measured(one: Anomaly) -> str:
    if one.value is None:
        return ""
    return f" ({one.value:g}, allowed {one.limit:g})" if one.limit is not None else f" ({one.value:g})"


def _anchor_of(anomaly: Anomaly, records: Sequence[LogRecord]) -> str:
    """Return the log record that shows an anomaly: the one with its line, else one about its subject at its time."""
    line = (anomaly.log or "").strip()
    for record in records:
        if line and any(one.startswith(line) or line.startswith(one) for one in record.lines):
            return record.anchor
    for record in records:
        is_near = (
            record.first_ms - _NEAR_MS <= anomaly.last_ms and anomaly.first_ms <= record.last_ms + _NEAR_MS
        )
        is_about = record.process == anomaly.subject or any(anomaly.subject in one for one in record.lines)
        if anomaly.subject and is_near and is_about:
            return record.anchor
    return ""


def _plots(facts: RunFacts, symbols: Sequence[SymbolReport]) -> Iterator[Plot]:
    unit = facts.currency
    money = [facts.realised.line("realised"), facts.equity.line("with open positions, as valued")]
    yield Plot("equity", "Equity", unit, "steps", _with_values(money), "result")
    fall = [
        facts.realised_drawdown.line("realised, below its peak"),
        facts.drawdown.line("with open positions, as valued"),
    ]
    yield Plot("drawdown", "Drawdown", unit, "steps", _with_values(fall), "result")
    shown = sorted(symbols, key=lambda one: (-abs(one.pnl), one.symbol))[:_LINES_SHOWN]
    lines = [facts.symbols[one.symbol].realised.line(one.symbol) for one in shown]
    yield Plot(
        "symbols", "Result by symbol, the largest first", unit, "steps", _with_values(lines), "symbols"
    )
    closed = [one for one in symbols if one.exits]
    names = tuple(one.symbol for one in closed)
    bars = [PlotLine("PnL", names, tuple(float(one.pnl) for one in closed))] if closed else []
    yield Plot("pnl", "Result by symbol", unit, "bars", tuple(bars), "symbols", "symbol")
    measured = [one for one in closed if one.measured]
    names = tuple(one.symbol for one in measured)
    edges = (
        PlotLine("at decision", names, tuple(one.decided_bps for one in measured)),
        PlotLine("at arrival", names, tuple(one.arrived_bps for one in measured)),
        PlotLine("kept", names, tuple(one.kept_bps for one in measured)),
    )
    yield Plot("edges", "Edge by symbol", "bps", "bars", edges if measured else (), "edges", "symbol")
    yield _histogram(facts.all.results_bps.sample)


def _with_values(lines: Sequence[PlotLine]) -> tuple[PlotLine, ...]:
    return tuple(line for line in lines if line.x)


def _histogram(sample: Sequence[float]) -> Plot:
    """Return a histogram of single results; the outermost hundredths are counted in the outermost bars."""
    lines: tuple[PlotLine, ...] = ()
    if sample:
        ordered = sorted(sample)
        low, high = ordered[len(ordered) // 100], ordered[-1 - len(ordered) // 100]
        width = (high - low) / _BARS or 1.0
        counts = [0.0] * (_BARS + 1)
        for value in ordered:
            counts[min(_BARS, max(0, int((value - low) / width)))] += 1
        places = tuple(round(low + (number + 0.5) * width, 3) for number in range(len(counts)))
        lines = (PlotLine("positions", places, tuple(counts)),)
    return Plot("results", "Results of single positions", "positions", "bars", lines, "symbols", "bps")


def _notes(sources: Sources) -> Iterator[str]:
    facts, logs, summary, sampled = sources.facts, sources.logs, sources.summary, sources.sampled
    if sampled is None or not sampled.rows:
        yield (
            "There are no series of the run, so gaps, latencies, venues and memory over time are not known: "
            f"{sources.unsampled or 'nothing was sampled yet'}."
        )
        if summary is None:
            yield (
                "There is no summary.json in the state directory either, so what workers refused and what refused "
                "entries would have brought is not known ('arbshard run --summary' writes it)."
            )
    if sampled is not None and sampled.skipped:
        yield f"{sampled.skipped:,} files of the series cannot be read and were left out."
    if sources.unrecorded:
        yield f"The recording was not read to its end: {sources.unrecorded}."
    if facts.all.edges.unmeasured:
        yield (
            f"Positions with a result of {plain(facts.all.edges.unmeasured)} were entered before the time of this "
            "analysis: they count in all results, and are not in the steps of edges."
        )
    if facts.all.results_bps.spread().count > len(facts.all.results_bps.sample):
        yield "Quantiles rest on a sample of 10,000 positions; sums, means and extremes rest on all."
    if logs.groups_left_out:
        yield f"{logs.groups_left_out:,} log records of further kinds are counted and not shown."
    if logs.unread:
        yield f"{logs.unread:,} lines of the logs are no records and were left out."
