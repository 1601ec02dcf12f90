"""The state directory: one run at a time, private files."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from arbshard.errors import RunDirError
from arbshard.ledger.lock import WriterLock
from supervisor.statedir import StateDir

HOLDER = (
    "import sys; from pathlib import Path; from supervisor.statedir import StateDir;"
    " held = StateDir.hold(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def hold(tmp_path):
    held = []

    def take(path=tmp_path / "state"):
        held.append(StateDir.hold(path))
        return held[-1]

    yield take
    for one in held:
        one.release()


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_this_user_alone(hold, tmp_path):
    hold(tmp_path / "deep" / "state")
    assert mode_of(tmp_path / "deep" / "state") == 0o700
    assert mode_of(tmp_path / "deep" / "state" / "supervisor.lock") == 0o600


@pytest.mark.integration
def test_a_second_run_is_refused_until_the_first_has_ended(hold, tmp_path):
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "state")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(
            RunDirError, match=rf"is used by another run \(process {first.pid}\): stop that one"
        ):
            hold()
    finally:
        first.kill()
        first.communicate()
    hold()


def test_a_ledger_that_a_program_goes_on_writing_is_refused(hold, tmp_path, monkeypatch):
    monkeypatch.setattr("supervisor.statedir._WRITER_GONE_S", 0.1)
    (tmp_path / "state").mkdir()
    lock = WriterLock(tmp_path / "state" / "ledger.sqlite")
    with pytest.raises(RunDirError, match=f"process {os.getpid()} already writes this ledger; stop it first"):
        hold()
    lock.release()
    hold()  # nothing of the refused one is left


def test_a_writer_that_is_about_to_end_is_waited_for(hold, tmp_path, monkeypatch):
    (tmp_path / "state").mkdir()
    lock = WriterLock(tmp_path / "state" / "ledger.sqlite")
    monkeypatch.setattr("supervisor.statedir.sleep", lambda _: lock.release())
    hold()


def test_a_ledger_open_to_others_is_closed_to_them_and_told(hold, tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    files = [state / f"ledger.sqlite{suffix}" for suffix in ("", "-wal", "-shm", ".lock")]
    for path in files:
        path.write_bytes(b"x")
        path.chmod(0o644)
    other = state / "notes.txt"
    other.write_text("mine")
    other.chmod(0o644)
    held = hold()
    assert held.warnings == [f"{path} was open to other users (mode 0644): it is 0600 now" for path in files]
    assert [mode_of(path) for path in files] == [0o600] * 4
    assert mode_of(other) == 0o644


def test_a_place_that_cannot_be_written_is_said(hold, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match=f"state directory {tmp_path}/file/state cannot be written: Not a"):
        hold(tmp_path / "file" / "state")
