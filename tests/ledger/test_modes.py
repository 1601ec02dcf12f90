"""Nobody but its owner reads a ledger, a backup or an export, whatever the umask of the process is."""

import os
import stat

import pytest
from structlog.testing import capture_logs

from arbshard.ledger.backup import back_up
from arbshard.ledger.output import new_file
from support import world as w


@pytest.fixture(autouse=True)
def no_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


@pytest.fixture
def written(tmp_path, opened):
    world = w.World()
    world.round_trip()
    store = opened(tmp_path / "state" / "ledger.sqlite")
    store.append(world.events)
    return store


def test_the_ledger_with_its_log_and_lock(written, tmp_path):
    assert modes(tmp_path) == {
        "state": 0o700,
        "ledger.sqlite": 0o600,
        "ledger.sqlite-wal": 0o600,
        "ledger.sqlite-shm": 0o600,
        "ledger.sqlite.lock": 0o600,
    }


def test_a_backup_and_an_export(written, tmp_path):
    back_up(written.path, tmp_path / "copy.sqlite")
    with new_file(tmp_path / "fills.csv") as partial, partial.open("w") as target:
        target.write("x")
    found = modes(tmp_path)
    assert (found["copy.sqlite"], found["fills.csv"]) == (0o600, 0o600)


def test_a_ledger_that_was_open_to_others_is_closed_to_them(written, opened):
    written.close()
    written.path.chmod(0o644)
    with capture_logs() as logs:
        opened(written.path)
    assert [one["event"] for one in logs] == [
        f"{written.path} was open to other users (mode 0644): it is 0600 now"
    ]
    assert stat.S_IMODE(written.path.stat().st_mode) == 0o600
