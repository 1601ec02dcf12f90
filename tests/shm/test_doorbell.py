"""The two ends of a shard's notification, in one process."""

import select
import stat

import pytest

from arbshard.errors import SharedMemoryError
from arbshard.shm.doorbell import PipeBell, PipeRinger, ShardFiles, ShardNotifier, ShardWaiter


def rung(bell) -> bool:
    return bool(select.select([bell.fileno()], [], [], 0)[0])


@pytest.fixture
def ends(tmp_path):
    with ShardNotifier.create(tmp_path, 3, 8) as notifier, ShardWaiter.attach(tmp_path, 3) as waiter:
        assert waiter.drain() is None
        yield notifier, waiter


def test_no_ring_while_the_worker_is_awake(ends):
    notifier, waiter = ends
    notifier.push(1)
    assert (notifier.rings, rung(waiter)) == (0, False)
    assert waiter.drain() == [1]


def test_one_ring_for_a_sleep_however_many_changes(ends):
    notifier, waiter = ends
    for round_ in range(1, 4):
        assert waiter.park()
        assert notifier.asleep
        for slot in (1, 2, 1):
            notifier.push(slot)
        assert notifier.rings == round_
        assert rung(waiter)
        waiter.unpark()
        waiter.clear()
        assert not rung(waiter)
        assert waiter.drain() == [1, 2]


def test_a_worker_does_not_go_to_sleep_on_a_change(ends):
    notifier, waiter = ends
    notifier.push(4)
    assert not waiter.park()
    assert not notifier.asleep
    assert waiter.drain() == [4]
    assert waiter.park()


def test_looking_for_more_ends_at_the_first_change_or_in_vain(ends):
    notifier, waiter = ends
    assert not waiter.comes_within(1_000)
    assert not waiter.is_behind()
    notifier.push(2)
    assert waiter.is_behind()
    assert waiter.comes_within(60_000_000_000)
    assert waiter.drain() == [2]
    assert not waiter.is_behind()
    assert notifier.rings == 0


def test_a_worker_does_not_go_to_sleep_before_its_first_scan(tmp_path):
    with ShardNotifier.create(tmp_path, 0), ShardWaiter.attach(tmp_path, 0) as waiter:
        assert not waiter.park()


def test_overflow_is_told_and_counted(ends):
    notifier, waiter = ends
    for slot in range(9):
        notifier.push(slot)
    assert waiter.drain() is None
    assert waiter.overflows == 1


def test_a_new_worker_takes_over_where_the_old_one_slept(ends, tmp_path):
    notifier, waiter = ends
    assert waiter.park()
    notifier.push(1)
    with ShardWaiter.attach(tmp_path, 3) as successor:
        assert successor.drain() is None
        successor.clear()
        assert successor.park()
        notifier.push(2)
        assert rung(successor)
        successor.unpark()
        assert successor.drain() == [2]


def test_a_full_bell_is_a_rung_bell(tmp_path):
    ringer, bell = PipeRinger(tmp_path / "bell"), PipeBell(tmp_path / "bell")
    try:
        for _ in range(70_000):  # a FIFO holds 65,536 bytes
            ringer.ring()
        assert rung(bell)
        for _ in range(4):
            bell.clear()
        assert not rung(bell)
        bell.clear()
    finally:
        ringer.close()
        bell.close()
        bell.close()


def test_the_fifo_belongs_to_its_owner_and_is_made_once(tmp_path):
    for _ in range(2):
        PipeBell(tmp_path / "bell").close()
    mode = (tmp_path / "bell").stat().st_mode
    assert stat.S_ISFIFO(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_file_in_the_way_of_the_fifo_is_an_error(tmp_path):
    (tmp_path / "bell").write_text("")
    with pytest.raises(SharedMemoryError, match="in the way"):
        PipeBell(tmp_path / "bell")
    with pytest.raises(SharedMemoryError, match="No such file"):
        PipeBell(tmp_path / "nowhere" / "bell")


class CountingRinger:
    def __init__(self):
        self.rings = 0
        self.closed = False

    def ring(self):
        self.rings += 1

    def close(self):
        self.closed = True


def test_another_kind_of_bell_needs_no_fifo(tmp_path):
    ringer = CountingRinger()
    with (
        ShardNotifier.create(tmp_path, 0, ringer=ringer) as notifier,
        ShardWaiter.attach(tmp_path, 0, bell=PipeBell(tmp_path / "other")) as waiter,
    ):
        waiter.drain()
        assert waiter.park()
        notifier.push(1)
        assert ringer.rings == 1
    assert ringer.closed
    assert not ShardFiles(tmp_path, 0).bell.exists()


def test_a_worker_without_a_ring_is_refused_and_closes_its_bell(tmp_path):
    bell = PipeBell(tmp_path / "other")
    with pytest.raises(SharedMemoryError, match="ring-0"):
        ShardWaiter.attach(tmp_path, 0, bell=bell)
    assert bell.fileno() == -1
