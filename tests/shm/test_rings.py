"""The ring tells of every change or says that it cannot; the sleep word tells every sleep apart."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import SharedMemoryError
from arbshard.shm.rings import ParkReader, ParkWriter, RingReader, RingWriter


@pytest.fixture
def ring(tmp_path):
    with RingWriter.create(tmp_path / "ring", 8) as writer, RingReader.attach(tmp_path / "ring") as reader:
        yield writer, reader


def test_the_first_drain_asks_for_a_full_scan_and_is_no_overflow(ring):
    _writer, reader = ring
    assert reader.behind()
    assert reader.drain() is None
    assert reader.drain() == []
    assert not reader.behind()
    assert reader.overflows == 0


def test_a_reader_that_comes_later_begins_at_the_head(ring, tmp_path):
    writer, _reader = ring
    for slot in range(20):
        writer.push(slot)
    with RingReader.attach(tmp_path / "ring") as late:
        assert late.drain() is None
        assert late.overflows == 0
        writer.push(5)
        assert late.drain() == [5]


def test_each_slot_is_told_once_in_the_order_of_its_first_change(ring):
    writer, reader = ring
    reader.drain()
    for slot in (3, 1, 3, 0, 1):
        writer.push(slot)
    assert reader.behind()
    assert reader.drain() == [3, 1, 0]


def test_a_full_ring_is_told_and_one_more_is_an_overflow(ring):
    writer, reader = ring
    reader.drain()
    for slot in range(8):
        writer.push(slot)
    assert reader.drain() == list(range(8))
    for slot in range(9):
        writer.push(slot)
    assert reader.drain() is None
    assert reader.overflows == 1
    writer.push(1048575)
    assert reader.drain() == [1048575]


def test_an_entry_overwritten_during_the_read_is_an_overflow(ring):
    writer, reader = ring
    reader.drain()
    writer.push(4)
    writer._words[32] = 9 << 20 | 5  # what push does first when it comes round again
    assert reader.drain() is None
    assert reader.overflows == 1


@given(st.lists(st.one_of(st.none(), st.lists(st.integers(0, 30), max_size=12)), max_size=30))
def test_it_tells_what_a_plain_queue_would(tmp_path_factory, steps):
    """A list is pushed; None drains. The model keeps all entries since the last drain."""
    path = tmp_path_factory.mktemp("ring") / "ring"
    model = deque()
    overflows = 0
    with RingWriter.create(path, 8) as writer, RingReader.attach(path) as reader:
        assert reader.drain() is None
        for pushed in [*steps, None]:
            if pushed is not None:
                for slot in pushed:
                    writer.push(slot)
                model.extend(pushed)
                continue
            if len(model) > 8:
                overflows += 1
                assert reader.drain() is None
            else:
                assert reader.drain() == list(dict.fromkeys(model))
            model.clear()
            assert not reader.behind()
        assert reader.overflows == overflows


def test_a_file_of_another_kind_is_refused(tmp_path):
    ParkWriter.open(tmp_path / "park").close()
    with pytest.raises(SharedMemoryError, match="not a ARBRING"):
        RingReader.attach(tmp_path / "park")


def test_one_ring_per_sleep_and_none_while_awake(tmp_path):
    with ParkWriter.open(tmp_path / "park") as worker, ParkReader.attach(tmp_path / "park") as supervisor:
        assert not supervisor.due()
        for _ in range(3):
            worker.park()
            assert supervisor.asleep
            assert [supervisor.due() for _ in range(3)] == [True, False, False]
            worker.unpark()
            assert not supervisor.asleep
            assert not supervisor.due()


def test_a_successor_of_a_worker_that_died_asleep_is_awake_and_rung_in_its_own_sleep(tmp_path):
    path = tmp_path / "park"
    with ParkWriter.open(path) as dead, ParkReader.attach(path) as supervisor:
        dead.park()
        assert supervisor.due()
        with ParkWriter.open(path) as successor:
            assert not supervisor.asleep
            successor.park()
            assert supervisor.due()


@pytest.mark.parametrize("meddling", [(), ("park",), ("unpark",), ("unpark", "park"), ("park", "unpark")])
def test_a_fenced_worker_that_wakes_does_not_break_the_sleep_of_its_successor(tmp_path, meddling):
    """The former worker was stopped in its sleep, and sets the word until it notices that it was replaced."""
    ring, path = tmp_path / "ring", tmp_path / "park"
    with (
        RingWriter.create(ring, 8) as writer,
        RingReader.attach(ring) as reader,
        ParkWriter.open(path) as former,
        ParkReader.attach(path) as supervisor,
    ):
        former.park()
        reader.drain()
        with ParkWriter.open(path) as successor:
            park, unpark = reader.parker(successor), reader.unparker(successor)
            for _ in range(3):
                assert park()
                for step in meddling:
                    getattr(former, step)()
                unpark()
                assert not supervisor.asleep
                for step in meddling:
                    getattr(former, step)()
                assert park()
                assert supervisor.asleep
                assert [supervisor.due(), supervisor.due()] == [True, False]
                unpark()
                writer.push(1)
                assert not park()  # a change has come
                assert not supervisor.asleep
                assert reader.drain() == [1]


def test_the_sleep_word_is_shared_whoever_creates_it(tmp_path):
    path = tmp_path / "park"
    ParkWriter.ensure(path)
    with ParkReader.attach(path) as supervisor, ParkWriter.open(path) as worker:
        ParkWriter.ensure(path)
        worker.park()
        assert supervisor.due()
