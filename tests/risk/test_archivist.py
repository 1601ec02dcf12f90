"""Risk has its ledger archived while it writes: when it is due, in short steps, and again when it failed."""

import errno
import os
import signal
import sqlite3
import subprocess
import time
from decimal import Decimal

import pytest

from arbshard.errors import LedgerBusy
from arbshard.ledger import snapshots
from arbshard.ledger.archive import folder_of
from arbshard.ledger.events import Deposited
from arbshard.ledger.prove import prove
from arbshard.ledger.replay import recover
from arbshard.ledger.store import LedgerStore
from arbshard.ledger.verify import verify
from arbshard.risk.archivist import Archivist
from arbshard.risk.portfolio.snapshot import PortfolioCodec

pytestmark = pytest.mark.timeout(280)  # the archiver is a real process, which a busy machine starts slowly

CODEC = PortfolioCodec()


class Desk:
    """A store with its archivist, and how often risk looked."""

    def __init__(self, path, period_events: int = 20, environ=os.environ) -> None:
        self.store = LedgerStore.open(path, name="sim", mode="sim-paper", now_ms=1)
        self.state = recover(self.store, CODEC).state
        self.store.keep_snapshots(CODEC.version, lambda: CODEC.dump(self.state), period_events or None)
        self.counted: list[bool] = []
        self.archivist = Archivist(self.store, period_events, environ, self.counted.append)
        self.now_ns = 1

    def book(self, count: int) -> None:
        for _ in range(count):
            event = Deposited(at_ms=5, venue="upbit", currency="KRW", amount=Decimal(7), why="opening")
            self.state.apply(event)
            self.state.commit()
            self.store.append([event])

    def look(self) -> None:
        self.store.checkpoint_if_due(is_idle=False)
        self.archivist.poll(self.now_ns, time.monotonic_ns)
        self.now_ns += 100_000_000

    def until(self, wanted, limit_s: float = 100.0) -> None:
        end = time.monotonic() + limit_s
        while not wanted():
            assert time.monotonic() < end, "nothing came of it"
            self.book(1)
            self.look()
            time.sleep(0.01)

    def close(self) -> None:
        self.archivist.stop()
        self.store.abandon()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def desk(path):
    """Make desks; all are closed at the end."""
    made: list[Desk] = []

    def make(**given) -> Desk:
        made.append(Desk(path, **given))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_periods_are_archived_one_after_the_other_while_it_is_written(desk, path) -> None:
    one = desk()
    one.until(lambda: len(one.counted) >= 3)
    assert one.counted == [True] * 3
    assert one.store.failure is None
    last, expected = one.store.last_seq, one.state.state_hash()
    one.close()
    links = list(prove(path))
    assert len(links) == 4
    assert links[-1].last_seq == last
    assert verify(path, CODEC).differences == ()
    again = desk()
    assert again.state.state_hash() == expected
    assert again.store.archived_seq == links[-2].last_seq


def test_nothing_is_done_before_it_is_due_or_when_it_is_turned_off(desk, path) -> None:
    one = desk(period_events=1_000)
    one.book(30)
    for _ in range(5):
        one.look()
    assert one.archivist._child is None
    one.close()
    other = desk(period_events=0)
    other.store.snapshot_seq = 10**6
    other.look()
    assert other.archivist._child is None
    assert not folder_of(path).exists()


def test_a_failed_attempt_is_counted_and_made_again_after_a_growing_pause(desk, path, capsys) -> None:
    folder_of(path).write_text("a file in the way")
    one = desk()
    one.book(30)
    pauses = []
    for number in (1, 2, 3):
        one.until(lambda number=number: len(one.counted) == number)
        pauses.append(one.archivist._not_before_ns - one.now_ns)
        one.now_ns = one.archivist._not_before_ns
    assert one.counted == [False] * 3
    assert pauses == sorted(pauses)
    assert pauses[2] > 3 * pauses[0] > 0
    said = capsys.readouterr().out
    assert said.count("the period was not archived") == 3
    assert f"{folder_of(path)}: cannot be made: File exists" in said
    assert one.store.failure is None  # trading goes on
    one.book(1)
    folder_of(path).unlink()
    one.now_ns = one.archivist._not_before_ns
    one.until(lambda: len(one.counted) >= 4)
    assert one.counted[-1]


