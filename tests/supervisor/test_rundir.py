"""The run directory: one instance per name, clean at the start, gone at the end."""

import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from arbshard.errors import RunDirError, UsageError
from arbshard.model.rundir import OWN_NAMES
from supervisor.places import find_run_dir, running_pid
from supervisor.rundir import RunDir, write_whole

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
        for name in ("books", "risk.ipc", "page-worker-0", ".books.a1b2c3d4", "arbshard.lock"):
            (run_root / "one" / name).write_text("old")
        held = acquire()
        assert [path.name for path in held.files.dir.iterdir()] == ["arbshard.lock"]
        assert held.warnings == []
        assert held.files.lock.read_text() == f"{os.getpid()}\n"

    def test_path_too_long_for_a_socket_by_its_name(self, acquire, run_root):
        fits = 107 - len(f"{run_root}//accounts.ipc")
        match = f"too long for a socket; use a shorter --name, at most {fits} characters fit"
        with pytest.raises(RunDirError, match=match):
            acquire("x" * (fits + 1))
        longest = acquire("x" * fits)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(longest.files.accounts_endpoint.removeprefix("ipc://"))

    def test_path_too_long_for_a_socket_by_its_root(self, acquire, run_root, monkeypatch):
        root = run_root.parent / ("x" * 90)
        monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(root))
        match = rf"its root alone has {len(str(root))} bytes: choose a shorter \$ARBSHARD_RUN_ROOT"
        with pytest.raises(RunDirError, match=match):
            acquire()

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


class TestForeign:
    """What arbshard did not make stays as it is, byte for byte."""

    def test_a_folder_of_the_user_is_refused(self, acquire, run_root):
        """2a: ``ARBSHARD_RUN_ROOT=~/projects arbshard run --name work``."""
        work = run_root / "one"
        work.mkdir(parents=True, mode=0o700)
        for name in ("thesis.txt", "books", "lock"):
            (work / name).write_text("precious")
        before = look(run_root)
        with pytest.raises(RunDirError, match="is not empty and was not made by arbshard: nothing in it was"):
            acquire()
        assert look(run_root) == before
        assert running_pid("one") is None

    def test_a_file_in_the_run_directory_stays_and_so_does_the_directory(self, acquire, run_root):
        held = acquire()
        (held.files.dir / "notes.txt").write_text("mine")
        held.files.config.write_text("{}")
        with capture_logs() as logs:
            held.release()
        assert [one["log_level"] for one in logs] == ["warning"]
        assert "notes.txt, which is not a file of ours" in logs[0]["event"]
        assert sorted(path.name for path in (run_root / "one").iterdir()) == ["arbshard.lock", "notes.txt"]
        again = acquire()  # nobody need clean up by hand
        assert again.warnings == [f"{run_root}/one/notes.txt is not a file of ours: it is left as it is"]
        assert (run_root / "one" / "notes.txt").read_text() == "mine"

    def test_a_folder_in_the_place_of_a_file_is_set_aside(self, acquire, run_root):
        leftover(run_root)
        (run_root / "one" / "children.json" / "deep").mkdir(parents=True)
        (run_root / "one" / "children.json" / "deep" / "file").write_text("mine")
        (run_root / "one" / "books").mkdir()  # an empty one goes
        held = acquire()
        aside = f"children.json.set-aside-{os.getpid()}"
        unreadable, renamed = held.warnings
        assert "it is not a plain file" in unreadable
        assert renamed.endswith(f"is a directory, not a file of ours: renamed to {aside}")
        assert (held.files.dir / aside / "deep" / "file").read_text() == "mine"
        held.note_children({})
        assert not held.files.books.exists()

    def test_a_link_in_the_run_directory_goes_and_its_target_stays(self, acquire, run_root, tmp_path):
        (tmp_path / "ledger.sqlite").write_text("precious")
        leftover(run_root)
        (run_root / "one" / "books").symlink_to(tmp_path / "ledger.sqlite")
        (run_root / "one" / "config.json").symlink_to(tmp_path)
        held = acquire()
        assert sorted(path.name for path in held.files.dir.iterdir()) == ["arbshard.lock"]
        held.release()
        assert (tmp_path / "ledger.sqlite").read_text() == "precious"

    @pytest.mark.parametrize("which", ["root", "directory", "lock"])
    def test_links_are_not_followed(self, acquire, run_root, tmp_path, which):
        (tmp_path / "books").write_text("precious")
        (tmp_path / "arbshard.lock").write_text("precious")
        if which == "root":
            run_root.symlink_to(tmp_path)
        elif which == "directory":
            run_root.mkdir(mode=0o700)
            (run_root / "one").symlink_to(tmp_path)
        else:
            (run_root / "one").mkdir(mode=0o700, parents=True)
            (run_root / "one" / "arbshard.lock").symlink_to(tmp_path / "arbshard.lock")
        before = look(tmp_path)
        with pytest.raises(RunDirError, match=r"is a link|was not made by arbshard"):
            acquire()
        assert look(tmp_path) == before

    def test_a_directory_of_another_user_is_refused(self, acquire, run_root):
        if os.getuid() != 0:
            pytest.skip("only root can give a directory away")
        (run_root / "one").mkdir(parents=True, mode=0o700)
        os.chown(run_root / "one", 61_232, 61_232)
        with pytest.raises(RunDirError, match="one belongs to another user"):
            acquire()

    def test_a_directory_open_to_others_is_refused(self, acquire, run_root):
        """2e. What is in it may have been put there by anybody."""
        leftover(run_root)
        (run_root / "one").chmod(0o777)
        before = look(run_root)
        with pytest.raises(RunDirError, match=r"may be opened by other users \(mode 0777, not 0700\)"):
            acquire()
        assert look(run_root) == before

    def test_an_empty_one_is_made_private(self, acquire, run_root):
        run_root.mkdir(mode=0o700)
        (run_root / "one").mkdir()
        (run_root / "one").chmod(0o777)
        assert stat.S_IMODE(acquire().files.dir.stat().st_mode) == 0o700

    @pytest.mark.parametrize(
        ("run", "state"),
        [("state/sim", "state/sim"), ("state/sim", "state"), ("state/sim", "state/sim/deep/state")],
    )
    def test_state_and_run_directory_are_kept_apart(self, acquire, run_root, monkeypatch, run, state):
        """2b, also through links, which are resolved."""
        home = run_root.parent
        (home / "state").mkdir()
        (home / "link").symlink_to(home / "state")
        path = home / run
        monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(path.parent))
        before = look(home)
        for state_dir in (home / state, home / state.replace("state", "link", 1)):
            with pytest.raises(RunDirError, match="must not be the same or one in the other"):
                RunDir.acquire(path.name, apart_from=state_dir)
        assert look(home) == before


