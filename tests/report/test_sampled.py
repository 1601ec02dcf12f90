"""What the series of a run show: counters across restarts, thinned lines, and the funnel before anything is sent."""

import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa

from arbshard.report.build import build
from arbshard.report.document import document_of
from arbshard.report.markdown import render_markdown
from arbshard.report.sampled import increases, read_sampled
from arbshard.report.sources import read_sources
from arbshard.series.segments import SegmentWriter, SeriesBounds
from support import world as w

RUN = w.NOW_MS
HOUR_MS = 3_600_000


@pytest.fixture
def write(run_dir):
    """Writes rows of (table, seconds since the start, columns) as one segment each time."""

    def write_it(*rows, run=RUN):
        writer = SegmentWriter(run_dir / "series", run, SeriesBounds(10 * HOUR_MS, 10**9))
        writer.write_run(b"{}")
        for table, second, columns in rows:
            writer.add(table, run + round(second * 1000), columns)
        writer.end_segment(run + HOUR_MS)
        assert not writer.failures, writer.last_error

    return write_it


def sampled(run_dir, since_ms=0):
    return read_sampled(run_dir, since_ms, "KRW")


def counters(*rows):
    names = ("at_ms", "run", "reason", "count")
    return pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})


@pytest.mark.parametrize(
    ("rows", "since_ms", "grown"),
    [
        (((1, 1, "A", 5), (2, 1, "A", 8)), 0, {"A": 8}),
        (((1, 1, "A", 5), (2, 1, "A", 2), (3, 1, "A", 4)), 0, {"A": 9}),
        (((1, 1, "A", 5), (2, 2, "A", 7)), 0, {"A": 12}),
        (((1, 1, "A", 5), (2, 1, "B", 7), (3, 1, "A", 6)), 0, {"A": 6, "B": 7}),
        (((3, 1, "A", 9), (1, 1, "A", 5)), 2, {"A": 4}),
        (((1, 1, "A", None), (2, 1, "A", 3)), 0, {"A": 3}),
    ],
)
def test_counters_grow_across_restarts(rows, since_ms, grown):
    found = increases(counters(*rows), ("reason",), ("count",), since_ms)
    assert {row["reason"]: row["count"] for row in found} == grown


def test_a_sum_that_falls_is_no_restart_of_its_counter():
    """Only the count says that a process began anew: what followed entries brought may fall."""
    table = pa.table(
        {"at_ms": [1, 2], "run": [1, 1], "reason": ["A", "A"], "followed": [1, 2], "pnl": [50.0, -30.0]}
    )
    (row,) = increases(table, ("reason",), ("followed", "pnl"), 0)
    assert (row["followed"], row["pnl"]) == (2, -30.0)


def test_no_series_give_an_empty_result(run_dir):
    (run_dir / "series").mkdir()
    found = sampled(run_dir)
    assert (found.rows, found.shards, found.funnel, found.processes) == (0, {}, (), ())
    assert not any(plot.lines for plot in found.plots)


def test_the_funnel_has_two_units(run_dir, write):
    counts = {"sampled": 100, "gross": 50, "net": 20, "deep": 10, "sound": 8}
    counts |= {"wanted": 40, "barred": 10, "sized": 20, "decided": 5, "approved": 4}
    sums = {f"{name}_bps": 30.0 * count for name, count in counts.items() if name != "sampled"}
    write(("funnel", 1, {"pair": "BTC", **counts, **sums}), ("funnel", 1, {"pair": "ETH", **counts, **sums}))
    found = sampled(run_dir)
    steps = {step.name: (step.count, step.bps) for step in found.funnel}
    assert steps["seen"] == (100, 30.0)
    assert steps["after data quality"] == (16, 30.0)
    assert steps["after rules by direction"] == (60, 30.0)
    assert steps["approved by risk"] == (8, 30.0)
    assert len({step.unit for step in found.funnel}) == 3
    assert [(one.pair, one.gross_bps) for one in found.pairs] == [("BTC", 30.0), ("ETH", 30.0)]


def test_what_the_rules_cost_is_of_all_runs(run_dir, write):
    write(
        ("followed", 1, {"reason": "SPREAD_USUAL", "followed": 4, "won": 1, "pnl": -900.0}),
        ("refusals", 1, {"source": "worker-0", "reason": "BOOK_STALE", "count": 7}),
        ("refusals", 1, {"source": "risk", "reason": "PAIR_BUSY", "count": 3}),
    )
    write(
        ("followed", 1, {"reason": "SPREAD_USUAL", "followed": 2, "won": 2, "pnl": 100.0}),
        ("refusals", 1, {"source": "worker-1", "reason": "BOOK_STALE", "count": 2}),
        run=RUN + HOUR_MS,
    )
    rules = {one.reason: one for one in build(read_sources(run_dir), RUN).rules}
    usual = rules["SPREAD_USUAL"]
    assert (usual.followed, usual.won, usual.pnl) == (6, 3, -800)
    assert rules["BOOK_STALE"].by_workers == 9
    assert "PAIR_BUSY" not in rules  # risk's refusals are counted in the ledger, which has none