def test_a_killed_archiver_is_a_failed_attempt_and_the_next_one_ends_it(desk, path) -> None:
    one = desk()
    one.until(lambda: one.archivist._child is not None)
    os.kill(one.archivist._child.pid, signal.SIGKILL)
    one.until(lambda: bool(one.counted))
    assert one.counted == [False]
    one.now_ns = one.archivist._not_before_ns
    one.until(lambda: len(one.counted) >= 2)
    assert one.counted == [False, True]
    one.close()
    assert verify(path, CODEC).differences == ()
    assert len(list(prove(path))) == 2


def test_a_reader_in_the_way_delays_it_and_stops_nothing(desk, path, monkeypatch) -> None:
    one = desk()
    refused = [0]
    take_over = LedgerStore.take_over

    def busy(store, successor):
        if refused[0] < 3:
            refused[0] += 1
            raise LedgerBusy("another program is just reading it")
        take_over(store, successor)

    monkeypatch.setattr(LedgerStore, "take_over", busy)
    one.until(lambda: bool(one.counted))
    assert (refused, one.counted) == ([3], [True])


def test_a_reader_that_stays_in_the_way_ends_the_attempt_and_the_next_one_succeeds(desk, monkeypatch) -> None:
    one = desk()
    take_over, busy = LedgerStore.take_over, [True]

    def look(store, successor):
        if busy[0]:
            one.now_ns += 61_000_000_000
            raise LedgerBusy("another program is just reading it")
        take_over(store, successor)

    monkeypatch.setattr(LedgerStore, "take_over", look)
    one.until(lambda: bool(one.counted))
    assert one.counted == [False]
    assert one.store.failure is None
    busy[0] = False
    one.now_ns = one.archivist._not_before_ns
    one.until(lambda: len(one.counted) >= 2)
    assert one.counted == [False, True]


class Hanging:
    """An archiver that does not come to an end, and cannot be ended either while ``is_stuck``."""

    pid = 7
    stderr = None

    def __init__(self, *_, is_stuck=False, **__) -> None:
        self.killed = 0
        self._is_stuck = is_stuck

    def poll(self):
        return None

    def kill(self) -> None:
        self.killed += 1

    def wait(self, timeout_s) -> int:
        if self._is_stuck:
            raise subprocess.TimeoutExpired("archiver", timeout_s)
        return -9


@pytest.mark.parametrize("is_stuck", [False, True])
def test_an_archiver_without_an_end_is_killed_and_never_ends_risk(desk, monkeypatch, is_stuck) -> None:
    one = desk()
    one.book(30)
    child = Hanging(is_stuck=is_stuck)
    monkeypatch.setattr("arbshard.risk.archivist.subprocess.Popen", lambda *_, **__: child)
    one.look()
    one.look()
    assert (child.killed, one.counted) == (0, [])
    one.now_ns += 7 * 3_600_000_000_000
    one.look()
    assert (child.killed, one.counted) == (1, [False])
    assert one.archivist._not_before_ns > one.now_ns
    one.close()
    assert child.killed == 1


def test_an_archiver_that_cannot_be_started_is_a_failed_attempt(desk, monkeypatch) -> None:
    one = desk()
    one.book(30)

    def refuse(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr("arbshard.risk.archivist.subprocess.Popen", refuse)
    for _ in range(5):  # it is not tried again before its pause
        one.look()
    assert one.counted == [False]
    assert one.store.failure is None


def test_ending_ends_the_archiver_too(desk) -> None:
    one = desk()
    one.until(lambda: one.archivist._child is not None)
    pid = one.archivist._child.pid
    one.archivist.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_archiver_is_given_no_key(desk) -> None:
    one = desk(environ={**os.environ, "UPBIT_SECRET": "marker"})
    assert "UPBIT_SECRET" not in one.archivist._environ
    assert "PATH" in one.archivist._environ


def test_a_snapshot_that_was_not_stored_does_not_make_it_due(desk, monkeypatch) -> None:
    one = desk()
    monkeypatch.setattr(snapshots, "save", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("full")))
    one.book(60)
    for _ in range(4):
        one.look()
    assert one.store.snapshot_seq == 0
    assert one.archivist._child is None
