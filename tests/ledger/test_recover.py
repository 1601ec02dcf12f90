"""Start-up: from a snapshot and the events after it, and never otherwise than from the beginning."""

import sqlite3
from decimal import Decimal

import pytest

from arbshard.errors import LedgerDamaged
from arbshard.ledger import snapshots
from arbshard.ledger.events import Deposited, ShardJoined, Started
from arbshard.ledger.inspection import Inspection
from arbshard.ledger.replay import recover
from arbshard.ledger.verify import verify
from arbshard.risk.core import RiskCore
from arbshard.risk.portfolio.snapshot import VERSION, PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState
from support import history
from support import world as w


@pytest.fixture
def long(tmp_path):
    """Some 3,000 events on 20 coins, with open positions and intents, cut off."""
    path = tmp_path / "ledger.sqlite"
    history.History(20).write(path, 3_000, positions=8, intents=4, stopped=False)
    return path


@pytest.fixture
def short(tmp_path):
    """A few dozen events, ended in order."""
    world = w.World()
    world.round_trip()
    world.open_position("ETH")
    world.stop()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    return path


@pytest.fixture
def kept(short, opened, codec, monkeypatch):
    """The short ledger with a snapshot at its last event."""
    monkeypatch.setattr(snapshots, "SNAPSHOT_AT_STOP", 1)
    leave_snapshot(opened(short), codec)
    return short


def leave_snapshot(store, codec):
    """Start and stop; how the state was found."""
    found = recover(store, codec)
    store.keep_snapshots(codec.version, lambda: codec.dump(found.state))
    store.close()
    return found


def alter(path, *statements) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement, *given in statements:
            assert connection.execute(statement, given).rowcount != 0, statement
    connection.close()


def joined(epoch: int) -> ShardJoined:
    return ShardJoined(at_ms=5, shard=0, epoch=epoch, pid=1)


@pytest.mark.parametrize("events", [3_000, pytest.param(50_000, marks=pytest.mark.nightly)])
def test_a_start_replays_nothing_after_a_stop_however_long_the_ledger_is(
    tmp_path, opened, codec, events
) -> None:
    path = tmp_path / "ledger.sqlite"
    history.History(20).write(path, events, positions=8, intents=4, stopped=False)
    first = leave_snapshot(opened(path), codec)
    assert first.replayed >= events
    assert (first.snapshot_seq, first.ignored) == (0, ())
    again = recover(opened(path), codec)
    assert (again.snapshot_seq, again.replayed, again.ignored) == (first.replayed, 0, ())
    assert again.state.state_hash() == first.state.state_hash()
    assert len(again.state.positions) == 8
    assert len(again.state.trades) == 4


def test_a_start_after_a_crash_replays_what_came_after_the_snapshot(long, opened, codec) -> None:
    leave_snapshot(opened(long), codec)
    store = opened(long)
    found = recover(store, codec)
    store.append([joined(epoch) for epoch in range(2, 9)])
    store.abandon()
    store = opened(long)
    again = recover(store, codec)
    assert (again.snapshot_seq, again.replayed) == (found.snapshot_seq, 7)
    store.append([Deposited(at_ms=6, venue="upbit", currency="KRW", amount=Decimal(7), why="opening")])
    balances = dict(store.balances)
    store.close()
    store = opened(long)
    recover(store, PortfolioCodec(VERSION + 1))
    assert store.balances == balances
    store.abandon()
    assert verify(long).is_clean


def test_what_is_carried_on_from_a_snapshot_verifies(kept, opened, codec) -> None:
    store = opened(kept)
    found = recover(store, codec)
    world = w.World(ready=False, serial=90)
    world.core = RiskCore(world.config, world.universe, found.state)
    world.state = found.state
    store.append(world.core.start(world.now_ms, "run-2", "test"))
    world.ask(world.hello())
    world.round_trip()
    store.append(world.events)
    world.events.clear()
    world.stop()
    store.append(world.events)
    store.close()
    report = verify(kept, codec)
    assert report.differences == ()
    assert report.snapshots == 1
    assert report.closed == 2


def test_whoever_waits_for_a_long_replay_sees_it_go_on(long, opened, codec) -> None:
    seen = []
    store = opened(long)
    recover(store, codec, lambda: seen.append(1))
    assert len(seen) == store.last_seq // 1000


def test_a_short_session_leaves_no_snapshot(short, opened, codec) -> None:
    leave_snapshot(opened(short), codec)
    assert list(opened(short).snapshots()) == []


