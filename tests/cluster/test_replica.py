"""A follower stores the leader's very events, refuses what contradicts them, and keeps what is replaced."""

import os
import sqlite3
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from msgspec.structs import replace

from arbshard.clock import ManualClock
from arbshard.cluster.replica import Replica
from arbshard.errors import LedgerChanged, LedgerDamaged, LedgerError, ProtocolError, RunDirError, UsageError
from arbshard.ledger.events import LeaderBegan, ShardGranted, Started, encode_event
from arbshard.ledger.store import LedgerStore
from arbshard.risk.core import mode_of
from arbshard.risk.leadership.following import digest_of
from arbshard.wire.cluster import CopyPart, Events, Joined, LogPosition, Stored
from support import world as w

TERM = 3


def leading(term=TERM):
    return LeaderBegan(at_ms=1, term=term, host="a")


def started(session):
    return Started(at_ms=session, session=session, run="r", mode="sim-paper", version="0", reporting="KRW")


def texts(*events):
    return tuple(encode_event(event).encode() for event in events)


@pytest.fixture
def config():
    return w.World().config


@pytest.fixture
def leader(tmp_path, config):
    """The leader's ledger, closed, with two events."""
    path = tmp_path / "leader.sqlite"
    store = LedgerStore.open(path, name=config.name, mode=mode_of(config), now_ms=1)
    store.append([leading(), started(1)])
    tag = store.tag
    store.close()
    return path, tag


@pytest.fixture
def replica(tmp_path, config):
    made = Replica(tmp_path / "state" / "ledger.sqlite", config, ManualClock(), {})
    made.open()
    yield made
    made.close()


def copy(replica, path, seq, size=4096):
    """Let a whole copy arrive, in parts."""
    data = path.read_bytes()
    assert replica.receive(Joined(TERM, must_copy=True)) is None
    answers = [
        replica.receive(CopyPart(at, data[at : at + size], at + size >= len(data), seq))
        for at in range(0, len(data), size)
    ]
    assert answers[:-1] == [None] * (len(answers) - 1)
    return answers[-1]


def bodies(path):
    with closing(sqlite3.connect(path)) as connection:
        return [one for (one,) in connection.execute("SELECT body FROM events ORDER BY seq")]


def test_a_host_without_a_ledger_states_nothing_and_gets_a_copy(replica, leader, tmp_path):
    path, tag = leader
    assert replica.position == LogPosition(0, 0)
    assert replica.join("b", TERM).digest == b""
    assert copy(replica, path, 2) == Stored(TERM, 2)
    assert replica.position == LogPosition(TERM, 2)
    assert replica.join("b", TERM).digest == digest_of(tag, encode_event(started(1)))
    assert replica.copies == 1
    assert sorted(one.name for one in (tmp_path / "state").glob("*diverged*")) == []


def test_events_are_stored_before_they_are_acknowledged(replica, leader):
    path, _ = leader
    copy(replica, path, 2)
    more = (started(2), ShardGranted(at_ms=3, shard=0, host="b", grant=1))
    assert replica.receive(Events(TERM, 3, texts(*more))) == Stored(TERM, 4)
    assert bodies(replica._path)[2:] == [encode_event(one) for one in more]
    assert replica.receive(Events(TERM, 5, ())) == Stored(TERM, 4)
    # what it has already is not stored twice
    assert replica.receive(Events(TERM, 4, texts(more[1], started(3)))) == Stored(TERM, 5)


def test_a_gap_is_an_error_and_nothing_is_stored(replica, leader):
    copy(replica, leader[0], 2)
    with pytest.raises(ProtocolError, match="event 4 came after event 2"):
        replica.receive(Events(TERM, 4, texts(started(2))))
    assert replica.position.seq == 2


def test_events_of_another_term_are_not_acknowledged(replica, leader):
    copy(replica, leader[0], 2)
    assert replica.receive(Events(TERM - 1, 3, texts(started(2)))) is None
    replica.join("b", TERM + 1)
    assert replica.receive(Events(TERM, 3, texts(started(2)))) is None  # it has not joined yet
    assert replica.position.seq == 2


