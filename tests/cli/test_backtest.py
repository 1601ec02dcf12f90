"""``arbshard backtest``: settings by name, one line for what is wrong, and folders that other commands read."""

from decimal import Decimal

import msgspec
import pytest
from typer.testing import CliRunner

from arbshard.cli import app, main
from arbshard.cli.backtest import with_settings
from arbshard.config import Config
from arbshard.errors import UsageError

pytestmark = pytest.mark.needs("analysis", "tape")


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    # Here, because an installation without the extra has neither pyarrow nor the harness.
    from perf.tapes import make_tape

    folder = tmp_path_factory.mktemp("tape")
    make_tape(folder, seconds=15, pairs=2, updates_per_s=2, seed=3)
    return folder


def test_settings_are_read_as_in_the_file():
    changes = (
        "strategy.entry_bps=25", "sizing.entry_notional_max=500000", 'run.symbols=["BTC", "ETH"]',
        "strategy.close_on_spread_reversal = false", "name=other",
    )  # fmt: skip
    config = with_settings(Config(), changes)
    assert config.strategy.entry_bps == 25.0
    assert config.sizing.entry_notional_max == Decimal(500_000)
    assert config.strategy.close_on_spread_reversal is False
    assert config.name == "other"
    assert config.run.symbols == ("BTC", "ETH")


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("strategy.entry=1", "--set strategy.entry=1: name a key"),
        ("strategy", "--set strategy: name a key"),
        ("strategy.entry_bps.more=1", "name a key"),
        ("strategy.entry_bps=wide", "strategy.entry_bps: must be a number"),
        ("paper.depth_share=7", "paper.depth_share"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_one_line(setting, why):
    with pytest.raises(UsageError, match=why) as found:
        with_settings(Config(), (setting,))
    assert "\n" not in str(found.value)


def test_writes_a_folder_that_other_commands_read(tape, tmp_path):
    out, cli = tmp_path / "out", CliRunner()
    done = cli.invoke(
        app, ["backtest", str(tape), "--out", str(out), "--json", "--set", "strategy.entry_bps=40"]
    )
    assert done.exit_code == 0, done.output
    summary = msgspec.json.decode(done.stdout)
    assert summary == msgspec.json.decode((out / "backtest.json").read_bytes())
    assert cli.invoke(app, ["ledger", "verify", "--state-dir", str(out)]).exit_code == 0
    report = cli.invoke(app, ["analyze", str(out), "--json"])
    assert report.exit_code == 0, report.output


def test_what_is_no_tape_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["arbshard", "backtest", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"arbshard: there is no tape in {tmp_path}\n"
