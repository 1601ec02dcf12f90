"""Makes Prometheus' families of figures from what a run shows. Pure. Needs prometheus-client.

Names follow Prometheus' conventions: prefix ``arbshard_``, base units (seconds, bytes, ratios), ``_total`` for
counters. Counters begin anew with the process that counts, which Prometheus allows for. Money is in the reporting
currency, which is a label.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from arbshard.config import Config, LimitsConfig
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.refusal import Refusal
from arbshard.model.risk_note import RiskNote
from arbshard.shm.pages import Histogram, bucket_end
from arbshard.status.limits import limit_uses
from arbshard.status.model import ClusterHostStatus, ClusterStatus, ShardStatus, Status, VenueStatus
from arbshard.version import __version__

_EDGES = tuple(range(8 * 11 - 1, 8 * 32, 8))
"""Buckets of a page at whose ends Prometheus' buckets end: each power of two of nanoseconds from 8 µs to 17 s."""
_STATES = ("starting", "running", "degraded", "draining", "ended", "dead")
_COUNTED_BY_AGENT: Mapping[str, str] = {
    "relayed": "Requests of this host that the leader has answered.",
    "unrelayed": "Requests of this host that were given up without an answer.",
    "bad_messages": "Messages of hosts or of NATS that were refused.",
    "votes": "Requests for votes, and votes, that have come.",
    "claims": "Shards that this host has asked for.",
    "claims_refused": "Shards that the leader has refused to this host.",
    "copies": "Whole copies of the ledger that this host had to take.",
    "nats_failures": "Reads and writes at NATS that failed, as far as is known.",
    "unknown_counters": "Counters of the leader's risk that this version does not know.",
}
_LEADING_GAUGES: Mapping[str, str] = {
    "followers": "Other hosts that follow this one, which leads.",
    "uncommitted": "Events that no majority has stored yet.",
    "held_replies": "Replies of risk that wait until a majority has stored their events.",
}
_LEADING_COUNTS: Mapping[str, str] = {
    "unanswered": "Requests not handled because too many replies waited.",
    "link_refused": "Connections refused because of their key, and messages because of their cluster file.",
    "link_bad": "Invalid messages of followers, and followers that had to join again.",
    "samples_ignored": "Books of other hosts that were not used, because they are of other pairs.",
}
_FUNNEL = ("wanted", "barred", "sized", "decided", "approved")


class ProcessPages(NamedTuple):
    """Holds what the pages of a run's processes show beside the status."""

    latencies: Mapping[tuple[str, str, str], Histogram]
    """Histograms of nanoseconds, by (family, label, value of the label)."""
    funnels: Mapping[str, EdgeFunnel]
    """How far the edges of each pair came, by base."""
    clock_skew_ms: Mapping[str, int]
    """By how many milliseconds each venue's clock is ahead of ours; live only."""
    budget: Mapping[tuple[str, str], float]
    """The used share of each venue's rate windows, by (venue, window); live only."""


_LATENCIES: Mapping[str, tuple[str, str]] = {
    "arbshard_decision_latency_seconds": ("From the receipt of a frame to the decision on it.", "shard"),
    "arbshard_approval_latency_seconds": ("From a decision to its approval by risk.", "shard"),
    "arbshard_order_wire_latency_seconds": (
        "From a decision until the order was written to the socket.",
        "shard",
    ),
    "arbshard_order_answer_seconds": ("From sending an accepted order until its end was known.", "venue"),
    "arbshard_loop_delay_seconds": ("Delay of the timer of a process.", "process"),
    "arbshard_ledger_commit_seconds": ("One commit of the ledger.", "process"),
}


def families(
    status: Status, note: RiskNote | None, pages: ProcessPages, config: Config, shown: Iterable[str] = ()
) -> Iterator[Metric]:
    """Yield all figures of a run. ``shown`` has the pairs with figures of their own."""
    yield from _run(status)
    yield from _latencies(pages.latencies)
    yield from _shards(status)
    yield from _venues(status, pages)
    yield from _money(status)
    yield from _trading(status)
    if status.cluster is not None:
        yield from _cluster(status.cluster)
    if note is not None:
        yield from _limits(note, config.limits)
    yield from _funnel("arbshard_edge", (), {(): _summed(pages.funnels.values())})
    pairs = sorted(shown)
    if pairs:
        yield from _pairs(pairs, status, note, pages)


