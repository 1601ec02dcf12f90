"""Files for hftbacktest and NautilusTrader: the layout that these programs write themselves, and exact values."""

import ast
import struct
import zipfile
from decimal import Decimal
from importlib.util import find_spec

import msgspec
import pyarrow.parquet as pq
import pytest

from arbshard.model.market import FeeSchedule, Leg, Market, MarketRules, TickBand
from arbshard.tape import TapeError
from arbshard.tape.exports import write_catalog, write_events
from arbshard.tape.tables import table_of

pytestmark = pytest.mark.needs("analysis", "tape")

BUY, SELL = 1 << 29, 1 << 28
CHANGED, SNAPSHOT = 0xC0000001, 0xC0000004


def write(folder, kind, rows, venue="binance", symbol="BTCUSDT", date="2026-11-28"):
    path = folder / venue / kind / date / f"{symbol}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = [
        tuple(Decimal(value) if isinstance(value, str) and value[0].isdigit() else value for value in row)
        for row in rows
    ]
    pq.write_table(table_of(numbers, kind), path)
    return path


def events_in(path):
    """The events of a file, read by the description that numpy reads too."""
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["data.npy"]
        content = archive.read("data.npy")
    assert content[:8] == b"\x93NUMPY\x01\x00"
    (length,) = struct.unpack_from("<H", content, 8)
    assert (10 + length) % 64 == 0
    assert content[9 + length] == ord("\n")
    header = ast.literal_eval(content[10 : 10 + length].decode())
    assert header["descr"] == [
        ("ev", "<u8"), ("exch_ts", "<i8"), ("local_ts", "<i8"), ("px", "<f8"), ("qty", "<f8"),
        ("order_id", "<u8"), ("ival", "<i8"), ("fval", "<f8"),
    ]  # fmt: skip
    events = list(struct.iter_unpack("<QqqddQqd", content[10 + length :]))
    assert header["shape"] == (len(events),)
    assert header["fortran_order"] is False
    return events


def snapshot(at_us, local_us, *levels):
    return ("binance", "BTCUSDT", at_us, local_us, *levels)


def test_of_snapshots_events_are_the_changed_levels(tmp_path):
    path = write(
        tmp_path,
        "book_snapshot_2",
        [  # ask, bid, ask, bid
            snapshot(1000, 1500, "101", "1", "100", "2", "102", "3", "99", "4"),
            snapshot(2000, 2500, "101", "1", "100", "5", None, None, "98", "6"),
            snapshot(2000, 2600, "101", "1", "100", "5", None, None, "98", "6"),
        ],
    )
    done = write_events(path, tmp_path / "events.npz")
    assert done == (8, 0)
    events = events_in(tmp_path / "events.npz")
    assert [(hex(ev), *rest) for ev, *rest in (event[:5] for event in events)] == [
        (hex(SNAPSHOT | BUY), 1_000_000, 1_500_000, 100.0, 2.0),
        (hex(SNAPSHOT | BUY), 1_000_000, 1_500_000, 99.0, 4.0),
        (hex(SNAPSHOT | SELL), 1_000_000, 1_500_000, 101.0, 1.0),
        (hex(SNAPSHOT | SELL), 1_000_000, 1_500_000, 102.0, 3.0),
        (hex(CHANGED | BUY), 2_000_000, 2_500_000, 99.0, 0.0),
        (hex(CHANGED | BUY), 2_000_000, 2_500_000, 100.0, 5.0),
        (hex(CHANGED | BUY), 2_000_000, 2_500_000, 98.0, 6.0),
        (hex(CHANGED | SELL), 2_000_000, 2_500_000, 102.0, 0.0),
    ]  # fmt: skip


