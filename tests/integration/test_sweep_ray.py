"""A sweep on a Ray cluster of two nodes, one of which is killed meanwhile, against the same sweep without Ray."""

import os
import shutil

import pytest
from msgspec.structs import replace

from arbshard.backtest.run import backtest, tape_config
from arbshard.config import Config
from arbshard.sweep.parts import cut
from arbshard.sweep.pools import pool_of
from arbshard.sweep.space import SearchSpace, parse_axes
from arbshard.sweep.store import SweepRequest, opened
from arbshard.sweep.sweep import Sweep
from arbshard.sweep.tasks import task_of
from perf.tapes import make_tape
from support.sweep_rig import helpers_in, slow, write_tape

pytestmark = [
    pytest.mark.integration,
    pytest.mark.nightly,
    pytest.mark.timeout(900),
    pytest.mark.needs("tape", "analysis", "ray"),
    # Ray's own warnings are none of ours; it also leaves sockets to the collector.
    pytest.mark.filterwarnings("default"),
]
GRID = ("entry_bps=25:50:1", "max_hold_s=5:60:5")
TRIALS = 200


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """Two nodes with one core each; the second one can be killed."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(helpers_in(tmp_path)))  # where its workers find the formula
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.second = made.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    ray.shutdown()
    made.shutdown()


class Killer:
    """Shows no progress, and kills a node when half of the tasks are done."""

    def __init__(self, kill=None):
        self.kill = kill
        self.has_killed = False

    def show(self, done, total, failed, running):
        if self.kill is not None and not self.has_killed and 2 * done > total and running:
            self.has_killed = True
            self.kill()


@pytest.fixture
def sweep(tmp_path):
    tape = write_tape(tmp_path / "tape", 121)

    def run(where, search, progress):
        request = SweepRequest(
            tape=str(tape), grid=GRID, search=search, trials=TRIALS, parts=cut(tape, 3), seed=5
        )
        space = SearchSpace(Config(), parse_axes(GRID, Config()))
        folder = tmp_path / where
        shutil.rmtree(folder, ignore_errors=True)
        with opened(folder) as store:
            pool = pool_of(where, 2, slow, str(store.work_dir))
            try:
                report = Sweep(request, space, store, pool, progress).run()
            finally:
                pool.close()
            return report, dict(store.results)

    return run


def comparable(results):
    """All that does not tell where and how fast a task was carried out."""
    return {key: one._replace(place="", took_s=0.0, cpu_s=0.0) for key, one in results.items()}


def test_a_cluster_that_loses_a_node_finds_what_this_machine_finds(sweep, cluster):
    killer = Killer(lambda: cluster.remove_node(cluster.second, allow_graceful=False))
    on_ray, results = sweep("ray", "random", killer)
    assert killer.has_killed
    assert on_ray.tried == TRIALS
    assert on_ray.failed == 0
    pids = {int(one.place.rpartition(":")[2]) for one in results.values()}
    assert len(pids) >= 2
    assert os.getpid() not in pids
    local, expected = sweep("local", "random", Killer())
    assert comparable(results) == comparable(expected)
    assert (on_ray.best, on_ray.folds, on_ray.deflated) == (local.best, local.folds, local.deflated)


def carried_out(where, tasks, work):
    """The results of real backtests, by task."""
    work.mkdir()
    pool, waiting, found = pool_of(where, 2, backtest, str(work)), list(tasks), {}
    try:
        while len(found) < len(tasks):
            while waiting and pool.room():
                pool.submit(waiting.pop(0))
            found.update((one.key, one) for one in pool.wait(1.0))
    finally:
        pool.close()
    return found


def test_backtests_on_a_cluster_decide_what_they_decide_here(tmp_path, cluster):
    make_tape(tmp_path / "tape", seconds=70, pairs=3, updates_per_s=4, seed=5)
    tape = tmp_path / "tape"
    config = tape_config(tape)
    (part,) = cut(tape, 1)
    tasks = []
    for value in (5.0, 20.0, 450.0):
        strategy = replace(config.strategy, entry_bps=value, min_edge_bps=min(value, 20.0))
        tried = replace(config, strategy=strategy, baseline=replace(config.baseline, is_required=False))
        tasks.append(task_of(tape, part, tried, {"strategy.entry_bps": str(value)}, 0))
    on_ray = carried_out("ray", tasks, tmp_path / "ray")
    assert [one.failure for one in on_ray.values()] == [""] * 3
    assert os.getpid() not in {int(one.place.rpartition(":")[2]) for one in on_ray.values()}
    assert comparable(on_ray) == comparable(carried_out("local", tasks, tmp_path / "local"))
    assert len({one.pnl for one in on_ray.values()}) > 1


def test_a_node_with_other_code_says_so_in_one_line(tmp_path, cluster, monkeypatch):
    tape = write_tape(tmp_path / "tape", 31)
    (part,) = cut(tape, 1)
    monkeypatch.setattr("arbshard.sweep.pools.source_digest", lambda: "0123456789abcdef")
    task = task_of(tape, part, Config(), {}, 0)
    (one,) = carried_out("ray", [task], tmp_path / "ray").values()
    assert "has other code of arbshard" in one.failure
    assert "(source 0123456789abcdef)" in one.failure
    assert "\n" not in one.failure
