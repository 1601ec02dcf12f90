"""Reading beside the writer."""

from decimal import Decimal

import pytest

from arbshard.errors import LedgerDamaged, UsageError
from arbshard.ledger.events import Deposited
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
