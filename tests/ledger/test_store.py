"""The ledger's file: one writer, nothing changed afterwards, all or nothing."""

import errno
import re
import shutil
import sqlite3
from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.errors import LedgerDamaged, LedgerError, LedgerVersionError, RunDirError, UsageError
from arbshard.ledger.events import SCHEMA_VERSION, Deposited, Stopped
from arbshard.ledger.file import LOG_ROOM_BYTES
from arbshard.ledger.postings import UnstoredLedger
from arbshard.ledger.store import LedgerStore
from support import world as w

STOPPED = Stopped(at_ms=2, balances=())
"""An event without postings."""


def deposit(amount: str, currency: str = "KRW", at_ms: int = 1) -> Deposited:
    return Deposited(at_ms=at_ms, venue="upbit", currency=currency, amount=Decimal(amount), why="opening")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "ledger.sqlite"


@pytest.fixture
def opened(opened, path):
    """Opens the ledger as often as asked; all are closed at the end."""

    def open_it(**changes) -> LedgerStore:
        return opened(path, **changes)

    return open_it


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


def test_the_texts_of_the_newest_events_are_those_in_the_file(opened) -> None:
    """They are sent to other hosts without being read."""
    store = opened()
    assert store.bodies(0, 10) == []
    store.append([deposit("1"), deposit("2")])
    store.append([deposit("3"), deposit("4"), deposit("5")])
    assert store.bodies(5, 10) == []
    newest = {(after, limit): store.bodies(after, limit) for after in range(6) for limit in (1, 2, 10)}
    assert [len(newest[after, 10]) for after in range(6)] == [5, 4, 3, 2, 1, 0]
    store.abandon()
    again = opened()
    assert {(after, limit): again.bodies(after, limit) for after, limit in newest} == newest


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
    with pytest.raises(LedgerError, match="closed"):
        store.append([deposit("1")])


def test_a_newer_schema_is_not_touched(opened, path) -> None:
    opened().close()
    alter(path, f"UPDATE meta SET value = '{SCHEMA_VERSION + 1}' WHERE key = 'schema'")
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
    with pytest.raises(LedgerDamaged, match="no table meta, events, postings"):
        opened()


def test_a_refused_ledger_stays_byte_for_byte_as_it_was(opened, path) -> None:
    store = opened()
    store.append([deposit("1")])
    store.abandon()  # as after a crash: the log is still full
    log = path.with_name("ledger.sqlite-wal")
    before = path.read_bytes(), log.read_bytes()
    assert before[1]
    with pytest.raises(UsageError):
        opened(mode="public-paper")
    assert (path.read_bytes(), log.read_bytes()) == before


def test_nothing_is_written_before_the_first_event(opened, path) -> None:
    store = opened()
    store.append([deposit("1")])
    store.abandon()
    log = path.with_name("ledger.sqlite-wal")
    before = path.read_bytes(), log.read_bytes()
    store = opened()
    assert [seq for seq, _ in store.events()] == [1]
    assert not store.checkpoint_if_due(is_idle=True)
    store.abandon()
    assert (path.read_bytes(), log.read_bytes()) == before


def test_abandoning_leaves_the_log_as_it_is(opened, path) -> None:
    store = opened()
    store.append([deposit("1")])
    log = path.with_name("ledger.sqlite-wal")
    before = path.read_bytes(), log.read_bytes()
    store.abandon()
    assert (path.read_bytes(), log.read_bytes()) == before
    assert opened().last_seq == 1


def test_an_empty_file_is_a_lost_ledger(opened, path) -> None:
    path.parent.mkdir()
    path.touch()
    with pytest.raises(LedgerDamaged, match="the file is empty"):
        opened()
    assert path.stat().st_size == 0


def test_the_log_of_a_lost_ledger_is_not_thrown_away(opened, path) -> None:
    store = opened()
    store.append([deposit("1")])
    store.abandon()
    log = path.with_name("ledger.sqlite-wal")
    before = log.read_bytes()
    path.unlink()
    with pytest.raises(LedgerDamaged, match=r"it is gone, but its log ledger.sqlite-wal is still there"):
        opened()
    assert log.read_bytes() == before
    assert not path.exists()


def test_what_a_killed_creation_left_is_made_anew(opened, path) -> None:
    path.parent.mkdir()
    path.with_name("ledger.sqlite.new").write_bytes(b"half")
    assert opened().last_seq == 0
    assert sorted(one.name for one in path.parent.iterdir() if ".new" in one.name) == []


@pytest.mark.parametrize("table", ["meta", "events", "postings"])
def test_a_missing_table(opened, path, table) -> None:
    opened().close()
    alter(path, f"DROP TABLE {table}")
    with pytest.raises(LedgerDamaged, match=f"it has no table {table}"):
        opened()


def test_a_truncated_file(opened, path) -> None:
    store = opened()
    store.append([deposit("1", at_ms=n) for n in range(500)])
    store.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    before = path.read_bytes()
    with pytest.raises(LedgerDamaged, match="malformed; keep this file, and put a backup in its place"):
        opened()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement", ["DELETE FROM meta", "UPDATE meta SET value = 'x' WHERE key = 'schema'"]
)
def test_a_ledger_that_does_not_say_what_it_is(opened, path, statement) -> None:
    opened().close()
    alter(path, statement)
    with pytest.raises(LedgerDamaged, match="does not say what it is"):
        opened()


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


def sizes_of_the_log(store, path, appends):
    sizes = set()
    for n in range(appends):
        store.append([deposit("1", at_ms=n), deposit("2", at_ms=n)] if n % 2 else [STOPPED])
        sizes.add(path.with_name("ledger.sqlite-wal").stat().st_size)
    return sizes