def test_only_the_newest_are_kept(short, opened, codec, monkeypatch) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_AT_STOP", 1)
    for _ in range(5):
        store = opened(short)
        found = recover(store, codec)
        event = joined(1)
        found.state.apply(event)
        found.state.commit()
        store.append([event])
        store.keep_snapshots(codec.version, lambda state=found.state: codec.dump(state))
        store.close()
    store = opened(short)
    assert [one.seq for one in store.snapshots()] == [store.last_seq - back for back in range(3)]


def test_snapshots_come_when_idle_and_at_last_anyway(short, opened, codec, monkeypatch) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_DUE", 2)
    monkeypatch.setattr(snapshots, "SNAPSHOT_OVERDUE", 3)
    store = opened(short)
    found = recover(store, codec)
    store._kept_seq = store.last_seq
    store.keep_snapshots(codec.version, lambda: codec.dump(found.state))

    def book(count: int) -> None:
        events = [joined(1)] * count
        for event in events:
            found.state.apply(event)
        found.state.commit()
        store.append(events)

    def taken() -> list[int]:
        return [one.seq for one in store.snapshots()]

    start = store.last_seq
    book(1)
    store.checkpoint_if_due(is_idle=True)
    store.checkpoint_if_due(is_idle=True)
    assert taken() == []
    book(1)
    store.checkpoint_if_due(is_idle=False)
    store.checkpoint_if_due(is_idle=False)
    assert taken() == []
    store.checkpoint_if_due(is_idle=True)
    assert taken() == []  # prepared only: two short pauses, not a long one
    book(1)
    store.checkpoint_if_due(is_idle=False)
    assert taken() == [start + 2]
    book(2)
    store.checkpoint_if_due(is_idle=False)
    store.checkpoint_if_due(is_idle=False)
    assert taken() == [start + 5, start + 2]
    expected = found.state.state_hash()
    store.abandon()
    store = opened(short)
    again = recover(store, codec)
    assert (again.snapshot_seq, again.replayed) == (start + 5, 0)
    assert again.state.state_hash() == expected


def test_a_snapshot_that_cannot_be_taken_stops_nothing(short, opened, codec, monkeypatch) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_DUE", 1)
    store = opened(short)
    found = recover(store, codec)
    found.state.apply(joined(9))  # in the middle of a change there is nothing to keep
    store.keep_snapshots(codec.version, lambda: codec.dump(found.state))
    store.append([joined(1)])
    assert not store.checkpoint_if_due(is_idle=True)
    assert not store.checkpoint_if_due(is_idle=True)
    store.append([joined(2)])
    store.close()
    assert list(opened(short).snapshots()) == []
    assert verify(short).is_clean


def test_a_disk_too_full_for_a_snapshot_stops_nothing(short, opened, codec, monkeypatch) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_DUE", 1)
    store = opened(short)
    recover(store, codec)
    store.keep_snapshots(codec.version, lambda: ("hash", b"x" * 100_000))
    store.append([joined(1)])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    for _ in range(3):
        store.checkpoint_if_due(is_idle=True)
    assert list(store.snapshots()) == []
    store.append([joined(2)])
    assert store.failure is None
    store.abandon()
    assert verify(short).is_clean


def test_the_code_that_made_it_must_be_the_same(kept, opened) -> None:
    found = recover(opened(kept), PortfolioCodec(VERSION + 1))
    assert found.snapshot_seq == 0
    assert "made by another version of the program" in found.ignored[0]


def test_another_hash_is_noticed(kept, opened, codec) -> None:
    store = opened(kept)
    (one,) = store.snapshots()
    store.abandon()
    forged = snapshots.prepare(snapshots.Snapshot(one.seq, 1, one.version, "0" * 32, one.balances, one.body))
    replace(kept, forged)
    found = recover(opened(kept), codec)
    assert found.snapshot_seq == 0
    assert found.ignored == (
        f"the snapshot at event {one.seq}: it does not give back the state it was made of",
    )


def replace(path, prepared) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    snapshots.save(connection, prepared)
    connection.close()


@pytest.mark.parametrize("column", ["balances", "body", "hash", "version", "made_ms", "digest"])
def test_an_altered_snapshot_is_not_even_read(kept, opened, codec, column) -> None:
    alter(kept, (f"UPDATE snapshots SET {column} = ?", b"\x80"))
    store = opened(kept)
    found = recover(store, codec)
    assert found.snapshot_seq == 0
    assert found.replayed == store.last_seq
    assert "is not what was stored" in found.ignored[0]


