"""Backups: whole, of one moment, never over another file."""

import sqlite3

import pytest

from arbshard.errors import LedgerError, UsageError
from arbshard.ledger import backup
from arbshard.ledger.backup import back_up
from arbshard.ledger.events import ShardJoined
from arbshard.ledger.replay import recover
from arbshard.ledger.verify import verify
from support import world as w


@pytest.fixture
def store(tmp_path, opened):
    world = w.World()
    world.round_trip()
    store = opened(tmp_path / "ledger.sqlite")
    store.append(world.events)
    return store


def joined() -> ShardJoined:
    return ShardJoined(at_ms=1, shard=0, epoch=2, pid=1)


def names(folder) -> set[str]:
    return {one.name for one in folder.iterdir() if not one.name.startswith("ledger.")}


def test_a_copy_of_a_ledger_that_is_written(store, tmp_path, opened, codec) -> None:
    target = tmp_path / "copy.sqlite"
    made = back_up(store.path, target)
    store.append([joined()])
    assert made.events == store.last_seq - 1
    assert made.size == target.stat().st_size
    assert names(tmp_path) == {"copy.sqlite"}
    assert verify(target).is_clean
    target.rename(tmp_path / "other.sqlite")
    again = opened(tmp_path / "other.sqlite")
    assert recover(again, codec).replayed == made.events
    again.append([joined()])
    assert again._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_it_is_of_one_moment_however_much_is_written_meanwhile(store, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(backup, "_PAGES_AT_ONCE", 1)
    last = store.last_seq
    copy = sqlite3.Connection.backup
    appended = []

    class Slow:
        """A connection that is written to between two pages."""

        def __init__(self, real) -> None:
            self._real = real

        def __getattr__(self, name):
            return getattr(self._real, name)

        def backup(self, target, *, pages, sleep, progress) -> None:
            def write(*counts) -> None:
                progress(*counts)
                store.append([joined()])
                appended.append(1)

            copy(self._real, target, pages=pages, sleep=sleep, progress=write)

    monkeypatch.setattr("arbshard.ledger.reader.open_reader", lambda path: Slow(_open(path)))
    assert back_up(store.path, tmp_path / "copy.sqlite").events == last
    assert len(appended) > 3
    assert verify(tmp_path / "copy.sqlite").events == last


def _open(path):
    from arbshard.ledger.file import open_reader

    return open_reader(path)


@pytest.mark.parametrize("content", [b"", b"precious"])
def test_nothing_is_overwritten(store, tmp_path, content) -> None:
    target = tmp_path / "copy.sqlite"
    target.write_bytes(content)
    with pytest.raises(UsageError, match="exists already"):
        back_up(store.path, target)
    assert target.read_bytes() == content
    assert names(tmp_path) == {"copy.sqlite"}


def test_a_file_that_appears_meanwhile_is_not_overwritten(store, tmp_path, monkeypatch) -> None:
    target = tmp_path / "copy.sqlite"
    real = backup._copy

    def copy(reader, partial):
        target.write_bytes(b"precious")
        return real(reader, partial)

    monkeypatch.setattr(backup, "_copy", copy)
    with pytest.raises(UsageError, match="exists already"):
        back_up(store.path, target)
    assert target.read_bytes() == b"precious"
    assert names(tmp_path) == {"copy.sqlite"}


def test_where_there_are_no_links(store, tmp_path, monkeypatch) -> None:
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.hardlink_to", no_links)
    back_up(store.path, tmp_path / "copy.sqlite")
    assert names(tmp_path) == {"copy.sqlite"}
    assert verify(tmp_path / "copy.sqlite").is_clean


def test_half_a_copy_is_none(store, tmp_path, monkeypatch) -> None:
    def full(reader, partial):
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_copy", full)
    with pytest.raises(LedgerError, match="cannot be written: No space left on device"):
        back_up(store.path, tmp_path / "copy.sqlite")
    assert names(tmp_path) == set()


def test_two_backups_to_one_file_at_once(store, tmp_path) -> None:
    (tmp_path / ".copy.sqlite.partial").touch()
    with pytest.raises(UsageError, match="is being written, or was left by a killed command"):
        back_up(store.path, tmp_path / "copy.sqlite")
    assert names(tmp_path) == {".copy.sqlite.partial"}


def test_a_place_that_is_none(store, tmp_path) -> None:
    with pytest.raises(UsageError, match="cannot be created: No such file or directory"):
        back_up(store.path, tmp_path / "none" / "copy.sqlite")
    with pytest.raises(UsageError, match="no ledger here"):
        back_up(tmp_path / "none.sqlite", tmp_path / "copy.sqlite")


def test_a_copy_has_no_tag_so_that_no_name_is_given_twice(store, tmp_path, opened) -> None:
    """In the place of its original it counts on from an earlier event: its orders' names would be known already."""
    back_up(store.path, tmp_path / "copy.sqlite")
    again = opened(tmp_path / "copy.sqlite")
    again.append([joined()])
    assert again.tag != store.tag
    again.close()
    assert opened(tmp_path / "copy.sqlite").tag == again.tag
