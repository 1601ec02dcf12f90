"""Evaluates the series of a run: shards, venues, processes, funnel, and lines to plot. Needs pyarrow.

All sums over rows are computed by pyarrow, so twelve hours of samples (two million rows) take seconds. Counters in
the series begin again with their process: ``increases`` computes sums of them that no restart disturbs.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from arbshard.report.model import (
    FunnelStep,
    PairReport,
    Plot,
    PlotLine,
    ProcessReport,
    RuleCost,
    ShardReport,
    TimelineEntry,
    VenueReport,
)
from arbshard.series.reading import Series, open_series

_BUCKETS = 400
_LINES_MAX = 12
_PAIRS_SHOWN = 8
_GAP_BUCKETS = 3
"""A line is interrupted where so many buckets in a row have no value."""
_SPELL_MS = 5_000
_SPELLS_MAX = 300
_GROWTH_MS = 600_000
_HOUR_MS = 3_600_000
_VENUE_COUNTERS = ("frames", "reconnects", "stalls", "resyncs", "bad_frames", "refusals")
_FUNNEL = ("sampled", "gross", "net", "deep", "sound", "wanted", "barred", "sized", "decided", "approved")

SampledRow = dict[str, float | int | str | None]


class Sampled(NamedTuple):
    """Holds what was found; every part may be empty."""

    shards: dict[int, ShardReport]
    venues: dict[str, VenueReport]
    processes: tuple[ProcessReport, ...]
    pairs: tuple[PairReport, ...]
    funnel: tuple[FunnelStep, ...]
    rules: dict[str, RuleCost]
    """What workers refused and what was followed, without what risk refused."""
    spells: tuple[TimelineEntry, ...]
    """When the status was degraded, and by what."""
    plots: tuple[Plot, ...]
    rows: int
    skipped: int
    """Number of files that could not be read."""


def read_sampled(state_dir: Path, since_ms: int, currency: str) -> Sampled:
    """Read all series of an instance; a folder without any gives an empty result."""
    series = open_series(state_dir)
    reader = _Reader(series, since_ms)
    shards, venues = reader.recent("shards"), reader.recent("venues")
    processes, system, pairs = reader.recent("processes"), reader.recent("system"), reader.recent("pairs")
    funnel = reader.counted("funnel", ("pair",), _with_bps(_FUNNEL))
    followed = reader.counted("followed", ("reason",), ("followed", "won", "pnl"))
    refusals = reader.counted("refusals", ("source", "reason"), ("count",))
    counts = reader.counted("venues", ("venue",), _VENUE_COUNTERS)
    found = tuple(_pair(row) for row in funnel)
    span = _Span(system if system.num_rows else shards)
    return Sampled(
        shards={one.shard: one for one in _shards(shards)},
        venues={one.venue: one for one in _venues(venues, counts)},
        processes=tuple(_processes(processes)),
        pairs=tuple(sorted(found, key=lambda one: (-one.approved, -one.net, one.pair))),
        funnel=tuple(_funnel(funnel)),
        rules=_rules(refusals, followed),
        spells=tuple(_spells(system)),
        plots=tuple(_plots(span, system, shards, venues, processes, pairs, currency)),
        rows=reader.rows,
        skipped=series.skipped,
    )


def pair_since(state_dir: Path, base: str, since_ms: int) -> dict[str, float | None] | None:
    """Return how far the edges of one pair came since then, and the best net edge of a full order as ``best_bps``.

    It is None when the series hold nothing of that time; what is newer than the last segment is not in them yet.
    """
    reader = _Reader(open_series(state_dir), since_ms)
    counts = [row for row in reader.counted("funnel", ("pair",), _FUNNEL) if row["pair"] == base]
    pairs = reader.recent("pairs")
    edges = pairs.filter(pc.equal(pairs["pair"], base))["depth_edge_bps"] if pairs.num_rows else None
    if not counts:
        return None
    best = pc.max(edges).as_py() if edges is not None else None
    return {**{name: float(_count(counts[0], name)) for name in _FUNNEL}, "best_bps": best}


class _Reader:
    """Fetches tables of a series from a given time on."""

    def __init__(self, series: Series, since_ms: int) -> None:
        self._series = series
        self._since_ms = since_ms
        self.rows = 0

    def recent(self, name: str) -> pa.Table:
        """Return the rows of a table, in the order in which they were written."""
        table = self._series.table(name, since_ms=self._since_ms)
        self.rows += table.num_rows
        return table

    def counted(self, name: str, keys: Sequence[str], columns: Sequence[str]) -> list[SampledRow]:
        """Return by how much the counters of a table have grown, one row for each combination of ``keys``."""
        table = self._series.table(name)
        self.rows += table.num_rows
        return increases(table, keys, columns, self._since_ms)


def increases(
    table: pa.Table, keys: Sequence[str], columns: Sequence[str], since_ms: int
) -> list[SampledRow]:
    """Return by how much counters have grown since ``since_ms``, one row for each combination of ``keys``.

    A counter that is lower than in the row before, or whose run is another, began again at 0.
    """
    if not table.num_rows:
        return []
    by_key = [*((key, "ascending") for key in keys), ("at_ms", "ascending")]
    table = table.sort_by(by_key).combine_chunks()
    same = None
    for key in (*keys, "run"):
        equal = pc.fill_null(pc.equal(table[key].slice(1), table[key].slice(0, table.num_rows - 1)), False)
        same = equal if same is None else pc.and_(same, equal)
    assert same is not None
    grown = {key: table[key] for key in keys}
    counter = pc.fill_null(table[columns[0]], 0)
    follows = pc.and_(same, pc.greater_equal(counter.slice(1), counter.slice(0, table.num_rows - 1)))
    for column in columns:
        values = pc.fill_null(table[column], 0)
        step = pc.subtract(values.slice(1), values.slice(0, table.num_rows - 1))
        later = pc.if_else(follows, step, values.slice(1))
        chunks = [values.slice(0, 1), later]
        grown[column] = pa.chunked_array([part for one in chunks for part in one.chunks], type=values.type)
    recent = pa.table(grown).filter(pc.greater_equal(table["at_ms"], since_ms))
    summed = recent.group_by(list(keys)).aggregate([(column, "sum") for column in columns])
    named = [*keys, *columns]
    rows: list[SampledRow] = (
        summed.select([*keys, *(f"{one}_sum" for one in columns)]).rename_columns(named).to_pylist()
    )
    return rows


def _with_bps(columns: Sequence[str]) -> tuple[str, ...]:
    return (*columns, *(f"{one}_bps" for one in columns if one != "sampled"))


def _aggregated(table: pa.Table, key: str, wanted: Sequence[tuple[str, str]]) -> list[SampledRow]:
    rows: list[SampledRow] = table.group_by(key).aggregate(list(wanted)).sort_by(key).to_pylist()
    return [row for row in rows if row[key] is not None]


def _number(row: SampledRow, name: str) -> float | None:
    value = row[name]
    return float(value) if isinstance(value, int | float) else None


def _count(row: SampledRow, name: str) -> int:
    value = row[name]
    return round(value) if isinstance(value, int | float) else 0


# --- tables


def _shards(table: pa.Table) -> Iterator[ShardReport]:
    wanted = [
        *(("pairs", "max"), ("msg_s", "mean"), ("decision_p50_us", "approximate_median")),
        *(("decision_p99_us", "approximate_median"), ("decision_max_us", "max")),
        *(("approval_p99_us", "approximate_median"), ("loop_gap_max_us", "max"), ("restarts", "max")),
    ]
    for row in _aggregated(table, "shard", wanted):
        yield ShardReport(
            shard=_count(row, "shard"),
            starts=0,
            fenced=0,
            restarts=_count(row, "restarts_max"),
            pairs=_count(row, "pairs_max"),
            msg_s=_number(row, "msg_s_mean"),
            decision_p50_us=_number(row, "decision_p50_us_approximate_median"),
            decision_p99_us=_number(row, "decision_p99_us_approximate_median"),
            decision_max_us=_number(row, "decision_max_us_max"),
            approval_p99_us=_number(row, "approval_p99_us_approximate_median"),
            loop_gap_max_us=_number(row, "loop_gap_max_us_max"),
        )


def _venues(table: pa.Table, increased: Sequence[SampledRow]) -> Iterator[VenueReport]:
    grown = {str(row["venue"]): row for row in increased}
    wanted = [
        *(("msg_s", "mean"), ("oldest_ms", "max"), ("lag_ms", "approximate_median")),
        *(("answer_p50_us", "approximate_median"), ("answer_p99_us", "max")),
    ]
    for row in _aggregated(table, "venue", wanted):
        name = str(row["venue"])
        counts = {counter: _count(grown[name], counter) for counter in _VENUE_COUNTERS}
        yield VenueReport(
            venue=name,
            msg_s=_number(row, "msg_s_mean"),
            frames=counts["frames"],
            reconnects=counts["reconnects"],
            stalls=counts["stalls"],
            resyncs=counts["resyncs"],
            bad_frames=counts["bad_frames"],
            requests_refused=counts["refusals"],
            oldest_ms_max=_number(row, "oldest_ms_max"),
            lag_ms=_number(row, "lag_ms_approximate_median"),
            answer_p50_us=_number(row, "answer_p50_us_approximate_median"),
            answer_p99_us=_number(row, "answer_p99_us_max"),
        )


def _processes(table: pa.Table) -> Iterator[ProcessReport]:
    wanted = [("rss_mb", "max"), ("cpu_pct", "mean"), ("fds", "max")]
    for row in _aggregated(table, "name", wanted):
        mine = table.filter(pc.equal(table["name"], row["name"])).sort_by("at_ms")
        last = mine.slice(mine.num_rows - 1).to_pylist()[0]
        newest = mine.filter(pc.equal(mine["pid"], last["pid"])) if last["pid"] is not None else mine
        yield ProcessReport(
            name=str(row["name"]),
            rss_mb=_number(last, "rss_mb") or 0.0,
            rss_mb_max=_number(row, "rss_mb_max") or 0.0,
            rss_mb_per_h=_growth(newest),
            cpu_pct=_number(row, "cpu_pct_mean") or 0.0,
            fds=_count(last, "fds"),
            fds_max=_count(row, "fds_max"),
        )


def _growth(table: pa.Table) -> float | None:
    """Return the memory of the last quarter of the samples less that of the first one, per hour."""
    rows = table.num_rows
    if rows < 4 or table["at_ms"][rows - 1].as_py() - table["at_ms"][0].as_py() < _GROWTH_MS:
        return None
    first, last = table.slice(0, rows // 4), table.slice(rows - rows // 4)
    before, after = (pc.mean(part["rss_mb"]).as_py() for part in (first, last))
    if before is None or after is None:
        return None
    apart_ms = pc.mean(last["at_ms"]).as_py() - pc.mean(first["at_ms"]).as_py()
    return float((after - before) * _HOUR_MS / apart_ms)


def _pair(row: SampledRow) -> PairReport:
    counts = {name: _count(row, name) for name in _FUNNEL}
    sums = {name: _number(row, f"{name}_bps") or 0.0 for name in _FUNNEL[1:]}
    return PairReport(
        str(row["pair"]),
        **counts,
        gross_bps=_mean(sums["gross"], counts["gross"]),
        net_bps=_mean(sums["net"], counts["net"]),
        decided_bps=_mean(sums["decided"], counts["decided"]),
    )


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def _funnel(rows: Sequence[SampledRow]) -> Iterator[FunnelStep]:
    """Yield the steps before anything is sent; there are two units, which must not be compared with one another."""
    if not rows:
        return
    counts = {name: sum(_count(row, name) for row in rows) for name in _FUNNEL}
    sums = {name: sum(_number(row, f"{name}_bps") or 0.0 for row in rows) for name in _FUNNEL[1:]}
    counts["open"], sums["open"] = counts["wanted"] - counts["barred"], sums["wanted"] - sums["barred"]
    seconds, evaluations = "sampled seconds", "evaluations"
    for name, column, unit, why in (
        ("seen", "gross", seconds, f"the gap at the touch is above 0; {counts['sampled']:,} were looked at"),
        ("after fees", "net", seconds, "the fees of the entry on both venues"),
        ("after depth", "deep", seconds, "too little is offered, or it nets less than an entry must"),
        ("after data quality", "sound", seconds, "books or FX were old, broken or not fit to trade on"),
        ("worth an entry", "wanted", evaluations, "data were sound and the touch netted what an entry must"),
        ("after rules by direction", "open", evaluations, "a rule of the worker barred the direction"),
        ("after depth, in the worker", "sized", evaluations, "the books were not deep enough"),
        ("decided", "decided", evaluations, "another rule of the worker objected"),
        ("approved by risk", "approved", "entries", "risk refused them"),
    ):
        yield FunnelStep(name, unit, counts[column], _mean(sums[column], counts[column]), why=why)


def _rules(refusals: Sequence[SampledRow], followed: Sequence[SampledRow]) -> dict[str, RuleCost]:
    by_workers: dict[str, int] = {}
    for row in refusals:
        if row["source"] != "risk":
            reason = str(row["reason"])
            by_workers[reason] = by_workers.get(reason, 0) + _count(row, "count")
    rules = {reason: RuleCost(reason, by_workers=count) for reason, count in by_workers.items()}
    for row in followed:
        reason = str(row["reason"])
        rules[reason] = RuleCost(
            *(reason, 0, by_workers.get(reason, 0), _count(row, "followed"), _count(row, "won")),
            _count(row, "pnl"),
        )
    return rules


def _spells(system: pa.Table) -> Iterator[TimelineEntry]:
    """Yield each problem that the status showed, with its beginning and end."""
    if not system.num_rows:
        return
    # While a run begins or ends, its parts are missing one after the other; that is not a fault.
    has_problems = pc.greater(pc.utf8_length(pc.fill_null(system["problems"], "")), 0)
    shown = system.filter(pc.and_kleene(has_problems, pc.equal(system["state"], "degraded")))
    spells: dict[str, tuple[int, int]] = {}
    made = 0

    def entry(problem: str, first_ms: int, last_ms: int) -> TimelineEntry:
        return TimelineEntry(first_ms, last_ms, "warn", "status", "", f"degraded: {problem}")

    for at_ms, problems in zip(shown["at_ms"].to_pylist(), shown["problems"].to_pylist(), strict=True):
        for problem in problems.splitlines():
            before = spells.get(problem)
            if before is not None and at_ms - before[1] > _SPELL_MS:
                yield entry(problem, *before)
                before, made = None, made + 1
            if before is None and made + len(spells) >= _SPELLS_MAX:
                continue
            spells[problem] = (before[0] if before is not None else at_ms, at_ms)
    for problem, (first_ms, last_ms) in spells.items():
        yield entry(problem, first_ms, last_ms)


# --- plots


class _Span:
    """Divides the time that plots cover into buckets of about a pixel."""

    def __init__(self, table: pa.Table) -> None:
        self.first_ms = self.width_ms = 0
        if table.num_rows:
            self.first_ms, last_ms = (pc.min_max(table["at_ms"])[end].as_py() for end in ("min", "max"))
            self.width_ms = max(1000, -(-(last_ms - self.first_ms) // _BUCKETS))

    def lines(
        self, table: pa.Table, key: str, column: str, how: str, names: Sequence[str] | None = None
    ) -> tuple[PlotLine, ...]:
        """Return a line for each value of ``key`` ("": one line): its ``how`` (mean, max …) in each bucket."""
        if not table.num_rows or not self.width_ms:
            return ()
        bucket = pc.divide(pc.subtract(table["at_ms"], self.first_ms), self.width_ms)
        labels = table[key].cast(pa.string()) if key else pa.array([column] * table.num_rows, pa.string())
        given = pa.table({"name": labels, "bucket": bucket, "value": table[column].cast(pa.float64())})
        given = given.filter(pc.and_(pc.is_valid(given["value"]), pc.is_valid(given["name"])))
        rows = given.group_by(["name", "bucket"]).aggregate([("value", how)])
        rows = rows.sort_by([("name", "ascending"), ("bucket", "ascending")])
        points: dict[str, list[tuple[int, float]]] = {}
        columns = (rows["name"], rows["bucket"], rows[f"value_{how}"])
        for name, place, value in zip(*(one.to_pylist() for one in columns), strict=True):
            points.setdefault(name, []).append((place, value))
        shown = [name for name in points if names is None or name in names][:_LINES_MAX]
        return tuple(self._line(name, points[name]) for name in shown)

    def _line(self, name: str, points: Sequence[tuple[int, float]]) -> PlotLine:
        x: list[float | str] = []
        y: list[float | None] = []
        before: int | None = None
        for place, value in points:
            if before is not None and place - before > _GAP_BUCKETS:
                x.append(float(self.first_ms + (before + 1) * self.width_ms))
                y.append(None)
            x.append(float(self.first_ms + place * self.width_ms))
            y.append(float(f"{value:.6g}"))
            before = place
        return PlotLine(name, tuple(x), tuple(y))


def _plots(
    span: _Span,
    system: pa.Table,
    shards: pa.Table,
    venues: pa.Table,
    processes: pa.Table,
    pairs: pa.Table,
    currency: str,
) -> Iterator[Plot]:
    yield Plot(
        "sampled_equity", "Equity with open positions, sampled", currency, "lines",
        (*_named(span.lines(system, "", "equity", "min"), "lowest"),
         *_named(span.lines(system, "", "equity", "max"), "highest")), "result",
    )  # fmt: skip
    for table, key, section, wanted in (
        (
            shards,
            "shard",
            "shards",
            (
                ("decision_p50_us", "Receive to decision, median", "µs", "mean"),
                ("decision_p99_us", "Receive to decision, 99th percentile", "µs", "max"),
                ("approval_p99_us", "Decision to approval, 99th percentile", "µs", "max"),
                ("msg_s", "Evaluated book changes", "per second", "mean"),
                ("loop_gap_max_us", "Longest gap of the loop", "µs", "max"),
            ),
        ),
        (
            venues,
            "venue",
            "venues",
            (
                ("msg_s", "Messages", "per second", "mean"),
                ("oldest_ms", "Age of the oldest live book", "ms", "max"),
                ("lag_ms", "Lag by the venue's own clock", "ms", "max"),
                ("answer_p99_us", "Time to answer, 99th percentile", "µs", "max"),
            ),
        ),
        (
            processes,
            "name",
            "processes",
            (
                ("rss_mb", "Memory", "MB", "max"),
                ("cpu_pct", "CPU, of one core", "%", "mean"),
                ("fds", "Open descriptors", "descriptors", "max"),
            ),
        ),
    ):
        for column, title, unit, how in wanted:
            lines = span.lines(table, key, column, how)
            if key == "shard":
                lines = tuple(PlotLine(f"shard {one.name}", one.x, one.y) for one in lines)
            yield Plot(f"{section}_{column}", title, unit, "lines", lines, section)
    names = _best_pairs(pairs)
    for column, title in (
        ("depth_edge_bps", "Best net edge after depth, highest of each moment"),
        ("gap_bps", "Gap between the mid prices"),
    ):
        how = "max" if column == "depth_edge_bps" else "mean"
        yield Plot(
            f"pairs_{column}", title, "bps", "lines", span.lines(pairs, "pair", column, how, names), "pairs"
        )
    yield Plot("fx_rate", "FX rate", currency, "lines", span.lines(system, "", "fx_rate", "mean"), "pairs")


def _named(lines: Sequence[PlotLine], name: str) -> tuple[PlotLine, ...]:
    return tuple(PlotLine(name, one.x, one.y) for one in lines)


def _best_pairs(pairs: pa.Table) -> list[str]:
    if not pairs.num_rows:
        return []
    rows = _aggregated(pairs, "pair", [("depth_edge_bps", "max")])
    ranked = sorted((-(_number(row, "depth_edge_bps_max") or -1e9), str(row["pair"])) for row in rows)
    return [name for _, name in ranked[:_PAIRS_SHOWN]]
