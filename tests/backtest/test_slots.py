"""Slots within one process stand in for those in shared memory, all of them."""

import pytest

from arbshard.backtest.slots import TapeBooks
from arbshard.errors import FrameError
from arbshard.shm.books import BooksReader, BooksWriter


@pytest.mark.parametrize("parent", [BooksReader, BooksWriter])
def test_everything_that_reads_or_writes_a_mapping_is_replaced(parent):
    wanted = {name for name in vars(parent) if not name.startswith("_")} - {"attach", "create"}
    assert wanted <= vars(TapeBooks).keys()


def test_a_frame_is_read_as_it_was_written():
    books = TapeBooks(2, 1)
    assert books.read(1) is None
    books.write(1, b"book", 5)
    assert books.read(1) == (2, 5, False, b"book")
    books.set_live(1, live=True)
    assert books.read(1) == (4, 5, True, b"book")
    books.confirm(1, 9)
    books.set_late_after(1, -3)
    assert (books.times(1), books.late_after_ns(1), books.sequence(1)) == ((5, 9), -3, 4)
    books.clear(1)
    assert books.read(1) is None
    assert books.sequence(1) == 6


def test_slots_that_are_added_are_empty_and_the_others_stay():
    books = TapeBooks(1, 1)
    books.write(0, b"book", 5)
    books.grow(3)
    books.grow(2)
    assert books.slot_count == 3
    assert books.read(0) == (2, 5, False, b"book")
    assert books.read(2) is None
    books.write(2, b"new", 7)
    books.set_live(2, live=True)
    assert books.read(2) == (4, 7, True, b"new")
    assert (books.times(2), books.late_after_ns(2)) == ((7, 0), 0)


@pytest.mark.parametrize(("frame", "reason"), [(b"", "empty"), (b"x" * 8193, "oversize")])
def test_a_frame_that_no_slot_takes_leaves_it_as_it_was(frame, reason):
    books = TapeBooks(1, 1)
    with pytest.raises(FrameError, match=reason):
        books.write(0, frame, 1)
    assert books.sequence(0) == 0
