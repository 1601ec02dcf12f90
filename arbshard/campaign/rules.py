"""Implements the monitor's rules: pure functions over the samples of a run, with thresholds from the campaign's
file.
"""

import statistics
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import msgspec

from arbshard.campaign.file import (
    BlockedRule,
    DifferenceRule,
    DiskRule,
    ErrorsRule,
    GrowthRule,
    IdentityRule,
    LatencyRule,
    NakedRule,
    NoEdgeRule,
    NoEntryRule,
    OldPositionRule,
    RestartRule,
    RulesConfig,
    RuleSeverity,
    SilentMarketRule,
    StaleMarketRule,
    UnknownOrderRule,
)
from arbshard.model.refusal import Refusal
from arbshard.model.verdict import Anomaly

BEFORE_EDGE = frozenset(
    {
        "BOOK_MISSING",
        "BOOK_STALE",
        "LEG_SKEW",
        "VENUE_DOWN",
        "FX_MISSING",
        "FX_STALE",
        "BOOK_BAD",
        "BOOK_JUMPED",
    }
)
"""Refusals because of the data, which workers count before they search for an edge. All others are
counted after it.
"""
assert {one.name for one in Refusal} >= BEFORE_EDGE, "a refusal was renamed"
_REFUSALS_NAMED = 4
_PARTS = 10
"""A refusal that is counted in each of so many parts of the time counts as permanent."""
_TREND_MAX = 80
"""Number of points that slopes are fitted through. Beyond that, two neighbours are merged."""
_ANOMALIES_MAX = 500
_SAME_S = 60.0
"""A finding that repeats within this time belongs to the same anomaly."""


class LogLine(NamedTuple):
    """Holds a line of a log that shows an error."""

    process: str
    text: str
    raw: str


class VenueSample(NamedTuple):
    """Describes one venue at one moment."""

    name: str
    is_well: bool
    state: str
    oldest_ms: float
    frames: int


class HeldSample(NamedTuple):
    """Describes a position that was open at the moment of the sample."""

    pair: str
    position_id: str
    opened_ms: int


class OddOrder(NamedTuple):
    """Describes an order whose outcome is unknown, or that belongs to no intent."""

    venue: str
    client_id: str
    what: str
    since_ms: int


class RunSample(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what the monitor saw at one moment."""

    at_ms: int
    at_s: float
    """Seconds on the monotonic clock since the monitor began."""
    state: str
    entries: int = 0
    exits: int = 0
    open: int = 0
    wins: int = 0
    losses: int = 0
    pnl: str = "0"
    edges: int = 0
    """Number of evaluations since the start that found an edge: refused, or sent to risk."""
    refusals: dict[str, int] = {}
    """Refusals by workers and by risk, since the start."""
    venues: tuple[VenueSample, ...] = ()
    halted: str = ""
    """Why entries are halted; workers then search for no edge, so nothing is counted as refused."""
    restarts: int = 0
    positions: tuple[HeldSample, ...] = ()
    max_hold_s: float = 0.0
    naked: float = 0.0
    naked_pairs: str = ""
    odd_orders: tuple[OddOrder, ...] = ()
    differences: tuple[str, ...] = ()
    memory_mb: float = 0.0
    descriptors: int = 0
    disk_free_mb: float = 0.0
    p99_us: float | None = None
    """Receive to decision since the sample before; None when nothing was measured."""
    lines: tuple[LogLine, ...] = ()
    """Errors in logs since the sample before."""
    broken: tuple[str, ...] = ()
    """Where the accounting contradicts itself, one sentence each."""
    left_s: float = 0.0
    """Seconds until the campaign's end."""
    is_whole: bool = True
    """Whether pages were available; otherwise the sample has only logs, ledger and disk."""


class TrendPoint(NamedTuple):
    """Holds the average of some consecutive samples."""

    at_s: float
    memory_mb: float
    descriptors: float
    disk_free_mb: float
    p99_us: float | None


class SampleHistory:
    """Holds the samples that rules need: all of the last minutes, and averages since the beginning."""

    def __init__(self, keep_s: float, trend_every_s: float = 5.0) -> None:
        self._keep_s = keep_s
        self._trend_every_s = trend_every_s
        self.recent: deque[RunSample] = deque()
        self.trend: list[TrendPoint] = []
        self._gathered: list[RunSample] = []
        self.last: RunSample
        """The newest sample, whole or not. All others here are whole."""

    def add(self, sample: RunSample) -> None:
        """Add the next sample."""
        self.last = sample
        if not sample.is_whole:
            return
        self.recent.append(sample)
        # The newest sample that is older than ``keep_s`` is kept too: a rule compares with it.
        while len(self.recent) > 1 and self.recent[1].at_s <= sample.at_s - self._keep_s:
            self.recent.popleft()
        self._gathered.append(sample)
        if sample.at_s - self._gathered[0].at_s >= self._trend_every_s:
            self.trend.append(_point_of(self._gathered))
            self._gathered = []
        if len(self.trend) > _TREND_MAX:
            pairs = zip(self.trend[::2], self.trend[1::2], strict=False)
            self.trend = [_merged(one, other) for one, other in pairs]
            self._trend_every_s *= 2

    def before(self, seconds: float) -> RunSample | None:
        """Return the newest sample that is at least ``seconds`` older than the last; None when there is none."""
        until_s = self.last.at_s - seconds
        return next((one for one in reversed(self.recent) if one.at_s <= until_s), None)

    def holds_for(self, seconds: float, condition: Callable[[RunSample], bool]) -> bool:
        """Return whether ``condition`` holds now and in each sample of the last ``seconds``."""
        if not condition(self.last):
            return False
        first = self.before(seconds)
        return first is not None and all(condition(one) for one in self.recent if one.at_s >= first.at_s)


def _point_of(samples: list[RunSample]) -> TrendPoint:
    known = [one.p99_us for one in samples if one.p99_us is not None]
    return TrendPoint(
        statistics.fmean(one.at_s for one in samples),
        statistics.fmean(one.memory_mb for one in samples),
        statistics.fmean(one.descriptors for one in samples),
        statistics.fmean(one.disk_free_mb for one in samples),
        statistics.median(known) if known else None,
    )


def _merged(one: TrendPoint, other: TrendPoint) -> TrendPoint:
    known = [point.p99_us for point in (one, other) if point.p99_us is not None]
    return TrendPoint(
        (one.at_s + other.at_s) / 2,
        (one.memory_mb + other.memory_mb) / 2,
        (one.descriptors + other.descriptors) / 2,
        (one.disk_free_mb + other.disk_free_mb) / 2,
        statistics.fmean(known) if known else None,
    )


def theil_sen(points: list[tuple[float, float]]) -> float:
    """Return the median of the slopes of all pairs of points, which single outliers do not move.

    Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of the American Statistical
    Association 63 (1968) 1379-1389. The result is 0 for fewer than two different times.
    """
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x2 != x1]
    return statistics.median(slopes) if slopes else 0.0


