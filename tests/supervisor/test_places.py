"""Where run directories stand: the best place that is ours alone, and the same one for every command."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from arbshard.errors import RunDirError
from arbshard.model.rundir import LOCK
from supervisor import places
from supervisor.places import Root, find_root, find_run_dir, roots, running_pid, usable_roots
from supervisor.rundir import RunDir

VICTIM, OTHER = 61_231, 61_232
"""Users that nobody is."""
SHM = Path("/dev/shm")


@pytest.fixture
def unset(monkeypatch, tmp_path):
    """No place is named by the environment; the shared temporary directory is the test's own."""
    monkeypatch.delenv("ARBSHARD_RUN_ROOT", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def runtime_dir(unset, monkeypatch):
    """``$XDG_RUNTIME_DIR`` as a login makes it."""
    path = Path(tempfile.mkdtemp(prefix="arb-xdg-", dir=SHM))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def shared(unset):
    """A temporary directory as all users share it, in the place of the system's."""
    path = Path(tempfile.mkdtemp(prefix="arb-shared-", dir="/var/tmp"))
    path.chmod(0o1777)
    yield path
    shutil.rmtree(path)
    for uid in (VICTIM, OTHER):
        left = SHM / f"arbshard-{uid}"
        if left.is_symlink():
            left.unlink()
        else:
            shutil.rmtree(left, ignore_errors=True)


def mark(directory):
    directory.mkdir(parents=True, mode=0o700)
    (directory / LOCK).write_text("1\n")


class TestRoots:
    def test_the_environment_names_the_only_place(self, unset, monkeypatch, tmp_path):
        monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(tmp_path / "mine"))
        assert roots() == [Root(tmp_path / "mine", is_chosen=True)]

    def test_by_default_in_memory_then_in_the_temporary_directory(self, unset):
        own = f"arbshard-{os.getuid()}"
        assert [root.path for root in roots()] == [SHM / own, unset / own]

    def test_the_runtime_directory_of_a_login_is_first(self, runtime_dir):
        assert roots()[0] == Root(runtime_dir / "arbshard", is_chosen=False)

    @pytest.mark.parametrize("mode", [0o755, 0o777, 0o750])
    def test_a_runtime_directory_open_to_others_is_passed_over(self, runtime_dir, mode):
        runtime_dir.chmod(mode)
        assert runtime_dir / "arbshard" not in [root.path for root in roots()]

    def test_a_runtime_directory_on_a_disk_is_passed_over(self, unset, monkeypatch):
        on_disk = Path(tempfile.mkdtemp(prefix="arb-disk-", dir=Path.home()))
        try:
            assert not places._is_in_memory(on_disk)
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(on_disk))
            assert on_disk / "arbshard" not in [root.path for root in roots()]
        finally:
            on_disk.rmdir()

    @pytest.mark.parametrize("value", ["", "relative", "/nowhere/at/all"])
    def test_a_runtime_directory_that_is_none_is_passed_over(self, unset, monkeypatch, value):
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
        assert roots()[0].path == SHM / f"arbshard-{os.getuid()}"

    def test_a_runtime_directory_that_is_a_link_is_passed_over(self, runtime_dir, monkeypatch, tmp_path):
        link = tmp_path / "link"
        link.symlink_to(runtime_dir)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(link))
        assert link / "arbshard" not in [root.path for root in roots()]


