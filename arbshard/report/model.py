"""``Report``: all that an analysis shows, exact figures and plots. Its JSON is ``report.json``.

Money is in reporting currency and exact, as the ledger has it. Basis points are of the notional of the entries, the
sum weighted by it, so that basis points times notional is the money beside them. Floats are for plots and shares.
"""

from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.model.money import BPS, MONEY_CONTEXT, ZERO
from arbshard.model.verdict import Severity, Verdict


def bps_of(money: Decimal, notional: Decimal) -> float | None:
    """``money`` in basis points of ``notional``; None of nothing."""
    return float(MONEY_CONTEXT.divide(money, notional) * BPS) if notional else None


class PnlSplit(msgspec.Struct, frozen=True):
    """Where the result comes from. The parts add up to ``total``."""

    trade: Decimal = ZERO
    """What prices have brought, before fees."""
    fees: Decimal = ZERO
    """Negative: what fills have cost."""
    fx: Decimal = ZERO
    """What the change of the FX rate has brought while positions were open."""
    transfers: Decimal = ZERO
    """What transfers between venues have cost: fees, and what was lost."""
    unexplained: Decimal = ZERO
    """Differences with a venue that a person accepted as a result."""
    not_split: Decimal = ZERO
    """Results of positions of older programs, which did not say what FX has brought; after fees."""
    total: Decimal = ZERO


class EdgeSteps(msgspec.Struct, frozen=True):
    """From the edges that entries were sent for to what was kept, in money. Each loss is negative where it costs.

    ``sent`` and all losses add up to ``kept``.
    """

    sent_notional: Decimal = ZERO
    """Of the approved entries that have ended, as they were ordered."""
    filled_notional: Decimal = ZERO
    """Of those that filled on both venues, as they were filled."""
    sent: Decimal = ZERO
    """The edge at the decision of all approved entries that have ended."""
    not_filled: Decimal = ZERO
    """The edge of what was ordered and was not filled on both venues: it is missed, not paid."""
    one_legged: Decimal = ZERO
    """The result of entries that filled on one venue alone and were taken back."""
    arrival: Decimal = ZERO
    """The edge at arrival less the edge at the decision, of what was filled."""
    exit_fees: Decimal = ZERO
    """Fees that were paid after the entry."""
    fx: Decimal = ZERO
    """What the change of the FX rate has brought."""
    way_out: Decimal = ZERO
    """The rest: the gap that had not come back, and the spreads of both venues on the way out."""
    kept: Decimal = ZERO
    """The result of all closed positions whose entry is known."""

    @property
    def decided(self) -> Decimal:
        """The edge at the decision of what was filled on both venues."""
        return self.sent + self.not_filled

    @property
    def arrived(self) -> Decimal:
        """The edge at arrival."""
        return self.decided + self.arrival


class Spread(msgspec.Struct, frozen=True):
    """How single results lie. Quantiles rest on a sample where there are more than 10,000."""

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
    """One symbol, or all."""

    symbol: str
    approved: int
    """Entries approved."""
    refused: int
    """Entries that risk refused, counted repetitions included."""
    entries: int
    """Positions that came to be, also those that were taken back at once."""
    exits: int
    """Positions closed."""
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
    """Per closed position, rounded to two places."""
    results_bps: Spread
    """Of single closed positions, in basis points of their notional."""
    held_s: Spread
    reasons: dict[str, int]
    """Closed positions by reason."""
    decided_bps: float | None
    """Mean edge at the decision of what was filled on both venues and has been closed."""
    arrived_bps: float | None
    """The same at arrival."""
    kept_bps: float | None
    """Their result."""
    arrived_as_decided: int
    """Of these, entries whose edge at arrival is the edge at the decision (to a hundredth of a basis point)."""
    measured: int
    """Closed positions of which both edges are known."""

    @property
    def open(self) -> int:
        """Positions that are still open."""
        return self.entries - self.exits


class FunnelStep(msgspec.Struct, frozen=True):
    """A step that edges pass on their way from the books to the result."""

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
    """What takes edges away at this step."""


class RuleCost(msgspec.Struct, frozen=True):
    """What a rule refused, and what the refused entries would have brought by the books that came."""

    reason: str
    by_risk: int = 0
    """Entries that risk refused."""
    by_workers: int = 0
    """Evaluations that workers refused before risk was asked."""
    followed: int = 0
    """Refused entries that were followed until a rule of exit held."""
    won: int = 0
    pnl: int = 0
    """All followed ones together, after fees: above 0, the rule has cost so much; below 0, it has saved it."""


class ShardReport(msgspec.Struct, frozen=True):
    """One worker."""

    shard: int
    starts: int
    """Incarnations that said hello to risk."""
    fenced: int
    restarts: int | None = None
    """How often its process was started again, at most in one run."""
    pairs: int | None = None
    msg_s: float | None = None
    """Mean of the samples."""
    decision_p50_us: float | None = None
    """Median of the samples."""
    decision_p99_us: float | None = None
    decision_max_us: float | None = None
    approval_p99_us: float | None = None
    loop_gap_max_us: float | None = None


