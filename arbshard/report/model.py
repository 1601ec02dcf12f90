"""Defines ``RunReport``: all that an analysis shows, exact figures and plots. Its JSON is ``report.json``.

Money is in reporting currency and exact, as in the ledger. Basis points are of the notional of the entries, and
means are weighted by it, so that basis points times notional is the money beside them. Floats are for plots and
shares.
"""

from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.model.money import BPS, MONEY_CONTEXT, ZERO
from arbshard.model.verdict import Severity, Verdict


def bps_of(money: Decimal, notional: Decimal) -> float | None:
    """Return ``money`` in basis points of ``notional``; None when ``notional`` is 0."""
    return float(MONEY_CONTEXT.divide(money, notional) * BPS) if notional else None


class PnlSplit(msgspec.Struct, frozen=True):
    """Describes the result by its sources. The parts add up to ``total``."""

    trade: Decimal = ZERO
    """Result of prices, before fees."""
    fees: Decimal = ZERO
    """Costs of fills; negative."""
    fx: Decimal = ZERO
    """Result of changes of the FX rate while positions were open."""
    transfers: Decimal = ZERO
    """Costs of transfers between venues: fees, and what was lost."""
    unexplained: Decimal = ZERO
    """Differences with a venue that a person accepted as a result."""
    not_split: Decimal = ZERO
    """Results of positions of older programs, which did not report the FX part; after fees."""
    total: Decimal = ZERO


class EdgeSteps(msgspec.Struct, frozen=True):
    """Leads from the edges for which entries were sent to what was kept, in money.

    Each step is negative where it costs. ``sent`` and all steps add up to ``kept``.
    """

    sent_notional: Decimal = ZERO
    """Notional of the approved entries that have ended, as they were ordered."""
    filled_notional: Decimal = ZERO
    """Notional of those that filled on both venues, as they were filled."""
    sent: Decimal = ZERO
    """The edge at the decision of all approved entries that have ended."""
    not_filled: Decimal = ZERO
    """The edge of what was ordered and was not filled on both venues: it is missed, not paid."""
    one_legged: Decimal = ZERO
    """The result of entries that filled on one venue alone and were unwound."""
    arrival: Decimal = ZERO
    """The edge at arrival less the edge at the decision, of what was filled."""
    exit_fees: Decimal = ZERO
    """Fees that were paid after the entry."""
    fx: Decimal = ZERO
    """Result of the change of the FX rate."""
    way_out: Decimal = ZERO
    """The rest: the gap that had not closed, and the spreads of both venues at the exit."""
    kept: Decimal = ZERO
    """The result of all closed positions whose entry is known."""

    @property
    def decided(self) -> Decimal:
        """Return the edge at the decision of what was filled on both venues."""
        return self.sent + self.not_filled

    @property
    def arrived(self) -> Decimal:
        """Return the edge at arrival."""
        return self.decided + self.arrival


class Spread(msgspec.Struct, frozen=True):
    """Describes the distribution of single results. Quantiles are of a sample when there are more than 10,000."""

    count: int = 0
    mean: float | None = None
    p5: float | None = None
    median: float | None = None
    p95: float | None = None
    worst: float | None = None
    best: float | None = None
    tail: float | None = None
    """Mean of the worst twentieth."""


class SymbolReport(msgspec.Struct, frozen=True):
    """Describes one symbol, or all."""

    symbol: str
    approved: int
    """Number of entries that were approved."""
    refused: int
    """Number of entries that risk refused, including counted repetitions."""
    entries: int
    """Number of positions that were opened, including those that were unwound at once."""
    exits: int
    """Number of positions that were closed."""
    wins: int
    losses: int
    win_rate: float | None
    notional: Decimal
    """The entry notional of all closed positions."""
    pnl: Decimal
    trade: Decimal
    fees: Decimal
    fx: Decimal
    mean_pnl: Decimal | None
    """Mean result per closed position, rounded to two places."""
    results_bps: Spread
    """Results of single closed positions, in basis points of their notional."""
    held_s: Spread
    reasons: dict[str, int]
    """Number of closed positions by reason."""
    decided_bps: float | None
    """Mean edge at the decision of what was filled on both venues and has been closed."""
    arrived_bps: float | None
    """Mean edge at arrival of the same entries."""
    kept_bps: float | None
    """Mean result of the same entries."""
    arrived_as_decided: int
    """Entries among them whose edge at arrival is the edge at the decision (to a hundredth of a basis point)."""
    measured: int
    """Closed positions of which both edges are known."""

    @property
    def open(self) -> int:
        """Return the number of positions that are still open."""
        return self.entries - self.exits


