"""What a ledger says of an instance that does not run: never "in order" when it was not."""

import json
from decimal import Decimal

import pytest
from typer.testing import CliRunner

from arbshard.cli import app
from arbshard.cli.ledger_state import remains_of
from arbshard.ledger.events import SUPERVISOR_VANISHED, LeaderBegan
from arbshard.wire.messages import Halt
from support import world as w


@pytest.fixture
def world():
    return w.World()


@pytest.fixture
def remains(world, tmp_path):
    def read(**more):
        world.write_ledger(tmp_path / "ledger.sqlite")
        return remains_of("desk", tmp_path / "ledger.sqlite", **more)[0]

    return read


def test_an_orderly_end_with_nothing_open(world, remains):
    world.round_trip(home_out=Decimal(990_000))
    world.stop()
    found = remains()
    assert found.cut_off == ""
    assert found.sentence().startswith("stopped in order at 2026-11-18T")
    assert found.sentence().endswith("; no open positions; not halted")


def test_positions_that_were_kept_and_a_halt(world, remains):
    position = world.open_position()
    world.tell(Halt("lunch", flatten=False))
    world.stop()
    found = remains()
    assert found.open_positions == (f"BTC {position.position_id}",)
    assert "; 1 open position (BTC); HALTED since 2026-11-18T" in found.sentence()
    assert found.sentence().endswith("(operator): lunch")


def test_a_ledger_that_was_not_closed_is_of_a_run_that_was_cut_off(world, remains):
    world.open_position()
    found = remains()
    assert found.cut_off.startswith("risk has not closed the ledger")
    assert "in order" not in found.sentence()


def test_a_copy_of_a_cluster_that_goes_on_does_not_say_that_risk_has_crashed(world, remains):
    world.open_position()
    world.events.append(LeaderBegan(at_ms=world.now_ms, term=3, host="b"))
    found = remains()
    assert found.cut_off.startswith("host b of the cluster led and had not closed the ledger")
    assert "crashed" not in found.sentence()


def test_a_ledger_that_risk_closed_after_the_supervisor_vanished(world, remains):
    world.events += world.core.stop(world.now_ms, SUPERVISOR_VANISHED)
    sentence = remains().sentence()
    assert sentence.startswith("cut off: the supervisor vanished; the last event is of 2026-11-18T")
    assert "in order" not in sentence


def test_a_run_directory_that_was_left_behind_says_that_the_supervisor_vanished(world, remains):
    world.stop()
    assert remains(has_run_dir=True).cut_off == SUPERVISOR_VANISHED


class TestCommands:
    @pytest.fixture
    def run(self, world, tmp_path, monkeypatch):
        monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(tmp_path / "run"))
        (tmp_path / "run").mkdir(mode=0o700)
        world.open_position()
        world.stop()
        world.write_ledger(tmp_path / "ledger.sqlite")
        (tmp_path / "c.toml").write_text(f'name = "desk"\nstate_dir = "{tmp_path}"\n')
        return lambda *words: CliRunner().invoke(app, [*words, "--config", str(tmp_path / "c.toml")])

    def test_status(self, run):
        result = run("status")
        assert result.exit_code == 2
        assert "desk: stopped in order at" in result.output
        assert "1 open position (BTC)" in result.output

    def test_status_as_json(self, run):
        shown = json.loads(run("status", "--json").stdout)
        assert shown["state"] == "not running"
        assert shown["open_positions"][0].startswith("BTC ")
        assert shown["halted"] == ""

    def test_positions(self, run):
        result = run("positions")
        assert result.exit_code == 0
        assert "not running: stopped in order" in result.output
        assert "Open positions" in result.stdout
        assert "total of 1 position in KRW: notional " in " ".join(result.stdout.split())
        assert "unrealised not valued" in " ".join(result.stdout.split())
        (row,) = json.loads(run("positions", "--json").stdout)
        assert (row["symbol"], row["unrealised"]) == ("BTC", None)

    def test_stop(self, run):
        result = run("stop")
        assert result.exit_code != 0
        assert "no instance named 'desk' is running: stopped in order" in str(result.exception)
        assert "1 open position (BTC)" in str(result.exception)

    def test_an_instance_without_a_ledger(self, run, tmp_path):
        (tmp_path / "ledger.sqlite").unlink()
        assert run("status").exit_code == 2
        assert "has no ledger" in str(run("positions").exception)
        assert str(run("stop").exception) == "no instance named 'desk' is running"

    def test_status_with_a_ledger_that_cannot_be_read(self, run, tmp_path):
        (tmp_path / "ledger.sqlite").write_bytes(b"nonsense" * 1000)
        result = run("status")
        assert result.exit_code == 2
        assert "its ledger cannot be read" in result.output
        assert "cannot be read" in json.loads(run("status", "--json").stdout)["problem"]
