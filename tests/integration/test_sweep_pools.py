"""Sweeps on real processes: children that die, hang or raise, and the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from arbshard.backtest.rows import TapePart
from arbshard.backtest.run import backtest, tape_config
from arbshard.config import Config
from arbshard.sweep.parts import cut
from arbshard.sweep.pools import LocalPool
from arbshard.sweep.tasks import task_of
from perf.tapes import make_tape
from support.sweep_rig import formula, helpers_in, slow, troubled, write_tape

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240), pytest.mark.needs("tape", "analysis")]


@pytest.fixture
def tasks(tmp_path):
    """Makes one task for each value of ``entry_bps``."""
    tape = write_tape(tmp_path / "tape", 31)
    (part,) = cut(tape, 1)

    def make(*entry_bps):
        made = []
        for value in entry_bps:
            config = Config()
            strategy = type(config.strategy)(entry_bps=value)
            made.append(task_of(tape, part, Config(strategy=strategy), {"strategy.entry_bps": str(value)}, 0))
        return made

    return make


def carry_out(pool, tasks):
    waiting, results = list(tasks), {}
    while len(results) < len(tasks):
        while waiting and pool.room():
            pool.submit(waiting.pop(0))
        results.update((one.key, one) for one in pool.wait(1.0))
    return [results[task.key] for task in tasks]


def test_what_costs_a_child_costs_one_task(tasks, tmp_path):
    (tmp_path / "work").mkdir()
    pool = LocalPool(2, troubled, str(tmp_path / "work"), task_s_max=6.0)
    given = tasks(40.0, 31.0, 32.0, 34.0, 33.0, 41.0, 42.0)
    try:
        good, killed, refused, endless, raised, *others = carry_out(pool, given)
    finally:
        pool.close()
    assert "ended by SIGKILL" in killed.failure
    assert refused.failure == "this part cannot be used"
    assert raised.failure.startswith("ZeroDivisionError: by nothing")
    assert endless.failure == "it was ended after 6 s, the longest that a task may take"
    assert [one.failure for one in (good, *others)] == ["", "", ""]
    assert good.pnl == formula_of(given[0], tmp_path / "again").pnl_krw


def formula_of(task, out):
    part = type("Part", (), {"start_ns": task.part.start_ns, "end_ns": task.part.end_ns})
    return formula(part, task.config, out)


def test_a_child_that_was_killed_is_replaced_and_none_is_left(tasks, tmp_path):
    (tmp_path / "work").mkdir()
    pool = LocalPool(1, slow, str(tmp_path / "work"))
    try:
        (first,) = carry_out(pool, tasks(40.0))
        pid = int(first.place.partition(":")[2])
        os.kill(pid, signal.SIGKILL)
        results = carry_out(pool, tasks(41.0, 42.0, 43.0))
    finally:
        pool.close()
    # The task that it was handed before its death was seen is the only one that is lost.
    assert sum(bool(one.failure) for one in results) <= 1
    pids = {int(one.place.partition(":")[2]) for one in results if not one.failure}
    assert len(pids) == 1
    assert not any(Path(f"/proc/{one}").exists() for one in (*pids, pid))


PROGRAM = """
import sys
import arbshard.backtest.run
from support import sweep_rig
arbshard.backtest.run.backtest = sweep_rig.slow
from arbshard.cli import main
if __name__ == "__main__":
    main()
"""
"""The command with the formula in place of the backtest."""


@pytest.fixture
def command(tmp_path):
    """Starts ``arbshard sweep …`` with a formula in place of the backtest."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(helpers_in(tmp_path))}
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, program, "sweep", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_ctrl_c_ends_in_order_and_resume_does_the_rest(command, tmp_path):
    tape = write_tape(tmp_path / "tape", 121)
    process = command(tape, "--grid", "entry_bps=20:60:4", "--grid", "max_hold_s=10:90:10", "--jobs", 2)
    folder = tape / "sweep" / "results"
    end_s = time.monotonic() + 120
    while not (folder.is_dir() and list(folder.glob("*.parquet"))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end_s
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, wrong = process.communicate(timeout=60)
    assert process.returncode == 130, wrong
    assert said == ""
    assert "stopped; what was done is kept: `arbshard sweep --resume --out" in wrong
    assert "Traceback" not in wrong
    again = command("--resume", "--out", tape / "sweep", "--jobs", 2)
    said, wrong = again.communicate(timeout=200)
    assert again.returncode == 0, wrong
    report = json.loads((tape / "sweep" / "report.json").read_text())
    assert (report["tried"], report["failed"]) == (99, 0)
    assert report["best"]["values"]["strategy.entry_bps"] in {"36", "40", "44"}
    computed = int(said.splitlines()[-1].partition(".html: ")[2].partition(" of ")[0].replace(",", ""))
    assert 0 < computed < report["tasks"]
    assert not (tape / "sweep" / "work").exists()


def test_real_backtests_are_swept_and_judged(tmp_path):
    tape = tmp_path / "tape"
    base = replace(Config(), baseline=replace(Config().baseline, is_required=False))
    make_tape(tape, seconds=150, pairs=2, updates_per_s=2, regime="mixed", seed=3, base=base)
    command = [sys.executable, "-m", "arbshard", "sweep", tape, "--parts", "2", "--jobs", "1"]
    command += ["--grid", "entry_bps=22,30", "--grid", "max_hold_s=10,20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=220, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tape / "sweep" / "report.json").read_text())
    assert (report["failed"], report["tried"], report["tasks"]) == (0, 4, 12)
    assert report["best"]["entries"] > 0
    assert report["look_ahead"]["decisions"] > 0
    assert not report["look_ahead"]["is_same"]
    best = report["best"]["values"]
    strategy = replace(
        base.strategy,
        entry_bps=float(best["strategy.entry_bps"]),
        max_hold_s=float(best["strategy.max_hold_s"]),
    )
    part = report["parts"][0]
    alone = backtest(
        TapePart(str(tape), part["start_ns"], part["end_ns"]),
        replace(tape_config(tape), strategy=strategy),
        tmp_path / "alone",
    )
    assert Decimal(report["best"]["in_pnl"]) == alone.pnl_krw