class RuleFinding(NamedTuple):
    """Describes what a rule found in the newest sample."""

    subject: str
    text: str
    value: float | None = None
    limit: float | None = None
    log: str | None = None


def name_refusals(counts: Mapping[str, int]) -> str:
    """Return the rules that refused most evaluations with an edge, with their counts; empty when there were none."""
    most = sorted(
        ((count, reason) for reason, count in counts.items() if count > 0 and reason not in BEFORE_EDGE),
        key=lambda one: (-one[0], one[1]),
    )
    return ", ".join(f"{reason} {count:,}" for count, reason in most[:_REFUSALS_NAMED])


def _no_entry(history: SampleHistory, rule: NoEntryRule) -> Iterator[RuleFinding]:
    then = history.before(rule.after_s)
    if then is None or history.last.entries > then.entries or history.last.edges <= then.edges:
        return
    edges = history.last.edges - then.edges
    text = f"nothing was entered for {rule.after_s:g} s although {edges:,} evaluations found an edge"
    since = {reason: count - then.refusals.get(reason, 0) for reason, count in history.last.refusals.items()}
    if named := name_refusals(since):
        text += f"; refused by {named}"
    yield RuleFinding("", text, float(edges), 0.0)


def _no_edge(history: SampleHistory, rule: NoEdgeRule) -> Iterator[RuleFinding]:
    then = history.before(rule.after_s)
    if then is None or history.last.entries > then.entries or history.last.edges > then.edges:
        return
    if any(one.halted for one in history.recent if one.at_s >= then.at_s):
        return  # workers search for no edge while entries are halted
    yield RuleFinding("", f"nothing was entered for {rule.after_s:g} s, and no evaluation found an edge")


def _blocked(history: SampleHistory, rule: BlockedRule) -> Iterator[RuleFinding]:
    if history.holds_for(rule.after_s, lambda sample: bool(sample.halted)):
        yield RuleFinding("HALTED", f"for {rule.after_s:g} s or longer: {history.last.halted}")
    marks = [history.before(rule.after_s * part / _PARTS) for part in range(_PARTS, -1, -1)]
    counts = [one.refusals for one in marks if one is not None]
    if len(counts) <= _PARTS:
        return
    for reason, count in counts[-1].items():
        rose = all(one.get(reason, 0) < other.get(reason, 0) for one, other in pairwise(counts))
        if rose and reason not in rule.ordinary:
            times = count - counts[0].get(reason, 0)
            text = f"{reason} has refused all the time for {rule.after_s:g} s, {times:,} times"
            yield RuleFinding(reason, text, float(times))


