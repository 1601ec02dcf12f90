"""Reading beside the writer."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from arbshard.errors import LedgerDamaged, LedgerError, UsageError
from arbshard.ledger.events import Deposited, Stopped
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.store import LedgerStore


@pytest.fixture
def store(tmp_path):
    store = LedgerStore.open(tmp_path / "ledger.sqlite", name="sim", mode="sim-paper", now_ms=1)
    yield store
    store.abandon()


def deposit() -> Deposited:
    return Deposited(at_ms=7, venue="upbit", currency="KRW", amount=Decimal(1), why="opening", pair="BTC")


def test_a_reader_sees_one_moment_while_the_writer_goes_on(store) -> None:
    store.append([deposit()])
    with LedgerReader(store.path) as reader:
        before = list(reader.rows())
        store.append([deposit()])
        assert list(reader.rows()) == before
        assert len(list(reader.lines())) == 2
    with LedgerReader(store.path) as reader:
        assert len(list(reader.rows())) == 2


def test_rows_carry_what_the_event_is_about(store) -> None:
    store.append([deposit()])
    with LedgerReader(store.path) as reader:
        assert [row[:5] for row in reader.rows()] == [(1, 7, "Deposited", "BTC", "")]


def test_no_ledger_is_the_persons_mistake_and_makes_none(tmp_path) -> None:
    with pytest.raises(UsageError, match="no ledger here"):
        LedgerReader(tmp_path / "none.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_ledger(tmp_path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(LedgerDamaged):
        LedgerReader(path)


def test_it_goes_through_a_long_ledger_in_pieces(store, monkeypatch) -> None:
    monkeypatch.setattr("arbshard.ledger.reader._PIECE_ROWS", 3)
    store.append([deposit() for _ in range(10)])
    with LedgerReader(store.path) as reader:
        assert [row[0] for row in reader.rows()] == list(range(1, 11))
        assert [line[:2] for line in reader.lines()] == [(seq, n) for seq in range(1, 11) for n in (0, 1)]
        assert [line[:2] for _, line in reader.dated_lines()] == [line[:2] for line in reader.lines()]


def test_between_two_pieces_the_log_can_be_emptied(store, monkeypatch) -> None:
    monkeypatch.setattr("arbshard.ledger.reader._PIECE_ROWS", 2)
    store.append([deposit() for _ in range(5)])
    with LedgerReader(store.path) as reader:
        rows = reader.rows()
        next(rows)
        assert store._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0
        assert len(list(rows)) == 4


def test_kinds_and_times_are_chosen(store) -> None:
    late = Deposited(at_ms=9, venue="upbit", currency="KRW", amount=Decimal(1), why="opening")
    store.append([deposit(), Stopped(at_ms=8, balances=()), late])
    with LedgerReader(store.path) as reader:
        assert [row[0] for row in reader.rows(("Deposited",))] == [1, 3]
        assert [row[0] for row in reader.rows(("Deposited", "Stopped"), since_ms=8)] == [2, 3]
        assert [(at_ms, line[0]) for at_ms, line in reader.dated_lines(since_ms=8)] == [(9, 3), (9, 3)]
        assert reader.counts() == {"Deposited": 2, "Stopped": 1}
        assert reader.extent_ms() == (7, 9)
        assert reader.count_postings() == 4


def test_a_reader_never_writes_nor_checkpoints(store) -> None:
    store.append([deposit()])
    store.abandon()  # a full log, and nobody who writes
    log = store.path.with_name("ledger.sqlite-wal")
    before = store.path.read_bytes(), log.read_bytes()
    assert before[1]
    with LedgerReader(store.path) as reader:
        assert len(list(reader.rows())) == 1
        connection = reader._connection
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0] == 0
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM meta")
        with pytest.raises(sqlite3.OperationalError):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (store.path.read_bytes(), log.read_bytes()) == before


def test_a_row_of_other_types_is_damage(store) -> None:
    store.append([deposit()])
    store.close()
    connection = sqlite3.connect(store.path)
    with connection:
        connection.execute("DROP TRIGGER events_update")
        connection.execute("UPDATE events SET body = x'00ff'")
    connection.close()
    with LedgerReader(store.path) as reader, pytest.raises(LedgerDamaged, match="the row of event 1 holds"):
        list(reader.rows())


@contextmanager
def only_readable(*files: Path) -> Iterator[Path]:
    """Copy ``files`` into a folder that this process may not write, though it may be root's."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    user = os.geteuid()
    try:
        for one in files:
            shutil.copy(one, folder)
            (folder / one.name).chmod(0o444)
        folder.chmod(0o555)
        if user == 0:
            os.seteuid(65_534)
        yield folder
    finally:
        os.seteuid(user)
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_a_ledger_in_a_folder_that_may_only_be_read(store) -> None:
    store.append([deposit()])
    store.close()
    with only_readable(store.path) as folder:
        with LedgerReader(folder / "ledger.sqlite") as reader:
            assert len(list(reader.rows())) == 1
        assert [one.name for one in folder.iterdir()] == ["ledger.sqlite"]


def test_an_empty_log_in_such_a_folder_is_no_obstacle(store, tmp_path) -> None:
    store.append([deposit()])
    store.close()
    log = tmp_path / "ledger.sqlite-wal"
    log.write_bytes(b"")
    with only_readable(store.path, log) as folder, LedgerReader(folder / "ledger.sqlite") as reader:
        assert len(list(reader.rows())) == 1


def test_what_only_the_log_holds_is_never_left_out_in_such_a_folder(store) -> None:
    store.append([deposit()])
    store.abandon()
    log = store.path.with_name("ledger.sqlite-wal")
    assert log.stat().st_size
    with only_readable(store.path, log) as folder, pytest.raises(LedgerError, match="check owner and mode"):
        LedgerReader(folder / "ledger.sqlite")
