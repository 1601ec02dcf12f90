"""Logs: JSON lines in a file per process, a line for people on the terminal, errors counted; no local variables."""

import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from typing import ClassVar

import pytest
import structlog

from arbshard import log as logs


@pytest.fixture
def setup():
    """``log.setup``, undone afterwards; pytest's own handlers are kept out of its reach."""
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook
    root.handlers = []
    yield logs.setup
    sys.excepthook, threading.excepthook = hooks
    for handler in root.handlers:
        handler.close()
    root.handlers = kept
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(path):
    logs.flush()
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


def test_connections_of_libraries_are_no_news(setup, tmp_path):
    setup("supervisor", tmp_path, "debug")
    for name in ("picows", "websockets.client", "aiohttp.access", "asyncio"):
        logging.getLogger(name).info("connection established")
    logs.get_logger().info("one")
    assert [line["event"] for line in lines(tmp_path / "supervisor.jsonl")] == ["one"]


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
    logs.flush()
    assert capsys.readouterr() == ("", "")
    setup("supervisor", tmp_path, "info", console=True)
    logs.get_logger().info("running", pairs=30)
    logs.flush()
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
    logs.flush()
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first["event"] == "the log cannot be written"
    assert second["event"] == "fenced"
    assert logs.error_count() == before + 1


SECRET = "MARKUPSECRET-0123456789"


class Slow(Exception):
    """Says in which thread it was rendered."""

    def __init__(self):
        self.rendered_in = set()

    def __str__(self):
        self.rendered_in.add(threading.get_ident())
        return "slow to render"


def fail(depth):
    password = SECRET  # what a traceback with local variables would show
    if depth:
        fail(depth - 1)
    raise ValueError("it broke", len(password))


@pytest.mark.parametrize("depth", [0, 200])
def test_a_traceback_is_short_and_shows_no_local_variable(setup, tmp_path, capsys, depth):
    setup("supervisor", tmp_path, "info", console=True)
    try:
        fail(depth)
    except ValueError:
        logs.get_logger().exception("defect")
    (line,) = lines(tmp_path / "supervisor.jsonl")
    _, err = capsys.readouterr()
    for text in (line["exception"], err):
        assert SECRET not in text
        assert "password" not in text.replace("len(password)", "")
        assert "ValueError: ('it broke', 23)" in text
        assert "in fail" in text
    assert len(line["exception"].splitlines()) <= 100
    assert len(err.splitlines()) <= 25


def test_a_chain_of_long_errors_is_cut(setup, tmp_path, capsys):
    setup("supervisor", tmp_path, "info", console=True)
    error = RuntimeError("the end")
    error.__cause__ = ValueError("x" * 1_000_000)
    logs.get_logger().error("defect", exc_info=error)
    (line,) = lines(tmp_path / "supervisor.jsonl")
    _, err = capsys.readouterr()
    assert "characters left out" in line["exception"]
    assert len(line["exception"]) < 20_000
    assert len(err) < 5000
    assert err.rstrip().endswith("RuntimeError: the end")


def test_the_thread_that_logs_renders_nothing(setup, tmp_path):
    setup("supervisor", tmp_path, "info", console=True)
    error = Slow()
    logs.get_logger().error("defect", exc_info=error)
    logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=error)
    assert len(lines(tmp_path / "supervisor.jsonl")) == 2
    assert error.rendered_in
    assert threading.get_ident() not in error.rendered_in


def test_a_full_queue_loses_counts_and_tells(caplog):
    held, going = threading.Event(), threading.Event()

    class Stuck(logging.Handler):
        seen: ClassVar[list[str]] = []

        def emit(self, record):
            going.set()
            held.wait(10)
            self.seen.append(record.getMessage())

    losses = logs.Losses()
    handler = logs.QueueHandler([Stuck()], losses, size=5)
    before = logs.error_count()
    try:
        for number in range(20):
            handler.handle(logging.LogRecord("x", logging.INFO, "", 0, f"line {number}", None, None))
            assert going.wait(10)  # the first is being written
        assert losses.total == 14
        assert logs.error_count() - before == 14
        held.set()
        handler.flush()
        assert "14 log records were lost" in Stuck.seen
        assert [line for line in Stuck.seen if line.startswith("line")] == [f"line {n}" for n in range(6)]
    finally:
        held.set()
        handler.close()


