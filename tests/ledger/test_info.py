"""What is in a ledger, at a glance."""

import os
import sqlite3

import pytest

from arbshard.errors import LedgerDamaged
from arbshard.ledger import snapshots
from arbshard.ledger.events import ShardJoined
from arbshard.ledger.file import LOG_ROOM_BYTES
from arbshard.ledger.info import look_into
from arbshard.ledger.replay import recover
from support import world as w


@pytest.fixture
def ledger(tmp_path):
    """Two sessions, the second cut off."""
    world = w.World()
    world.round_trip()
    world.stop()
    world.start("run-2")
    world.ask(world.hello())
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    return path


def test_counts_dates_and_sessions(ledger) -> None:
    info = look_into(ledger)
    assert len(info.tag) == 5
    assert (info.name, info.mode, info.schema, info.sessions) == ("sim", "sim-paper", 5, 2)
    assert info.events == sum(info.kinds.values()) == sum(one.events for one in info.newest)
    assert info.kinds["OrderReported"] == 4
    assert info.postings > 0
    assert info.size == info.disk == ledger.stat().st_size
    assert info.first == "2026-11-18T11:06:40.000+00:00"
    assert info.last > info.first
    first, second = info.newest
    assert (first.session, first.version, second.session) == (1, "test", 2)
    assert first.stopped is not None
    assert second.stopped is None
    assert info.last_stop == "not clean"
    assert (info.writer, info.snapshots) == (None, ())


def test_a_clean_stop(tmp_path) -> None:
    world = w.World()
    world.stop()
    world.write_ledger(tmp_path / "ledger.sqlite")
    assert look_into(tmp_path / "ledger.sqlite").last_stop == "clean"


def test_a_ledger_that_was_never_used(tmp_path, opened) -> None:
    path = tmp_path / "ledger.sqlite"
    opened(path).close()
    info = look_into(path)
    assert (info.last_stop, info.events, info.first, info.last, info.newest) == ("none", 0, None, None, ())


def test_while_it_is_written(ledger, opened) -> None:
    store = opened(ledger)
    store.append([ShardJoined(at_ms=1, shard=0, epoch=2, pid=1)])
    info = look_into(ledger)
    assert (info.last_stop, info.writer) == ("running", str(os.getpid()))
    assert info.disk > ledger.stat().st_size  # the log counts


def test_the_room_in_the_log_of_a_live_ledger_is_not_taken_for_data(tmp_path, opened) -> None:
    path = tmp_path / "ledger.sqlite"
    store = opened(path, durable=True)
    store.append([ShardJoined(at_ms=1, shard=0, epoch=1, pid=1)])
    empty = look_into(path)
    assert empty.disk > LOG_ROOM_BYTES > empty.size
    for shard in range(2000):
        store.append([ShardJoined(at_ms=1, shard=shard, epoch=2, pid=1)])
    grown = look_into(path)
    assert empty.size < grown.size < grown.disk
    store.close()
    left = look_into(path)
    assert left.size == left.disk == path.stat().st_size >= grown.size  # no page was counted twice


def test_the_newest_sessions_of_many(tmp_path) -> None:
    world = w.World(ready=False)
    for _ in range(14):
        world.start()
        world.stop()
    world.write_ledger(tmp_path / "ledger.sqlite")
    info = look_into(tmp_path / "ledger.sqlite")
    assert info.sessions == 14
    assert [one.session for one in info.newest] == list(range(5, 15))


def test_snapshots_are_shown(ledger, opened, codec, monkeypatch) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_AT_STOP", 1)
    store = opened(ledger)
    state = recover(store, codec).state
    store.append([ShardJoined(at_ms=0, shard=0, epoch=2, pid=1)])
    store.keep_snapshots(codec.version, lambda: codec.dump(state))
    last = store.last_seq
    store.close()
    (one,) = look_into(ledger).snapshots
    assert (one.seq, one.taken) == (last, "1970-01-01T00:00:00.000+00:00")
    assert one.size > 1000


@pytest.mark.parametrize(
    "statement",
    ["UPDATE events SET body = '{}' WHERE seq = 1", "UPDATE events SET ts_ms = 9223372036854775807"],
)
def test_damage_is_a_clear_line(ledger, statement) -> None:
    connection = sqlite3.connect(ledger)
    with connection:
        connection.execute("DROP TRIGGER events_update")
        connection.execute(statement)
    connection.close()
    with pytest.raises(LedgerDamaged, match="damaged: "):
        look_into(ledger)
