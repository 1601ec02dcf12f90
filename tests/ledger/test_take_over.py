"""The ledger changes its file at one instant: readers never notice, and no death leaves anything but old or new."""

import decimal
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from arbshard.errors import LedgerBusy, LedgerError
from arbshard.ledger.archive import folder_of
from arbshard.ledger.archiving import close_period, take_cut
from arbshard.ledger.file import one_file
from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.lock import WriterLock
from arbshard.ledger.prove import prove
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.replay import recover
from arbshard.ledger.successor import successor_of
from arbshard.ledger.verify import verify
from arbshard.model.money import MONEY_CONTEXT
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from support import history
from support import world as w
from support.effort import effort

pytestmark = pytest.mark.timeout(280)  # real processes, which a busy machine starts slowly


@pytest.fixture(scope="module")
def long_once(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "ledger.sqlite"
    with decimal.localcontext(MONEY_CONTEXT):
        history.History(20).write(path, 3_000, positions=8, intents=4, stopped=False)
    return path


@pytest.fixture
def long(tmp_path, long_once):
    """Some 3,000 events on 20 coins, with open positions and intents, cut off."""
    for path in long_once.parent.iterdir():
        shutil.copy2(path, tmp_path)
    return tmp_path / "ledger.sqlite"


def prepare(path, codec, behind: int = 0):
    """Archive all but ``behind`` events, and make the successor."""
    with LedgerReader(path) as reader:
        seq = reader.last_seq - behind
        following = next(reader.rows(after=seq, until=seq + 1), None)
        seq -= following is not None and following[2].startswith("Position")
        return close_period(reader, take_cut(reader, codec, seq))


def joined(epoch: int):
    from arbshard.ledger.events import ShardJoined

    return ShardJoined(at_ms=w.NOW_MS * 2, shard=0, epoch=epoch, pid=1)


def test_what_is_written_meanwhile_goes_along(long, opened, codec) -> None:
    store = opened(long)
    state = recover(store, codec).state
    successor = prepare(long, codec, behind=40)
    for epoch in range(2, 40):
        store.append([joined(epoch)])
    store.prepare_successor(successor)
    store.append([joined(40)])
    last, inode = store.last_seq, long.stat().st_ino
    store.take_over(successor)
    assert long.stat().st_ino != inode
    assert not successor.exists()
    assert store.last_seq == last
    store.append([joined(41)])
    for epoch in range(2, 42):
        state.apply(joined(epoch))
    state.commit()
    assert dict(store.balances)
    store.close()
    again = opened(long)
    assert recover(again, codec).state.state_hash() == state.state_hash()
    assert again.last_seq == last + 1
    again.abandon()
    assert verify(long, codec).differences == ()
    assert list(prove(long))[-1].last_seq == last + 1


def test_a_snapshot_taken_meanwhile_is_not_in_the_successor(long, opened, codec) -> None:
    """The store knows that: otherwise the next archive would be tried with no snapshot to end at."""
    store = opened(long)
    state = recover(store, codec).state
    successor = prepare(long, codec, behind=40)
    store.keep_snapshots(codec.version, lambda: codec.dump(state), overdue=1)
    while not store.snapshot_seq:
        store.append([joined(2)])
        store.checkpoint_if_due(is_idle=False)
    assert store.snapshot_seq > store.archived_seq
    store.take_over(successor)
    with LedgerReader(long) as reader:
        assert list(reader.snapshots()) == []
    assert store.snapshot_seq == store.archived_seq > 0
    store.abandon()


def test_readers_of_before_read_on_and_new_ones_see_the_new_file(long, opened, codec) -> None:
    store = opened(long)
    recover(store, codec)
    store.append([joined(2)])
    successor = prepare(long, codec)
    with LedgerHistory(long) as before:
        last = store.last_seq
        rows = before.live.rows()
        seen = [next(rows)[0]]
        store.take_over(successor)
        for epoch in range(3, 200):
            store.append([joined(epoch)])
        store.checkpoint()
        seen += [row[0] for row in rows]
        assert seen == list(range(1, last + 1))
        with LedgerHistory(long) as after:
            assert after.live.first_seq == last + 1
            assert [row[0] for row in after.rows()] == list(range(1, store.last_seq + 1))
        assert [line[:2] for line in before.live.lines()]
    store.close()
    assert verify(long, codec).differences == ()


def test_it_waits_for_whoever_is_reading_or_opening(long, opened, codec) -> None:
    store = opened(long)
    recover(store, codec)
    store.append([joined(2)])
    successor = prepare(long, codec)
    reading = sqlite3.connect(f"file:{long}?mode=ro", uri=True, isolation_level=None)
    reading.execute("BEGIN")
    reading.execute("SELECT COUNT(*) FROM events").fetchone()
    store.append([joined(3)])
    with pytest.raises(LedgerBusy, match="just reading"):
        store.take_over(successor)
    reading.close()
    with one_file(long), pytest.raises(LedgerBusy, match="just opening"):
        store.take_over(successor)
    store.append([joined(4)])  # nothing has changed for the writer
    store.take_over(successor)
    store.append([joined(5)])
    store.close()
    assert store.failure is None
    assert verify(long, codec).differences == ()


def test_only_the_ledgers_own_successor_is_taken(long, opened, codec, tmp_path) -> None:
    other = tmp_path / "other" / "ledger.sqlite"
    other.parent.mkdir()
    history.History(20).write(other, 1_000)
    strange = prepare(other, codec)
    store = opened(long)
    recover(store, codec)
    before = long.read_bytes()
    with pytest.raises(LedgerError, match="does not continue period 1"):
        store.take_over(strange)
    assert long.read_bytes() == before
    assert store.failure is None
    successor = prepare(long, codec)
    kept = successor.with_name("kept")
    shutil.copy(successor, kept)
    store.take_over(successor)
    with pytest.raises(LedgerError, match="does not continue period 2"):
        store.take_over(kept)  # of a period that is over


def test_a_ledger_that_is_written_is_not_archived_from_outside(long, codec, monkeypatch, capsys) -> None:
    from arbshard.cli import main

    lock = WriterLock(long)
    before = long.read_bytes()
    monkeypatch.setattr(sys, "argv", ["arbshard", "ledger", "archive", "--state-dir", str(long.parent)])
    with pytest.raises(SystemExit) as ended:
        main()
    lock.release()
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert err.count("\n") == 1
    assert f"process {os.getpid()} already writes this ledger; stop it first" in err
    assert long.read_bytes() == before
    assert not folder_of(long).exists()


# A death at any instant

POINTS = (
    "archive_written",
    "archive_in_place",
    "successor_written",
    "before_switch",
    "during_switch",
    "after_switch",
)


@pytest.fixture(scope="module")
def crashed_once(tmp_path_factory):
    """A ledger that a crash has left with its log, once archived: what each attempt begins with."""
    path = tmp_path_factory.mktemp("crash") / "ledger.sqlite"
    history.History(10).write(path, 1_500, positions=4, intents=2, stopped=False)
    return path


def archive(path, crash_at: str = "") -> subprocess.Popen:
    command = [sys.executable, "-m", "arbshard", "ledger", "archive", "--state-dir", str(path.parent)]
    return subprocess.Popen(
        command,
        env={**os.environ, "ARBSHARD_CRASH_AT": crash_at},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def rows(path) -> list:
    with LedgerHistory(path) as whole:
        return list(whole.rows())


def check_old_or_new(path, before: list, opened, state_hash: str) -> int:
    """Either state, and whole; the number of the last archived event."""
    assert rows(path) == before
    links = list(prove(path))
    assert verify(path).differences == ()
    store = opened(path)
    assert recover(store, PortfolioCodec()).state.state_hash() == state_hash
    store.abandon()
    archived = links[-1].first_seq - 1
    assert archived in (0, len(before))
    return archived


def finish(path, opened, before, state_hash) -> None:
    process = archive(path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert check_old_or_new(path, before, opened, state_hash) == len(before)
    assert not successor_of(path).exists()


@pytest.fixture
def attempt(crashed_once, tmp_path, opened, codec):
    """A copy of the ledger, all its events, and the hash of its state."""
    path = tmp_path / "attempt" / "ledger.sqlite"
    shutil.copytree(crashed_once.parent, path.parent)
    store = opened(path)
    state_hash = recover(store, codec).state.state_hash()
    store.abandon()
    return path, rows(path), state_hash


@pytest.mark.integration
@pytest.mark.parametrize(
    "point",
    [
        point
        if point in ("archive_written", "during_switch", "after_switch")
        else pytest.param(point, marks=pytest.mark.nightly)
        for point in POINTS
    ],
)
def test_a_death_at_each_step_leaves_old_or_new_and_the_next_attempt_ends_it(attempt, opened, point) -> None:
    path, before, state_hash = attempt
    process = archive(path, f"{point}:1")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    archived = check_old_or_new(path, before, opened, state_hash)
    assert archived == (len(before) if point == "after_switch" else 0)
    finish(path, opened, before, state_hash)


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(effort(1, 20)))
def test_a_death_at_any_other_instant_too(attempt, opened, seed) -> None:
    path, before, state_hash = attempt
    drawn = random.Random(seed)
    process = archive(path)
    partial = folder_of(path)
    while process.poll() is None and not partial.exists():  # imports are over
        time.sleep(0.001)
    time.sleep(drawn.uniform(0, 0.3))
    process.kill()
    process.communicate(timeout=60)
    check_old_or_new(path, before, opened, state_hash)
    finish(path, opened, before, state_hash)
