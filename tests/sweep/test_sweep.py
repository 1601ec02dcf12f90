"""A whole sweep in one process: what is asked of the pool, what is kept, and what a second one does anew."""

import signal

import pytest

from arbshard.config import Config
from arbshard.sweep.parts import cut
from arbshard.sweep.space import SearchSpace, parse_axes
from arbshard.sweep.store import SweepRequest, opened
from arbshard.sweep.sweep import Sweep, SweepStopped, write_page
from support.sweep_rig import InlinePool, LastShown, troubled, write_tape

pytestmark = pytest.mark.needs("tape", "analysis")
GRID = ("entry_bps=30:50:5", "max_hold_s=25,30,35")


@pytest.fixture
def sweep(tmp_path):
    tape = write_tape(tmp_path / "tape", 121)

    def run(pool, grid=GRID, search="grid", trials=20, seed=3, parts=4):
        request = SweepRequest(
            tape=str(tape), grid=grid, search=search, trials=trials, parts=cut(tape, parts), seed=seed
        )
        space = SearchSpace(Config(), parse_axes(grid, Config()))
        seen = LastShown()
        with opened(tmp_path / "out") as store:
            report = Sweep(request, space, store, pool, seen).run()
        return report, seen.last

    return run


def test_a_grid_is_swept_and_the_hill_is_found(sweep):
    pool = InlinePool()
    report, last = sweep(pool)
    assert report.tried == 15
    assert report.best.values["strategy.entry_bps"] == "40"
    # Every point and the unchanged configuration on each part, and the best one with frames delayed.
    assert len(pool.tasks) == report.tasks == 4 * (15 + 1 + 1)
    assert last == (68, 68, 0, 0)
    assert not report.look_ahead.has_improved
    assert report.deflated.trials == 16


def test_what_is_there_is_not_computed_again(sweep):
    first, _ = sweep(InlinePool())
    pool = InlinePool()
    second, _ = sweep(pool)
    assert pool.tasks == []
    assert second.points == first.points
    assert second.deflated == first.deflated
    # A wider grid in the same folder: only the new points are computed, and the old trials are counted.
    wider, _ = sweep(pool, grid=("entry_bps=35:60:5", "max_hold_s=25,30,35"))
    assert len(pool.tasks) == 4 * 6
    assert wider.earlier == 3
    assert wider.deflated.trials == 16 + 6


def test_a_signal_keeps_what_is_done(sweep):
    pool = InlinePool(after=30)
    with pytest.raises(SweepStopped) as stopped:
        sweep(pool)
    assert stopped.value.number == signal.SIGTERM
    assert len(pool.tasks) == 30
    rest = InlinePool()
    report, _ = sweep(rest)
    assert len(rest.tasks) == 68 - 30
    assert report.failed == 0


def test_failed_tasks_are_done_again_by_the_next_sweep(sweep):
    grid = ("entry_bps=30,32,33", "max_hold_s=25,30")
    report, _ = sweep(InlinePool(troubled), grid)
    assert report.failed == 16
    pool = InlinePool()
    again, _ = sweep(pool, grid)
    assert again.failed == 0
    assert {task.config.strategy.entry_bps for task in pool.tasks} >= {32.0, 33.0}


@pytest.mark.needs("sweep")
def test_optuna_gives_the_same_points_again_and_looks_round_the_best(sweep):
    first, _ = sweep(InlinePool(), search="optuna", grid=("entry_bps=20:60:1", "max_hold_s=10:90:5"))
    pool = InlinePool()
    second, _ = sweep(pool, search="optuna", grid=("entry_bps=20:60:1", "max_hold_s=10:90:5"))
    assert pool.tasks == []
    assert second.points == first.points
    assert all(axis.neighbours for axis in first.axes)
    assert all(one.pnl is not None for axis in first.axes for one in axis.neighbours)


def test_points_that_are_no_configuration_are_left_out(sweep):
    report, last = sweep(InlinePool(), grid=("entry_bps=30,40", "min_edge_bps=20,35"))
    assert (report.tried, report.invalid) == (3, 1)
    assert last[0] == last[1]


def test_a_page_is_written(sweep, tmp_path):
    report, _ = sweep(InlinePool())
    pages = write_page(report, tmp_path / "out")
    assert pages.html.stat().st_size > 1_000_000
    assert pages.markdown.read_text().startswith("# Sweep of strategy.entry")
