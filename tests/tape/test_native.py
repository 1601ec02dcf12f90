"""Files of a venue's own messages become segments of a tape, with the times that stand in them."""

import gzip

import msgspec
import pytest

from arbshard.tape import TapeError
from arbshard.tape.compaction import compact
from arbshard.tape.format import SegmentInfo
from arbshard.tape.native import NativeFile, import_native
from arbshard.tape.reading import Tape, TapeSegment, verify

pytestmark = pytest.mark.needs("analysis", "tape")

UPBIT = (
    b'{"ty":"orderbook","cd":"KRW-BTC","tms":1618678262640,"tas":1,"tbs":1,'
    b'"obu":[{"ap":127.0,"bp":126.0,"as":2.5,"bs":6.25}],"st":"SNAPSHOT"}'
)
TRADE = b'{"ty":"trade","cd":"KRW-BTC","tms":1618678262712,"tp":127.0,"tv":46.5}'


def change(first, last, price):
    return (
        b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1618678262700,"s":"BTCUSDT",'
        b'"U":%d,"u":%d,"b":[["%s","1.5"]],"a":[]}}' % (first, last, price)
    )


REST = b'{"lastUpdateId":10,"bids":[["100.0","1.0"]],"asks":[["101.0","1.0"]]}'


def rows_of(folder):
    return [row for _, row in Tape(folder).rows()]


@pytest.fixture
def files(tmp_path):
    upbit, binance, rest = tmp_path / "upbit.tsv", tmp_path / "binance.tsv", tmp_path / "rest.tsv"
    upbit.write_bytes(b"1618678263.105828\t" + UPBIT + b"\n1618678263.2\t" + TRADE + b"\n")
    binance.write_bytes(
        b"1618678263.1\t"
        + change(9, 11, b"100.5")
        + b"\n\n1618678263.15\t"
        + change(12, 12, b"99.5")
        + b"\r\n"
    )
    rest.write_bytes(b"1618678263.12\tsymbol=BTCUSDT&limit=1000\t" + REST + b"\n")
    return [NativeFile("upbit", upbit), NativeFile("binance", binance), NativeFile("binance", rest)]


def test_files_become_one_recording_in_the_order_of_their_times(files, tmp_path):
    done = import_native(files, tmp_path / "tape", None)
    assert (done.rows, done.frames, done.books) == (9, {"upbit": 2, "binance": 2}, {"upbit": 1, "binance": 2})
    rows = rows_of(tmp_path / "tape")
    assert [(row.venue, row.kind, row.wall_ns - 1618678263_000_000_000) for row in rows] == [
        ("binance", "connect", 100_000_000),
        ("binance", "frame", 100_000_000),
        ("upbit", "connect", 105_828_000),
        ("upbit", "frame", 105_828_000),
        ("binance", "rest", 120_000_000),
        ("binance", "frame", 150_000_000),
        ("binance", "disconnect", 150_000_000),
        ("upbit", "frame", 200_000_000),
        ("upbit", "disconnect", 200_000_000),
    ]
    assert all(row.at_ns == row.wall_ns for row in rows)
    assert rows[3].data == UPBIT
    assert rows[1].connection == "import-binance.tsv"
    report = verify(Tape(tmp_path / "tape"))
    assert (report.faults, report.open_segments) == ([], 0)


def test_they_compact_like_a_recording(files, tmp_path):
    import_native(files, tmp_path / "tape", None)
    report = compact(Tape(tmp_path / "tape"), tmp_path / "parquet", 1)
    assert not report.refused
    assert {str(path.relative_to(tmp_path / "parquet")): rows for path, rows in report.files.items()} == {
        "upbit/book_snapshot_1/2021-04-17/KRW-BTC.parquet": 1,
        "upbit/quotes/2021-04-17/KRW-BTC.parquet": 1,
        "binance/incremental_book_L2/2021-04-17/BTCUSDT.parquet": 4,
    }


def test_pairs_and_rules_are_those_of_another_tape(files, tmp_path):
    described = SegmentInfo(
        recording=1, segment=0, first_row=0, instance="x", version="0", boot="b",
        universe=msgspec.Raw(b'{"pairs":[]}'), config=msgspec.Raw(b'{"name":"x"}'),
    )  # fmt: skip
    import_native(files, tmp_path / "tape", described)
    info = TapeSegment(Tape(tmp_path / "tape").paths[0]).info
    assert (bytes(info.universe), bytes(info.config)) == (b'{"pairs":[]}', b'{"name":"x"}')
    assert (info.instance, info.recording) == ("import", 1618678263100)


def test_lines_without_a_time_have_that_of_the_venue_and_never_fall(tmp_path):
    path = tmp_path / "lines.jsonl.gz"
    with gzip.open(path, "wb") as file:
        file.write(UPBIT + b"\n" + TRADE + b"\n" + UPBIT.replace(b"262640", b"261000") + b"\n")
    import_native([NativeFile("upbit", path)], tmp_path / "tape", None)
    frames = [row for row in rows_of(tmp_path / "tape") if row.kind == "frame"]
    assert [row.at_ns for row in frames] == [1618678262640_000_000] * 3


@pytest.mark.parametrize(
    ("content", "venue", "why"),
    [
        (b"", "upbit", "the files hold no message"),
        (b"yesterday\t{}\n", "upbit", "line 1: does not begin with a time in seconds since 1970"),
        (b"-1\t{}\n", "upbit", "line 1: does not begin with a time"),
        (b"1618678263.1\t{}\n1618678263.1\tnonsense\n", "upbit", "line 2: the message is not a JSON"),
        (TRADE + b"\n", "upbit", "line 1: neither the line nor its message has a time"),
        (
            b"1618678263.1\tsymbol=BTCUSDT\t{}\n",
            "upbit",
            "line 1: a line with a query must be upbit's book of one",
        ),
        (
            b"1618678263.1\tlimit=5\t{}\n",
            "binance",
            "line 1: a line with a query must be binance's book of one",
        ),
        (b"1618678263.1\t{}\n", "nowhere", "nowhere:"),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path, content, venue, why):
    path = tmp_path / "lines"
    path.write_bytes(content)
    with pytest.raises(TapeError, match=why):
        import_native([NativeFile(venue, path)], tmp_path / "tape", None)


def test_the_same_files_are_not_imported_twice(files, tmp_path):
    import_native(files, tmp_path / "tape", None)
    with pytest.raises(TapeError, match="already holds a recording that begins at the same time"):
        import_native(files, tmp_path / "tape", None)
    with pytest.raises(TapeError, match="cannot be read"):
        import_native([NativeFile("upbit", tmp_path / "missing")], tmp_path / "tape2", None)
