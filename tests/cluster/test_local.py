"""When a stuck worker is reported to the leader, and whether alerts of this host reach anyone."""

import pytest

from arbshard.cluster.local import LocalProcesses, StuckReports
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageWriter
from arbshard.wire.cluster import StuckWorker

FIRST, SECOND = StuckWorker(0, 1001, "no beat"), StuckWorker(3, 2001, "no beat")


def test_each_stuck_worker_is_reported_once_a_second():
    reports, sent = StuckReports(), []
    for tick in range(41):  # two seconds, twenty looks a second
        sent += [(tick, one) for one in reports.due((FIRST, SECOND), tick * 50_000_000)]
    assert sent == [(tick, one) for tick in (0, 20, 40) for one in (FIRST, SECOND)]


def test_a_successor_that_is_stuck_too_is_reported_at_once():
    reports = StuckReports()
    successor = StuckWorker(0, 1002, "no beat")
    assert [reports.due((one,), now_ns) for now_ns, one in enumerate((FIRST, FIRST, successor))] == [
        [FIRST],
        [],
        [successor],
    ]


def test_a_worker_that_was_well_again_is_reported_at_once():
    reports = StuckReports()
    assert [list(reports.due(found, 0)) for found in ((FIRST,), (), (FIRST,))] == [[FIRST], [], [FIRST]]


@pytest.mark.parametrize(("reaches", "age_s", "sends"), [(1, 1, True), (0, 1, False), (1, 6, False)])
def test_alerts_reach_someone_while_their_process_says_so(tmp_path, reaches, age_s, sends):
    files, now_ns = RunFiles(tmp_path), 100_000_000_000
    with LocalProcesses(files, 1, lambda: now_ns) as local:
        assert not local.sends_alerts()  # there is no such process
        page = PageWriter.create(files.alerts_page, ("beat_ns", "reaches"), (), 64)
        page.set(page.counter("beat_ns"), now_ns - age_s * 1_000_000_000)
        page.set(page.counter("reaches"), reaches)
        assert local.sends_alerts() is sends
