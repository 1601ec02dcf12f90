"""The end of a run: what it brought and how it went, as one struct (``--summary``) and as text."""

import msgspec

from arbshard.model.risk_note import DifferenceNote, PortfolioTally, StrayNote, Tally
from arbshard.status.model import Latency, Status


class Summary(msgspec.Struct, frozen=True):
    """One run. Money as plain decimal text in ``portfolio.currency``."""

    name: str
    mode: str
    data: str
    duration_s: float
    ok: bool
    portfolio: PortfolioTally
    symbols: dict[str, Tally]
    reasons: dict[str, int]
    refusals: dict[str, int]
    """By risk."""
    data_refusals: dict[str, int]
    """By workers: evaluations that found their data not fit to trade on."""
    latency_us: Latency
    """Receive → decision."""
    approval_us: Latency
    """Decision → approval."""
    commit_us: Latency
    """One group commit of the ledger."""
    messages: int
    ticks: int
    conflated: int
    bad_frames: int
    orders: int
    rejected_orders: int
    partial_orders: int
    errors: int
    restarts: int
    alerts: tuple[str, ...]
    failure: str
    """Why the run could not go on; empty for a clean end."""
    memory_mb: float
    state_dir: str
    order_mode: str = "paper"
    """``paper``, ``dry run`` or ``live``."""
    differences: tuple[DifferenceNote, ...] = ()
    strays: tuple[StrayNote, ...] = ()
    unknown: tuple[StrayNote, ...] = ()


def summarise(last: Status, *, alive: Status | None, failure: str) -> Summary:
    """``last`` is the status after everything ended, ``alive`` one from before (memory is only seen alive)."""
    data_refusals: dict[str, int] = {}
    for shard in last.shards:
        for reason, count in shard.refusals.items():
            data_refusals[reason] = data_refusals.get(reason, 0) + count
    return Summary(
        name=last.name,
        mode=last.mode,
        data=last.data,
        duration_s=last.uptime_s,
        ok=not (failure or last.errors or last.restarts or last.differences or last.strays or last.unknown),
        portfolio=last.portfolio,
        symbols=last.symbols,
        reasons=last.reasons,
        refusals=last.risk.refusals,
        data_refusals=data_refusals,
        latency_us=last.latency_us,
        approval_us=last.approval_us,
        commit_us=last.risk.commit_us,
        messages=last.messages,
        ticks=sum(shard.ticks for shard in last.shards),
        conflated=sum(shard.conflated for shard in last.shards),
        bad_frames=sum(venue.bad_frames for venue in last.venues),
        orders=sum(shard.orders for shard in last.shards),
        rejected_orders=sum(shard.rejected for shard in last.shards),
        partial_orders=sum(shard.partial for shard in last.shards),
        errors=last.errors,
        restarts=last.restarts,
        alerts=last.alerts,
        failure=failure,
        memory_mb=alive.memory_mb if alive is not None else 0.0,
        state_dir=last.state_dir,
        order_mode=last.order_mode,
        differences=last.differences,
        strays=last.strays,
        unknown=last.unknown,
    )
