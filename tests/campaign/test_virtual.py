"""A short campaign in the simulation, to its verdict and its report, from the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arbshard.campaign.campaign import past_results
from arbshard.campaign.file import load_campaign
from arbshard.campaign.virtual import run_virtual
from arbshard.cli import app
from arbshard.errors import UsageError
from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.verify import verify

TEXT = """
name = "short"
about = "a test"
duration_s = 120.0
symbols = ["SOL", "DOGE"]
disk_free_min_mb = 1.0
[config.sim]
regime = "mixed"
coins = 8
[config.baseline]
is_required = false
"""
PUBLIC = '[config]\ndata = "public"\n' + "".join(
    f'[config.venues.{venue}]\nws_url = "wss://{venue}.test"\nrest_url = "https://{venue}.test"\n'
    for venue in ("upbit", "binance")
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What the command printed, and where the campaigns are."""
    folder = tmp_path_factory.mktemp("virtual")
    file = folder / "short.toml"
    file.write_text(TEXT)
    root = folder / "campaigns"
    command = ["campaign", str(file), "--virtual", "--state-dir", str(root), "--speed", "2"]
    return CliRunner().invoke(app, command), root


def test_it_passes_by_the_ledger_that_it_writes(run):
    printed, root = run
    (result,) = past_results(root)
    assert printed.exit_code == 0, printed.output
    assert (result.form, result.verdict.outcome, result.no_report) == ("virtual", "passed", "")
    assert printed.output.startswith(result.line())
    assert result.facts.entries == result.facts.exits > 3
    assert result.ran_s >= 120.0
    assert "watched" not in {check.name for check in result.verdict.checks}
    assert {line.strip().removeprefix("in the simulation: ") for line in printed.output.splitlines()} >= set(
        result.not_watched
    )


def test_its_pairs_are_those_of_the_file(run):
    _, root = run
    (ledger,) = root.glob("*-virtual/attempt-1/ledger.sqlite")
    with LedgerHistory(ledger) as history:
        opened = [history.decode(row[0], row[5]) for row in history.rows(("PositionOpened",))]
    assert {event.position.pair for event in opened} == {"SOL", "DOGE"}
    assert verify(ledger).differences == ()


def test_its_report_gives_the_verdict(run):
    _, root = run
    (result,) = past_results(root)
    page = Path(*result.reports)
    report = json.loads(page.with_name("report.json").read_text())
    assert report["verdict"]["outcome"] == "passed"
    assert report["total"]["exits"] == result.facts.exits
    assert result.verdict.reasons[0] in page.read_text()
    rules = {one["reason"]: one for one in report["rules"]}
    assert any(one["by_workers"] for one in rules.values())
    assert any(one["followed"] for one in rules.values())


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"DOGE"', '"QTUM"', "--virtual: QTUM: not among the 8 coins of the embedded exchanges"),
        ("[config.sim]", PUBLIC + "[config.sim]", "--virtual: the campaign trades real markets"),
    ],
)
def test_what_cannot_be_simulated_leaves_no_folder(tmp_path, old, new, why):
    file = tmp_path / "wrong.toml"
    file.write_text(TEXT.replace(old, new))
    with pytest.raises(UsageError, match=why):
        run_virtual(load_campaign(file), tmp_path / "campaigns")
    assert not (tmp_path / "campaigns").exists()