def _run(status: Status) -> Iterator[Metric]:
    info = InfoMetricFamily("arbshard_run", "What runs.")
    labels = {
        "instance_name": status.name,
        "version": __version__,
        "mode": status.mode,
        "data": status.data,
        "regime": status.regime,
        "orders": status.order_mode,
    }
    info.add_metric([], labels)
    yield info
    yield _by_label(
        "arbshard_state", "1 for the state that the run is in.", "state",
        {state: float(state == status.state) for state in _STATES},
    )  # fmt: skip
    for name, text, value in (
        ("arbshard_uptime_seconds", "Time since the start of the run.", status.uptime_s),
        ("arbshard_problems", "Reasons why the run is degraded.", len(status.problems)),
        ("arbshard_halted", "1 while a halt keeps the run from entering.", float(bool(status.halted))),
        ("arbshard_memory_bytes", "Resident memory of all processes.", status.memory_mb * 1e6),
        ("arbshard_unknown_orders", "Orders whose outcome at the venue is not known.", len(status.unknown)),
        ("arbshard_stray_orders", "Open orders of ours that no intent owns.", len(status.strays)),
        ("arbshard_differences", "Currencies of which venue and ledger differ.", len(status.differences)),
        ("arbshard_unattended_positions", "Open positions that nothing closes.", len(status.unattended)),
    ):
        yield GaugeMetricFamily(name, text, value=float(value))
    for name, text, count in (
        ("arbshard_messages", "Messages received from all venues.", status.messages),
        ("arbshard_errors", "Errors that were logged.", status.errors),
        ("arbshard_bad_requests", "Messages between processes that could not be read.", status.bad_requests),
    ):
        yield CounterMetricFamily(name, text, value=count)
    restarts = CounterMetricFamily("arbshard_process_restarts", "Starts after the first.", labels=["process"])
    restarts.add_metric(["risk"], status.risk.restarts)
    for shard in status.shards:
        restarts.add_metric([f"worker-{shard.id}"], shard.restarts)
    yield restarts
    if status.ledger is not None:
        yield CounterMetricFamily("arbshard_ledger_events", "Events written.", value=status.ledger.last_seq)
        free = status.ledger.disk_free_mb * 1e6
        yield GaugeMetricFamily(
            "arbshard_ledger_disk_free_bytes", "Free space on the ledger's disk.", value=free
        )


def _latencies(found: Mapping[tuple[str, str, str], Histogram]) -> Iterator[Metric]:
    for family, (text, label) in _LATENCIES.items():
        metric = HistogramMetricFamily(family, text, labels=[label])
        for (name, _, value), histogram in sorted(found.items(), key=lambda one: one[0]):
            if name == family:
                metric.add_metric([value], buckets_of(histogram), histogram.total_ns / 1e9)
        yield metric


def buckets_of(histogram: Histogram) -> list[tuple[str, float]]:
    """Return Prometheus' buckets as (upper edge in seconds, count up to there): exact sums of the page's buckets."""
    below, first = 0, 0
    found: list[tuple[str, float]] = []
    for edge in _EDGES:
        below += sum(histogram.buckets[first : edge + 1])
        first = edge + 1
        found.append((repr(bucket_end(edge) / 1e9), float(below)))
    found.append(("+Inf", float(histogram.count)))
    return found


def _shards(status: Status) -> Iterator[Metric]:
    gauges: Sequence[tuple[str, str, Callable[[ShardStatus], float]]] = (
        ("arbshard_shard_up", "1 while the worker trades.", lambda shard: shard.state == "running"),
        ("arbshard_shard_pairs", "Pairs of the shard.", lambda shard: shard.pairs),
        ("arbshard_shard_epoch", "Incarnation of its worker.", lambda shard: shard.epoch),
    )
    for name, text, value in gauges:
        yield _by_label(name, text, "shard", {str(one.id): float(value(one)) for one in status.shards})
    counters: Sequence[tuple[str, str, Callable[[ShardStatus], int]]] = (
        ("arbshard_evaluations", "Evaluated changes of books.", lambda shard: shard.ticks),
        ("arbshard_frames", "Frames that a worker decoded.", lambda shard: shard.frames),
        ("arbshard_frames_conflated", "Frames left out for a newer one.", lambda shard: shard.conflated),
        ("arbshard_orders", "Orders that ended.", lambda shard: shard.orders),
        ("arbshard_orders_rejected", "Orders that a venue rejected.", lambda shard: shard.rejected),
        ("arbshard_orders_partial", "Orders that were filled in part.", lambda shard: shard.partial),
    )
    for name, text, count in counters:
        yield _counted(name, text, ["shard"], {(str(one.id),): count(one) for one in status.shards})
    refused: dict[tuple[str, ...], float] = {}
    for shard in status.shards:
        for reason, times in shard.refusals.items():
            key = ("worker", str(int(Refusal[reason])), reason)
            refused[key] = refused.get(key, 0) + times
    for reason, times in status.risk.refusals.items():
        refused["risk", str(int(Refusal[reason])), reason] = times
    yield _counted(
        "arbshard_refusals",
        "Refused requests (risk) and evaluations (worker).",
        ["by", "number", "reason"],
        refused,
    )


