"""On a terminal of 80 columns no command cuts an amount of money, or anything else."""

from decimal import Decimal

import pytest
from msgspec.structs import replace
from rich.console import Console
from typer.testing import CliRunner

from arbshard.cli import app
from arbshard.model.risk_note import NO_NOTE, EntryNote
from arbshard.model.rundir import RunFiles
from arbshard.wire import control
from arbshard.wire.inventory import Ends, Inventory, InventoryLine
from arbshard.wire.messages import LimitLine, Limits, Positions, ValuedPosition
from arbshard.wire.reconciliation import Difference, Reconciliation, StrayOrder, VenueStatement
from support import world as w

BIG = Decimal(123_456_789_012)
PLAIN = "123456789012"
SHOWN = "123,456,789,012"


@pytest.fixture
def shown(monkeypatch, tmp_path):
    """What a command prints at 80 columns; ``answer`` is what risk or the supervisor says."""
    monkeypatch.setattr("arbshard.status.render.terminal", lambda: Console(width=80))

    def run(*words, answer=None):
        for module in ("positions", "limits", "inventory", "reconcile", "shards", "symbols"):
            monkeypatch.setattr(
                f"arbshard.cli.{module}.running_files", lambda name, config: ("t", RunFiles(tmp_path))
            )
            if hasattr(__import__(f"arbshard.cli.{module}", fromlist=["x"]), "send_to_risk"):
                monkeypatch.setattr(f"arbshard.cli.{module}.send_to_risk", lambda files, command: answer)
        for module in ("shards", "symbols"):
            monkeypatch.setattr(f"arbshard.cli.{module}.fetch_shards", lambda files: answer)
        monkeypatch.setattr("supervisor.places.running_pid", lambda name: 1)
        result = CliRunner().invoke(app, list(words))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "…" not in result.stdout
        return result.stdout

    return run


@pytest.fixture
def world():
    return w.World()


def test_positions(shown, world):
    position = world.open_position()
    value = ValuedPosition(position.position_id, -BIG, books_ms=position.opened_ms, is_whole=False)
    text = shown("positions", answer=Positions((position,), (("BTC", "operator"),), (value,)))
    assert f"-{SHOWN}" in text
    assert "closing (operator)" in text


def test_trades(shown, world, tmp_path):
    world.round_trip(home_out=Decimal(990_000))
    world.stop()
    world.write_ledger(tmp_path / "ledger.sqlite")
    text = shown("trades", "--state-dir", str(tmp_path))
    assert "BTC" in text
    assert "PnL" in text


def test_inventory(shown):
    line = InventoryLine("binance", "USDT", BIG, BIG, BIG, BIG, -BIG, 1_800_000_000_000, BIG, 3)
    ends = Ends("upbit", "binance", "USDT", "KRW")
    text = shown("inventory", answer=Inventory(1, 2.0, ends, Decimal(1), 1.0, (line,), ()))
    assert text.count(SHOWN) >= 6
    assert "2027-01-15 08:00" in text


def test_limits(shown):
    line = LimitLine("order_notional_max_of_everything", PLAIN, "1", "0.123456", PLAIN)
    text = shown("limits", "show", answer=Limits("", (line,), "2026-11-01", 1, "", ()))
    assert text.count(SHOWN) == 2
    assert "changed from 1" in text


@pytest.mark.parametrize("words", [["shards"], ["shards", "--pairs"]])
def test_shards(shown, words, monkeypatch):
    bases = tuple(f"COIN{number}" for number in range(30))
    line = control.ShardLine(0, bases, 1_234_567.0, 0.05, 90.0, 3)
    pairs = tuple(control.PairLine(base, f"KRW-{base}", f"{base}USDT", -1, 20.0) for base in bases)
    monkeypatch.setattr("arbshard.cli.shards._status", lambda files: None)
    text = shown(*words, answer=control.Shards(3, (line,), pairs, (), 1.0))
    assert "COIN7" in text


def test_reconcile(shown):
    text = shown(
        "reconcile",
        answer=Reconciliation(
            "abcde",
            (VenueStatement("upbit", 1, settled=True, compared_ms=1, open_orders=2),),
            (Difference("binance", "USDT", BIG, BIG + BIG, 1, ("BTC", "ETH"), BIG),),
            (StrayOrder("binance", "s1-0-1-4-abcdefghij", "BTCUSDT", BIG, 1, ""),),
            (),
        ),
    )
    assert text.count(PLAIN) == 4


def test_symbols(shown, monkeypatch):
    pair = control.PairLine("BTC", "KRW-BTC", "BTCUSDT", 0, 20.0)
    monkeypatch.setattr(
        "arbshard.cli.symbols.read_risk_note", lambda files: replace(NO_NOTE, entries={"BTC": EntryNote()})
    )
    text = shown("symbols", answer=control.Shards(3, (), (pair,), (), 1.0))
    assert "KRW-BTC" in text
