"""The word on risk's page, also after risk was replaced."""

import pytest

from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.shm.pages import PageWriter
from arbshard.worker.risk_page import RiskPage

S = 1_000_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "page-risk"


@pytest.fixture
def page(path):
    one = RiskPage(path)
    yield one
    one.close()


def risk(path, serial, beat_ns):
    writer = PageWriter.create(path, COUNTERS, HISTOGRAMS, 0)
    writer.set(writer.counter("instructions"), serial)
    writer.set(writer.counter("beat_ns"), beat_ns)
    return writer


def test_without_a_page_there_is_no_word(page):
    assert page.serial("instructions", 10 * S) is None
    assert page.attached == 0


def test_the_word_as_it_is_now(path, page):
    with risk(path, 3, 10 * S) as writer:
        assert page.serial("instructions", 10 * S) == 3
        writer.set(writer.counter("instructions"), 4)
        assert page.serial("instructions", 11 * S) == 4
        assert page.attached == 1


def test_a_page_that_stands_still_is_looked_for_anew(path, page):
    with risk(path, 3, 10 * S):
        assert page.serial("instructions", 10 * S) == 3
        with risk(path, 5, 12 * S):
            assert page.serial("instructions", 11 * S) == 3  # the old beat is not too old yet
            assert page.serial("instructions", 11 * S + 1) == 5
            assert page.attached == 2


def test_the_lowest_epoch_that_may_trade(path, page):
    with risk(path, 3, 10 * S) as writer:
        assert page.fence(1, 10 * S) == 0
        writer.set(writer.counter("fence_1"), 4)
        assert page.fence(1, 10 * S) == 4
        assert page.fence(0, 10 * S) == 0


def test_a_fence_stands_while_risk_is_replaced(path, page):
    """It was set while this process stood still, and the new risk process has not said it yet."""
    with risk(path, 3, 10 * S) as old:
        page.serial("instructions", 10 * S)
        old.set(old.counter("fence_0"), 2)
        with risk(path, 0, 20 * S):
            assert page.fence(0, 20 * S) == 2
            assert page.attached == 2
            assert page.fence(0, 20 * S) == 2


def test_without_a_page_nobody_is_fenced(page):
    assert page.fence(0, 10 * S) == 0


def test_a_dead_page_is_not_looked_for_all_the_time(path, page):
    with risk(path, 3, 10 * S):
        for step in range(100):
            assert page.serial("instructions", 20 * S + step * 20_000_000) == 3
        assert page.attached == 10  # every 200 ms of 2 s


def test_while_risk_is_gone_the_last_word_stands(path, page):
    with risk(path, 3, 10 * S):
        assert page.serial("instructions", 10 * S) == 3
    path.unlink()
    assert page.serial("instructions", 30 * S) == 3
