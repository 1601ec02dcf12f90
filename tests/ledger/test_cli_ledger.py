"""``arbshard ledger …`` as typed: what is printed, where, and the exit code."""

import csv
import gc
import io
import json
import sqlite3
import sys

import pytest

from arbshard.cli import main
from arbshard.ledger.verify import verify
from support import world as w


@pytest.fixture
def ledger(tmp_path):
    world = w.World()
    world.round_trip()
    world.stop()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    return path


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """(exit code, stdout, stderr) of ``arbshard ledger …`` on the folder's ledger."""

    def run(*arguments: str):
        monkeypatch.setattr(sys, "argv", ["arbshard", "ledger", *arguments, "--state-dir", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    yield run
    gc.enable()


def spoil(path) -> None:
    connection = sqlite3.connect(path)
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()[0]
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)


def test_verify(ledger, call) -> None:
    code, out, err = call("verify")
    assert (code, err) == (0, "")
    assert "everything agrees with the fills" in out


@pytest.mark.parametrize("command", ["info", "show"])
def test_info(ledger, call, command) -> None:
    code, out, err = call(command)
    assert (code, err) == (0, "")
    assert "last stop   in order" in out
    assert "sim-paper, schema 5" in out
    code, out, _ = call(command, "--json")
    assert json.loads(out)["last_stop"] == "clean"


def test_export_to_the_terminal_and_to_a_file(ledger, call, tmp_path) -> None:
    code, out, err = call("export")
    assert (code, err) == (0, "")
    assert len(list(csv.DictReader(io.StringIO(out)))) == 4
    target = tmp_path / "fills.jsonl"
    code, said, _ = call("export", "--format", "jsonl", "--out", str(target))
    assert (code, said) == (0, f"{target}: 4 fills\n")
    assert len([json.loads(line) for line in target.read_text().splitlines()]) == 4
    before = target.read_bytes()
    code, _, err = call("export", "--out", str(target))
    assert (code, err) == (2, f"arbshard: {target}: exists already, and nothing is overwritten\n")
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("since", "rows"),
    [
        ("2026-11-18", 4),
        ("2026-11-18T11:06:40.005Z", 4),
        ("2026-11-18T20:06:40.006+09:00", 3),
        ("2026-11-18T11:06:40.007", 2),
        ("2027-01-01", 0),
    ],
)
def test_since_is_utc_unless_it_names_a_zone(ledger, call, since, rows) -> None:
    _, out, _ = call("export", "--since", since)
    assert len(out.splitlines()) == rows + 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--what", "cats"), "--what cats: one of fills, positions, deposits, events, balances, postings"),
        (("--format", "xml"), "--format xml: one of csv, jsonl, json, parquet"),
        (("--since", "yesterday"), "--since yesterday: not a date or time such as 2026-11-01"),
        (("--since", "2026-13-01"), "--since 2026-13-01: not a date"),
        (("--format", "parquet"), "--format parquet: say with --out which file is to be written"),
        (("--out", "/no/such/place"), "/no/such/place: cannot be created: No such file or directory"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(ledger, call, arguments, said) -> None:
    code, out, err = call("export", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [("verify",), ("info",), ("export",), ("backup", "copy.sqlite")])
def test_no_ledger(call, command, tmp_path) -> None:
    code, out, err = call(*command)
    assert (code, out) == (2, "")
    assert err == f"arbshard: there is no ledger at {tmp_path / 'ledger.sqlite'}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", [("verify",), ("info",), ("export",), ("export", "--out"), ("export", "--what", "balances")]
)
def test_a_damaged_ledger_is_one_line_and_exit_code_1(ledger, call, command, tmp_path) -> None:
    spoil(ledger)
    before = ledger.read_bytes()
    target = tmp_path / "rows.csv"
    code, _, err = call(*command, *([str(target)] if command[-1] == "--out" else []))
    assert code == 1
    assert err.startswith(f"arbshard: ledger: {ledger}: damaged: ")
    assert err.count("\n") == 1
    assert ledger.read_bytes() == before
    assert not target.exists()
    assert not list(tmp_path.glob(".rows*"))


def test_a_newer_ledger(ledger, call) -> None:
    connection = sqlite3.connect(ledger)
    with connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    connection.close()
    for command in ("verify", "info", "export"):
        code, _, err = call(command)
        assert code == 1
        assert "schema 99 was written by a newer arbshard" in err
        assert "use the newer program" in err
        assert err.count("\n") == 1


def test_backup(ledger, call, tmp_path) -> None:
    target = tmp_path / "copy.sqlite"
    code, out, err = call("backup", str(target))
    assert (code, err) == (0, "")
    assert out.startswith(f"{target}: ")
    assert verify(target).is_clean
    code, _, err = call("backup", str(target))
    assert (code, err) == (2, f"arbshard: {target}: exists already, and nothing is overwritten\n")


def test_export_as_one_json_array(ledger, call, tmp_path) -> None:
    target = tmp_path / "fills.json"
    code, said, _ = call("export", "--format", "json", "--out", str(target))
    assert (code, said) == (0, f"{target}: 4 fills\n")
    _, lines, _ = call("export", "--format", "jsonl")
    assert json.loads(target.read_text()) == [json.loads(line) for line in lines.splitlines()]
    code, out, _ = call("export", "--format", "json", "--since", "2027-01-01")
    assert (code, json.loads(out)) == (0, [])


@pytest.mark.needs("analysis")
def test_export_as_parquet(ledger, call, tmp_path) -> None:
    target = tmp_path / "fills.parquet"
    code, said, _ = call("export", "--format", "parquet", "--out", str(target))
    assert (code, said) == (0, f"{target}: 4 fills\n")
    assert target.read_bytes()[:4] == target.read_bytes()[-4:] == b"PAR1"
    assert target.stat().st_mode & 0o777 == 0o600


def test_without_pyarrow_parquet_is_one_line_that_says_what_to_install(
    ledger, call, monkeypatch, tmp_path
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, out, err = call("export", "--format", "parquet", "--out", str(tmp_path / "fills.parquet"))
    assert (code, out) == (2, "")
    assert err == ("arbshard: --format parquet needs pyarrow, which is not installed: pip install pyarrow\n")
    assert not (tmp_path / "fills.parquet").exists()