def _errors(history: SampleHistory, rule: ErrorsRule) -> Iterator[RuleFinding]:
    del rule
    for line in history.last.lines:
        yield RuleFinding(line.process, f"{line.process} logged an error: {line.text}", log=line.raw)


def _stale_market(history: SampleHistory, rule: StaleMarketRule) -> Iterator[RuleFinding]:
    for venue in history.last.venues:

        def is_stale(sample: RunSample, name: str = venue.name) -> bool:
            return any(one.name == name and one.oldest_ms > rule.age_ms for one in sample.venues)

        if history.holds_for(rule.after_s, is_stale):
            text = f"the oldest book of {venue.name} is {venue.oldest_ms / 1000:.1f} s old"
            yield RuleFinding(venue.name, text, venue.oldest_ms, rule.age_ms)


def _silent_market(history: SampleHistory, rule: SilentMarketRule) -> Iterator[RuleFinding]:
    then = history.before(rule.after_s)
    earlier = {one.name: one.frames for one in then.venues} if then is not None else {}
    for venue in history.last.venues:

        def is_ill(sample: RunSample, name: str = venue.name) -> bool:
            return any(one.name == name and not one.is_well for one in sample.venues)

        if history.holds_for(rule.after_s, is_ill):
            yield RuleFinding(venue.name, f"{venue.name} is {venue.state} for {rule.after_s:g} s or longer")
        elif rule.after_s and venue.frames <= earlier.get(venue.name, -1):
            yield RuleFinding(venue.name, f"{venue.name} has sent nothing for {rule.after_s:g} s")


def _restart(history: SampleHistory, rule: RestartRule) -> Iterator[RuleFinding]:
    del rule
    before = history.recent[-2].restarts if len(history.recent) > 1 else 0
    if history.last.restarts > before:
        count = history.last.restarts
        yield RuleFinding("", f"a process was started again, {count} so far", float(count), 0.0)


def _old_position(history: SampleHistory, rule: OldPositionRule) -> Iterator[RuleFinding]:
    limit_s = history.last.max_hold_s + rule.margin_s
    for one in history.last.positions:
        age_s = (history.last.at_ms - one.opened_ms) / 1000
        if age_s > limit_s:
            text = f"position {one.position_id} is open for {age_s:,.0f} s"
            yield RuleFinding(one.pair, text, age_s, limit_s)


def _naked(history: SampleHistory, rule: NakedRule) -> Iterator[RuleFinding]:
    if history.holds_for(rule.after_s, lambda sample: sample.naked > rule.notional):
        last = history.last
        text = f"{last.naked:,.0f} are bought or sold on one venue alone for {rule.after_s:g} s or longer"
        yield RuleFinding(last.naked_pairs, text, last.naked, rule.notional)


def _unknown_order(history: SampleHistory, rule: UnknownOrderRule) -> Iterator[RuleFinding]:
    for order in history.last.odd_orders:
        age_s = (history.last.at_ms - order.since_ms) / 1000
        if age_s >= rule.after_s:
            text = f"order {order.client_id} at {order.venue} {order.what} for {age_s:,.0f} s"
            yield RuleFinding(order.client_id, text, age_s, rule.after_s)


def _difference(history: SampleHistory, rule: DifferenceRule) -> Iterator[RuleFinding]:
    del rule
    for text in history.last.differences:
        yield RuleFinding(text.partition(":")[0], text)


def _memory(history: SampleHistory, rule: GrowthRule) -> Iterator[RuleFinding]:
    yield from _growth(history, rule, "memory of all processes", "MB", lambda point: point.memory_mb)


def _descriptors(history: SampleHistory, rule: GrowthRule) -> Iterator[RuleFinding]:
    yield from _growth(history, rule, "open descriptors", "", lambda point: point.descriptors)


def _growth(
    history: SampleHistory, rule: GrowthRule, what: str, unit: str, value: Callable[[TrendPoint], float]
) -> Iterator[RuleFinding]:
    first_s = history.trend[0].at_s + rule.warm_up_s if history.trend else 0.0
    points = [(one.at_s, value(one)) for one in history.trend if one.at_s >= first_s]
    if len(points) < _PARTS or points[-1][0] - points[0][0] < rule.after_s:
        return
    per_hour = theil_sen(points) * 3600
    rise = per_hour / 3600 * (points[-1][0] - points[0][0])
    if per_hour > rule.per_hour and rise > rule.rise:
        unit = f" {unit}" * bool(unit)
        text = f"{what}: rise by {per_hour:,.0f}{unit} per hour, {rise:,.0f}{unit} so far"
        yield RuleFinding("", text, per_hour, rule.per_hour)