def test_times_never_fall_and_the_local_one_is_never_the_earlier_one(tmp_path):
    path = write(
        tmp_path,
        "book_snapshot_1",
        [
            snapshot(5000, 4000, "101", "1", "100", "1"),
            snapshot(4500, 4600, "101", "2", "100", "1"),
            snapshot(6000, 4500, "101", "3", "100", "1"),
        ],
    )
    done = write_events(path, tmp_path / "events.npz")
    events = events_in(tmp_path / "events.npz")
    assert done == (4, 1400)  # the last book came at 4600 at the earliest, and is of 6000
    assert [(exch // 1000, local // 1000) for _, exch, local, *_ in events] == [
        (5000, 5400), (5000, 5400), (5000, 6000), (6000, 6000),
    ]  # fmt: skip


def test_changes_become_events_and_a_new_snapshot_removes_what_it_does_not_name(tmp_path):
    def change(at_us, is_snapshot, side, price, amount):
        return ("binance", "BTCUSDT", at_us, at_us, is_snapshot, side, price, amount)

    path = write(
        tmp_path,
        "incremental_book_L2",
        [
            change(1, True, "bid", "100", "1"),
            change(1, True, "bid", "99", "1"),
            change(1, True, "ask", "101", "1"),
            change(2, False, "bid", "99", "0"),
            change(2, False, "bid", "42", "0"),
            change(2, False, "ask", "101.5", "7"),
            change(3, True, "bid", "100", "1"),
            change(3, True, "ask", "101", "2"),
        ],
    )
    write_events(path, tmp_path / "events.npz")
    assert [
        (ev & 7, bool(ev & BUY), px, qty) for ev, _, _, px, qty, *_ in events_in(tmp_path / "events.npz")
    ] == [
        (4, True, 100.0, 1.0),
        (4, True, 99.0, 1.0),
        (4, False, 101.0, 1.0),
        (1, True, 99.0, 0.0),
        (1, False, 101.5, 7.0),
        (1, False, 101.5, 0.0),
        (1, False, 101.0, 2.0),
    ]


def test_quotes_are_refused_as_events(tmp_path):
    path = write(tmp_path, "quotes", [snapshot(1, 2, "1", "2", "3", "4")])
    with pytest.raises(TapeError, match="quotes have no book"):
        write_events(path, tmp_path / "events.npz")


LEG = Leg(
    Market("binance", "BTCUSDT", "BTC", "USDT"),
    MarketRules(
        (TickBand(Decimal(0), Decimal("0.01")),), Decimal("0.00001"), Decimal(0), Decimal(5), Decimal(10**9)
    ),
    FeeSchedule(Decimal(10), Decimal(10), buy_fee_in_base=True),
    slot=1,
)


def catalog_of(tmp_path):
    parquet = tmp_path / "parquet"
    write(parquet, "quotes", [snapshot(10**6, 10**6 + 1, "2", "100.13", "100.12", "1.00001")])
    write(
        parquet,
        "book_snapshot_1",
        [
            snapshot(10**6, 10**6 + 1, "100.13", "2", "100.12", "1.00001"),
            snapshot(2 * 10**6, 2 * 10**6, "100.13", "2", None, None),
        ],
    )
    write(
        parquet,
        "quotes",
        [("upbit", "KRW-BTC", 5, 6, "2", "150000000", "149000000", "1")],
        "upbit",
        "KRW-BTC",
    )
    done = write_catalog(parquet, tmp_path / "catalog", [LEG])
    assert done == (3, 4, ("KRW-BTC.UPBIT",))
    return tmp_path / "catalog" / "data"


def test_a_catalog_is_laid_out_as_nautilus_lays_it_out(tmp_path):
    data = catalog_of(tmp_path)
    names = sorted(str(path.relative_to(data)) for path in data.rglob("*.parquet"))
    assert names == [
        "currency_pair/BTCUSDT.BINANCE/1970-01-01T00-00-00-000000000Z_1970-01-01T00-00-00-000000000Z.parquet",
        "order_book_depth10/BTCUSDT.BINANCE/1970-01-01T00-00-01-000001000Z_1970-01-01T00-00-02-000000000Z.parquet",
        "quote_tick/BTCUSDT.BINANCE/1970-01-01T00-00-01-000001000Z_1970-01-01T00-00-01-000001000Z.parquet",
        "quote_tick/KRW-BTC.UPBIT/1970-01-01T00-00-00-000006000Z_1970-01-01T00-00-00-000006000Z.parquet",
    ]
    quotes = pq.read_table(data / names[2])
    assert [(field.name, str(field.type), field.nullable) for field in quotes.schema] == [
        *(
            (name, "fixed_size_binary[16]", False)
            for name in ("bid_price", "ask_price", "bid_size", "ask_size")
        ),
        ("ts_event", "uint64", False),
        ("ts_init", "uint64", False),
    ]
    assert quotes.schema.metadata == {
        b"instrument_id": b"BTCUSDT.BINANCE", b"price_precision": b"2", b"size_precision": b"5",
    }  # fmt: skip
    # The bytes of the prices and of the sizes are what nautilus_trader 1.221.0 writes for the same quote.
    assert quotes.to_pylist() == [
        {
            "bid_price": b"\x00\x00\x1fm\x18\xfa\xe4\r\x00\x00\x00\x00\x00\x00\x00\x00",
            "ask_price": b"\x00@\x99}\x0bU\xe5\r\x00\x00\x00\x00\x00\x00\x00\x00",
            "bid_size": b"\x00\xe87\xb8\t\x87#\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            "ask_size": b"\x00\x00\x82\xdf\xe4\rG\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            "ts_event": 1_000_000_000,
            "ts_init": 1_000_001_000,
        }
    ]
    krw = pq.read_table(data / names[3])
    assert int.from_bytes(krw["ask_price"][0].as_py(), "little") == 150_000_000 * 10**16
    assert krw.schema.metadata[b"price_precision"] == b"0"


def test_a_catalog_has_ten_levels_and_a_level_that_is_not_there_counts_nothing(tmp_path):
    data = catalog_of(tmp_path)
    (path,) = data.glob("order_book_depth10/*/*")
    depth = pq.read_table(path)
    sides = ("bid", "ask")
    assert depth.column_names == [
        *(f"{side}_{what}_{n}" for what in ("price", "size", "count") for side in sides for n in range(10)),
        "flags", "sequence", "ts_event", "ts_init",
    ]  # fmt: skip
    first, second = depth.to_pylist()
    assert [first[f"bid_count_{n}"] for n in range(10)] == [1, *[0] * 9]
    assert second["bid_count_0"] == 0
    assert second["bid_price_0"] == bytes(16)
    assert int.from_bytes(second["ask_price_0"], "little") == 10013 * 10**14
    (path,) = data.glob("currency_pair/*/*")
    (pair,) = pq.read_table(path).to_pylist()
    assert (pair["id"], pair["base_currency"], pair["quote_currency"]) == ("BTCUSDT.BINANCE", "BTC", "USDT")
    assert (pair["price_increment"], pair["size_increment"], pair["taker_fee"]) == (
        "0.01",
        "0.00001",
        "0.001",
    )
    assert pair["min_notional"] == "5 USDT"


def test_numbers_that_nautilus_cannot_hold_and_folders_without_data_are_refused(tmp_path):
    with pytest.raises(TapeError, match="holds no quotes and no book snapshots"):
        write_catalog(tmp_path, tmp_path / "catalog", [])
    write(tmp_path, "quotes", [snapshot(1, 2, "1", "0.00000000000000001", "0.1", "1")])
    with pytest.raises(TapeError, match="more than 16 digits"):
        write_catalog(tmp_path, tmp_path / "catalog", [])


if find_spec("hftbacktest") is not None:  # it is in no extra: whoever has it gets this test too

    def test_the_files_are_read_by_hftbacktest_itself(tmp_path):
        import numpy as np
        from hftbacktest.data import validate_event_order
        from hftbacktest.types import event_dtype

        path = write(tmp_path, "book_snapshot_1", [snapshot(1000, 1500, "101", "1", "100", "2")])
        write_events(path, tmp_path / "events.npz")
        events = np.load(tmp_path / "events.npz")["data"]
        assert events.dtype == event_dtype
        validate_event_order(events)


def test_a_universe_of_a_tape_gives_the_rules_of_its_markets():
    from arbshard.model.universe import Universe
    from arbshard.tape.format import SegmentInfo

    def info(universe):
        return SegmentInfo(
            recording=1,
            segment=0,
            first_row=0,
            instance="t",
            version="0",
            boot="b",
            universe=msgspec.Raw(universe),
        )

    universe = Universe(LEG, (), ((),))
    assert info(msgspec.json.encode(universe)).described_universe() == universe
    assert info(b"null").described_universe() is None
    with pytest.raises(TapeError, match="cannot be read"):
        info(b"{}").described_universe()