def test_the_log_of_a_live_ledger_has_its_size_from_the_first_commit_on(opened, path) -> None:
    """A commit that makes it longer takes several times as long."""
    store = opened(durable=True)
    assert sizes_of_the_log(store, path, 200) == {LOG_ROOM_BYTES}
    store.checkpoint()
    assert sizes_of_the_log(store, path, 200) == {LOG_ROOM_BYTES}
    store.close()
    assert not path.with_name("ledger.sqlite-wal").exists()
    assert opened(durable=True).last_seq == 600


@pytest.mark.parametrize("appends", [0, 1, 7])
def test_the_room_in_the_log_is_no_part_of_what_a_crash_leaves(opened, path, tmp_path, appends) -> None:
    store = opened(durable=True)
    store.append([deposit("1")])
    store.checkpoint()
    sizes_of_the_log(store, path, appends)
    (tmp_path / "left").mkdir()
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):  # as after a loss of power: the index is not there
        shutil.copy(path.with_name(name), tmp_path / "left" / name)
    left = LedgerStore.open(
        tmp_path / "left" / "ledger.sqlite", name="sim", mode="sim-paper", now_ms=1, durable=True
    )
    try:
        assert left.last_seq == store.last_seq
        assert list(left.events()) == list(store.events())
        left.check_pages()
        assert sizes_of_the_log(left, tmp_path / "left" / "ledger.sqlite", 3) == {LOG_ROOM_BYTES}
        assert len(list(left.events())) == store.last_seq + 4
    finally:
        left.close()


def test_the_last_of_a_disk_is_not_taken_for_the_log(opened, path, monkeypatch) -> None:
    monkeypatch.setattr("arbshard.ledger.file.free_bytes", lambda _: 4 * LOG_ROOM_BYTES - 1)
    assert max(sizes_of_the_log(opened(durable=True), path, 3)) < LOG_ROOM_BYTES


def test_a_log_without_room_is_no_failure(opened, path, monkeypatch, capsys) -> None:
    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    store = opened(durable=True)
    monkeypatch.setattr("arbshard.ledger.file.os.pwrite", no_space)
    store.append([deposit("1")])
    assert "no room is made for the log" in "".join(capsys.readouterr())
    assert path.with_name("ledger.sqlite-wal").stat().st_size < LOG_ROOM_BYTES
    assert store.last_seq == 1


def test_an_event_without_postings_that_cannot_be_written_leaves_nothing(opened) -> None:
    store = opened()
    store.append([deposit("1")])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    large = replace(STOPPED, cut_off="x" * 100_000)
    with pytest.raises(LedgerError, match="full"):
        store.append([large])
    stored = store.last_seq
    assert [seq for seq, _ in store.events()] == list(range(1, stored + 1))
    store._connection.execute("PRAGMA max_page_count = 100000")
    store.append([STOPPED])
    assert [seq for seq, _ in store.events()] == list(range(1, stored + 2))


def test_live_ledgers_reach_the_disk_before_they_answer(opened) -> None:
    store = opened(durable=True)
    store.append([deposit("1")])
    assert store._connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_place_that_cannot_be_written(tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(RunDirError, match="cannot be created"):
        LedgerStore.open(blocked / "ledger.sqlite", name="sim", mode="sim-paper", now_ms=1)


class TestTag:
    def test_a_new_ledger_has_one_for_ever(self, opened, tmp_path) -> None:
        store = opened()
        assert re.fullmatch(r"[a-z0-9]{5}", store.tag)
        store.close()
        assert opened().tag == store.tag

    def test_no_two_have_the_same(self, opened, tmp_path) -> None:
        tags = set()
        for number in range(20):
            store = LedgerStore.open(tmp_path / str(number) / "l", name="sim", mode="sim-paper", now_ms=1)
            tags.add(store.tag)
            store.close()
        assert len(tags) == 20

    def test_an_older_ledger_is_given_one_with_its_first_events(self, opened, path) -> None:
        opened().close()
        alter(path, "DELETE FROM meta WHERE key = 'tag'", "UPDATE meta SET value = '1' WHERE key = 'schema'")
        before = path.read_bytes()
        opened().close()
        assert path.read_bytes() == before  # nothing was written yet
        store = opened()
        tag = store.tag
        store.append([deposit("1")])
        store.append([deposit("2")])
        store.close()
        assert opened().tag == tag
        rows = sqlite3.connect(path).execute("SELECT key, value FROM meta WHERE key IN ('tag', 'schema')")
        assert dict(rows.fetchall()) == {"tag": tag, "schema": "1"}

    def test_a_write_that_fails_gives_none(self, opened, path) -> None:
        opened().close()
        alter(path, "DELETE FROM meta WHERE key = 'tag'")
        store = opened()
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError):
            store.append([deposit("1")])
        blocker.execute("ROLLBACK")
        blocker.close()
        store.append([deposit("1")])
        tag = store.tag
        store.close()
        assert opened().tag == tag


def test_durable_reaches_the_disk_with_every_append(opened) -> None:
    for durable, level in ((True, 2), (False, 1)):
        store = opened(durable=durable)
        store.append([deposit("1")])
        assert store._connection.execute("PRAGMA synchronous").fetchone()[0] == level
        store.close()


def test_a_ledger_without_a_file_has_the_same_balances(opened) -> None:
    store, unstored, world = opened(), UnstoredLedger(), w.World()
    world.round_trip()
    for ledger in (store, unstored):
        ledger.append(world.events[:3])
        ledger.append(world.events[3:])
    assert unstored.last_seq == store.last_seq == len(world.events)
    assert dict(unstored.balances) == dict(store.balances)
    assert any(account.startswith("venue") for account, _ in unstored.balances)
