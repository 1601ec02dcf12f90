"""``arbshard instances``."""

import fcntl
import json
import os

import pytest
from typer.testing import CliRunner

from arbshard.cli import app


@pytest.fixture
def root(tmp_path, monkeypatch):
    root = tmp_path / "run"
    root.mkdir(mode=0o700)
    monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(root))
    return root


def test_nothing_runs(root):
    (root / "mine").mkdir()  # not a run directory
    assert CliRunner().invoke(app, ["instances"]).stdout == "no instance is running\n"


def test_one_that_starts_and_one_that_was_cut_off(root):
    for name in ("gone", "desk", ".simulation-1-2"):
        (root / name).mkdir(mode=0o700)
        (root / name / "arbshard.lock").write_text(str(os.getpid()))
    with (root / "desk" / "arbshard.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shown = json.loads(CliRunner().invoke(app, ["instances", "--json"]).stdout)
        table = CliRunner().invoke(app, ["instances"]).stdout
    assert [(one["name"], one["state"], one["pid"]) for one in shown] == [
        ("desk", "starting", os.getpid()),
        ("gone", "cut off", None),
    ]
    assert "cut off" in table
    assert str(os.getpid()) in table
