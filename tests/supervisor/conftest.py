"""A root for run directories, and small child programs that end with the test."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from supervisor.processes.child import Child


@pytest.fixture
def run_root(monkeypatch):
    """Short: a socket's path must fit below it."""
    root = Path(tempfile.mkdtemp(prefix="arb"))
    monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(root / "runs"))
    yield root / "runs"
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def program(tmp_path):
    """Builds a child that runs a line of Python; whatever still runs at the end of the test is killed."""
    made = []

    def build(code, name="worker-0"):
        def command(epoch):
            return [sys.executable, "-c", code.replace("EPOCH", str(epoch))]

        made.append(Child(name, command, tmp_path))
        return made[-1]

    yield build
    for child in made:
        child.kill()
