"""Parquet exports: the same rows as the other formats, with types, and never a rounded amount."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arbshard.ledger import parquet
from arbshard.ledger.export import COLUMNS, rows_of
from arbshard.ledger.parquet import write_parquet
from arbshard.ledger.reader import LedgerReader
from support import world as w

TIME, AMOUNT = pa.timestamp("ms", tz="UTC"), pa.decimal128(38, 18)


@pytest.fixture
def ledger(tmp_path):
    """A round trip, an open position, a stop."""
    world = w.World()
    world.round_trip(home_out=Decimal(990_000))
    world.open_position("ETH")
    world.stop()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    return path


@pytest.mark.parametrize("what", COLUMNS)
def test_it_holds_the_rows_of_the_other_formats(ledger, what, tmp_path):
    target = tmp_path / "rows.parquet"
    with LedgerReader(ledger) as reader:
        rows = list(rows_of(reader, what))
        assert write_parquet(target, COLUMNS[what], lambda: rows_of(reader, what)) == len(rows) > 0
    table = pq.read_table(target)
    assert tuple(table.column_names) == COLUMNS[what]
    for found, row in zip(table.to_pylist(), rows, strict=True):
        for (name, value), cell in zip(found.items(), row, strict=True):
            kind = table.schema.field(name).type
            if value is None:
                assert cell is None, name
            elif kind == TIME:
                assert value == datetime.fromisoformat(cell), name
            elif kind == AMOUNT:
                assert value == Decimal(cell), name
            else:
                assert value == (bytes(cell).decode() if isinstance(cell, msgspec.Raw) else cell), name


def test_fills_have_times_amounts_and_numbers(ledger, tmp_path):
    target = tmp_path / "fills.parquet"
    with LedgerReader(ledger) as reader:
        write_parquet(target, COLUMNS["fills"], lambda: rows_of(reader, "fills"))
    schema = pq.read_schema(target)
    text = ("pair", "venue", "market", "side", "quote", "fee_currency", "intent_id", "client_id", "fill_id")
    assert schema.field("time").type == TIME
    assert schema.field("seq").type == pa.int64()
    assert {schema.field(name).type for name in ("quantity", "price", "value", "fee")} == {AMOUNT}
    assert {schema.field(name).type for name in text} == {pa.string()}


@pytest.mark.parametrize(
    "amount", ["0.0000000000000000001", "123456789012345678901", "-0.0000000000000000001"]
)
def test_a_column_with_an_amount_that_does_not_fit_is_text(tmp_path, monkeypatch, amount):
    monkeypatch.setattr(parquet, "_BATCH", 2)
    rows = [("1.5", "2.5"), ("3", "4"), ("5", amount)]
    assert write_parquet(tmp_path / "x.parquet", ("price", "fee"), lambda: iter(rows)) == 3
    table = pq.read_table(tmp_path / "x.parquet")
    assert table["fee"].to_pylist() == ["2.5", "4", amount]
    assert table["price"].to_pylist() == [Decimal("1.5"), Decimal(3), Decimal(5)]


def test_the_largest_amounts_fit(tmp_path):
    amounts = ["99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999"]
    write_parquet(tmp_path / "x.parquet", ("fee",), lambda: ((one,) for one in amounts))
    assert pq.read_table(tmp_path / "x.parquet")["fee"].to_pylist() == [Decimal(one) for one in amounts]


def test_no_rows_are_a_file_with_columns(tmp_path):
    assert write_parquet(tmp_path / "x.parquet", COLUMNS["fills"], lambda: iter(())) == 0
    assert pq.read_schema(tmp_path / "x.parquet").names == list(COLUMNS["fills"])


def test_a_time_is_of_utc(tmp_path):
    write_parquet(tmp_path / "x.parquet", ("time",), lambda: iter([("2026-11-18T11:06:40.005+00:00",)]))
    assert pq.read_table(tmp_path / "x.parquet")["time"].to_pylist() == [
        datetime(2026, 11, 18, 11, 6, 40, 5000, UTC)
    ]
