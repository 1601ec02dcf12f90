"""Figures of failover: how they are put together and judged. The real thing is in ``integration/supervision``."""

import pytest

from arbshard.shm.pages import Histogram, PageWriter
from perf import failover, plan
from perf.breaking import Recovery, slowed_of
from perf.budgets import judge
from perf.plan import Plan, measure
from perf.results import Conditions, Results
from perf.running import MeasurementFailed
from perf.watching import FollowedPage


def recovery(before, during, took_ms=50.0):
    return Recovery(
        victim="worker-0",
        kind="SIGKILL",
        took_ms=took_ms,
        before=Histogram.of(before),
        during=Histogram.of(during),
    )


def test_how_much_slower_the_others_were_is_told_over_all_times_together():
    calm, slow = recovery([1_000] * 100, [1_000] * 100), recovery([1_000] * 100, [4_000] * 100)
    assert calm.slowed == pytest.approx(1.0)
    assert slow.slowed == pytest.approx(4.0, rel=0.13)
    assert slowed_of([calm, slow]) == pytest.approx(4.0, rel=0.13)
    assert slowed_of([recovery([], [5])]) == 0.0


@pytest.fixture
def results():
    return Results(conditions=Conditions(python="3.11", cores=2, cpu="x", load_before=0.0))


def test_each_promise_has_its_budget(results):
    results.more[failover.GROUP] = {
        failover.KILLED_SPARE: 99.0,
        failover.KILLED_ALONE: 501.0,
        failover.STOPPED: 500.0,
        failover.RISK_KILLED: 1_999.0,
        failover.CUT: 301.0,
        failover.OTHERS_KILLED: 2.1,
        failover.OTHERS_STOPPED: 1.0,
    }
    results.more[failover.SIMULATION_GROUP] = {failover.SPEED: 499.0, failover.LIVE_SPEED: 301.0}
    found = {one.budget.name: one.verdict for one in judge(results) if one.verdict != "not measured"}
    assert list(found.values()) == ["met", "missed", "met", "met", "missed", "missed", "met", "missed", "met"]


def test_a_part_that_fails_is_told_and_the_other_is_measured(results, monkeypatch):
    def fails(_times):
        raise MeasurementFailed("risk did not come back")

    monkeypatch.setattr(plan.failover, "measure", fails)
    monkeypatch.setattr(plan.failover, "simulation_speed", lambda mode: 800.0 if mode == "paper" else 350.0)
    only = Plan(("failover",), (1_000,), 1.0, quick=True, peers=False, receiver=None)
    assert not measure(only, results, lambda _: None)
    assert results.not_measured == {"failover": "risk did not come back"}
    assert results.more == {failover.SIMULATION_GROUP: {failover.SPEED: 800.0, failover.LIVE_SPEED: 350.0}}


def test_a_page_is_followed_from_one_incarnation_to_the_next(tmp_path):
    path = tmp_path / "page"
    followed = FollowedPage(path)
    try:
        assert followed.value("pid") == 0
        assert followed.histogram("h").count == 0
        for pid in (7, 8):
            with PageWriter.create(path, ("pid",), ("h",), 0) as page:
                page.set(page.counter("pid"), pid)
                page.record(page.histogram("h"), 5)
                assert followed.value("pid") == pid
                assert followed.histogram("h").count == 1
        path.unlink()
        assert followed.value("pid") == 8  # what the last one said
    finally:
        followed.close()