def _latency(history: SampleHistory, rule: LatencyRule) -> Iterator[RuleFinding]:
    known = [(one.at_s, one.p99_us) for one in history.trend if one.p99_us is not None]
    if len(known) < 2 * _PARTS or known[-1][0] - known[0][0] < rule.after_s:
        return
    tenth = len(known) // _PARTS
    first = statistics.median(value for _, value in known[:tenth])
    last = statistics.median(value for _, value in known[-tenth:])
    if last > first * rule.factor and last - first > rule.rise_us:
        text = f"receive to decision, p99: {last:,.0f} us now, {first:,.0f} us in the first tenth"
        yield RuleFinding("", text, last, first * rule.factor)


def _disk(history: SampleHistory, rule: DiskRule) -> Iterator[RuleFinding]:
    last = history.last
    if last.disk_free_mb < rule.free_mb:
        text = f"{last.disk_free_mb:,.0f} MB are free on the disk of the state directory"
        yield RuleFinding("", text, last.disk_free_mb, rule.free_mb)
        return
    points = [(one.at_s, one.disk_free_mb) for one in history.trend]
    if len(points) < _PARTS or points[-1][0] - points[0][0] < rule.after_s:
        return
    at_end_mb = last.disk_free_mb + theil_sen(points) * last.left_s
    if at_end_mb < rule.free_mb:
        text = f"the disk of the state directory will have {at_end_mb:,.0f} MB free at the end, at this rate"
        yield RuleFinding("", text, at_end_mb, rule.free_mb)


def _identity(history: SampleHistory, rule: IdentityRule) -> Iterator[RuleFinding]:
    del rule
    for text in history.last.broken:
        yield RuleFinding("", f"the accounting contradicts itself: {text}")


_RULES: dict[str, Callable[[SampleHistory, Any], Iterator[RuleFinding]]] = {
    "no_entry": _no_entry,
    "no_edge": _no_edge,
    "blocked": _blocked,
    "errors": _errors,
    "stale_market": _stale_market,
    "silent_market": _silent_market,
    "restart": _restart,
    "old_position": _old_position,
    "naked": _naked,
    "unknown_order": _unknown_order,
    "difference": _difference,
    "memory": _memory,
    "descriptors": _descriptors,
    "latency": _latency,
    "disk": _disk,
    "identity": _identity,
}
"""The functions by the names of the fields of ``RulesConfig``."""


_WITHOUT_PAGES = ("errors", "disk", "identity")
"""Rules that need no pages."""


def keep_s(rules: RulesConfig) -> float:
    """Return how far back any rule needs single samples, in seconds."""
    return max(
        rules.no_entry.after_s,
        rules.no_edge.after_s,
        rules.blocked.after_s,
        rules.stale_market.after_s,
        rules.silent_market.after_s,
        rules.naked.after_s,
    )


def findings(history: SampleHistory, rules: RulesConfig) -> Iterator[Anomaly]:
    """Yield what every rule that is on finds in the newest sample."""
    at_ms = history.last.at_ms
    for name, function in _RULES.items():
        rule = getattr(rules, name)
        severity: RuleSeverity = rule.severity
        if severity == "off":
            continue
        if not history.last.is_whole and name not in _WITHOUT_PAGES:
            continue
        for found in function(history, rule):
            yield Anomaly(
                rule=name, severity=severity, first_ms=at_ms, last_ms=at_ms, subject=found.subject,
                text=found.text, value=found.value, limit=found.limit, log=found.log,
            )  # fmt: skip


class Anomalies:
    """Collects all anomalies of a run. What continues is one anomaly with its beginning and its end."""

    def __init__(self) -> None:
        self.all: list[Anomaly] = []
        self.left_out = 0
        """Anomalies beyond the first 500, which are counted and not kept."""
        self._newest: dict[tuple[str, str], int] = {}

    def add(self, found: Anomaly) -> None:
        """Add a finding."""
        key = (found.rule, found.subject)
        place = self._newest.get(key)
        if place is not None and found.last_ms - self.all[place].last_ms <= _SAME_S * 1000:
            before = self.all[place]
            # The text of an error stays that of the first line, because the first log is the one to read first.
            kept = before if found.log is not None else found
            self.all[place] = msgspec.structs.replace(kept, first_ms=before.first_ms, last_ms=found.last_ms)
        elif len(self.all) < _ANOMALIES_MAX:
            self._newest[key] = len(self.all)
            self.all.append(found)
        else:
            self.left_out += 1

    @property
    def stop(self) -> Anomaly | None:
        """Return the first anomaly that ends the attempt; a broken accounting takes precedence over all others."""
        stopping = [one for one in self.all if one.severity == "stop"]
        return min(stopping, key=lambda one: (one.rule != "identity", one.first_ms), default=None)