class TestBlocked:
    """Another user was in the shared directories first (as in the trial, 2c and 2d)."""

    def test_a_link_of_another_user_is_not_followed(self, as_user, shared):
        """2c: the link points to the victim's state directory, whose ledger was deleted."""
        home = shared / "home"
        state = home / "sim"
        state.mkdir(parents=True)
        (state / "ledger.sqlite").write_text("precious")
        for path in (home, state, state / "ledger.sqlite"):
            os.chown(path, VICTIM, VICTIM)
        as_user(OTHER, lambda: (SHM / f"arbshard-{VICTIM}").symlink_to(home))

        def run():
            tempfile.tempdir = str(shared)
            held = RunDir.acquire("sim")
            found = held.files.dir
            held.release()
            return found

        assert as_user(VICTIM, run) == shared / f"arbshard-{VICTIM}" / "sim"
        assert (state / "ledger.sqlite").read_text() == "precious"
        assert (SHM / f"arbshard-{VICTIM}").is_symlink()

    def test_a_directory_of_another_user_locks_nobody_out(self, as_user, shared):
        """2d: every command goes to the next place, and finds there what runs."""
        as_user(OTHER, (SHM / f"arbshard-{VICTIM}").mkdir)

        def run():
            tempfile.tempdir = str(shared)
            held = RunDir.acquire("sim")
            found = (held.files.dir, find_run_dir("sim"), running_pid("sim") == os.getpid())
            held.release()
            return found

        expected = shared / f"arbshard-{VICTIM}" / "sim"
        assert as_user(VICTIM, run) == (expected, expected, True)

    def test_when_all_are_blocked_each_is_named_with_what_to_do(self, as_user, shared):
        def block():
            (SHM / f"arbshard-{VICTIM}").mkdir()
            (shared / f"arbshard-{VICTIM}").symlink_to("/etc")

        def run():
            tempfile.tempdir = str(shared)
            RunDir.acquire("sim")

        as_user(OTHER, block)
        with pytest.raises(RunDirError) as caught:
            as_user(VICTIM, run)
        assert str(caught.value) == (
            f"run directory {SHM}/arbshard-{VICTIM} belongs to another user; "
            f"run directory {shared}/arbshard-{VICTIM} is a link: name the directory that it points to; "
            "choose a directory of your own with $ARBSHARD_RUN_ROOT"
        )

    def test_an_instance_that_another_user_pretends_to_run_does_not_run(self, as_user, shared, monkeypatch):
        directory = shared / "runs" / "sim"

        def pretend():
            mark(directory)
            directory.chmod(0o755)
            (directory / LOCK).chmod(0o644)

        as_user(OTHER, pretend)
        (shared / "runs").chmod(0o755)
        os.chown(shared / "runs", 0, 0)
        lock = (directory / LOCK).open()
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(shared / "runs"))
            assert running_pid("sim") is None
        finally:
            lock.close()


class TestFind:
    """Commands agree on the place although their environments differ."""

    @pytest.fixture
    def two(self, monkeypatch, tmp_path):
        both = [Root(tmp_path / "a", is_chosen=False), Root(tmp_path / "b", is_chosen=False)]
        monkeypatch.setattr(places, "roots", lambda: both)
        return both

    def test_the_first_that_is_usable_when_nothing_is_there(self, two):
        assert find_root("one") == two[0]

    def test_where_a_killed_run_left_its_directory(self, two):
        mark(two[1].path / "one")
        assert find_root("one") == two[1]

    def test_where_it_runs_before_where_it_left_something(self, two):
        mark(two[0].path / "one")
        mark(two[1].path / "one")
        with (two[1].path / "one" / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert find_root("one") == two[1]
            assert running_pid("one") == 1
            with pytest.raises(RunDirError, match="already running"):
                RunDir.acquire("one")

    def test_a_directory_without_the_mark_says_nothing(self, two):
        (two[1].path / "one").mkdir(parents=True)
        assert find_root("one") == two[0]

    def test_a_lock_that_is_damaged_still_counts(self, two):
        mark(two[1].path / "one")
        (two[1].path / "one" / LOCK).write_bytes(b"\xff\x00nonsense")
        with (two[1].path / "one" / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert running_pid("one") == 0

    def test_a_root_that_others_may_write_is_refused(self, monkeypatch, tmp_path):
        monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(tmp_path))
        tmp_path.chmod(0o1777)
        with pytest.raises(RunDirError, match=r"can be written by other users \(mode 1777\): chmod 700 it"):
            usable_roots()