class FunnelStep(msgspec.Struct, frozen=True):
    """Describes a step that edges pass on their way from the books to the result."""

    name: str
    unit: str
    """What ``count`` counts."""
    count: int
    bps: float | None = None
    """Mean edge of what has passed the step."""
    money: Decimal | None = None
    """Worth of what has passed the step; None before anything was ordered."""
    lost: Decimal | None = None
    """What was lost at this step; negative for a loss."""
    why: str = ""
    """Why edges are lost at this step."""


class RuleCost(msgspec.Struct, frozen=True):
    """Says what a rule refused, and what the refused entries would have brought at the books that followed."""

    reason: str
    by_risk: int = 0
    """Number of entries that risk refused."""
    by_workers: int = 0
    """Number of evaluations that workers refused before risk was asked."""
    followed: int = 0
    """Number of refused entries that were followed until a rule of exit applied."""
    won: int = 0
    pnl: int = 0
    """Result of all followed entries together, after fees: above 0, the rule has cost it; below 0, it has
    saved it.
    """


class ShardReport(msgspec.Struct, frozen=True):
    """Describes one worker."""

    shard: int
    starts: int
    """Number of incarnations that registered with risk."""
    fenced: int
    restarts: int | None = None
    """How often its process was restarted, at most in one run."""
    pairs: int | None = None
    msg_s: float | None = None
    """Mean of the samples, per second."""
    decision_p50_us: float | None = None
    """Median of the samples, in microseconds."""
    decision_p99_us: float | None = None
    decision_max_us: float | None = None
    approval_p99_us: float | None = None
    loop_gap_max_us: float | None = None


class VenueReport(msgspec.Struct, frozen=True):
    """Describes one venue: orders are from the ledger, the rest is from samples."""

    venue: str
    orders: int = 0
    """Number of final reports of orders."""
    filled: int = 0
    partial: int = 0
    unfilled: int = 0
    """Number of orders that the venue accepted and did not execute at all."""
    rejected: int = 0
    not_accepted: int = 0
    fees: Decimal = ZERO
    """Fees in reporting currency, each at the FX of its intent; fees in other coins are left out."""
    refusals: int = 0
    """How often it began to refuse our orders."""
    slippage_bps: float | None = None
    """Fills of legs against the price that the book promised, weighted by value; above 0 is worse for us."""
    msg_s: float | None = None
    frames: int | None = None
    reconnects: int | None = None
    stalls: int | None = None
    resyncs: int | None = None
    bad_frames: int | None = None
    requests_refused: int | None = None
    """Number of requests of any kind that it refused."""
    oldest_ms_max: float | None = None
    lag_ms: float | None = None
    answer_p50_us: float | None = None
    answer_p99_us: float | None = None


class RecordedVenue(msgspec.Struct, frozen=True):
    """Describes what a recording of the run holds of one venue, or of none (an empty name)."""

    venue: str
    frames: int = 0
    requests: int = 0
    """Number of answers to requests over REST."""
    disconnects: int = 0
    resubscribed: int = 0
    gaps: int = 0
    """How often changes of a book were missing."""
    decisions: int = 0
    lost: int = 0
    """Number of rows that are missing and whose loss is marked."""


class ProcessReport(msgspec.Struct, frozen=True):
    """Describes one process, from samples."""

    name: str
    rss_mb: float
    """Memory at the end."""
    rss_mb_max: float
    rss_mb_per_h: float | None
    """Growth between the first and the last quarter of the samples; None for less than ten minutes."""
    cpu_pct: float
    """Mean CPU share of one core, in per cent."""
    fds: int
    fds_max: int


class PairReport(msgspec.Struct, frozen=True):
    """Says how often a pair had an edge, from samples. ``docs/series.md`` describes each count.

    The counts up to ``sound`` are of directions in sampled seconds, those up to ``decided`` of evaluations by
    workers, and ``approved`` of entries.
    """

    pair: str
    sampled: int
    gross: int
    net: int
    deep: int
    sound: int
    wanted: int
    barred: int
    sized: int
    decided: int
    approved: int
    gross_bps: float | None
    """Mean gap at the touch where it is above 0."""
    net_bps: float | None
    """Mean edge after fees where it is above 0."""
    decided_bps: float | None
    """Mean edge of the entries that were decided."""