class VenueReport(msgspec.Struct, frozen=True):
    """One venue: orders from the ledger, the rest from samples."""

    venue: str
    orders: int = 0
    """Final reports of orders."""
    filled: int = 0
    partial: int = 0
    unfilled: int = 0
    """Taken by the venue and not executed at all."""
    rejected: int = 0
    not_accepted: int = 0
    fees: Decimal = ZERO
    """In reporting currency, each at the FX of its intent; fees in other coins left out."""
    refusals: int = 0
    """Times that it began to refuse our orders."""
    slippage_bps: float | None = None
    """Fills of legs against the price that the book promised, weighted by value; above 0 is worse for us."""
    msg_s: float | None = None
    frames: int | None = None
    reconnects: int | None = None
    stalls: int | None = None
    resyncs: int | None = None
    bad_frames: int | None = None
    requests_refused: int | None = None
    """Requests of any kind that it refused."""
    oldest_ms_max: float | None = None
    lag_ms: float | None = None
    answer_p50_us: float | None = None
    answer_p99_us: float | None = None


class RecordedVenue(msgspec.Struct, frozen=True):
    """What a recording of the run holds of one venue, or of none (an empty name)."""

    venue: str
    frames: int = 0
    requests: int = 0
    """Answers to requests over REST."""
    disconnects: int = 0
    resubscribed: int = 0
    gaps: int = 0
    """Times that changes of a book were missing."""
    decisions: int = 0
    lost: int = 0
    """Rows that are missing and whose loss is marked."""


class ProcessReport(msgspec.Struct, frozen=True):
    """One process, from samples."""

    name: str
    rss_mb: float
    """At the end."""
    rss_mb_max: float
    rss_mb_per_h: float | None
    """Growth between the first and the last quarter of the samples; None for less than ten minutes."""
    cpu_pct: float
    """Mean."""
    fds: int
    fds_max: int


class PairReport(msgspec.Struct, frozen=True):
    """How often a pair had an edge, from samples. ``docs/series.md`` says what each count means.

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
    """From a start of risk to its end."""

    session: int
    version: str
    mode: str
    began_ms: int
    ended_ms: int
    """The last event that is known of it."""
    in_order: bool


class LogRecord(msgspec.Struct, frozen=True):
    """A record of level warning or above, or several of one kind."""

    anchor: str
    """The name of its anchor on the page."""
    process: str
    level: str
    event: str
    count: int
    first_ms: int
    last_ms: int
    lines: tuple[str, ...]
    """The first and the last lines, as they are in the file; shortened."""
    file: str


class TimelineEntry(msgspec.Struct, frozen=True):
    """Something that a person should see, at its time."""

    first_ms: int
    last_ms: int
    severity: Severity
    source: str
    """``ledger``, ``log``, ``status`` (from samples) or ``monitor``."""
    subject: str
    text: str
    anchor: str = ""
    """Of a log record that belongs to it."""


class PlotLine(msgspec.Struct, frozen=True):
    """A line of a plot."""

    name: str
    x: tuple[float | str, ...]
    """Wall time in ms, or what ``Plot.x_title`` says."""
    y: tuple[float | None, ...]


class Plot(msgspec.Struct, frozen=True):
    """A diagram of lines or bars, drawn with the same values in every form of the report."""

    name: str
    title: str
    unit: str
    kind: Literal["lines", "steps", "bars", "heat"]
    """``heat``: a map whose rows are the lines, from below; a value is a colour, and ``x`` has the columns."""
    lines: tuple[PlotLine, ...]
    section: str
    """The section of the page that it belongs to."""
    x_title: str = ""
    """Empty where ``x`` is wall time."""
    is_log: bool = False
    y_title: str = ""
    """What the vertical axis of a map shows; in other plots ``unit`` says it."""
    mark: tuple[str, ...] = ()
    """A place to mark: column and row of a map, or the ``x`` of a line."""


class Finding(msgspec.Struct, frozen=True):
    """A sentence for the top of the page."""

    kind: Literal["good", "warn", "bad", "plain"]
    text: str


class RunReport(msgspec.Struct, frozen=True):
    """One ledger with what lies beside it."""

    title: str
    source: str
    """The state directory."""
    made_ms: int
    version: str
    """Of the program that made the report."""
    name: str
    mode: str
    currency: str
    first_ms: int | None
    last_ms: int | None
    active_s: float
    """All sessions together."""
    events: int
    """All that the ledger and its archives hold."""
    since_ms: int | None
    """Only what was decided since then; None for everything."""
    sessions: tuple[SessionReport, ...]
    """The last 50."""
    session_count: int
    verdict: Verdict | None
    findings: tuple[Finding, ...]
    pnl: PnlSplit
    per_hour: Decimal | None
    """Result per hour of the sessions; None for less than a minute."""
    unrealised: Decimal | None
    """Of what is open at the last valuation; None when there was none."""
    drawdown_max: Decimal
    drawdown_max_ms: int | None
    total: SymbolReport
    symbols: tuple[SymbolReport, ...]
    """By result, best first."""
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
    """Records of level warning and above by level."""
    logs: tuple[LogRecord, ...]
    unread_log_lines: int
    plots: tuple[Plot, ...]
    notes: tuple[str, ...]
    """What this analysis could not know, and why."""
