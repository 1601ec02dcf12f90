"""Parquet by venue, type, day and market: exact numbers, Tardis' columns, and never less than there was."""

import gzip
import json
from decimal import Decimal

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.tape import TapeError
from arbshard.tape.compaction import compact, import_csv
from arbshard.tape.format import Row, SegmentInfo
from arbshard.tape.reading import Tape
from arbshard.tape.tables import plain, read_csv, write_csv
from arbshard.tape.writing import TapeBounds, TapeWriter
from arbshard.venues.registry import ADAPTERS, get_adapter

pytestmark = pytest.mark.needs("analysis", "tape")

DAY_NS = 86_400_000_000_000
NOON_NS = 1_795_780_800_000_000_000
"""12:00 of 27 November 2026."""


def upbit(bid, ask, size="0.00000001", at_ms=1_795_824_000_123):
    unit = f'{{"ap":{ask},"bp":{bid},"as":{size},"bs":{size}}}'
    padding = '{"ap":0,"bp":0,"as":0,"bs":0}'
    return (
        f'{{"ty":"orderbook","cd":"KRW-BTC","tms":{at_ms},"tas":1.0,"tbs":1.0,"obu":[{unit},{padding}],'
        f'"lv":0,"st":"REALTIME"}}'
    ).encode()


def binance(number, bids, asks, symbol="btcusdt"):
    data = {"lastUpdateId": number, "bids": bids, "asks": asks}
    return json.dumps({"stream": f"{symbol}@depth20@100ms", "data": data}, separators=(",", ":")).encode()


def change(first, last, bids=(), asks=()):
    data = {
        "e": "depthUpdate",
        "E": 1_795_824_000_500,
        "s": "BTCUSDT",
        "U": first,
        "u": last,
        "b": bids,
        "a": asks,
    }
    return json.dumps({"stream": "btcusdt@depth@100ms", "data": data}, separators=(",", ":")).encode()


class Recorded:
    """A tape that is made row by row, one second apart."""

    def __init__(self, folder, wall_ns=NOON_NS, recording=1):
        def describe(segment, first_row):
            return SegmentInfo(recording=recording, segment=segment, first_row=first_row, instance="t",
                               version="0", boot="b")  # fmt: skip

        self.folder = folder
        self.wall_ns = wall_ns
        self.number = 0
        self.writer = TapeWriter(folder, recording, describe, TapeBounds(free_bytes_min=0))

    def add(self, venue, data, kind="frame", connection="1", detail=""):
        self.number += 1
        at_ns = self.wall_ns + self.number * 1_000_000_000
        self.writer.add(Row(kind, venue, connection, "", self.number, at_ns, 0, self.number, detail, data))
        return self

    def compact(self, levels=2):
        self.writer.close(0, 0)
        return compact(Tape(self.folder), self.folder / "parquet", levels)


def rows_of(folder, venue, kind, date="2026-11-28", symbol="BTCUSDT"):
    return pq.read_table(folder / "parquet" / venue / kind / date / f"{symbol}.parquet").to_pylist()


