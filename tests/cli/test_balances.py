"""``arbshard balances``: of a running instance by its status, otherwise by its ledger."""

import json
from decimal import Decimal

import pytest
from msgspec.structs import replace
from rich.console import Console
from typer.testing import CliRunner

from arbshard.cli import app
from arbshard.model.risk_note import BalanceNote
from support import world as w
from support.made_status import made_status


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "c.toml").write_text(f'name = "desk"\nstate_dir = "{tmp_path}"\n')
    monkeypatch.setattr("arbshard.status.render.terminal", lambda: Console(width=80))
    return lambda *words: CliRunner().invoke(app, ["balances", *words, "--config", str(tmp_path / "c.toml")])


def test_by_the_ledger_they_are_what_the_state_has(run, tmp_path):
    world = w.World()
    world.open_position()
    world.stop()
    world.write_ledger(tmp_path / "ledger.sqlite")
    rows = json.loads(run("--json").stdout)
    found = {(row["venue"], row["currency"]): Decimal(row["total"]) for row in rows}
    assert found == {
        (venue, currency): one for venue, currency, one in world.core.state.balances.totals() if one
    }
    assert "not running: stopped in order" in run().output


def test_of_a_running_instance_in_full_digits_at_80_columns(run, monkeypatch):
    owned = {
        "upbit": {"KRW": BalanceNote("123456789012.12345678", "1000000.5"), "BTC": BalanceNote("0", "0")}
    }
    status = replace(made_status(), balances=owned, as_of="12:01")
    monkeypatch.setattr("supervisor.places.running_pid", lambda name: 1)
    monkeypatch.setattr("arbshard.status.collect.Collector.collect", lambda self: status)
    result = run()
    assert "as of 12:01" in result.output
    for figure in ("123,456,789,012.12345678", "1,000,000.5", "123,455,789,011.62345678"):
        assert figure in result.stdout
    assert "BTC" not in result.stdout
    assert "…" not in result.stdout


def test_without_a_ledger(run):
    assert "it has no ledger" in str(run().exception)