def test_a_body_that_is_no_snapshot(kept, opened, codec) -> None:
    store = opened(kept)
    (one,) = store.snapshots()
    store.abandon()
    for body in (b"", b"\xc1", b"\x80", one.body[: len(one.body) // 2]):
        replace(kept, snapshots.prepare(snapshots.Snapshot(one.seq, 1, one.version, one.hash, {}, body)))
        store = opened(kept)
        found = recover(store, codec)
        store.abandon()
        assert found.snapshot_seq == 0
        assert len(found.ignored) == 1


def test_a_snapshot_of_events_that_were_lost_is_not_used(kept, opened, codec) -> None:
    # The machine failed, and with it the newest commits that had not reached the disk.
    store = opened(kept)
    last = store.last_seq
    store.abandon()
    alter(kept, ("DELETE FROM events WHERE seq = ?", last))
    found = recover(opened(kept), codec)
    assert (found.snapshot_seq, found.replayed) == (0, last - 1)


def test_a_whole_snapshot_of_another_past_is_found_out_by_what_follows(kept, opened, codec) -> None:
    store = opened(kept)
    (one,) = store.snapshots()
    found = recover(store, codec)
    state = found.state
    store.append(
        [Started(at_ms=5, session=state.session + 1, run="r", mode="sim-paper", version="", reporting="KRW")]
    )
    store.abandon()
    other = PortfolioState()
    state_hash, body = codec.dump(other)
    replace(kept, snapshots.prepare(snapshots.Snapshot(one.seq, 1, one.version, state_hash, {}, body)))
    again = recover(opened(kept), codec)
    assert again.snapshot_seq == 0
    assert again.replayed == one.seq + 1
    assert "does not fit" in again.ignored[0]
    assert again.state.balances.table == found.state.balances.table


def test_snapshots_that_cannot_be_read_have_every_page_checked(kept, opened, codec) -> None:
    connection = sqlite3.connect(kept)
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'snapshots'").fetchone()[0]
    connection.close()
    with kept.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(LedgerDamaged, match="damaged"):
        recover(opened(kept), codec)


def test_after_a_crash_every_page_is_checked(tmp_path, opened, codec) -> None:
    store = opened(tmp_path / "ledger.sqlite")
    store.append([joined(epoch) for epoch in range(1, 500)])
    store.close()  # the file is whole, but its last event is no stop
    store = opened(store.path)
    walked = []
    store.check_pages = lambda: walked.append(1)
    recover(store, codec)
    assert walked == [1]


def test_after_a_stop_pages_are_not_walked(short, opened, codec) -> None:
    store = opened(short)
    store.check_pages = lambda: pytest.fail("walked")
    assert recover(store, codec).replayed == store.last_seq


def test_the_rest_is_looked_through_meanwhile(kept, opened, codec) -> None:
    store = opened(kept)
    recover(store, codec)
    inspection = store._inspection
    inspection._thread.join(10)
    assert inspection.is_over
    store.checkpoint_if_due(is_idle=True)
    assert store._inspection is None
    assert store.failure is None


def test_damage_before_the_snapshot_stops_the_trading(kept, opened, codec) -> None:
    alter(kept, ("DELETE FROM events WHERE seq = 3",))
    store = opened(kept)
    assert recover(store, codec).snapshot_seq > 0
    store._inspection._thread.join(10)
    with pytest.raises(LedgerDamaged, match="events are numbered 1 to"):
        store.checkpoint_if_due(is_idle=True)
    assert "events are numbered" in str(store.failure)


def test_garbage_in_an_old_page_is_found_by_the_inspection(long, opened, codec) -> None:
    leave_snapshot(opened(long), codec)
    with long.open("r+b") as file:
        file.seek(100 * 4096)
        file.write(b"\xff" * 4096)
    inspection = Inspection(long)
    try:
        inspection._thread.join(20)
        with pytest.raises(LedgerDamaged):
            inspection.check()
    finally:
        inspection.stop()


def test_an_inspection_can_be_broken_off(long) -> None:
    inspection = Inspection(long)
    inspection.stop()
    inspection.stop()
    assert inspection.is_over
    inspection.check()


def test_verify_compares_the_snapshots(kept, codec, opened) -> None:
    report = verify(kept, codec)
    assert (report.differences, report.snapshots) == ((), 1)
    store = opened(kept)
    (one,) = store.snapshots()
    store.abandon()
    richer = {**one.balances, ("venue:upbit", "KRW"): Decimal(10) ** 15}
    replace(kept, snapshots.prepare(snapshots.Snapshot(one.seq, 1, one.version, "f" * 32, richer, one.body)))
    said = verify(kept, codec).differences
    assert said == (
        f"the snapshot at event {one.seq} has other balances than the postings up to it",
        f"the snapshot at event {one.seq} is of another state than replaying leads to",
    )
    assert len(verify(kept, PortfolioCodec(VERSION + 1)).differences) == 1
    assert len(verify(kept).differences) == 1
    alter(kept, ("UPDATE snapshots SET body = ?", b""))
    assert "is not what was stored" in verify(kept).differences[0]
