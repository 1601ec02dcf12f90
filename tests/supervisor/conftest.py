"""A root for run directories, and small child programs that end with the test."""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

from supervisor.processes.child import Child, ChildSpec
from supervisor.processes.posix import PosixHost


@pytest.fixture
def run_root(monkeypatch):
    """Short: a socket's path must fit below it."""
    root = Path(tempfile.mkdtemp(prefix="arb"))
    monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(root / "runs"))
    yield root / "runs"
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def refuse(monkeypatch):
    """Has the system refuse to start processes, with an error number, for so many times."""

    def set_up(code, times=10**9):
        left = [times]
        begin = subprocess.Popen

        def popen(*args, **kwargs):
            if left[0] <= 0:
                return begin(*args, **kwargs)
            left[0] -= 1
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(subprocess, "Popen", popen)

    return set_up


@pytest.fixture
def program():
    """Builds a child that runs a line of Python; whatever still runs at the end of the test is killed."""
    made = []

    def build(code, name="worker-0", **more):
        def command(epoch):
            return [sys.executable, "-c", code.replace("EPOCH", str(epoch))]

        made.append(Child(ChildSpec(name, command, **more), PosixHost()))
        return made[-1]

    yield build
    for child in made:
        child.kill_and_wait()
        child.close()


@pytest.fixture
def as_user():
    """Calls a function in a child that has become another user; returns what it returned, raises what it raised."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")

    def call(uid, function):
        read_end, write_end = os.pipe()
        with warnings.catch_warnings():  # newer Pythons warn of threads; the child uses none
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:  # in the child: nothing of pytest may run here
            code = 1
            try:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
                try:
                    found = (True, function())
                except Exception as error:  # noqa: BLE001 - handed to the parent
                    found = (False, error)
                os.write(write_end, pickle.dumps(found))
                code = 0
            finally:
                os._exit(code)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            content = pipe.read()
        assert os.waitpid(pid, 0)[1] == 0
        ok, found = pickle.loads(content)
        if not ok:
            raise found
        return found

    return call
