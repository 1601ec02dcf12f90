"""The writer of the series beside a real run: killed, without a disk, and without pyarrow."""

import resource
import time

import pytest

from arbshard.series.reading import open_series
from arbshard.series.schemas import SCHEMAS
from support.instance import SMALL, Instance

pytestmark = [pytest.mark.integration, pytest.mark.needs("analysis"), pytest.mark.timeout(120)]

FAST = SMALL + "[sampling]\nevery_s = 0.2\nsegment_s = 1.0\n"


def segments_of(instance, table="system"):
    return {path.name for path in (instance.state / "series" / table).glob("*.parquet")}


def until_segments(instance, count):
    return instance.wait_for(lambda: len(found := segments_of(instance)) >= count and found)


def test_a_killed_writer_costs_one_segment_and_the_run_stays_clean(tmp_path):
    with Instance(tmp_path, FAST) as run:
        run.start()
        run.until_running()
        until_segments(run, 2)
        pid = run.kill("series")
        before = segments_of(run)
        run.until_replaced("series", pid)
        until_segments(run, len(before) + 2)
        # Decisions after the last rows of the killed writer are in no series; on a busy machine these are several.
        lost = run.status()["portfolio"]["entries"]
        status = run.until(
            lambda status: (
                status["state"] == "running"
                and status["portfolio"]["exits"] > 0
                and status["portfolio"]["entries"] > lost + 1
            )
        )
        assert (status["state"], status["restarts"], status["errors"]) == ("running", 0, 0), status
        assert status["series"]["restarts"] == 1
        assert status["series"]["samples"] > 0
        assert "series" in run.alerts()
        ended = run.stop()
        assert ended.code == 0, ended
        run.verify()
    assert not run.leftovers()

    series = open_series(run.state)
    (info,) = series.runs()
    assert (info.mode, info.data, info.shards, len(info.pairs)) == ("paper", "sim", 2, 8)
    assert before <= segments_of(run)  # the kill has damaged nothing of what was written
    tables = {name: series.table(name) for name in SCHEMAS}
    assert series.skipped == 0
    for name, table in tables.items():
        assert table.num_rows or name in ("followed", "refusals"), name
        assert set(table["run"].to_pylist()) <= {info.run}, name
    rows = tables["system"].to_pylist()
    assert [row["at_ms"] for row in rows] == sorted(row["at_ms"] for row in rows)
    last = rows[-1]
    assert (last["state"], last["open"], last["problems"]) == ("draining", 0, "")
    assert last["exits"] == len(run.events("PositionClosed")) > 0
    assert {row["name"] for row in tables["processes"].to_pylist()} >= {
        "supervisor",
        "risk",
        "worker-0",
        "series",
        "sim",
    }
    assert {row["pair"] for row in tables["pairs"].to_pylist()} == set(info.pairs)
    assert any(row["gap_bps"] is not None for row in tables["pairs"].to_pylist())
    assert any(row["decision_p99_us"] for row in tables["shards"].to_pylist())
    funnels = {}
    for row in tables["funnel"].to_pylist():
        counts = [
            row[name] for name in ("sampled", "gross", "net", "deep", "sound", "wanted", "sized", "decided")
        ]
        assert counts[:5] == sorted(counts[:5], reverse=True), row
        assert counts[5:] == sorted(counts[5:], reverse=True), row
        earlier = funnels.get(row["pair"], counts)
        assert all(now >= then for now, then in zip(counts, earlier, strict=True)), (
            row
        )  # over the kill as well
        funnels[row["pair"]] = counts
    assert sum(counts[-1] for counts in funnels.values()) >= last["entries"] - lost - 1 > 0


@pytest.mark.nightly  # tests/series loses segments without a run
def test_a_disk_that_takes_nothing_costs_series_only_and_is_seen(tmp_path):
    with Instance(tmp_path, FAST) as run:
        run.start()
        run.until_running()
        until_segments(run, 1)
        pid = run.pid_of("series")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        status = run.until(lambda status: status["series"]["lost_rows"] > 0)
        assert status["state"] == "running", status["problems"]
        assert status["series"]["trouble"].startswith("a segment of the series is lost: "), status["series"]
        before = segments_of(run)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until_segments(run, len(before) + 1)
        assert run.pid_of("series") == pid
        assert "rows lost" in run.do("status")
        ended = run.stop()
        assert ended.code == 0, ended
    assert not run.leftovers()
    series = open_series(run.state)
    assert series.table("system").num_rows
    assert series.skipped == 0


@pytest.mark.nightly  # tests/test_optional.py names what is not installed
def test_without_pyarrow_a_run_keeps_no_series_and_says_so(tmp_path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text('import sys\nsys.modules["pyarrow"] = None\n')
    with Instance(tmp_path, FAST, environment={"PYTHONPATH": str(blocked)}) as run:
        ended = run.run("--duration", "0.5")
        assert ended.code == 0, ended
        assert "no series are kept: pyarrow is not installed (pip install pyarrow)" in ended.out + ended.err
        assert not (run.state / "series").exists()
        assert run.log("supervisor", "child ended") == []


def test_a_writer_ends_with_its_supervisor(tmp_path):
    with Instance(tmp_path, FAST) as run:
        run.start()
        run.until_running()
        until_segments(run, 1)
        writer = next(one for one in run.remember_children() if one.pid == run.pid_of("series"))
        run.process.kill()
        run.process.wait(10)
        writer.wait(20)
        assert run.log("series", "the supervisor is dead")
        assert time.time() * 1000 >= max(open_series(run.state).table("system")["at_ms"].to_pylist())
