"""``arbshard trades --csv``: what a spreadsheet gets."""

import csv
import io
from decimal import Decimal

import pytest

from arbshard.cli.trades import closed_positions, trade_row, write_csv
from support import world as w


@pytest.fixture
def rows(tmp_path):
    world = w.World()
    world.round_trip(home_out=Decimal(990_000))
    world.stop()
    world.write_ledger(tmp_path / "ledger.sqlite")
    return [trade_row(position) for position in closed_positions(tmp_path / "ledger.sqlite", "", 10)]


def test_a_row_per_round_trip_with_times_of_utc_and_a_result_that_adds_up(rows):
    target = io.StringIO()
    write_csv(target, rows)
    (found,) = csv.DictReader(io.StringIO(target.getvalue()))
    assert list(found) == [
        "position_id", "symbol", "direction", "reason", "opened", "closed", "held_s", "quantity", "entry_home_price",
        "entry_away_price", "notional", "trade", "fees", "fx", "pnl", "pnl_bps",
    ]  # fmt: skip
    assert found["symbol"] == "BTC"
    assert found["opened"].startswith("2026-11-18T11:06:40.")
    assert found["opened"].endswith("+00:00")
    assert Decimal(found["pnl"]) == Decimal(found["trade"]) - Decimal(found["fees"]) + Decimal(found["fx"])


def test_no_trades_are_a_header():
    target = io.StringIO()
    write_csv(target, [])
    assert target.getvalue().startswith("position_id,symbol,")
    assert target.getvalue().count("\n") == 1
