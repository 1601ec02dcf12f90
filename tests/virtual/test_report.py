import pytest
from typer.testing import CliRunner

from arbshard.cli import app
from arbshard.errors import UsageError
from arbshard.risk.limits.guard import RiskGuard
from arbshard.virtual.machine import Simulation
from arbshard.virtual.report import line_of, lines_of
from arbshard.virtual.settings import Settings


def test_the_command_prints_what_it_found_and_writes_the_trace(tmp_path) -> None:
    trace = tmp_path / "trace.txt"
    done = CliRunner().invoke(
        app, ["simulate", "--seed", "4", "--hours", "0.02", "--faults", "none", "--trace", str(trace)]
    )
    assert done.exit_code == 0, done.output
    assert "all hold" in done.stdout
    assert "trace hash" in done.stdout
    assert len(trace.read_text().splitlines()) > 50


@pytest.mark.parametrize(
    "arguments",
    [
        ["--faults", "some"],
        ["--regime", "wild"],
        ["--only", "cut,flood"],
        ["--hours", "0"],
        ["--seed", "-1"],
        ["--shards", "5"],
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        CliRunner().invoke(app, ["simulate", *arguments], catch_exceptions=False)


def test_a_violation_is_told_with_the_command_that_repeats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RiskGuard, "check_trade_allowed_for_portfolio", lambda self, *args: None)
    settings = Settings(1, hours=0.1, faults="none", only=("cut",))
    report = Simulation(settings).run()
    assert report.violations
    text = "\n".join(lines_of(report))
    assert "VIOLATED" in text
    assert settings.command() in text
    assert settings.command() in line_of(report)
    assert "--only cut" in settings.command()
    done = CliRunner().invoke(app, settings.command().split()[1:])
    assert done.exit_code == 1
    assert report.hash in done.stdout
