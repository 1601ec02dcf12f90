"""The ledger's file: one writer, nothing changed afterwards, all or nothing."""

import sqlite3
from decimal import Decimal

import pytest

from arbshard.errors import LedgerDamaged, LedgerError, LedgerVersionError, RunDirError, UsageError
from arbshard.ledger.events import Deposited, Stopped
from arbshard.ledger.store import LedgerStore


def deposit(amount: str, currency: str = "KRW", at_ms: int = 1) -> Deposited:
    return Deposited(at_ms=at_ms, venue="upbit", currency=currency, amount=Decimal(amount), why="opening")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "ledger.sqlite"


@pytest.fixture
def opened(path):
    """Opens the ledger as often as asked; all are closed at the end."""
    stores = []

    def open_it(**changes) -> LedgerStore:
        given = {"name": "sim", "mode": "sim-paper", "now_ms": 1, **changes}
        stores.append(LedgerStore.open(path, **given))
        return stores[-1]

    yield open_it
    for store in stores:
        store.abandon()


def alter(path, *statements: str) -> None:
    """What a hand in the file does."""
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_events_come_back_in_order_with_their_numbers(opened) -> None:
    store = opened()
    store.append([deposit("1"), deposit("2")])
    store.append([deposit("3")])
    store.append([])
    assert [(seq, event.amount) for seq, event in store.events()] == [
        (1, Decimal(1)),
        (2, Decimal(2)),
        (3, Decimal(3)),
    ]
    assert store.last_seq == 3


def test_each_posting_has_its_accounts_balance_also_after_reopening(opened, path) -> None:
    store = opened()
    store.append([deposit("1.50"), deposit("2"), deposit("5", "BTC")])
    store.close()
    store = opened()
    store.append([deposit("1e1")])
    rows = store._connection.execute(
        "SELECT account, currency, amount, balance FROM postings WHERE account = 'venue:upbit' ORDER BY seq"
    ).fetchall()
    assert rows == [
        ("venue:upbit", "KRW", "1.5", "1.5"),
        ("venue:upbit", "KRW", "2", "3.5"),
        ("venue:upbit", "BTC", "5", "5"),
        ("venue:upbit", "KRW", "10", "13.5"),
    ]
    assert store.balances["deposits:upbit", "KRW"] == Decimal("-13.5")


@pytest.mark.parametrize("table", ["events", "postings"])
@pytest.mark.parametrize("change", ["UPDATE {} SET seq = seq + 10", "DELETE FROM {}"])
def test_nothing_stored_can_be_changed(opened, table, change) -> None:
    store = opened()
    store.append([deposit("1")])
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        store._connection.execute(change.format(table))


def test_a_full_disk_stores_nothing_of_the_batch(opened) -> None:
    store = opened()
    store.append([deposit("1")])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(LedgerError, match="full"):
        store.append([deposit("1", at_ms=n) for n in range(500)])
    assert store.last_seq == 1
    assert store.balances == {("venue:upbit", "KRW"): Decimal(1), ("deposits:upbit", "KRW"): Decimal(-1)}
    assert [seq for seq, _ in store.events()] == [1]
    store._connection.execute("PRAGMA max_page_count = 100000")
    store.append([deposit("2")])
    assert store.balances["venue:upbit", "KRW"] == Decimal(3)


def test_a_closed_connection_is_a_ledger_error(opened) -> None:
    store = opened()
    store.abandon()
    with pytest.raises(LedgerError, match="closed database"):
        store.append([deposit("1")])


def test_a_newer_schema_is_not_touched(opened, path) -> None:
    opened().close()
    alter(path, "UPDATE meta SET value = '2' WHERE key = 'schema'")
    with pytest.raises(LedgerVersionError, match="newer arbshard"):
        opened()


def test_another_mode_is_the_persons_mistake(opened) -> None:
    opened().close()
    with pytest.raises(UsageError, match="begun in mode sim-paper, not public-paper"):
        opened(mode="public-paper")


def test_a_refused_opening_frees_the_lock(opened) -> None:
    opened().close()
    with pytest.raises(UsageError):
        opened(mode="public-paper")
    assert opened().last_seq == 0


def test_a_file_that_is_no_ledger(opened, path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(LedgerDamaged, match="not a database"):
        opened()


def test_another_programs_database(opened, path) -> None:
    path.parent.mkdir()
    alter(path, "CREATE TABLE birds (name TEXT)")
    with pytest.raises(LedgerDamaged, match="no such table"):
        opened()


def test_a_missing_event_is_noticed_at_the_start(opened, path) -> None:
    store = opened()
    store.append([deposit("1"), deposit("2"), deposit("3")])
    store.close()
    alter(path, "DROP TRIGGER events_delete", "DELETE FROM events WHERE seq = 2")
    with pytest.raises(LedgerDamaged, match="2 events are numbered 1 to 3"):
        opened()


def test_pages_are_checked_after_a_crash(opened, path) -> None:
    store = opened()
    store.append([deposit("1", at_ms=n) for n in range(2000)])
    store.close()  # the file is whole, but its last event is no stop
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(LedgerDamaged):
        opened()


def test_after_a_stop_pages_are_not_walked(opened, monkeypatch) -> None:
    store = opened()
    store.append([deposit("1"), Stopped(at_ms=2, balances=())])
    store.close()
    monkeypatch.setattr("arbshard.ledger.store._check_pages", lambda *_: pytest.fail("walked"))
    assert opened().last_seq == 2


def test_closing_empties_the_log(opened, path) -> None:
    store = opened()
    store.append([deposit("1")])
    log = path.with_name("ledger.sqlite-wal")
    assert log.stat().st_size > 0
    store.close()
    assert not log.exists() or log.stat().st_size == 0


def test_checkpoints_come_when_idle_and_at_last_anyway(opened, monkeypatch) -> None:
    monkeypatch.setattr("arbshard.ledger.store._COMMITS_DUE", 2)
    monkeypatch.setattr("arbshard.ledger.store._COMMITS_OVERDUE", 3)
    store = opened()
    store.append([deposit("1")])
    assert not store.checkpoint_if_due(is_idle=True)
    store.append([deposit("1")])
    assert not store.checkpoint_if_due(is_idle=False)
    assert store.checkpoint_if_due(is_idle=True)
    assert not store.checkpoint_if_due(is_idle=True)
    for _ in range(3):
        store.append([deposit("1")])
    assert store.checkpoint_if_due(is_idle=False)


def test_live_ledgers_reach_the_disk_before_they_answer(opened) -> None:
    assert opened(durable=True)._connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_place_that_cannot_be_written(tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(RunDirError, match="cannot be created"):
        LedgerStore.open(blocked / "ledger.sqlite", name="sim", mode="sim-paper", now_ms=1)
