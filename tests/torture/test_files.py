"""What the harness does to files, and that it can undo it."""

import os
import sqlite3
from contextlib import closing

import pytest

from kills.files import Disk, back_up, ledger_removed, ledger_replaced, truncate, wal_removed


@pytest.fixture
def ledger(tmp_path):
    """A path, and a connection that keeps it open in WAL mode with one row written."""
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE events (seq INTEGER)")
        connection.execute("INSERT INTO events VALUES (1)")
        yield path, connection


def rows(path):
    with closing(sqlite3.connect(path)) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM events ORDER BY seq")]


def test_what_is_written_to_a_removed_ledger_is_there_when_it_is_put_back(ledger):
    path, connection = ledger
    with ledger_removed(path):
        assert not path.exists()
        connection.execute("INSERT INTO events VALUES (2)")
    assert rows(path) == [1, 2]


def test_a_replaced_ledger_comes_back_whole(ledger, tmp_path):
    path, connection = ledger
    backup = tmp_path / "backup.sqlite"
    back_up(path, backup)
    connection.execute("INSERT INTO events VALUES (2)")
    with ledger_replaced(path, backup):
        assert rows(path) == [1]
        connection.execute("INSERT INTO events VALUES (3)")
    assert rows(path) == [1, 2, 3]


def test_a_removed_write_ahead_log_comes_back(ledger):
    path, connection = ledger
    with wal_removed(path):
        assert not path.with_name("ledger.sqlite-wal").exists()
        connection.execute("INSERT INTO events VALUES (2)")
    assert rows(path) == [1, 2]


def test_a_file_is_never_made_longer(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    truncate(path, 9)
    assert path.read_bytes() == b"12345"
    truncate(path, 2)
    assert path.read_bytes() == b"12"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_full_disk_takes_no_byte_until_it_is_freed(tmp_path):
    disk = Disk(tmp_path / "disk", 1)
    try:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "disk" / "one").write_bytes(b"1")
        disk.free()
        (tmp_path / "disk" / "one").write_bytes(b"1")
    finally:
        disk.close()
    assert not list((tmp_path / "disk").iterdir())