def test_events_that_contradict_the_ledger_are_not_stored(replica, leader):
    copy(replica, leader[0], 2)
    with pytest.raises(
        LedgerDamaged, match="event 4 of the leader contradicts this ledger: session 7 follows"
    ):
        replica.receive(Events(TERM, 3, texts(started(2), started(7))))
    assert replica.position.seq == 2
    assert replica.receive(Events(TERM, 3, texts(started(2)))) == Stored(TERM, 3)


def test_bytes_that_are_no_event_are_not_stored(replica, leader):
    copy(replica, leader[0], 2)
    with pytest.raises(LedgerDamaged, match="event 3 of the leader"):
        replica.receive(Events(TERM, 3, (b'{"type": "Unknown"}',)))
    with pytest.raises(LedgerDamaged, match="event 3 of the leader"):
        replica.receive(Events(TERM, 3, (b"\xff\xfe",)))
    assert replica.position.seq == 2


def test_the_old_ledger_counts_until_the_copy_is_whole_and_is_set_aside_then(replica, leader, tmp_path):
    path, _ = leader
    copy(replica, path, 2)
    replica.receive(Events(TERM, 3, texts(started(2), started(3))))
    before = bodies(replica._path)
    data = path.read_bytes()
    replica.receive(Joined(TERM + 1, must_copy=True))
    replica.receive(CopyPart(0, data[:4096], False, 2))
    assert replica.position == LogPosition(TERM, 4)
    assert replica.receive(Events(TERM + 1, 3, ())) == Stored(TERM + 1, 0)  # it lives, and has nothing
    assert replica.receive(CopyPart(4096, data[4096:], True, 2)) == Stored(TERM + 1, 2)
    assert replica.position == LogPosition(TERM, 2)
    assert bodies(tmp_path / "state" / f"ledger.diverged-{TERM + 1}.sqlite") == before
    replica.receive(Joined(TERM + 1, must_copy=True))
    replica.receive(CopyPart(0, data, True, 2))
    names = sorted(one.name for one in (tmp_path / "state").glob("*diverged*"))
    assert names == [
        f"ledger.diverged-{TERM + 1}-2.sqlite",
        f"ledger.diverged-{TERM + 1}.sqlite",
    ]


class Crash(BaseException):
    """The process has ended here."""


def crash_at(patch, step):
    """Have the process end at the ``step``-th change of a folder."""
    left = step

    def ends_before(call):
        def change(*args, **named):
            nonlocal left
            left -= 1
            if left == 0:
                raise Crash
            return call(*args, **named)

        return change

    for name in ("hardlink_to", "rename", "unlink"):
        patch.setattr(Path, name, ends_before(getattr(Path, name)))


@pytest.mark.parametrize("step", range(6))
def test_a_crash_while_a_copy_is_put_in_place_leaves_the_old_ledger_whole(leader, tmp_path, config, step):
    """Step 0 is none, and the fifth change gives the copy its name."""
    path, _ = leader
    one = Replica(tmp_path / "state" / "ledger.sqlite", config, ManualClock(), {})
    one.open()
    copy(one, path, 2)
    one.receive(Events(TERM, 3, texts(started(2), started(3))))
    ledger, close = one._path, one._close_store
    one.receive(Joined(TERM + 1, must_copy=True))
    with pytest.MonkeyPatch.context() as patch:

        def fail_to_close():
            """What was committed last is in the log only, as after a failure of the disk."""
            log = ledger.with_name(f"{ledger.name}-wal")
            found = {file: file.read_bytes() for file in (ledger, log)}
            assert found[log]
            close()
            for file, content in found.items():
                file.write_bytes(content)
            crash_at(patch, step)
            raise LedgerError("the disk is full")

        patch.setattr(one, "_close_store", fail_to_close)
        with pytest.raises(Crash) if step else nullcontext():
            one.receive(CopyPart(0, path.read_bytes(), True, 2))
    if not step:
        one.close()
    with Replica(ledger, config, ManualClock(), {}) as again:
        again.open()
        assert again.position.seq == (4 if step else 2)
        asides = [bodies(file) for file in ledger.parent.glob("*diverged*.sqlite")]
        assert [len(one) for one in asides] == ([] if step else [4])
        assert not list(ledger.parent.glob("*incoming*"))


