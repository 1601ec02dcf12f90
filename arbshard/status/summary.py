"""Summarises the end of a run: its result and how it went, as one struct (``--summary``) and as text. Pure."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from arbshard.model.notes import JournalNote
from arbshard.model.risk_note import (
    DifferenceNote,
    EquityNote,
    FxNote,
    HaltSpan,
    PortfolioTally,
    PositionNote,
    StrayNote,
    Tally,
    resumption_of,
)
from arbshard.status.model import Latency, LedgerStatus, RuleWorth, Status


class Summary(msgspec.Struct, frozen=True):
    """Summarises one run. Money is plain decimal text in ``portfolio.currency``."""

    name: str
    mode: str
    data: str
    duration_s: float
    ok: bool
    """Whether the exit code is 0: there are no ``problems``."""
    portfolio: PortfolioTally
    symbols: dict[str, Tally]
    reasons: dict[str, int]
    refusals: dict[str, int]
    """Number of refusals by risk, by reason."""
    data_refusals: dict[str, int]
    """Number of refusals by workers, before a request to risk: evaluations whose data were not fit to trade on, or
    that a rule barred.
    """
    latency_us: Latency
    """Time from receipt to decision."""
    approval_us: Latency
    """Time from decision to approval."""
    commit_us: Latency
    """Time of one group commit of the ledger."""
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
    """Reason why the run could not continue; empty for a clean end."""
    memory_mb: float
    state_dir: str
    order_mode: str = "paper"
    """``paper``, ``dry run`` or ``live``."""
    differences: tuple[DifferenceNote, ...] = ()
    strays: tuple[StrayNote, ...] = ()
    unknown: tuple[StrayNote, ...] = ()
    problems: tuple[str, ...] = ()
    """Reasons why this was not a clean run, one line each; empty for a clean run."""
    positions: tuple[PositionNote, ...] = ()
    """All open positions."""
    as_of: str = ""
    """Time of risk's last report of portfolio and positions, if it did not end in order; empty when it did."""
    ledger: LedgerStatus | None = None
    is_copy: bool = False
    """Whether this host kept a copy of the ledger, which the leader of its cluster wrote."""
    equity: EquityNote = EquityNote()
    regime: str = ""
    """How the prices of the simulated exchanges behave; empty for public feeds."""
    rules: dict[str, RuleWorth] = {}
    """What refused entries would have brought, by reason."""
    fx: FxNote = FxNote()
    halts: tuple[HaltSpan, ...] = ()
    """Halts of this run, the newest last; one from before its start is among them."""
    journal: tuple[JournalNote, ...] = ()
    """Decisions of people and rules in this run, the newest last; 100 at most."""


def summarise(last: Status, *, alive: Status | None, failure: str, keeps_positions: bool = False) -> Summary:
    """Return the summary of a run.

    ``last`` is the status after everything ended, ``alive`` the last one from before the end began.
    """
    problems = tuple(_problems(last, alive, failure, keeps_positions))
    data_refusals: dict[str, int] = {}
    for shard in last.shards:
        for reason, count in shard.refusals.items():
            data_refusals[reason] = data_refusals.get(reason, 0) + count
    rules: dict[str, RuleWorth] = {}
    for shard in last.shards:
        for reason, worth in shard.followed.items():
            rules[reason] = rules.get(reason, RuleWorth()).add(worth)
    return Summary(
        name=last.name,
        mode=last.mode,
        data=last.data,
        regime=last.regime,
        duration_s=last.uptime_s,
        ok=not problems,
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
        problems=problems,
        positions=last.positions,
        as_of=last.as_of,
        ledger=last.ledger,
        is_copy=last.cluster is not None and last.ledger is None,
        equity=last.equity,
        rules=rules,
        fx=last.fx,
        halts=last.halts,
        journal=last.journal,
    )


def clock_of(at_ms: int) -> str:
    """Return a wall time in UTC, to the second."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _problems(last: Status, alive: Status | None, failure: str, keeps_positions: bool) -> Iterator[str]:
    """Yield what ``arbshard status`` found wrong at the end, and what is wrong with the whole run.

    A fault that had ended before the end, such as a connection that was lost and made anew, is not among them; nor
    is an open leg or an order without an answer that the end itself has settled.
    """
    if failure:
        yield f"the run could not go on: {failure}"
    yield from _not_received(last)
    if last.as_of:
        yield f"risk did not close the ledger in order: portfolio and positions are as of {last.as_of}"
    if alive is not None:
        over = {alive.halted, *alive.passing}
        yield from (problem for problem in alive.problems if problem not in over)
    yield from last.passing
    if last.halted:
        yield last.halted  # ``alive`` may be older than a halt or its end: risk shows them five times a second
    yield from _halts_that_are_over(last.halts)
    left_open = 0 if keeps_positions else last.portfolio.open
    for count, one, many in (
        (last.errors, "error was logged", "errors were logged"),
        (last.restarts, "process was restarted", "processes were restarted"),
        (len(last.differences), "balance differs from the venue", "balances differ from the venues"),
        (len(last.strays), "open order belongs to no intent", "open orders belong to no intent"),
        (left_open, "position was left open", "positions were left open"),
    ):
        if count:
            yield f"{count} {one if count == 1 else many}"


def _not_received(last: Status) -> Iterator[str]:
    for venue in last.venues:
        if not venue.frames and (venue.symbols or venue.state != "idle"):
            why = f": {venue.last_error}" if venue.last_error else ""
            yield f"nothing was received from {venue.name}{why}"
    if not last.venues:
        yield "nothing was received from any venue"


def _halts_that_are_over(halts: Iterable[HaltSpan]) -> Iterator[str]:
    for halt in halts:
        if halt.until_ms:
            span = f"from {clock_of(halt.since_ms)} to {clock_of(halt.until_ms)}"
            end = "" if halt.is_raised else f"; {resumption_of(halt)}"
            yield f"entries were halted {span} ({halt.cause}): {halt.reason or 'no reason given'}{end}"