def _venues(status: Status, pages: ProcessPages) -> Iterator[Metric]:
    gauges: Sequence[tuple[str, str, Callable[[VenueStatus], float | None]]] = (
        ("arbshard_venue_up", "1 while books come as configured.", lambda venue: float(venue.is_well)),
        ("arbshard_venue_connections", "Connections that are open.", lambda venue: venue.connections),
        ("arbshard_venue_connections_wanted", "Connections there should be.", lambda venue: venue.wanted),
        ("arbshard_venue_oldest_book_seconds", "Age of the oldest live book.", lambda venue: venue.oldest_ms / 1e3),
        ("arbshard_venue_lag_seconds", "From sending a frame, by the venue's clock, to its receipt.",
         lambda venue: venue.lag_ms / 1e3 if venue.lag_ms is not None else None),
    )  # fmt: skip
    for name, text, value in gauges:
        known = {venue.name: value(venue) for venue in status.venues}
        yield _by_label(name, text, "venue", {one: float(it) for one, it in known.items() if it is not None})
    counters: Sequence[tuple[str, str, Callable[[VenueStatus], int]]] = (
        ("arbshard_venue_frames", "Frames received.", lambda venue: venue.frames),
        ("arbshard_venue_reconnects", "Connections that were lost.", lambda venue: venue.reconnects),
        (
            "arbshard_venue_stalls",
            "Times that a connection or market was silent.",
            lambda venue: venue.stalls,
        ),
        ("arbshard_venue_resyncs", "Books made anew after a gap.", lambda venue: venue.resyncs),
        ("arbshard_venue_touches", "Best prices joined to older levels.", lambda venue: venue.touches or 0),
        (
            "arbshard_venue_touches_overdue",
            "Best prices not used, because levels were missing for too long.",
            lambda venue: venue.touches_overdue,
        ),
        (
            "arbshard_venue_touch_mismatches",
            "Times that the ids of levels and best prices did not fit together.",
            lambda venue: venue.touch_mismatches,
        ),
        ("arbshard_venue_bad_frames", "Frames that could not be used.", lambda venue: venue.bad_frames),
        ("arbshard_venue_requests_refused", "Requests that the venue refused.", lambda venue: venue.refusals),
    )
    for name, text, count in counters:
        yield _counted(name, text, ["venue"], {(venue.name,): count(venue) for venue in status.venues})
    skew = {venue: ms / 1e3 for venue, ms in pages.clock_skew_ms.items()}
    yield _by_label("arbshard_venue_clock_skew_seconds", "The venue's clock less ours.", "venue", skew)
    used = GaugeMetricFamily(
        "arbshard_rate_budget_used_ratio", "Used share of a rate window.", labels=["venue", "window"]
    )
    for (venue, window), ratio in sorted(pages.budget.items()):
        used.add_metric([venue, window], ratio)
    yield used