def look(path):
    """All that is below ``path``, with modes and contents."""
    return {
        str(one): (one.lstat().st_mode, one.read_bytes() if one.is_file() else b"") for one in path.rglob("*")
    }


def leftover(run_root, name="one"):
    """A run directory as a killed run leaves it."""
    (run_root / name).mkdir(parents=True, mode=0o700)
    (run_root / name / "arbshard.lock").write_text("1\n")


def names_nobody(content, mode):
    """Whether it is a good note without a process; a good one with a process is not found by chance."""
    is_readable = mode & 0o400 or os.getuid() == 0
    try:
        return bool(is_readable) and json.loads(content) == []
    except (ValueError, RecursionError):
        return False


class TestDamaged:
    """Whatever a crash or a full disk left of our files never blocks a start."""

    NAMES = st.sampled_from([*sorted(OWN_NAMES), "ring-0", "page-worker-0", "bell-0", ".books.abcdefgh"])
    JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["name", "pid", "started"]), inner)
        ),
        max_leaves=8,
    )
    CONTENT = st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode())

    @given(st.dictionaries(NAMES, CONTENT | st.just("directory") | st.just("fifo") | st.just("link"), max_size=6),
           CONTENT, st.sampled_from([0, 0o400, 0o600, 0o777]))  # fmt: skip
    @example({"children.json": b'{"a":1}'}, b"", 0o600)
    @example({"children.json": b"null"}, b"", 0o600)
    @example({"children.json": b'[{"pid":-1}]'}, b"", 0o600)
    @example({"children.json": b'[{"name":"x","pid":-1,"started":0}]'}, b"", 0o600)
    @example({"children.json": b"[" * 100_000}, b"", 0o600)
    @example({"children.json": b'[{"x":' + b"[" * 100_000}, b"", 0o600)
    @example({"children.json": b" " * 1_100_000}, b"", 0o600)
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_leftover_is_cleaned(self, run_root, left, lock, mode):
        leftover(run_root)
        where = run_root / "one"
        for name, content in left.items():
            if name == "arbshard.lock":
                continue
            if content == "directory":
                (where / name).mkdir()
            elif content == "fifo":
                os.mkfifo(where / name)
            elif content == "link":
                (where / name).symlink_to("/nowhere")
            else:
                (where / name).write_bytes(content)
                (where / name).chmod(mode)
        (where / "arbshard.lock").write_bytes(lock)
        (where / "arbshard.lock").chmod(mode)
        held = RunDir.acquire("one")
        try:
            assert [path.name for path in where.iterdir()] == ["arbshard.lock"]
            told = ["children.json" in warning for warning in held.warnings]
            assert told == ([] if names_nobody(left.get("children.json", b"[]"), mode) else [True])
        finally:
            held.release()
        assert list(run_root.iterdir()) == []

    def test_a_lock_that_may_not_be_opened_is_no_obstacle(self, as_user, monkeypatch):
        home = Path(tempfile.mkdtemp(prefix="arb"))
        os.chown(home, 61_231, 61_231)
        monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(home))

        def run():
            leftover(home)
            (home / "one" / "arbshard.lock").chmod(0)
            (home / "one" / "children.json").write_text("[]")
            (home / "one" / "children.json").chmod(0)
            held = RunDir.acquire("one")
            held.release()
            return held.warnings

        try:
            (warning,) = as_user(61_231, run)
            assert "Permission denied" in warning
        finally:
            shutil.rmtree(home)


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

    def test_a_root_that_was_there_before_stays(self, acquire, run_root):
        run_root.mkdir(mode=0o700)
        acquire().release()
        assert list(run_root.iterdir()) == []

    def test_a_directory_that_is_gone_already(self, acquire, run_root):
        held = acquire()
        shutil.rmtree(run_root)
        held.release()
        assert not run_root.exists()

    def test_a_directory_that_another_has_made_meanwhile_stays(self, acquire, run_root):
        held = acquire()
        (run_root / "one").rename(run_root / "moved")
        (run_root / "one").mkdir()
        held.release()
        assert (run_root / "one").exists()


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
        holder.wait(timeout=60)
        assert find_run_dir("one").exists()
        assert running_pid("one") is None
        assert acquire().files.lock.read_text() == f"{os.getpid()}\n"


