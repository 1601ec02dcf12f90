"""Counts of replaced processes: added once each, and read beside the page of their successor."""

import pytest
from structlog.testing import capture_logs

from arbshard.shm.former import FORMER, FormerCounts, keep_counts, read_former
from arbshard.shm.pages import PageReader, PageWriter

GAUGES = {"pid", "pairs"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "page-worker-0"


def incarnation(path, pid, orders, pairs=3, latencies=()):
    """A process that makes its page, counts, and is killed."""
    keep_counts(path, GAUGES)
    with PageWriter.create(path, ("pid", "pairs", "orders"), ("decision",), 0) as page:
        page.set(page.counter("pid"), pid)
        page.set(page.counter("pairs"), pairs)
        page.add(page.counter("orders"), orders)
        for ns in latencies:
            page.record(page.histogram("decision"), ns)


def totals(path):
    with PageReader.attach(path) as page:
        return read_former(path).total(page)


def test_the_first_has_no_predecessor(path):
    assert read_former(path) == FormerCounts()
    incarnation(path, 7, 5)
    assert read_former(path) == FormerCounts()
    assert totals(path) == {"pid": 7, "pairs": 3, "orders": 5}


def test_counts_of_all_incarnations_are_added_and_gauges_are_not(path):
    incarnation(path, 7, 5, latencies=(10, 20))
    incarnation(path, 8, 6, latencies=(30,))
    incarnation(path, 9, 1, pairs=2)
    assert totals(path) == {"pid": 9, "pairs": 2, "orders": 12}
    with PageReader.attach(path) as page:
        found = read_former(path).total_of(page, "decision")
        assert page.histogram("decision").count == 0
    assert (found.count, found.max_ns, found.total_ns) == (3, 30, 60)


def test_a_process_that_ends_before_it_has_a_page_changes_nothing(path):
    incarnation(path, 7, 5, latencies=(10,))
    keep_counts(path, GAUGES)
    keep_counts(path, GAUGES)
    assert totals(path) == {"pid": 7, "pairs": 3, "orders": 5}
    with PageReader.attach(path) as page:
        assert read_former(path).total_of(page, "decision").count == 1
    incarnation(path, 8, 1)
    assert totals(path) == {"pid": 8, "pairs": 3, "orders": 6}


def test_a_page_whose_owner_never_began_is_no_part_of_it(path):
    incarnation(path, 7, 5)
    incarnation(path, 0, 0)
    incarnation(path, 8, 1)
    assert totals(path)["orders"] == 6


def test_nothing_unfinished_is_left(path):
    incarnation(path, 7, 5)
    incarnation(path, 8, 5)
    assert sorted(one.name for one in path.parent.iterdir()) == ["page-worker-0", "page-worker-0.former"]


@pytest.mark.parametrize("damage", ["nonsense", "folder"])
def test_counts_that_cannot_be_read_or_written_keep_no_process_from_its_start(path, damage):
    incarnation(path, 7, 5)
    kept = path.with_name(path.name + FORMER)
    if damage == "folder":
        kept.mkdir()
    else:
        kept.write_bytes(b"nonsense")
    with capture_logs() as lines:
        incarnation(path, 8, 2)
    assert {line["event"] for line in lines} == {"counts of former processes are lost"}
    if damage == "nonsense":
        assert totals(path)["orders"] == 7
