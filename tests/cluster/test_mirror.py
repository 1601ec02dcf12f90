"""Risk's page on a host that does not lead."""

import os

import pytest

from arbshard.cluster.mirror import RiskMirror
from arbshard.risk.counters import COUNTERS, HISTOGRAMS, NOTE_BYTES
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.wire.cluster import PageState
from arbshard.worker.risk_page import RiskPage

SECOND = 1_000_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "page-risk"


@pytest.fixture
def mirror(path):
    with RiskMirror(path) as made:
        made.open()
        yield made


def shown(path, name):
    with PageReader.attach(path) as page:
        return page.value(name)


def test_it_shows_what_the_leader_shows_with_its_own_pid_and_beat(mirror, path):
    mirror.show(
        PageState({"pid": 7, "beat_ns": 99, "instructions": 4, "terms": 5, "ready": 1}, b"note"), 3 * SECOND
    )
    with PageReader.attach(path) as page:
        assert page.value("instructions") == 4
        assert page.value("terms") == 5
        assert page.value("ready") == 1
        assert page.value("pid") == os.getpid()
        assert page.value("beat_ns") == 3 * SECOND
        assert page.note() == b"note"


def test_the_beat_is_that_of_the_last_message(mirror, path):
    mirror.show(PageState({"terms": 5}), 3 * SECOND)
    mirror.show(PageState({}), 4 * SECOND)
    assert shown(path, "beat_ns") == 4 * SECOND


def test_fences_never_go_down(mirror, path):
    mirror.show(PageState({"fence_0": 3001}), SECOND)
    mirror.show(PageState({"fence_0": 2005, "fence_1": 1000}), SECOND)
    assert (shown(path, "fence_0"), shown(path, "fence_1")) == (3001, 1000)
    assert (mirror.fence(0), mirror.fence(1), mirror.fence(2)) == (3001, 1000, 0)


def test_it_begins_with_the_fences_and_the_note_of_the_risk_process_before_it(path):
    with PageWriter.create(path, COUNTERS, HISTOGRAMS, NOTE_BYTES) as page:
        page.set(page.counter("fence_2"), 5001)
        page.set(page.counter("ready"), 1)
        page.write_note(b"last")
    with RiskMirror(path) as mirror:
        mirror.open()
        with PageReader.attach(path) as page:
            assert page.value("fence_2") == 5001
            assert page.value("ready") == 0
            assert page.note() == b"last"


def test_a_worker_follows_it_from_one_writer_to_the_next(path):
    with RiskMirror(path) as mirror:
        mirror.open()
        mirror.show(PageState({"terms": 5, "fence_0": 2000}), 10 * SECOND)
        reader = RiskPage(path)
        assert reader.serial("terms", 10 * SECOND) == 5
        assert reader.fence(0, 10 * SECOND) == 2000
    # Risk is started here and makes the page anew; this incarnation has not shown its fences yet.
    with PageWriter.create(path, COUNTERS, HISTOGRAMS, NOTE_BYTES) as page:
        page.set(page.counter("beat_ns"), 12 * SECOND)
        page.set(page.counter("terms"), 6)
        assert reader.serial("terms", 12 * SECOND) == 6
        assert reader.fence(0, 12 * SECOND) == 2000
    reader.close()


def test_counters_of_another_version_are_counted(mirror):
    mirror.show(PageState({"of_tomorrow": 1}), SECOND)
    assert mirror.unknown == 1


def test_a_closed_mirror_writes_nothing(mirror, path):
    mirror.close()
    mirror.show(PageState({"terms": 5}), SECOND)
    assert shown(path, "terms") == 0