class TestOrphans:
    @pytest.fixture(autouse=True)
    def short_wait(self, monkeypatch):
        monkeypatch.setattr("supervisor.orphans._WAIT_S", 0.2)

    def note(self, acquire, children):
        """As if a supervisor with these children had been killed."""
        held = acquire()
        held.note_children(children)
        kept = (held.files.dir / "children.json").read_text()
        held.release()
        return kept

    def killed(self, run_root, kept):
        (run_root / "one").mkdir(parents=True, mode=0o700)
        (run_root / "one" / "arbshard.lock").write_text("1\n")
        (run_root / "one" / "children.json").write_text(kept)

    def test_children_are_noted_with_their_start(self, acquire, process):
        sleeper = process(SLEEPER)
        gone = process("")
        gone.wait(timeout=60)
        (known,) = json.loads(self.note(acquire, {"risk": sleeper.pid, "sim": gone.pid}))
        started = psutil.Process(sleeper.pid).create_time()
        assert known == {"name": "risk", "pid": sleeper.pid, "started": started}

    @pytest.mark.integration
    def test_those_that_do_not_go_are_ended(self, acquire, run_root, process):
        sleeper = process(SLEEPER)
        self.killed(run_root, self.note(acquire, {"risk": sleeper.pid}))
        acquire()
        assert sleeper.wait(timeout=60) == -signal.SIGKILL

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
        monkeypatch.setattr("supervisor.orphans.sleep", naps.append)
        acquire()
        assert naps == []

    @pytest.mark.integration
    @pytest.mark.parametrize("change", [{"pid": "1"}, {"pid": -1}, {"started": None}, {"pid": 10**30}])
    def test_an_entry_that_is_damaged_ends_nobody(self, acquire, run_root, process, change):
        sleeper = process(SLEEPER)
        (known,) = json.loads(self.note(acquire, {"risk": sleeper.pid}))
        self.killed(run_root, json.dumps([known, {**known, **change}]))
        (warning,) = acquire().warnings
        assert warning.startswith("children.json of the last run cannot be read and is ignored: ")
        assert sleeper.poll() is None

    def test_this_very_process_is_not_ended(self, acquire, run_root):
        self.killed(run_root, self.note(acquire, {"risk": os.getpid()}))
        assert acquire().warnings == []


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
