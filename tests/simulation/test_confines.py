import gc

import structlog

from arbshard import crashpoint
from arbshard.log import get_logger
from arbshard.simulation.confines import dying, patient_collector, place, quiet
from arbshard.simulation.loop import VirtualLoop
from arbshard.simulation.trace import Trace


def test_crash_points_are_told_only_meanwhile() -> None:
    seen: list[str] = []
    with dying(seen.append):
        crashpoint.reach("before_commit")
    crashpoint.reach("after_commit")
    assert seen == ["before_commit"]


def test_errors_become_lines_of_the_trace_and_the_log_is_as_before() -> None:
    before = structlog.get_config()
    trace = Trace(VirtualLoop())
    with quiet(trace):
        get_logger().warning("nobody hears this")
        get_logger().error("something is wrong", exc="because")
    assert [line.split(" ", 1)[1] for line in trace.last] == ["error something is wrong because"]
    assert structlog.get_config() == before


def test_the_directory_and_the_collector_are_as_before() -> None:
    before = gc.get_threshold()
    with place() as path, patient_collector():
        (path / "file").write_text("x")
        assert gc.get_threshold() != before
    assert not path.exists()
    assert gc.get_threshold() == before


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
