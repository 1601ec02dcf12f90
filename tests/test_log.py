"""Logs: JSON lines in a file per process, a line for people on the terminal, errors counted."""

import json
import logging
import subprocess
import sys

import pytest
import structlog

from arbshard import log as logs


@pytest.fixture
def setup():
    """``log.setup``, undone afterwards; pytest's own handlers are kept out of its reach."""
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    root.handlers = []
    yield logs.setup
    for handler in root.handlers:
        handler.close()
    root.handlers = kept
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_json_line_per_event_with_the_process(setup, tmp_path):
    setup("worker-3", tmp_path / "deep" / "logs", "info")
    logs.get_logger().info("fenced", shard=3, why="epoch 2")
    (line,) = lines(tmp_path / "deep" / "logs" / "worker-3.jsonl")
    assert line["event"] == "fenced"
    assert (line["shard"], line["why"], line["process"], line["level"]) == (3, "epoch 2", "worker-3", "info")
    assert line["timestamp"].endswith("Z")


def test_libraries_log_there_too(setup, tmp_path):
    setup("risk", tmp_path, "info")
    logging.getLogger("websockets.client").warning("lost %s", "it")
    (line,) = lines(tmp_path / "risk.jsonl")
    assert (line["event"], line["level"]) == ("lost it", "warning")


@pytest.mark.parametrize(("level", "events"), [("debug", 3), ("info", 2), ("error", 1)])
def test_level(setup, tmp_path, level, events):
    setup("risk", tmp_path, level)
    log = logs.get_logger()
    log.debug("a")
    log.info("b")
    log.error("c")
    assert len(lines(tmp_path / "risk.jsonl")) == events


def test_exception_is_written_out(setup, tmp_path):
    setup("risk", tmp_path, "info")
    logs.get_logger().error("defect", exc_info=ValueError("wrong number"))
    (line,) = lines(tmp_path / "risk.jsonl")
    assert "ValueError: wrong number" in line["exception"]


def test_errors_are_counted_ours_and_the_libraries(setup, tmp_path):
    setup("risk", tmp_path, "info")
    before = logs.error_count()
    logs.get_logger().warning("not one")
    logging.getLogger("asyncio").error("one")
    logs.get_logger().error("two")
    logs.get_logger().critical("three")
    assert logs.error_count() - before == 3


def test_terminal_only_when_asked(setup, tmp_path, capsys):
    setup("risk", tmp_path, "info")
    logs.get_logger().info("quiet")
    assert capsys.readouterr() == ("", "")
    setup("supervisor", tmp_path, "info", console=True)
    logs.get_logger().info("running", pairs=30)
    out, err = capsys.readouterr()
    assert out == ""
    assert "running" in err
    assert "pairs=30" in err
    assert "\x1b" not in err  # no colours where nobody could see them
    assert lines(tmp_path / "supervisor.jsonl")[0]["pairs"] == 30


def test_set_up_twice_writes_once(setup, tmp_path):
    setup("risk", tmp_path, "info")
    setup("risk", tmp_path, "info")
    before = logs.error_count()
    logs.get_logger().error("once")
    assert len(lines(tmp_path / "risk.jsonl")) == 1
    assert logs.error_count() - before == 1


def test_directory_that_cannot_be_made(setup, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        setup("supervisor", tmp_path / "file" / "logs", "info", must_write=True)


def test_a_child_goes_on_without_its_file(setup, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    before = logs.error_count()
    setup("risk", tmp_path / "file" / "logs", "info")
    logs.get_logger().info("fenced")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first["event"] == "the log cannot be written"
    assert second["event"] == "fenced"
    assert logs.error_count() == before + 1


_LOG = """
import logging, resource, signal, sys
from pathlib import Path
from arbshard.log import error_count, get_logger, setup
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
setup("risk", Path(sys.argv[1]), "info")
get_logger().info("this fits")
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
for number in range(50):
    get_logger().info("this does not", number=number)
print(error_count())
raise SystemExit(3)
"""


def test_a_log_that_cannot_be_written_changes_no_exit_code_and_says_so_once(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOG, str(tmp_path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 3
    assert 40 < int(done.stdout) <= 50
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{tmp_path / 'risk.jsonl'}: cannot be written: [Errno 27] File too large")
