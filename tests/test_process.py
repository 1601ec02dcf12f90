"""Cores are shared out as the configuration says; the death of a parent is seen, whenever it dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from arbshard.errors import ConfigError
from arbshard.process import Parent, peak_memory_mb, pin, private_files


@pytest.fixture
def taken(monkeypatch):
    taken = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: taken.append(cores), raising=False)
    return taken


def test_the_first_is_the_supervisors_and_the_others_go_round(taken):
    for place in range(6):
        pin((5, 0, 2), place)
    assert taken == [{5}, {0}, {2}, {0}, {2}, {0}]


def test_one_core_is_for_all(taken):
    pin((1,), 0)
    pin((1,), 3)
    assert taken == [{1}, {1}]


def test_none_named_none_taken(taken):
    pin((), 0)
    assert taken == []


def test_a_core_that_is_not_there(taken):
    with pytest.raises(ConfigError, match=r"run.pin_cores: there is no core 3 here; usable are 0, 1, 2, 5"):
        pin((0, 3), 0)
    assert taken == []


def test_where_cores_cannot_be_chosen(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pytest.raises(ConfigError, match="does not let a process choose"):
        pin((0,), 0)


def run(code, **environ):
    """What a process says that has run ``code``; core dumps are allowed to it at first."""
    done = subprocess.run(
        [sys.executable, "-c", f"from arbshard.process import *\nimport os, resource\n{code}"],
        capture_output=True, text=True, timeout=30, check=False, env={**os.environ, **environ},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_protected_process_and_its_children_write_no_core():
    code, out, err = run("protect_memory(); print(resource.getrlimit(resource.RLIMIT_CORE))")
    assert (code, out) == (0, "(0, 0)\n"), err


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux'")
def test_a_protected_process_cannot_be_looked_into():
    ask = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    assert run(ask)[1] == "1\n"
    assert run(f"protect_memory(); {ask}")[1] == "0\n"


def test_an_abort_leaves_no_core(tmp_path):
    code, _, _ = run(f"os.chdir({str(tmp_path)!r}); protect_memory(); os.abort()")
    assert code == -signal.SIGABRT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc")
def test_forgotten_variables_are_in_no_environment():
    look = "print(open('/proc/self/environ', 'rb').read()); print(os.environ); os.system('env')"
    code, out, err = run(f"forget_variables(['MARKED', 'NEVER_SET']); {look}", MARKED="MARKUP4711", KEPT="1")
    assert code == 0, err
    assert "MARKUP4711" not in out
    assert "KEPT=1" in out


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")
def test_the_peak_of_memory_is_that_of_the_program_and_not_of_the_one_that_started_it():
    ask = "from arbshard.process import peak_memory_mb; print(peak_memory_mb())"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ask!r}])"
    code, out, err = run(f"large = bytes(1) * 300_000_000; sys.stdout.flush(); {start}")
    assert code == 0, err
    assert 1 < float(out) < 200


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")
def test_the_peak_of_memory_stays_when_memory_is_given_back():
    code, out, err = run("large = b'1' * 300_000_000; del large; print(peak_memory_mb())")
    assert code == 0, err
    assert float(out) > 280


def test_without_proc_there_is_no_peak_of_memory(tmp_path):
    assert peak_memory_mb(tmp_path / "status") == 0


def test_files_are_private_meanwhile(tmp_path):
    before = os.umask(0o022)
    try:
        with private_files():
            (tmp_path / "file").write_text("")
            (tmp_path / "folder").mkdir()
        (tmp_path / "after").write_text("")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"file": 0o600, "folder": 0o700, "after": 0o644}


class TestParent:
    def test_one_that_lives_is_not_gone(self):
        assert not Parent().is_gone()
        assert not Parent(os.getppid()).is_gone()

    def test_one_that_is_not_the_parent_any_more_is_gone(self, monkeypatch):
        parent = Parent()
        another = os.getppid() + 1
        monkeypatch.setattr(os, "getppid", lambda: another)
        assert parent.is_gone()

    def test_one_that_died_before_it_was_looked_for_is_gone(self):
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        assert Parent(gone.pid).is_gone()
