"""Slots give back what was written, whole and with its receive time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import FrameError, SharedMemoryError
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.layout import create_segment


def test_a_frame_is_read_as_it_was_written(feed):
    writer, reader = feed
    writer.write(2, b"newest", 123)
    assert reader.read(2) == (2, 123, False, b"newest")
    writer.write(2, memoryview(b"newer"), 124)
    writer.write(2, bytearray(b"newest of all"), 125)
    assert reader.read(2) == (6, 125, False, b"newest of all")
    assert (reader.sequence(2), reader.sequence(1)) == (6, 0)


def test_a_slot_never_written_has_no_frame(feed):
    writer, reader = feed
    assert reader.read(0) is None
    writer.set_live(0, True)
    assert reader.read(0) is None
    assert (reader.live(0), reader.torn) == (True, 0)


def test_the_oldest_live_frame_is_found(feed):
    writer, reader = feed
    assert reader.oldest_live_ns([]) == reader.oldest_live_ns([0, 1, 2]) == 0
    for slot, received_ns in ((0, 50), (1, 40), (2, 30)):
        writer.write(slot, b"frame", received_ns)
        writer.set_live(slot, slot != 2)
    assert [reader.oldest_live_ns(slots) for slots in ([0, 1, 2], [0], [2])] == [40, 50, 0]
    for slots in ([0, reader.slot_count], [-1]):
        with pytest.raises(IndexError):
            reader.oldest_live_ns(slots)


def test_slots_do_not_touch_each_other(feed):
    writer, reader = feed
    for slot in range(4):
        writer.write(slot, bytes([slot]) * 100, slot)
    writer.write(1, b"x", 9)
    assert [reader.read(slot)[3] for slot in range(4)] == [b"\0" * 100, b"x", b"\2" * 100, b"\3" * 100]


def test_liveness_moves_the_sequence_and_leaves_the_frame(feed):
    writer, reader = feed
    writer.write(1, b"frame", 7)
    writer.set_live(1, True)
    assert reader.read(1) == (4, 7, True, b"frame")
    writer.write(1, b"next", 8)
    assert reader.read(1) == (6, 8, True, b"next")
    writer.set_live(1, False)
    assert reader.read(1) == (8, 8, False, b"next")


@pytest.mark.parametrize(("frame", "reason"), [(b"x" * 101, "oversize"), (b"", "empty")])
def test_a_frame_that_does_not_fit_is_refused_and_leaves_the_slot(feed, frame, reason):
    writer, reader = feed
    writer.write(0, b"x" * 100, 7)
    with pytest.raises(FrameError) as caught:
        writer.write(0, frame, 8)
    assert caught.value.reason == reason
    assert reader.read(0) == (2, 7, False, b"x" * 100)


@pytest.mark.parametrize("slot", [-1, 4])
def test_a_slot_that_does_not_exist_is_an_error(feed, slot):
    writer, reader = feed
    for call in (
        lambda: writer.write(slot, b"x", 1),
        lambda: writer.set_live(slot, True),
        lambda: reader.read(slot),
        lambda: reader.sequence(slot),
        lambda: reader.live(slot),
    ):
        with pytest.raises(IndexError):
            call()


def test_the_first_beat_after_a_silence_is_in_the_header(feed):
    writer, reader = feed
    found = []
    for second in (100.0, 101.0, 102.0, 103.1, 103.2, 120.0):
        writer.beat(int(second * 10**9))
        found.append(reader.back_ns / 10**9)
    assert found == [0, 0, 0, 103.1, 103.1, 120.0]


def test_phase_beat_epoch_and_size_are_in_the_header(feed):
    writer, reader = feed
    assert (reader.phase, reader.beat_ns) == (0, 0)
    writer.set_phase(2)
    writer.beat(10**18)
    assert (reader.phase, reader.beat_ns) == (2, 10**18)
    assert (reader.epoch, reader.slot_count, reader.slot_bytes) == (3, 4, 100)


def test_a_header_that_contradicts_the_size_is_refused(tmp_path):
    path = tmp_path / "books"
    with BooksWriter.create(path, 2, 100, epoch=1) as writer:
        writer._segment.words[3] = 3
        with pytest.raises(SharedMemoryError, match="contradicts"):
            BooksReader.attach(path)


def test_a_header_without_slots_is_refused_whatever_their_size(tmp_path):
    path = tmp_path / "books"
    create_segment(path, b"ARBBOOKS", 4096, (0, 2**63, 1, 0)).close()
    with pytest.raises(SharedMemoryError, match="contradicts"):
        BooksReader.attach(path)


steps = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 2), st.binary(min_size=1, max_size=64), st.integers(0, 2**63)),
        st.tuples(st.integers(0, 2), st.booleans()),
    )
)


@given(steps, st.booleans())
def test_any_run_of_writes_leaves_the_last_of_each_slot(tmp_path_factory, steps, checked):
    path = tmp_path_factory.mktemp("feed") / "books"
    model = {slot: [0, 0, False, b""] for slot in range(3)}
    with (
        BooksWriter.create(path, 3, 64, epoch=1, checked=checked) as writer,
        BooksReader.attach(path) as reader,
    ):
        for slot, *step in steps:
            model[slot][0] += 2
            if len(step) == 2:
                writer.write(slot, *step)
                model[slot][3], model[slot][1] = step
            else:
                writer.set_live(slot, *step)
                model[slot][2] = step[0]
        for slot, expected in model.items():
            assert reader.read(slot) == (tuple(expected) if expected[3] else None)
        assert reader.torn == 0


def test_a_cleared_slot_is_as_before_its_first_frame_but_for_its_sequence(feed):
    writer, reader = feed
    writer.write(1, b"of the old market", 7)
    writer.set_live(1, True)
    before = reader.sequence(1)
    writer.clear(1)
    assert reader.read(1) is None
    assert not reader.live(1)
    assert reader.sequence(1) == writer.sequence(1) > before
    assert reader.torn == 0
    writer.write(1, b"new", 9)
    assert reader.read(1) == (before + 4, 9, False, b"new")
    with pytest.raises(IndexError):
        writer.clear(4)


def test_the_word_of_the_universe(feed):
    writer, reader = feed
    assert reader.universe == 0
    writer.set_phase(3)
    writer.beat(5)
    writer.set_universe(12)
    assert (reader.universe, reader.phase, reader.beat_ns) == (12, 3, 5)


def test_a_confirmation_is_beside_the_lock(feed):
    """It wakes no worker and has nothing decoded again: the sequence stays."""
    writer, reader = feed
    writer.write(1, b"frame", 7)
    assert (writer.times(1), reader.confirmed_ns(1)) == ((7, 0), 0)
    writer.confirm(1, 99)
    assert (writer.times(1), reader.confirmed_ns(1)) == ((7, 99), 99)
    assert reader.read(1) == (2, 7, False, b"frame")
    assert (reader.confirmed_ns(0), reader.confirmed_ns(2)) == (0, 0)
    writer.write(1, b"newer", 120)
    assert writer.times(1) == (120, 99)
    writer.clear(1)
    assert writer.times(1) == (0, 0)


def test_the_limit_of_lags_is_beside_the_lock(feed):
    """It is far below 0, as monotonic time is less than the time since 1970, and goes with the market."""
    writer, reader = feed
    writer.write(1, b"frame", 7)
    writer.set_late_after(1, -1_795_000_000 * 10**9)
    assert (reader.late_after_ns(1), reader.late_after_ns(0)) == (-1_795_000_000 * 10**9, 0)
    writer.write(1, b"newer", 120)
    assert reader.read(1) == (4, 120, False, b"newer")
    assert reader.late_after_ns(1) == -1_795_000_000 * 10**9
    writer.clear(1)
    assert reader.late_after_ns(1) == 0


@pytest.mark.parametrize("slot", [-1, 4])
def test_what_does_not_exist_is_not_confirmed(feed, slot):
    writer, reader = feed
    for call in (
        lambda: writer.confirm(slot, 1),
        lambda: writer.times(slot),
        lambda: reader.confirmed_ns(slot),
        lambda: writer.set_late_after(slot, 1),
        lambda: reader.late_after_ns(slot),
    ):
        with pytest.raises(IndexError):
            call()
