import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import structlog

from arbshard import crashpoint
from arbshard.log import get_logger
from arbshard.virtual.confines import dying, patient_collector, place, quiet
from arbshard.virtual.costs import ERROR_NS
from arbshard.virtual.loop import VirtualLoop
from arbshard.virtual.trace import Trace


def test_crash_points_are_told_only_meanwhile() -> None:
    seen: list[str] = []
    with dying(seen.append):
        crashpoint.reach("before_commit")
    crashpoint.reach("after_commit")
    assert seen == ["before_commit"]


def test_errors_become_lines_of_the_trace_and_the_log_is_as_before() -> None:
    before = structlog.get_config()
    trace = Trace(VirtualLoop())
    charged: list[tuple[int, str]] = []
    with quiet(trace, lambda *what: charged.append(what)):
        get_logger().warning("nobody hears this")
        get_logger().error("something is wrong", exc="because")
    assert charged == [(ERROR_NS, "logs an error")]
    assert [line.split(" ", 1)[1] for line in trace.last] == ["error something is wrong because"]
    assert structlog.get_config() == before


def test_the_directory_and_the_collector_are_as_before() -> None:
    before = gc.get_threshold()
    with place() as path, patient_collector():
        (path / "run-1").mkdir()
        (path / "run-1" / "books").write_text("x")
        assert gc.get_threshold() != before
    assert not path.exists()
    assert gc.get_threshold() == before


def test_what_killed_simulations_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(tmp_path))
    left = tmp_path / ".simulation-1-abcd"
    for name in ("arbshard.lock", "run-1/books", "run-1/ring-0", "run-2/page-risk"):
        path = left / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        path.parent.chmod(0o700)
    foreign = tmp_path / ".simulation-mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("precious")
    with place() as other, place() as path:  # the second finds the first, which is in use
        assert sorted(tmp_path.iterdir()) == sorted([foreign, other, path])
    assert list(tmp_path.iterdir()) == [foreign]
    assert (foreign / "thesis.txt").read_text() == "precious"


@pytest.mark.integration
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(pytest.param(one, marks=pytest.mark.nightly) for one in (signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_a_signal_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "arbshard", "simulate", "--seed", "3", "--hours", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ARBSHARD_RUN_ROOT": str(tmp_path)},
    )
    try:
        deadline_s = time.monotonic() + 60
        while not list(tmp_path.glob("*/run-1/books")):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        running.send_signal(number)
        out, said = running.communicate(timeout=30)
    finally:
        running.kill()
        running.communicate()
    assert (running.returncode, out, said) == (128 + number, "", "stopped before the end\n")
    assert not list(tmp_path.iterdir())


def test_the_hash_is_of_every_line_in_order() -> None:
    hashes = []
    for lines in (("a", "b"), ("b", "a"), ("a", "b")):
        written: list[str] = []
        trace = Trace(VirtualLoop(), written.append)
        for line in lines:
            trace.note("event", line)
        assert len(written) == trace.lines == 2
        hashes.append(trace.hash)
    assert hashes[0] == hashes[2] != hashes[1]
