import errno
import json

import pytest

from arbshard.series import segments
from arbshard.series.reading import Series
from arbshard.series.segments import SegmentWriter, SeriesBounds

HOUR_MS = 3_600_000
RUN = 1_700_000_000_000
AMPLE = SeriesBounds(keep_ms=48 * HOUR_MS, keep_bytes=10**9)


def writer_in(folder, bounds=AMPLE, run=RUN):
    writer = SegmentWriter(folder, run, bounds)
    writer.write_run(json.dumps({"run": run}).encode())
    return writer


def files_in(folder, table="system"):
    return sorted(path.name for path in (folder / table).iterdir())


def test_a_segment_is_one_file_per_table_that_has_rows(tmp_path):
    writer = writer_in(tmp_path)
    writer.add("system", RUN + 1, {"state": "running", "equity": 1.5})
    writer.add("system", RUN + 2, {"state": "running"})
    writer.add("pairs", RUN + 3, {"pair": "BTC", "gap_bps": -1.0})
    assert writer.pending == 3
    writer.end_segment(RUN + 300_000)
    assert files_in(tmp_path) == [f"{RUN + 1}.parquet"]
    assert files_in(tmp_path, "pairs") == [f"{RUN + 3}.parquet"]
    assert not (tmp_path / "venues").exists()
    assert (writer.written, writer.pending, writer.failures) == (2, 0, 0)
    assert writer.kept_bytes == sum(path.stat().st_size for path in tmp_path.glob("*/*.parquet"))


def test_nothing_is_written_over_when_the_wall_clock_was_set_back(tmp_path):
    writer = writer_in(tmp_path)
    for state in ("first", "second"):
        writer.add("system", RUN, {"state": state})
        writer.end_segment(RUN)
    assert files_in(tmp_path) == [f"{RUN}.parquet", f"{RUN + 1}.parquet"]
    assert Series(tmp_path).table("system")["state"].to_pylist() == ["first", "second"]


def test_a_full_table_is_written_before_its_segment_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "ROWS_MAX", 10)
    writer = writer_in(tmp_path)
    for number in range(25):
        writer.add("pairs", RUN + number, {"pair": "BTC"})
    assert writer.pending == 5
    assert files_in(tmp_path, "pairs") == [f"{RUN}.parquet", f"{RUN + 10}.parquet"]


def test_the_oldest_segments_are_removed_by_time(tmp_path):
    writer = writer_in(tmp_path, SeriesBounds(keep_ms=HOUR_MS, keep_bytes=10**9))
    for minute in (0, 30, 59, 61):
        at_ms = RUN + minute * 60_000
        writer.add("system", at_ms, {})
        writer.add("shards", at_ms, {})
        writer.end_segment(at_ms)
    expected = [f"{RUN + minute * 60_000}.parquet" for minute in (30, 59, 61)]
    assert files_in(tmp_path) == expected
    assert files_in(tmp_path, "shards") == expected


def test_the_oldest_segments_of_all_tables_are_removed_by_size(tmp_path):
    writer = writer_in(tmp_path)
    for number, table in enumerate(("system", "pairs", "system", "pairs")):
        writer.add(table, RUN + number, {})
        writer.end_segment(RUN)
    size = writer.kept_bytes
    small = writer_in(tmp_path, AMPLE._replace(keep_bytes=size - 1))
    small.end_segment(RUN)
    assert files_in(tmp_path) == [f"{RUN + 2}.parquet"]
    assert len(files_in(tmp_path, "pairs")) == 2
    assert small.kept_bytes < size


def test_a_file_that_is_not_ours_is_never_removed(tmp_path):
    writer = writer_in(tmp_path, SeriesBounds(keep_ms=0, keep_bytes=0))
    (tmp_path / "system").mkdir()
    for name in ("notes.txt", "1x.parquet", ".1.parquet.partial.bak"):
        (tmp_path / "system" / name).write_text("mine")
    (tmp_path / "1.parquet").write_text("mine")
    writer.add("system", RUN, {})
    writer.end_segment(RUN + HOUR_MS)
    assert files_in(tmp_path) == [".1.parquet.partial.bak", "1x.parquet", "notes.txt"]
    assert (tmp_path / "1.parquet").exists()


def test_what_a_killed_writer_left_half_written_is_removed(tmp_path):
    (tmp_path / "pairs").mkdir()
    left = tmp_path / "pairs" / ".123.parquet.partial"
    left.write_bytes(b"PAR1")
    writer_in(tmp_path)
    assert not left.exists()


def test_descriptions_of_runs_go_with_their_last_segment(tmp_path):
    bounds = SeriesBounds(keep_ms=HOUR_MS, keep_bytes=10**9)
    for hour in (0, 1, 2):
        run = RUN + hour * HOUR_MS
        writer = writer_in(tmp_path, bounds, run)
        writer.add("system", run + 1, {})
        writer.end_segment(run)
    assert files_in(tmp_path, "runs") == [f"{RUN + hour * HOUR_MS}.json" for hour in (1, 2)]


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_full_disk_costs_the_segment_and_is_counted(tmp_path, monkeypatch, call):
    writer = writer_in(tmp_path)
    writer.add("system", RUN, {})
    writer.add("pairs", RUN, {})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(segments.os, call, full)
        writer.end_segment(RUN)
    assert (writer.failures, writer.lost_rows, writer.pending) == (2, 2, 0)
    assert writer.last_error == "a segment of the series is lost: No space left on device"
    assert not list(tmp_path.glob("*/.*.partial"))
    writer.add("system", RUN + 5, {"state": "again"})
    writer.end_segment(RUN + 5)
    assert Series(tmp_path).table("system")["state"].to_pylist()[-1] == "again"
    assert writer.failures == 2


def test_nothing_is_written_into_the_room_that_the_ledger_may_need(tmp_path):
    writer = writer_in(tmp_path, AMPLE._replace(free_bytes_min=2**62))
    writer.add("system", RUN, {})
    writer.end_segment(RUN)
    assert files_in(tmp_path) == []
    assert (writer.failures, writer.lost_rows) == (1, 1)
    assert "which the ledger may need" in writer.last_error


def test_a_folder_that_cannot_be_made_costs_series_only(tmp_path):
    blocked = tmp_path / "series"
    blocked.write_text("a file is in the way")
    writer = writer_in(blocked)
    writer.add("system", RUN, {})
    writer.end_segment(RUN)
    assert writer.failures == 3  # the description, the segment, and the removal of old ones
    assert writer.lost_rows == 1
