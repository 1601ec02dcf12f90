"""``arbshard logs``: records of all processes in the order of time, filtered, and followed over rotations."""

import json

import pytest
from typer.testing import CliRunner

from arbshard.cli import app
from arbshard.cli.logs import LogTails
from arbshard.errors import UsageError


def record(second, process, event, level="info", **more):
    stamp = f"2026-11-28T10:00:{second:02}.000000Z"
    return json.dumps({**more, "event": event, "level": level, "timestamp": stamp, "process": process})


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state" / "logs"
    folder.mkdir(parents=True)
    lines = {
        "supervisor.jsonl": [
            record(2, "supervisor", "running"),
            record(5, "supervisor", "halted", "warning"),
        ],
        "risk.jsonl": [record(4, "risk", "risk started", session=3), "Traceback of nobody"],
        "risk.jsonl.1": [record(1, "risk", "older", "error")],
        "worker-1.jsonl": [record(3, "worker-1", "a detail", "debug")],
    }
    for name, records in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in records))
    return folder.parent


@pytest.fixture
def show(state, monkeypatch):
    monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(state.parent / "run"))

    def call(*arguments, code=0):
        done = CliRunner().invoke(app, ["logs", "--state-dir", str(state), *arguments])
        if isinstance(done.exception, UsageError):
            assert code == 2
            return str(done.exception)
        assert done.exit_code == code, done.output
        return done.output.splitlines()

    return call


def events(lines):
    return [line[45:].split("  ")[0] for line in lines]


def test_all_processes_in_the_order_of_time(show):
    lines = show()
    assert lines[0] == "2026-11-28T10:00:01.000 risk        error    older"
    assert "2026-11-28T10:00:04.000 risk        info     risk started  session=3" in lines
    assert [line[24:34].strip() for line in lines if line.startswith("2026")] == [
        "risk", "supervisor", "risk", "supervisor",
    ]  # fmt: skip
    assert "Traceback of nobody" in lines


def test_filters(show):
    assert len(show("--level", "debug")) == 6
    assert events(show("--level", "warning", "--process", "risk"))[:1] == ["older"]
    assert show("--process", "supervisor", "--last", "1")[0].endswith("halted")
    assert len(show("--since", "2026-11-28T10:00:04", "--process", "supervisor")) == 1
    (line,) = show("--process", "worker-1", "--level", "debug", "--json")
    assert json.loads(line)["event"] == "a detail"


def test_bad_input_says_what_would_be_right(show, state, tmp_path):
    assert show("--level", "loud", code=2) == "--level loud: not one of debug, info, warning, error, critical"
    said = show("--process", "worker-9", code=2)
    assert said == "--process worker-9: it has no log; those that have: risk, supervisor, worker-1"
    done = CliRunner().invoke(app, ["logs", "--state-dir", str(tmp_path / "none")])
    assert "logs: there are none of an instance named 'sim'" in str(done.exception)


def test_following_goes_on_over_unfinished_lines_and_rotations(state):
    with LogTails(state / "logs", ("supervisor",)) as tails:
        _follow(state, tails)


def _follow(state, tails):
    for history in tails.stored(""):
        list(history)
    path = state / "logs" / "supervisor.jsonl"
    line = record(6, "supervisor", "entry")
    with path.open("a") as file:
        file.write(line[:20])
        file.flush()
        assert list(tails.new()) == []
        file.write(line[20:] + "\n")
        file.write(record(7, "supervisor", "last of the old file") + "\n")
    path.rename(path.with_name("supervisor.jsonl.1"))
    path.write_text(record(8, "supervisor", "first of the new file") + "\n")
    found = [json.loads(one.raw)["event"] for one in tails.new()]
    assert found == ["entry", "last of the old file", "first of the new file"]
    assert list(tails.new()) == []