def _money(status: Status) -> Iterator[Metric]:
    equity, run, lifetime = status.equity, status.portfolio, status.lifetime
    currency = run.currency
    for name, text, value in (
        ("arbshard_equity", "Result since the ledger began, open positions included.", equity.equity),
        ("arbshard_high_water", "The highest equity.", equity.high_water),
        ("arbshard_drawdown", "Equity below its highest.", equity.drawdown),
        ("arbshard_day_loss", "Fall of equity in the trading day; negative for a gain.", equity.day_loss),
        ("arbshard_week_loss", "Fall of equity in the trading week.", equity.week_loss),
        ("arbshard_account_value", "All balances at the current bids.", equity.account_value),
        ("arbshard_naked_notional", "Bought or sold on one venue alone.", equity.naked),
        ("arbshard_exposure", "Entry notional of open positions and entries under way.", run.exposure),
        ("arbshard_under_way_value", "Worth of what is between venues.", status.under_way_worth),
    ):
        yield _by_label(name, text, "currency", {currency: float(value)})
    parts = GaugeMetricFamily(
        "arbshard_pnl",
        "Results by part; 'realised' is the sum of the first four.",
        labels=["currency", "since", "part"],
    )
    for since, tally in (("run", run), ("ledger", lifetime)):
        for part, amount in (
            ("trade", tally.trade),
            ("fees", str(-Decimal(tally.fees))),
            ("fx", tally.fx),
            ("beside", tally.beside),
            ("realised", tally.pnl),
        ):
            parts.add_metric([currency, since, part], float(amount))
    parts.add_metric([currency, "ledger", "unrealised"], float(equity.unrealised))
    yield parts
    yield GaugeMetricFamily(
        "arbshard_fx_rate", "Reporting currency per unit of the away quote.", value=status.fx.rate
    )
    if status.fx.premium_bps is not None:
        premium = status.fx.premium_bps / 1e4
        yield GaugeMetricFamily(
            "arbshard_fx_premium_ratio", "Rate implied by coins over the rate, less 1.", value=premium
        )


def _trading(status: Status) -> Iterator[Metric]:
    run, entries = status.portfolio, status.risk.entries
    for name, text, count in (
        ("arbshard_approvals", "Intents that risk approved.", status.risk.approvals),
        ("arbshard_entries", "Positions opened.", run.entries),
        ("arbshard_exits", "Positions closed.", run.exits),
        ("arbshard_wins", "Positions closed with a gain.", run.wins),
        ("arbshard_losses", "Positions closed without a gain.", run.losses),
    ):
        yield CounterMetricFamily(name, text, value=count)
    yield GaugeMetricFamily("arbshard_open_positions", "Open positions.", value=run.open)
    yield GaugeMetricFamily("arbshard_pairs", "Pairs of the run.", value=entries.pairs)
    yield GaugeMetricFamily("arbshard_pairs_free", "Pairs that may be entered.", value=entries.free)
    barred = {reason: float(count) for reason, count in entries.barred.items()}
    yield _by_label("arbshard_pairs_barred", "Pairs that a rule bars.", "reason", barred)


def _cluster(cluster: ClusterStatus) -> Iterator[Metric]:
    """Yield what this host knows of its cluster: Prometheus reads each host by itself."""
    for name, text, value in (
        ("arbshard_cluster_led", "1 while this host knows a leader.", bool(cluster.leader)),
        ("arbshard_cluster_leads", "1 while this host leads.", cluster.leader == cluster.host),
        ("arbshard_cluster_may_trade", "1 while workers of this host may send orders.", cluster.may_trade),
        ("arbshard_cluster_term", "Term of the leader.", cluster.term),
        ("arbshard_cluster_nats_up", "1 while this host is connected to NATS.", cluster.nats),
        ("arbshard_cluster_unplaced_shards", "Shards that no host holds.", len(cluster.unplaced)),
        (
            "arbshard_cluster_kept_commands",
            "Commands that wait until the leader can be reached.",
            len(cluster.kept),
        ),
    ):
        yield GaugeMetricFamily(name, text, value=float(value))
    gauges: Sequence[tuple[str, str, Callable[[ClusterHostStatus], float | None]]] = (
        (
            "arbshard_cluster_host_age_seconds",
            "Age of what a host last wrote about itself.",
            lambda host: host.age_s,
        ),
        ("arbshard_cluster_host_shards", "Shards that a host holds.", lambda host: len(host.shards)),
        (
            "arbshard_cluster_host_behind_events",
            "Events that a host's copy of the ledger lacks.",
            lambda host: host.behind,
        ),
    )
    for name, text, of in gauges:
        known = {host.name: of(host) for host in cluster.hosts}
        yield _by_label(name, text, "host", {one: float(it) for one, it in known.items() if it is not None})
    for key, text in _COUNTED_BY_AGENT.items():
        if key in cluster.counts:
            yield CounterMetricFamily(f"arbshard_cluster_{key}", text, value=cluster.counts[key])
    if cluster.leader != cluster.host:
        return  # Every host knows these figures, and Prometheus adds up those of all hosts.
    for key, text in _LEADING_GAUGES.items():
        if key in cluster.leading:
            yield GaugeMetricFamily(f"arbshard_cluster_{key}", text, value=cluster.leading[key])
    for key, text in _LEADING_COUNTS.items():
        if key in cluster.leading:
            yield CounterMetricFamily(f"arbshard_cluster_{key}", text, value=cluster.leading[key])