def run(tmp_path, code):
    """A process that logs to ``tmp_path``: exit code, stderr, lines of its log."""
    head = f"""
        import asyncio, logging, os, resource, signal, sys, threading
        from pathlib import Path
        from arbshard import log as logs
        logs.setup("child", Path({str(tmp_path)!r}), "info")
    """
    program = textwrap.dedent(head) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    log = (tmp_path / "child.jsonl").read_text()
    return done.returncode, done.stderr, [json.loads(line) for line in log.splitlines()]


def test_all_is_written_when_the_process_ends(tmp_path):
    code, err, found = run(tmp_path, "for n in range(3000): logs.get_logger().info('line', n=n)")
    assert (code, err) == (0, "")
    assert [line["n"] for line in found] == list(range(3000))


def test_what_ends_a_process_is_logged_without_local_variables(tmp_path):
    code, err, found = run(
        tmp_path,
        f"""
        def work():
            password = {SECRET[:8]!r} + {SECRET[8:]!r}
            raise RuntimeError(len(password))
        work()
        """,
    )
    assert code == 1
    assert err.rstrip().endswith("RuntimeError: 23")
    assert SECRET not in err
    assert [line["event"] for line in found] == ["ended by an unexpected error"]
    assert SECRET not in str(found)


def test_what_ends_a_thread_or_a_task_is_logged_without_local_variables(tmp_path):
    code, err, found = run(
        tmp_path,
        f"""
        def work():
            password = {SECRET[:8]!r} + {SECRET[8:]!r}
            raise RuntimeError(len(password))
        async def main():
            async def job():
                work()
            task = asyncio.ensure_future(job())
            await asyncio.wait([task])
            asyncio.get_running_loop().call_soon(work)
            await asyncio.sleep(0.01)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        asyncio.run(main())
        print(logs.error_count(), file=sys.stderr)
        """,
    )
    assert (code, err) == (0, "3\n")
    assert len(found) == 3
    assert all("RuntimeError: 23" in line["exception"] for line in found)
    assert all((line["process"], line["level"]) == ("child", "error") for line in found)
    assert SECRET not in str(found)


def test_a_disk_that_is_full_for_a_while(tmp_path):
    code, err, found = run(
        tmp_path,
        """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
        for n in range(100):
            logs.get_logger().info("line", n=n)
            logs.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        logs.get_logger().info("room again")
        logs.flush()
        print(logs.error_count(), file=sys.stderr)
        """,
    )
    assert code == 0
    said, errors = err.splitlines()
    assert "child.jsonl: cannot be written: [Errno 27] File too large" in said
    written = sum(line["event"] == "line" for line in found)
    assert 0 < written < 100
    # The line in which the disk became full counts as lost; what is missing of it may still come.
    lost = int(found[-1]["event"].removesuffix(" log records were lost"))
    assert lost - (100 - written) in (0, 1)
    assert int(errors) == lost


def test_files_are_private_also_those_that_were_not(setup, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    folder.chmod(0o755)
    for name in ("risk.jsonl", "risk.jsonl.1", "worker-0.stderr"):
        (folder / name).write_text("")
        (folder / name).chmod(0o644)
    before = os.umask(0o000)
    try:
        setup("risk", folder, "info")
    finally:
        os.umask(before)
    (line,) = lines(folder / "risk.jsonl")
    assert len(line["paths"]) == 4
    assert "mode 755" in line["paths"][0]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    setup("supervisor", folder, "info")
    logs.get_logger().info("nothing to say")
    assert [line["event"] for line in lines(folder / "supervisor.jsonl")] == ["nothing to say"]


def test_a_new_file_is_private_whatever_the_umask(setup, tmp_path):
    before = os.umask(0o000)
    try:
        setup("risk", tmp_path / "logs", "info")
    finally:
        os.umask(before)
    assert (tmp_path / "logs" / "risk.jsonl").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700


_LOG = """
import logging, resource, signal, sys
from pathlib import Path
from arbshard.log import error_count, flush, get_logger, setup
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
setup("risk", Path(sys.argv[1]), "info")
get_logger().info("this fits")
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
for number in range(50):
    get_logger().info("this does not", number=number)
flush()
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
