"""A whole copy has the tag and every row, is read in parts, and leaves nothing behind."""

import sqlite3
import time
from contextlib import closing

import pytest

from arbshard.errors import LedgerError
from arbshard.ledger.archive import folder_of
from arbshard.ledger.copying import LedgerCopy
from arbshard.ledger.events import Started
from arbshard.ledger.store import LedgerStore
from support.history import History


def started(session):
    return Started(at_ms=session, session=session, run="r", mode="sim-paper", version="0", reporting="KRW")


@pytest.fixture
def store(tmp_path):
    made = LedgerStore.open(tmp_path / "ledger.sqlite", name="default", mode="sim-paper", now_ms=1)
    made.append([started(number) for number in range(1, 500)])
    yield made
    made.close()


def wait(copy):
    deadline = time.monotonic() + 60
    while not copy.is_made:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def read(copy):
    parts = []
    while not (parts and parts[-1].is_last):
        parts.append(copy.part(10_000))
        copy.go_on(parts[-1])
    return parts


def rows(path):
    with closing(sqlite3.connect(path)) as connection:
        return [connection.execute(f"SELECT * FROM {one}").fetchall() for one in ("meta", "events")]


def test_a_copy_is_the_ledger_as_it_is_while_its_writer_goes_on(store, tmp_path):
    with LedgerCopy(store.path, tmp_path / "copy") as copy:
        wait(copy)
        assert copy.problem is None
        assert copy.seq == 499
        before = rows(store.path)
        store.append([started(500)])  # the copy holds nothing that would keep the writer
        parts = read(copy)
    assert len(parts) > 1
    assert {one.archive for one in parts} == {""}
    (tmp_path / "read").write_bytes(b"".join(one.data for one in parts))
    assert rows(tmp_path / "read") == before
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("copy")] == []


def test_the_newest_archive_comes_first(tmp_path, close_at):
    path = tmp_path / "ledger.sqlite"
    History(5).write(path, 2_000)
    close_at(path, 600, "sim-paper")
    close_at(path, 1_200, "sim-paper")
    archive = max(folder_of(path).glob("*.xz"))
    with LedgerCopy(path, tmp_path / "copy") as copy:
        wait(copy)
        parts = read(copy)
    names = [one.archive for one in parts]
    assert names == sorted(names, reverse=True)
    assert set(names) == {archive.name, ""}
    assert b"".join(one.data for one in parts if one.archive) == archive.read_bytes()
    assert [one.is_last for one in parts] == [False] * (len(parts) - 1) + [True]


def test_a_copy_that_cannot_be_made_says_why(store, tmp_path):
    with LedgerCopy(store.path, tmp_path / "nowhere" / "copy") as copy:
        wait(copy)
        assert isinstance(copy.problem, LedgerError)
        assert "nowhere/copy: cannot be written" in str(copy.problem)


def test_what_was_left_by_an_earlier_one_is_replaced(store, tmp_path):
    (tmp_path / "copy").write_bytes(b"half a copy")
    with LedgerCopy(store.path, tmp_path / "copy") as copy:
        wait(copy)
        assert copy.part(15).data == b"SQLite format 3"
        assert copy.part(15).data == b"SQLite format 3"  # until it goes on


def test_it_may_be_closed_before_it_is_made(store, tmp_path):
    copy = LedgerCopy(store.path, tmp_path / "copy")
    copy.close()
    copy.close()
    assert not (tmp_path / "copy").exists()
    store.append([started(500)])