class SessionReport(msgspec.Struct, frozen=True):
    """Describes a session, from a start of risk to its end."""

    session: int
    version: str
    mode: str
    began_ms: int
    ended_ms: int
    """Time of its last event."""
    in_order: bool


class LogRecord(msgspec.Struct, frozen=True):
    """Describes a record of level warning or above, or several of one kind."""

    anchor: str
    """The name of its anchor on the page."""
    process: str
    level: str
    event: str
    count: int
    first_ms: int
    last_ms: int
    lines: tuple[str, ...]
    """The first and the last lines, as they are in the file, but shortened."""
    file: str


class TimelineEntry(msgspec.Struct, frozen=True):
    """Describes something that a person should see, with its time."""

    first_ms: int
    last_ms: int
    severity: Severity
    source: str
    """``ledger``, ``log``, ``status`` (from samples) or ``monitor``."""
    subject: str
    text: str
    anchor: str = ""
    """Anchor of a log record that belongs to it."""


class PlotLine(msgspec.Struct, frozen=True):
    """Holds a line of a plot."""

    name: str
    x: tuple[float | str, ...]
    """Wall time in ms, or what ``Plot.x_title`` says."""
    y: tuple[float | None, ...]


class Plot(msgspec.Struct, frozen=True):
    """Describes a diagram of lines or bars, drawn with the same values in every form of the report."""

    name: str
    title: str
    unit: str
    kind: Literal["lines", "steps", "bars", "heat"]
    """``heat`` is a map: the lines are its rows, from below, ``x`` its columns, and a value is a colour."""
    lines: tuple[PlotLine, ...]
    section: str
    """The section of the page that it belongs to."""
    x_title: str = ""
    """Title of the horizontal axis; empty where ``x`` is wall time."""
    is_log: bool = False
    y_title: str = ""
    """Title of the vertical axis of a map; in other plots ``unit`` is used."""
    mark: tuple[str, ...] = ()
    """A place to mark: column and row of a map, or the ``x`` of a line."""


class Finding(msgspec.Struct, frozen=True):
    """Holds a sentence for the top of the page."""

    kind: Literal["good", "warn", "bad", "plain"]
    text: str


class RunReport(msgspec.Struct, frozen=True):
    """Holds the report of one ledger and the files beside it."""

    title: str
    source: str
    """The state directory."""
    made_ms: int
    version: str
    """Version of the program that made the report."""
    name: str
    mode: str
    currency: str
    first_ms: int | None
    last_ms: int | None
    active_s: float
    """Duration of all sessions together."""
    events: int
    """Number of events that the ledger and its archives hold."""
    since_ms: int | None
    """Only decisions since then are part of it; None for everything."""
    sessions: tuple[SessionReport, ...]
    """The last 50 sessions."""
    session_count: int
    verdict: Verdict | None
    findings: tuple[Finding, ...]
    pnl: PnlSplit
    per_hour: Decimal | None
    """Result per hour of the sessions; None for less than a minute."""
    unrealised: Decimal | None
    """Value of what is open at the last valuation; None when there was none."""
    drawdown_max: Decimal
    drawdown_max_ms: int | None
    total: SymbolReport
    symbols: tuple[SymbolReport, ...]
    """Symbols by result, best first."""
    edges: EdgeSteps
    funnel: tuple[FunnelStep, ...]
    rules: tuple[RuleCost, ...]
    shards: tuple[ShardReport, ...]
    venues: tuple[VenueReport, ...]
    recorded: tuple[RecordedVenue, ...]
    """Empty without a recording."""
    processes: tuple[ProcessReport, ...]
    pairs: tuple[PairReport, ...]
    timeline: tuple[TimelineEntry, ...]
    timeline_left_out: int
    log_levels: dict[str, int]
    """Number of records of level warning and above, by level."""
    logs: tuple[LogRecord, ...]
    unread_log_lines: int
    plots: tuple[Plot, ...]
    notes: tuple[str, ...]
    """What this analysis could not know, and why."""