def test_health_over_time(run_dir, write):
    shard = {
        "shard": 0,
        "pairs": 2,
        "msg_s": 100.0,
        "restarts": 1,
        "decision_p99_us": 500.0,
        "decision_max_us": 800.0,
    }
    rows = [("shards", second, {**shard, "decision_p99_us": 500.0 + second}) for second in range(3)]
    rows += [
        (
            "venues",
            second,
            {"venue": w.HOME, "msg_s": 10.0, "frames": 10 * second, "stalls": second, "lag_ms": 4.0},
        )
        for second in range(3)
    ]
    for minute in range(61):
        memory = {
            "name": "risk",
            "pid": 7,
            "rss_mb": 100.0 + minute / 60,
            "cpu_pct": 5.0,
            "fds": 20 + minute % 2,
        }
        rows.append(("processes", 60 * minute, memory))
    write(*rows)
    report = build(read_sources(run_dir), RUN)
    (one,) = report.shards
    assert (one.starts, one.restarts, one.decision_p99_us, one.decision_max_us) == (1, 1, 501.0, 800.0)
    venue = {found.venue: found for found in report.venues}[w.HOME]
    assert (venue.stalls, venue.lag_ms, venue.orders) == (2, 4.0, 7)
    (process,) = report.processes
    assert process.rss_mb_per_h == pytest.approx(1.0)
    assert (process.rss_mb, process.fds, process.fds_max) == (101.0, 20, 21)
    assert "101.0" in render_markdown(document_of(report))


def test_counters_of_venues_begin_at_the_time_that_is_asked_for(run_dir, write) -> None:
    write(
        *(("venues", second, {"venue": w.HOME, "msg_s": 1.0, "frames": 100 + second}) for second in range(5))
    )
    assert sampled(run_dir).venues[w.HOME].frames == 104
    assert sampled(run_dir, since_ms=RUN + 3000).venues[w.HOME].frames == 2


def test_problems_are_spells_on_the_time_line(run_dir, write):
    write(
        *(("system", second, {"state": "degraded", "problems": "upbit: silent"}) for second in (1, 2, 3)),
        ("system", 4, {"state": "running", "problems": ""}),
        ("system", 70, {"state": "draining", "problems": "risk is ended"}),
        *(
            ("system", second, {"state": "degraded", "problems": "upbit: silent\nrisk: halted"})
            for second in (60, 61)
        ),
    )
    spells = sorted((one.text, one.first_ms - RUN, one.last_ms - RUN) for one in sampled(run_dir).spells)
    said = [one.text for one in build(read_sources(run_dir), RUN).findings]
    assert "3 spells of a degraded status" in said[-1]
    assert spells == [
        ("degraded: risk: halted", 60_000, 61_000),
        ("degraded: upbit: silent", 1000, 3000),
        ("degraded: upbit: silent", 60_000, 61_000),
    ]


def test_a_long_series_is_thinned_and_keeps_its_peak(run_dir, write):
    write(*(("system", second, {"equity": 500.0 if second == 1234 else 1.0}) for second in range(6000)))
    plot = next(plot for plot in sampled(run_dir).plots if plot.name == "sampled_equity")
    assert [line.name for line in plot.lines] == ["lowest", "highest"]
    assert all(len(line.x) <= 402 for line in plot.lines)
    assert [max(line.y) for line in plot.lines] == [1.0, 500.0]


def test_a_pause_breaks_the_line(run_dir, write):
    write(*(("system", second, {"fx_rate": 1400.0}) for second in (0, 1, 2, 300, 301)))
    line = next(plot for plot in sampled(run_dir).plots if plot.name == "fx_rate").lines[0]
    assert line.y == (1400.0, 1400.0, 1400.0, None, 1400.0, 1400.0)


def test_a_broken_file_is_said(run_dir, write):
    write(("system", 1, {"equity": 1.0}))
    (run_dir / "series" / "system" / "5.parquet").write_bytes(b"no parquet")
    notes = build(read_sources(run_dir), RUN).notes
    assert any("1 files of the series cannot be read" in one for one in notes)


def test_without_pyarrow_the_report_says_why_there_are_no_series(run_dir, write, monkeypatch):
    write(("system", 1, {"equity": 1.0}))
    monkeypatch.setattr("arbshard.report.sources.find_spec", lambda _: None)
    (note, *_) = build(read_sources(run_dir), RUN).notes
    assert "pip install pyarrow" in note