def test_books_have_tardis_columns_and_exact_numbers(tmp_path):
    wide = "123456789012.123456789012345678"
    tape = Recorded(tmp_path, NOON_NS + DAY_NS // 2)
    tape.add("upbit", upbit("137000000.0", "137001000", "12345678.12345678"))
    tape.add("binance", binance(7, [["94500.10", wide], ["94500.00", "1"]], [["94501.00", "0.00001000"]]))
    report = tape.compact()
    assert {path.relative_to(tmp_path / "parquet").as_posix() for path in report.files} == {
        f"{venue}/{kind}/2026-11-28/{symbol}.parquet"
        for venue, symbol in (("upbit", "KRW-BTC"), ("binance", "BTCUSDT"))
        for kind in ("book_snapshot_2", "quotes")
    }
    (row,) = rows_of(tmp_path, "binance", "book_snapshot_2")
    local_us = (NOON_NS + DAY_NS // 2) // 1000 + 2_000_000
    assert list(row) == [
        "exchange", "symbol", "timestamp", "local_timestamp",
        "asks[0].price", "asks[0].amount", "bids[0].price", "bids[0].amount",
        "asks[1].price", "asks[1].amount", "bids[1].price", "bids[1].amount",
    ]  # fmt: skip
    assert list(row.values()) == [
        "binance", "BTCUSDT", local_us, local_us,
        Decimal(94501), Decimal("0.00001"), Decimal("94500.1"), Decimal(wide),
        None, None, Decimal(94500), Decimal(1),
    ]  # fmt: skip
    (quote,) = rows_of(tmp_path, "upbit", "quotes", symbol="KRW-BTC")
    assert list(quote)[2:] == ["timestamp", "local_timestamp", "ask_amount", "ask_price", "bid_price",
                           "bid_amount"]  # fmt: skip
    assert (quote["timestamp"], quote["ask_price"], quote["bid_amount"]) == (
        1_795_824_000_123_000, Decimal(137001000), Decimal("12345678.12345678"),
    )  # fmt: skip


_PRICES = st.decimals(Decimal("0.0001"), Decimal(10) ** 6, places=4)
_SIZES = st.decimals(Decimal("0.00000001"), Decimal(10) ** 9, places=8)


@given(st.lists(st.tuples(_PRICES, _SIZES), min_size=1, max_size=5), st.sampled_from(sorted(ADAPTERS)))
def test_exact_levels_are_what_the_engine_reads(levels, name):
    """Of every venue that has both: each exact number is the nearest to the engine's float, in the same order."""
    prices = sorted({price for price, _ in levels})
    sizes = [size for _, size in levels]
    bids = [[f"{price:f}", f"{size:f}"] for price, size in zip(reversed(prices), sizes, strict=False)]
    asks = [[f"{price + 2 * 10**6:f}", f"{size:f}"] for price, size in zip(prices, sizes, strict=False)]
    if name == "binance":
        frame = binance(1, bids, asks)
    else:
        units = ",".join(
            f'{{"ap":{ask},"bp":{bid},"as":{ask_size},"bs":{bid_size}}}'
            for (ask, ask_size), (bid, bid_size) in zip(asks, bids, strict=True)
        )
        frame = (
            f'{{"ty":"orderbook","cd":"KRW-BTC","tms":1,"tas":1.0,"tbs":1.0,"obu":[{units}],"lv":0,"st":"REALTIME"}}'
        ).encode()
    adapter = get_adapter(name)
    book = adapter.market.decode(frame, 1)
    exact_bids, exact_asks = adapter.exact_levels(frame)
    assert [(float(price), float(size)) for price, size in exact_bids] == [
        tuple(level) for level in book.bids
    ]
    assert [(float(price), float(size)) for price, size in exact_asks] == [
        tuple(level) for level in book.asks
    ]
    assert [[f"{price:f}", f"{size:f}"] for price, size in exact_bids] == bids


def test_days_are_apart_refused_frames_are_counted_and_a_second_connection_adds_nothing(tmp_path):
    tape = Recorded(tmp_path, NOON_NS + DAY_NS // 2 - 2_000_000_000)
    tape.add("binance", binance(1, [["1", "1"]], [["2", "1"]]), connection="a")
    tape.add("binance", binance(2, [["1", "1"]], [["2", "2"]]), connection="a")
    tape.add("binance", binance(2, [["1", "1"]], [["2", "2"]]), connection="b")
    tape.add("binance", binance(3, [["1", "1"]], [["2", "3"]]), connection="b")
    tape.add("binance", binance(4, [["3", "1"]], [["2", "3"]]), connection="b")
    tape.add("binance", b"garbage").add("binance", b'{"result":null,"id":1}')
    tape.add("nowhere", b"{}")
    report = tape.compact()
    assert report.refused == {"binance: another connection was first": 1, "binance: crossed": 1}
    assert [
        row["asks[0].amount"] for row in rows_of(tmp_path, "binance", "book_snapshot_2", "2026-11-27")
    ] == [1]
    assert [row["asks[0].amount"] for row in rows_of(tmp_path, "binance", "book_snapshot_2")] == [2, 3]


def test_changes_follow_a_snapshot_and_stop_at_a_gap(tmp_path):
    snapshot = json.dumps({"lastUpdateId": 10, "bids": [["1.0", "5"]], "asks": [["2.0", "6"]]}).encode()
    path = get_adapter("binance").diff.snapshot_path("BTCUSDT")
    tape = Recorded(tmp_path)
    tape.add("binance", change(7, 9, [["1.0", "4"]]))  # in the snapshot already
    tape.add("binance", change(10, 12, [["1.1", "1"]]))  # came before the snapshot, and follows it
    tape.add("binance", snapshot, "rest", detail=f"{path} HTTP 429")
    tape.add("binance", snapshot, "rest", detail=f"{path} HTTP 200")
    tape.add("binance", change(13, 13, asks=[["2.0", "0"]]))
    tape.add("binance", change(13, 13, asks=[["2.0", "0"]]), connection="2")
    tape.add("binance", change(15, 15, [["1.2", "1"]]))  # 14 is missing
    tape.add("binance", change(16, 16, [["1.3", "1"]]))
    report = tape.compact()
    assert report.refused == {"binance: changes before it are missing": 1}
    rows = rows_of(tmp_path, "binance", "incremental_book_L2", "2026-11-27")
    assert [(row["is_snapshot"], row["side"], str(row["price"].normalize()), int(row["amount"])) for row in rows] == [
        (True, "bid", "1", 5), (True, "ask", "2", 6), (False, "bid", "1.1", 1), (False, "ask", "2", 0),
    ]  # fmt: skip
    assert rows[-1]["timestamp"] == 1_795_824_000_500_000


def test_a_recording_that_begins_later_starts_from_the_known_book(tmp_path):
    tape = Recorded(tmp_path)
    tape.add("binance", binance(10, [["1.0", "5"]], [["2.0", "6"]]), "known", connection="")
    tape.add("binance", change(11, 11, [["1.1", "1"]]))
    tape.compact()
    rows = rows_of(tmp_path, "binance", "incremental_book_L2", "2026-11-27")
    assert [(row["is_snapshot"], row["amount"]) for row in rows] == [(True, 5), (True, 6), (False, 1)]
    assert len(rows_of(tmp_path, "binance", "book_snapshot_2", "2026-11-27")) == 1


def test_compacting_again_gives_the_same_and_never_takes_from_a_day(tmp_path):
    tape = Recorded(tmp_path)
    for number in range(1, 2500):  # several groups of rows
        tape.add("binance", binance(number, [["1", f"{number}"]], [["2", "1"]]))
    first = tape.compact()
    found = {path: path.read_bytes() for path in first.files}
    assert [
        row["bids[0].amount"] for row in rows_of(tmp_path, "binance", "book_snapshot_2", "2026-11-27")
    ] == [*range(1, 2500)]
    again = compact(Tape(tmp_path), tmp_path / "parquet", 2)
    assert (again.files, again.kept) == (first.files, [])
    assert {path: path.read_bytes() for path in again.files} == found
    for path in Tape(tmp_path).paths:
        path.unlink()  # as the bounds do it
    less = Recorded(tmp_path, NOON_NS + 100_000_000_000, recording=2).add(
        "binance", binance(9, [["1", "1"]], [["2", "1"]])
    )
    report = less.compact()
    assert (report.files, sorted(report.kept)) == ({}, sorted(found))
    assert {path: path.read_bytes() for path in found} == found
    assert not list(tmp_path.rglob("*.partial"))


CSV = {
    "book_snapshot_2": (
        "exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,"
        "asks[1].price,asks[1].amount,bids[1].price,bids[1].amount\n"
        "binance,BTCUSDT,1795824000000000,1795824000001234,94501,0.00001,94500.1,2,,,94500,1e-8\n"
    ),
    "quotes": (
        "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n"
        "upbit,KRW-BTC,1795824000000000,1795824000001234,0.5,137001000,137000000,12345678.12345678\n"
        "upbit,KRW-ETH,1795824000000000,1795824000001235,,,4000000,1\n"
    ),
    "incremental_book_L2": (
        "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"
        "binance,BTCUSDT,1795824000000000,1795824000001234,true,bid,94500.1,2\n"
        "binance,BTCUSDT,1795910400000000,1795910400001234,false,ask,94501,0\n"
    ),
}
"""Small files of each type, as Tardis writes them."""


@pytest.mark.parametrize("kind", CSV)
@pytest.mark.parametrize("is_gzipped", [False, True])
def test_csv_of_tardis_goes_in_and_out(tmp_path, kind, is_gzipped):
    source = tmp_path / ("in.csv.gz" if is_gzipped else "in.csv")
    source.write_bytes(gzip.compress(CSV[kind].encode()) if is_gzipped else CSV[kind].encode())
    report = import_csv(source, tmp_path / "parquet")
    head, *lines = CSV[kind].splitlines()
    assert len(report.files) == (2 if kind != "book_snapshot_2" else 1)
    written = []
    for path in report.files:
        assert path.parent.parent.name == kind
        target = tmp_path / "out.csv"
        assert write_csv(path, target, is_gzipped=is_gzipped) == 1
        text = (gzip.decompress(target.read_bytes()) if is_gzipped else target.read_bytes()).decode()
        assert text.splitlines()[0] == head
        written += text.splitlines()[1:]
    assert sorted(written) == sorted(line.replace("1e-8", "0.00000001") for line in lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "its columns are of no known type"),
        ("a,b,c\n1,2,3\n", "its columns are of no known type of data: a, b, c"),
        (CSV["quotes"].replace("0.5", "half"), "cannot be read"),
        (CSV["quotes"].replace("0.5", "nan"), "nan is not a number"),
        (CSV["quotes"].replace("0.5", "1e-19"), "cannot be read"),
        (CSV["quotes"].replace("upbit,KRW-BTC", "../../etc,KRW-BTC"), "is not the name of a venue or market"),
        (CSV["quotes"].replace("1795824000001234", "soon"), "cannot be read"),
    ],
)
def test_csv_that_is_something_else_is_refused_and_leaves_nothing(tmp_path, text, said):
    source = tmp_path / "in.csv"
    source.write_text(text)
    with pytest.raises(TapeError, match=said) as caught:
        import_csv(source, tmp_path / "parquet")
    assert str(source) in str(caught.value)
    assert not list((tmp_path / "parquet").rglob("*.parquet*"))


@given(st.decimals(Decimal(-10) ** 18, Decimal(10) ** 18, places=12))
def test_plain_numbers_are_the_same_number(number):
    assert Decimal(plain(number)) == number
    assert "E" not in plain(number)


def test_read_csv_gives_the_type(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text(CSV["quotes"])
    ((kind, table),) = read_csv(source)
    assert (kind, table.num_rows) == ("quotes", 2)


def touch(number, bid="94500.20", ask="94500.90"):
    data = {"u": number, "s": "BTCUSDT", "b": bid, "B": "0.5", "a": ask, "A": "0.25"}
    return json.dumps({"stream": "btcusdt@bookTicker", "data": data}, separators=(",", ":")).encode()


def test_best_prices_of_a_stream_of_their_own_are_quotes_and_part_of_the_next_levels(tmp_path):
    tape = Recorded(tmp_path)
    sides = [["94500.10", "1.0"]], [["94501.00", "2.0"]]
    tape.add("binance", touch(6))  # no levels yet
    tape.add("binance", binance(7, *sides)).add("binance", touch(8)).add("binance", touch(8))
    tape.compact()
    quotes = rows_of(tmp_path, "binance", "quotes", "2026-11-27")
    assert [row["bid_price"] for row in quotes] == [Decimal("94500.10"), Decimal("94500.20")]
    assert [row["bid_amount"] for row in quotes] == [Decimal("1.0"), Decimal("0.5")]
    (levels,) = rows_of(tmp_path, "binance", "book_snapshot_2", "2026-11-27")
    assert levels["bids[0].price"] == Decimal("94500.10")


def test_levels_that_are_older_than_the_touch_of_a_known_book_are_kept(tmp_path):
    sides = [["94500.10", "1.0"]], [["94501.00", "2.0"]]
    fused = get_adapter("binance").fused
    known = fused.joined(binance(7, *sides), fused.touch_of(touch(9)).body)
    tape = Recorded(tmp_path)
    tape.add("binance", known, kind="known", connection="")
    tape.add("binance", binance(8, *sides)).add("binance", touch(10))
    assert not tape.compact().refused
    assert len(rows_of(tmp_path, "binance", "quotes", "2026-11-27")) == 3
