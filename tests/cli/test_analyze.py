"""``arbshard analyze`` as typed: what is written and printed, and one line for bad input."""

import json
import sys

import pytest

from arbshard.cli import main
from support import world as w


@pytest.fixture
def run_dir(tmp_path):
    world = w.World()
    world.round_trip()
    world.stop()
    (tmp_path / "run").mkdir()
    world.write_ledger(tmp_path / "run" / "ledger.sqlite")
    return tmp_path / "run"


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """(exit code, stdout, stderr) of ``arbshard analyze …``."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["arbshard", "analyze", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def test_a_report_goes_beside_the_ledger(call, run_dir):
    pytest.importorskip("plotly")
    code, said, wrong = call(run_dir)
    assert (code, wrong) == (0, "")
    (page,) = (run_dir / "reports").glob("*/report.html")
    assert said.startswith(f"{page}: ")
    assert 1_000_000 < page.stat().st_size < 10_000_000


def test_a_ledger_may_be_named_itself(call, run_dir, tmp_path):
    pytest.importorskip("plotly")
    code, _, _ = call(run_dir / "ledger.sqlite", "--out", tmp_path / "out")
    assert code == 0
    assert (tmp_path / "out" / "report.md").is_file()


def test_several_runs_get_a_folder_each(call, run_dir, tmp_path):
    pytest.importorskip("plotly")
    code, said, _ = call(run_dir, run_dir, "--out", tmp_path / "out")
    assert code == 0
    assert len(said.splitlines()) == 2
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["01-run", "02-run"]


def test_two_runs_are_compared(call, run_dir, tmp_path):
    pytest.importorskip("plotly")
    code, _, _ = call("--compare", run_dir, run_dir, "--out", tmp_path / "out")
    assert code == 0
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert found["difference"]["result"] == "0"


def test_json_is_printed_and_nothing_is_written(call, run_dir):
    code, said, _ = call(run_dir, "--json")
    assert code == 0
    assert json.loads(said)["total"]["exits"] == 1
    assert not (run_dir / "reports").exists()


def test_an_instance_is_found_by_its_name(call, run_dir, tmp_path):
    (tmp_path / "state" / "arbshard").mkdir(parents=True)
    run_dir.rename(tmp_path / "state" / "arbshard" / "desk")
    code, said, _ = call("desk", "--json")
    assert code == 0
    assert json.loads(said)["source"] == str(tmp_path / "state" / "arbshard" / "desk")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nosuch",), "nosuch: neither a state directory nor the name of an instance"),
        ((".",), ".: no ledger.sqlite in it"),
        (("--since", "soon", "{run}"), "--since soon: not a date or time"),
        (("--compare", "{run}", "{run}", "{run}"), "names both runs"),
        (("--compare", "{run}", "nosuch"), "nosuch: neither"),
        pytest.param(
            ("--out", "{run}/ledger.sqlite", "{run}"),
            "the report cannot be written",
            marks=pytest.mark.needs("analysis"),
        ),
    ],
)
def test_bad_input_is_one_line(call, run_dir, tmp_path, monkeypatch, arguments, why):
    monkeypatch.chdir(tmp_path)
    code, said, wrong = call(*(one.format(run=run_dir) for one in arguments))
    assert (code, said) == (2, "")
    assert why in wrong
    assert len(wrong.splitlines()) == 1


def test_a_damaged_summary_is_named(call, run_dir):
    (run_dir / "summary.json").write_text("{")
    code, _, wrong = call(run_dir, "--json")
    assert code == 2
    assert "summary.json: not the summary" in wrong


def test_without_plotly_the_command_that_installs_it_is_said(call, run_dir, monkeypatch):
    monkeypatch.setattr("arbshard.optional.find_spec", lambda _: None)
    code, _, wrong = call(run_dir)
    assert code == 2
    assert wrong == (
        "arbshard: the page of an analysis needs plotly, which is not installed: pip install plotly\n"
    )
    assert call(run_dir, "--json")[0] == 0
