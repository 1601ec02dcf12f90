"""Whether a child is up, by what this very incarnation shows."""

import pytest

from arbshard.shm.pages import PageWriter
from supervisor.processes.health import FileHealth, PageHealth

COUNTERS = ("pid", "state", "beat", "beat_ns", "fence_0")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "page"


@pytest.fixture
def health(path):
    one = PageHealth(path, "state", 1)
    yield one
    one.close()


def page(path, pid, **values):
    writer = PageWriter.create(path, COUNTERS, (), 0)
    for name, value in {"pid": pid, **values}.items():
        writer.set(writer.counter(name), value)
    return writer


def test_without_a_page_it_is_not_up(health):
    assert (health.is_up(7), health.progress(7), health.beat_ns(7), health.newest("fence_0")) == (
        False,
        0,
        0,
        0,
    )


def test_its_own_page(path, health):
    with page(path, 7, beat=3, beat_ns=4) as writer:
        assert (health.is_up(7), health.progress(7), health.beat_ns(7)) == (False, 3, 4)
        writer.set(writer.counter("state"), 2)
        assert health.is_up(7)


def test_a_predecessors_page_says_nothing_of_its_successor(path, health):
    with page(path, 7, state=1, beat_ns=4, fence_0=5):
        assert health.is_up(7)
        assert not health.is_up(8)
        assert health.beat_ns(8) == 0
        assert health.newest("fence_0") == 5
    with page(path, 8, state=1):
        assert health.is_up(8)
        assert health.newest("fence_0") == 0


@pytest.mark.parametrize(
    ("content", "is_up"), [('{"pid": 7}', True), ('{"pid": 8}', False), ("{}", True), ("{", False)]
)
def test_in_a_file(tmp_path, content, is_up):
    health = FileHealth(tmp_path / "ready.json")
    assert not health.is_up(7)
    (tmp_path / "ready.json").write_text(content)
    assert health.is_up(7) is is_up
    assert (health.progress(7), health.beat_ns(7)) == (0, 0)
