"""The run directory: one instance per name, clean at the start, gone at the end."""

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from arbshard.errors import RunDirError, UsageError
from supervisor.rundir import RunDir, find_run_dir, run_root, running_pid, write_whole

HOLDER = (
    "import sys; from supervisor.rundir import RunDir;"
    " held = RunDir.acquire(sys.argv[1]); print('held', flush=True); sys.stdin.read(); held.release()"
)
SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
ZOMBIE = "import os, sys, time; pid = os.fork() or os._exit(0); print(pid, flush=True); time.sleep(60)"


@pytest.fixture
def acquire(run_root):
    held = []

    def take(name="one"):
        held.append(RunDir.acquire(name))
        return held[-1]

    yield take
    for one in held:
        if one.files.dir.exists():
            one.release()


@pytest.fixture
def process():
    """Starts Python programs and ends them with the test."""
    started = []

    def start(code, *arguments):
        # Unbuffered and at the repository's root, so that the packages are found as the tests find them.
        one = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()
        one.communicate()


class TestRoot:
    def test_chosen_by_the_environment(self, run_root):
        assert find_run_dir("x") == run_root / "x"

    def test_by_default_in_memory_and_of_this_user(self, monkeypatch):
        monkeypatch.delenv("ARBSHARD_RUN_ROOT", raising=False)
        assert run_root().name == f"arbshard-{os.getuid()}"