def _limits(note: RiskNote, limits: LimitsConfig) -> Iterator[Metric]:
    uses = limit_uses(note, limits)
    yield _by_label(
        "arbshard_limit", "A limit in force, before it is tightened.", "limit",
        {key: float(use.limit) for key, use in uses.items()},
    )  # fmt: skip
    yield _by_label(
        "arbshard_limit_used", "Amount counted against the limit.", "limit",
        {key: float(use.used) for key, use in uses.items()},
    )  # fmt: skip
    yield _by_label(
        "arbshard_limit_used_ratio", "Used share of the limit.", "limit",
        {key: float(use.share) for key, use in uses.items() if use.limit},
    )  # fmt: skip
    tight = {symbol or "all": float(one.factor) for symbol, one in note.tightened.items()}
    yield _by_label("arbshard_limits_tightened_ratio", "Factor on tightened limits.", "symbol", tight)


def _summed(funnels: Iterable[EdgeFunnel]) -> EdgeFunnel:
    total = EdgeFunnel()
    for funnel in funnels:
        for name in EdgeFunnel.__struct_fields__:
            setattr(total, name, getattr(total, name) + getattr(funnel, name))
    return total


def _funnel(
    prefix: str, labels: tuple[str, ...], funnels: Mapping[tuple[str, ...], EdgeFunnel]
) -> Iterator[Metric]:
    """Yield evaluations by the step they passed, and the sums of their edges: a step's loss is the difference."""
    counts: dict[tuple[str, ...], float] = {}
    edges: dict[tuple[str, ...], float] = {}
    for key, funnel in funnels.items():
        for step in _FUNNEL:
            counts[*key, step] = getattr(funnel, step)
            edges[*key, step] = getattr(funnel, f"{step}_bps") / 1e4
    names = [*labels, "step"]
    yield _counted(
        f"{prefix}_evaluations", "Evaluations with an edge by the step they passed.", names, counts
    )
    yield _counted(f"{prefix}_sum_ratio", "The sums of their edges, as shares of the notional.", names, edges)


def _pairs(bases: list[str], status: Status, note: RiskNote | None, pages: ProcessPages) -> Iterator[Metric]:
    tallies = {base: status.symbols[base] for base in bases if base in status.symbols}
    pnl = GaugeMetricFamily("arbshard_pair_pnl", "Realised result of a pair.", labels=["pair", "currency"])
    for base, tally in tallies.items():
        pnl.add_metric([base, status.portfolio.currency], float(tally.pnl))
    yield pnl
    opened: dict[tuple[str, ...], float] = {(base,): float(tally.entries) for base, tally in tallies.items()}
    yield _counted("arbshard_pair_entries", "Positions opened of a pair.", ["pair"], opened)
    held = {base: float(tally.open) for base, tally in tallies.items()}
    yield _by_label("arbshard_pair_open_positions", "Open positions of a pair.", "pair", held)
    if note is not None:
        known = {base: note.entries[base] for base in bases if base in note.entries}
        for name, text, values in (
            ("arbshard_pair_gap_level_ratio", "What the gap of a pair returns to.",
             {base: one.level_bps / 1e4 for base, one in known.items() if one.level_bps is not None}),
            ("arbshard_pair_gap_band_ratio", "The usual distance of the gap from its level.",
             {base: one.band_bps / 1e4 for base, one in known.items() if one.band_bps is not None}),
            ("arbshard_pair_half_life_seconds", "Median time in which an excursion loses half of its height.",
             {base: one.half_life_s for base, one in known.items() if one.half_life_s is not None}),
        ):  # fmt: skip
            yield _by_label(name, text, "pair", values)
    funnels: dict[tuple[str, ...], EdgeFunnel] = {
        (base,): pages.funnels[base] for base in bases if base in pages.funnels
    }
    yield from _funnel("arbshard_pair_edge", ("pair",), funnels)


def _by_label(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=[label])
    for one, value in values.items():
        metric.add_metric([one], value)
    return metric


def _counted(name: str, text: str, labels: list[str], counts: Mapping[tuple[str, ...], float]) -> Metric:
    metric = CounterMetricFamily(name, text, labels=labels)
    for key, count in counts.items():
        metric.add_metric(list(key), count)
    return metric
