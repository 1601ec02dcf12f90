"""What the rotated logs say: counted, grouped, and kept in part."""

import json

import pytest

from arbshard.report import logs
from arbshard.report.logs import read_logs

AT = "2026-11-28T07:00:{:02}.000000Z"
AT_MS = 1_795_849_200_000


def record(second, level="warning", event="stalled", process="supervisor", **more):
    return json.dumps(
        {"event": event, **more, "level": level, "timestamp": AT.format(second), "process": process}
    )


@pytest.fixture
def write(tmp_path):
    def write_it(name, *lines):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))

    return write_it


def test_records_are_grouped_and_read_from_the_oldest_file_on(tmp_path, write):
    write("supervisor.jsonl.2", record(1, number=1), record(2, level="info"))
    write("supervisor.jsonl.1", *(record(3 + n, number=2 + n) for n in range(8)))
    write("supervisor.jsonl", record(20, number=10), record(21, level="error", event="failed"))
    write("risk.jsonl", record(5, level="critical", event="ended", process="risk"))
    found = read_logs(tmp_path, 0)
    assert found.levels == {"warning": 10, "error": 1, "critical": 1}
    stalled, ended, failed = found.records
    assert (stalled.process, stalled.level, stalled.event, stalled.count) == (
        "supervisor",
        "warning",
        "stalled",
        10,
    )
    assert (stalled.first_ms, stalled.last_ms) == (AT_MS + 1000, AT_MS + 20_000)
    assert [json.loads(line)["number"] for line in stalled.lines] == [1, 2, 3, 8, 9, 10]
    assert (ended.process, ended.file) == ("risk", "risk.jsonl")
    assert failed.event == "failed"
    assert len({one.anchor for one in found.records}) == 3


def test_earlier_records_are_left_out(tmp_path, write):
    write("risk.jsonl", record(1), record(9))
    assert read_logs(tmp_path, AT_MS + 5000).levels == {"warning": 1}


def test_lines_that_are_no_records_are_counted(tmp_path, write):
    write(
        "risk.jsonl", record(1), "{half a li", '["level"]', "", record(2).replace(AT.format(2), "yesterday")
    )
    (tmp_path / "risk.txt").write_text("another file\n")
    found = read_logs(tmp_path, 0)
    assert (found.levels, found.unread) == ({"warning": 1}, 3)


def test_groups_and_lines_are_bounded(tmp_path, write, monkeypatch):
    monkeypatch.setattr(logs, "GROUPS_MAX", 2)
    write(
        "risk.jsonl",
        *(record(n, event=f"kind {n}") for n in range(5)),
        record(9, event="kind 0", text="x" * 9999),
    )
    found = read_logs(tmp_path, 0)
    assert found.levels == {"warning": 6}
    assert [one.event for one in found.records] == ["kind 0", "kind 1"]
    assert found.groups_left_out == 3
    assert max(len(line) for one in found.records for line in one.lines) == 2000


def test_no_folder_is_no_log(tmp_path):
    assert read_logs(tmp_path / "logs", 0).levels == {}
