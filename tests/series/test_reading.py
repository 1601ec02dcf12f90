import random

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arbshard.series.reading import RunInfo, open_series
from arbshard.series.schemas import SCHEMAS
from arbshard.series.segments import SegmentWriter, SeriesBounds

RUN = 1_700_000_000_000
INFO = RunInfo(
    run=RUN,
    version="0",
    name="t",
    mode="paper",
    data="sim",
    regime="band",
    seed=1,
    shards=2,
    pairs=("BTC",),
    config="{}",
)


@pytest.fixture
def writer(tmp_path):
    return SegmentWriter(tmp_path / "series", RUN, SeriesBounds(10**12, 10**12))


@pytest.fixture
def kept(writer, tmp_path):
    """Three segments of ten samples each, one per second."""
    for segment in range(3):
        for number in range(10):
            at_ms = RUN + (segment * 10 + number) * 1000
            writer.add("system", at_ms, {"state": "running", "equity": float(number), "entries": segment})
        writer.end_segment(RUN)
    return open_series(tmp_path)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_table_without_files_is_empty_and_has_its_columns(tmp_path, name):
    found = open_series(tmp_path / "nothing here").table(name)
    assert found.num_rows == 0
    assert found.schema == SCHEMAS[name]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_table_comes_back_as_it_was_written(writer, tmp_path, name):
    value = {pa.int64(): 7, pa.float64(): 1.25, pa.string(): "word"}
    full = {field.name: value[field.type] for field in SCHEMAS[name] if field.name not in ("at_ms", "run")}
    writer.add(name, RUN + 1, full)
    writer.add(name, RUN + 2, {})
    writer.end_segment(RUN)
    first, second = open_series(tmp_path).table(name).to_pylist()
    assert first == {"at_ms": RUN + 1, "run": RUN, **full}
    assert second == {"at_ms": RUN + 2, "run": RUN, **dict.fromkeys(full)}


def test_a_name_that_is_no_table_is_a_mistake_of_the_caller(kept):
    with pytest.raises(KeyError):
        kept.table("sistem")


@pytest.mark.parametrize(
    ("since", "until", "seconds"),
    [
        (None, None, range(30)),
        (12_000, None, range(12, 30)),
        (None, 12_000, range(12)),
        (9_001, 20_001, range(10, 21)),
        (30_000, None, range(0)),
        (None, 0, range(0)),
    ],
)
def test_rows_of_a_time_are_from_its_start_on_and_before_its_end(kept, since, until, seconds):
    found = kept.table(
        "system", RUN + since if since is not None else None, RUN + until if until is not None else None
    )
    assert found["at_ms"].to_pylist() == [RUN + second * 1000 for second in seconds]


def test_rows_of_one_run(kept, tmp_path):
    later = SegmentWriter(tmp_path / "series", RUN + 60_000, SeriesBounds(10**12, 10**12))
    later.add("system", RUN + 60_000, {})
    later.end_segment(RUN + 60_000)
    assert kept.table("system").num_rows == 31
    assert kept.table("system", run=RUN + 60_000).num_rows == 1
    assert kept.table("system", run=5).num_rows == 0


def test_torn_and_foreign_files_are_passed_over_and_counted(kept, tmp_path):
    folder = tmp_path / "series" / "system"
    whole = (folder / f"{RUN}.parquet").read_bytes()
    (folder / "1.parquet").write_bytes(whole[:-20])
    (folder / "2.parquet").write_bytes(b"")
    pq.write_table(pa.table({"at_ms": ["no number"]}), folder / "3.parquet")
    pq.write_table(pa.table({"price": [1.0]}), folder / "4.parquet")
    pq.write_table(pa.table({"at_ms": [1, None], "run": [1, 1]}), folder / "5.parquet")
    (folder / "6x.parquet").write_bytes(whole)
    (folder / "notes.txt").write_text("mine")
    for _ in range(2):  # each is counted once
        assert kept.table("system").num_rows == 30
        assert kept.skipped == 6


def test_a_damaged_file_never_ends_the_reader(kept, tmp_path):
    """Whatever a disk does to a file, it is read as something or passed over."""
    folder = tmp_path / "series" / "system"
    whole = (folder / f"{RUN}.parquet").read_bytes()
    chance = random.Random(5)
    for number in range(60):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (folder / f"{number}.parquet").write_bytes(damaged)
    assert kept.table("system", since_ms=RUN - 5).num_rows >= 30
    assert kept.skipped > 10


def test_a_file_of_an_older_version_lacks_columns_and_one_of_a_newer_has_more(kept, tmp_path):
    folder = tmp_path / "series" / "system"
    pq.write_table(pa.table({"at_ms": [1], "run": [RUN]}), folder / "1.parquet")
    pq.write_table(
        pa.table({"at_ms": [2], "run": [RUN], "state": ["running"], "mood": ["good"]}), folder / "2.parquet"
    )
    old, new, *_ = kept.table("system").to_pylist()
    assert (old["at_ms"], old["state"], old["equity"]) == (1, None, None)
    assert (new["at_ms"], new["state"]) == (2, "running")
    assert "mood" not in new
    assert kept.skipped == 0


def test_runs_are_listed_and_an_unreadable_description_is_counted(writer, tmp_path):
    series = open_series(tmp_path)
    assert series.runs() == []
    writer.write_run(msgspec.json.encode(INFO))
    (tmp_path / "series" / "runs" / "5.json").write_text("{")
    assert series.runs() == [INFO]
    assert series.skipped == 1