def test_a_copy_that_is_cut_off_leaves_the_old_ledger(replica, leader, tmp_path, config):
    path, _ = leader
    copy(replica, path, 2)
    replica.receive(Joined(TERM, must_copy=True))
    replica.receive(CopyPart(0, path.read_bytes()[:4096], False, 2))
    replica.join("b", TERM)
    assert replica.position.seq == 2
    assert sorted(one.name for one in (tmp_path / "state").glob("*incoming*")) == []
    with pytest.raises(ProtocolError, match="a part of a copy came, and no copy was begun"):
        replica.receive(CopyPart(4096, b"more", True, 2))


def test_a_part_at_the_wrong_place_is_an_error(replica, leader):
    replica.receive(Joined(TERM, must_copy=True))
    with pytest.raises(ProtocolError, match="a part of a copy came at 10, expected was 0"):
        replica.receive(CopyPart(10, b"x", False, 2))


def test_an_archive_comes_with_the_copy(replica, leader, tmp_path):
    path, _ = leader
    name, folder = "000001-1-50.jsonl.xz", tmp_path / "state" / "ledger.archive"
    for content in (b"archive", b"archive", b"another"):
        replica.receive(Joined(TERM, must_copy=True))
        replica.receive(CopyPart(0, content[:3], False, 2, name))
        replica.receive(CopyPart(3, content[3:], False, 2, name))
        assert replica.receive(CopyPart(0, path.read_bytes(), True, 2)) == Stored(TERM, 2)
        assert (folder / name).read_bytes() == content
        assert (folder / name).stat().st_mode & 0o777 == 0o400
    assert sorted(one.name for one in folder.iterdir()) == [name, f"{name}.unused-1"]


@pytest.mark.parametrize("name", ["../000001-1-50.jsonl.xz", "ledger.sqlite", "000001-1-50.jsonl.xz/x"])
def test_a_name_that_is_no_archive_is_refused(replica, name):
    replica.receive(Joined(TERM, must_copy=True))
    with pytest.raises(ProtocolError, match="is not the name of an archive"):
        replica.receive(CopyPart(0, b"x", False, 2, name))


def test_a_copy_that_is_no_ledger_is_refused(replica):
    replica.receive(Joined(TERM, must_copy=True))
    with pytest.raises(LedgerDamaged):
        replica.receive(CopyPart(0, b"no ledger at all", True, 2))


def test_it_is_closed_in_order_and_opened_with_all_that_it_had(replica, leader, config):
    path, _ = leader
    copy(replica, path, 2)
    replica.receive(Events(TERM, 3, texts(started(2))))
    with pytest.raises(RunDirError, match="already writes this ledger"):
        LedgerStore.open(replica._path, name=config.name, mode=mode_of(config), now_ms=1)
    replica.close()
    replica.close()
    store = LedgerStore.open(replica._path, name=config.name, mode=mode_of(config), now_ms=1)
    store.append([started(3)])
    store.close()
    replica.open()
    assert replica.position == LogPosition(TERM, 4)


def test_it_takes_snapshots_so_that_risk_begins_at_once(replica, leader, config):
    copy(replica, leader[0], 2)
    replica.receive(Events(TERM, 3, texts(*(started(number) for number in range(2, 2_500)))))
    replica.close()
    with closing(sqlite3.connect(replica._path)) as connection:
        assert connection.execute("SELECT seq FROM snapshots").fetchall() == [(2_500,)]


def test_a_ledger_that_another_program_changes_is_noticed(replica, leader):
    copy(replica, leader[0], 2)
    os.utime(replica._path, ns=(1, 1))
    with pytest.raises(LedgerChanged, match="was written by another program"):
        replica.tick(10**12)
    with pytest.raises(LedgerChanged):
        replica.close()


def test_on_a_live_ledger_each_acknowledgement_is_on_the_disk(tmp_path, leader, config, monkeypatch):
    seen = {}
    original = LedgerStore.open.__func__

    def opened(cls, path, **given):
        seen.update(given)
        return original(cls, path, **given)

    monkeypatch.setattr(LedgerStore, "open", classmethod(opened))
    for mode in ("paper", "live"):
        changed = replace(config, mode=mode)
        made = Replica(tmp_path / mode / "ledger.sqlite", changed, ManualClock(), {})
        made.open()
        if mode == "paper":
            copy(made, leader[0], 2)
            assert seen["durable"] is False
        else:
            with pytest.raises(UsageError, match="was begun in mode"):
                copy(made, leader[0], 2)
            assert seen["durable"] is True
        made.close()