class TestAcquire:
    def test_makes_a_private_directory(self, acquire, run_root):
        held = acquire()
        assert held.files.dir == run_root / "one"
        for path in (run_root, held.files.dir):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert held.files.lock.read_text() == f"{os.getpid()}\n"

    def test_second_instance_is_refused_with_what_to_do(self, acquire):
        acquire()
        with pytest.raises(RunDirError) as caught:
            acquire()
        assert str(caught.value) == (
            f"an instance named 'one' is already running (pid {os.getpid()}): "
            "stop it with 'arbshard stop --name one' or choose another --name"
        )
        assert isinstance(caught.value, UsageError)

    def test_refusal_changes_nothing_of_the_first(self, acquire):
        held = acquire()
        held.files.config.write_text("{}")
        with pytest.raises(RunDirError):
            acquire()
        assert held.files.config.read_text() == "{}"
        assert running_pid("one") == os.getpid()

    def test_another_name_is_another_instance(self, acquire):
        assert acquire("one").files.dir != acquire("two").files.dir

    def test_leftovers_of_a_crash_are_removed(self, run_root, acquire):
        (run_root / "one").mkdir(parents=True, mode=0o700)
        for name in ("books", "risk.ipc", "page-worker-0", "lock"):
            (run_root / "one" / name).write_text("old")
        held = acquire()
        assert [path.name for path in held.files.dir.iterdir()] == ["lock"]
        assert held.files.lock.read_text() == f"{os.getpid()}\n"

    def test_path_too_long_for_a_socket(self, acquire):
        with pytest.raises(RunDirError, match="too long for a socket; use a shorter --name"):
            acquire("x" * 100)

    def test_place_that_cannot_be_written(self, run_root, acquire, monkeypatch):
        run_root.parent.joinpath("file").write_text("")
        monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(run_root.parent / "file"))
        with pytest.raises(RunDirError, match="cannot be written: "):
            acquire()

    def test_root_below_nowhere(self, run_root, acquire, monkeypatch):
        monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(run_root / "a" / "b"))
        with pytest.raises(RunDirError, match="cannot be written: No such file or directory"):
            acquire()

    def test_root_of_another_user(self, acquire, monkeypatch):
        user = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: user + 1)
        with pytest.raises(RunDirError, match="belongs to another user"):
            acquire()

    def test_directory_that_goes_away_while_it_is_locked(self, acquire, monkeypatch):
        """The instance before is just removing it: what we have locked is no file of that name any more."""
        lock = fcntl.flock
        ended = []

        def end_before(descriptor, operation):
            if not ended:
                ended.append(Path(f"/proc/self/fd/{descriptor}").readlink())
                ended[0].unlink()
                ended[0].parent.rmdir()
            lock(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", end_before)
        held = acquire()
        assert held.files.lock.read_text() == f"{os.getpid()}\n"
        assert running_pid("one") == os.getpid()


class TestRelease:
    def test_nothing_is_left(self, acquire, run_root):
        held = acquire()
        held.files.config.write_text("{}")
        held.release()
        assert not run_root.exists()
        assert acquire().files.dir.exists()

    def test_other_instances_are_left_alone(self, acquire):
        one, two = acquire("one"), acquire("two")
        one.release()
        assert two.files.lock.exists()


class TestRunningPid:
    def test_nobody(self, run_root):
        assert running_pid("one") is None

    def test_us(self, acquire):
        held = acquire()
        assert running_pid("one") == os.getpid()
        held.release()
        assert running_pid("one") is None

    @pytest.mark.integration
    def test_another_process_until_it_is_killed(self, acquire, process):
        holder = process(HOLDER, "one")
        assert holder.stdout.readline() == "held\n"
        assert running_pid("one") == holder.pid
        with pytest.raises(RunDirError, match=f"already running \\(pid {holder.pid}\\)"):
            acquire()
        holder.kill()
        holder.wait(timeout=10)
        assert find_run_dir("one").exists()
        assert running_pid("one") is None
        assert acquire().files.lock.read_text() == f"{os.getpid()}\n"


class TestOrphans:
    @pytest.fixture(autouse=True)
    def short_wait(self, monkeypatch):
        monkeypatch.setattr("supervisor.rundir._ORPHANS_S", 0.2)

    def note(self, acquire, children):
        """As if a supervisor with these children had been killed."""
        held = acquire()
        held.note_children(children)
        kept = (held.files.dir / "children.json").read_text()
        held.release()
        return kept

    def killed(self, run_root, kept):
        (run_root / "one").mkdir(parents=True, mode=0o700)
        (run_root / "one" / "children.json").write_text(kept)

    def test_children_are_noted_with_their_start(self, acquire, process):
        sleeper = process(SLEEPER)
        gone = process("")
        gone.wait(timeout=10)
        (known,) = json.loads(self.note(acquire, {"risk": sleeper.pid, "sim": gone.pid}))
        started = psutil.Process(sleeper.pid).create_time()
        assert known == {"name": "risk", "pid": sleeper.pid, "started": started}

    @pytest.mark.integration
    def test_those_that_do_not_go_are_ended(self, acquire, run_root, process):
        sleeper = process(SLEEPER)
        self.killed(run_root, self.note(acquire, {"risk": sleeper.pid}))
        acquire()
        assert sleeper.wait(timeout=10) == -signal.SIGKILL

    @pytest.mark.integration
    def test_another_process_under_a_reused_pid_is_left_alone(self, acquire, run_root, process):
        sleeper = process(SLEEPER)
        (known,) = json.loads(self.note(acquire, {"risk": sleeper.pid}))
        self.killed(run_root, json.dumps([{**known, "started": known["started"] - 100}]))
        acquire()
        assert sleeper.poll() is None

    @pytest.mark.integration
    def test_dead_child_nobody_has_buried_is_not_waited_for(self, acquire, run_root, process, monkeypatch):
        """In a container whose first process buries nobody, our orphans stay zombies for ever."""
        parent = process(ZOMBIE)
        zombie = psutil.Process(int(parent.stdout.readline()))
        while zombie.status() != psutil.STATUS_ZOMBIE:
            assert parent.poll() is None
        self.killed(run_root, self.note(acquire, {"risk": zombie.pid}))
        naps = []
        monkeypatch.setattr("supervisor.rundir.sleep", naps.append)
        acquire()
        assert naps == []

    @pytest.mark.parametrize("text", ["", "{", "null and void"])
    def test_unreadable_note_is_no_obstacle(self, acquire, run_root, text):
        self.killed(run_root, text)
        assert acquire().files.dir.exists()


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "universe.json"
    seen = []
    monkeypatch.setattr(Path, "write_bytes", _slowly(seen, path, Path.write_bytes))
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert seen == [None, b"first"]  # while the new one was being written
    assert path.read_bytes() == b"second"
    assert [one.name for one in tmp_path.iterdir()] == ["universe.json"]


def _slowly(seen, path, write):
    def slow(self, content):
        size = write(self, content)
        seen.append(path.read_bytes() if path.exists() else None)
        return size

    return slow
