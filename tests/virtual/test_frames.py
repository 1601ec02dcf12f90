"""The books by which decisions are judged: read by means of their own, of one stream or of two."""

import pytest

from arbshard.virtual.frames import Frames, read

MS = 1_000_000


def depth(number):
    return (
        b'{"stream":"ausdt@depth20@100ms","data":{"lastUpdateId":%d,"bids":[["10.0","1.0"],["9.0","1.0"]],'
        b'"asks":[["12.0","1.0"],["13.0","2.0"]]}}' % number
    )


def touch(number, bid=b"10.5", ask=b"12.5"):
    return (
        b'{"stream":"ausdt@bookTicker","data":{"u":%d,"s":"AUSDT","b":"%b","B":"3.0","a":"%b","A":"4.0"}}'
        % (
            number,
            bid,
            ask,
        )
    )


@pytest.fixture
def frames():
    return Frames()


def newest(frames):
    return read(frames.since("AUSDT", 10**18)[0])


def test_a_newer_touch_replaces_the_levels_that_are_gone(frames):
    assert frames.received("AUSDT", 1, depth(5))
    assert frames.received("AUSDT", 2, touch(6))
    book = newest(frames)
    assert book.bids == ((10.5, 3.0), (10.0, 1.0), (9.0, 1.0))
    assert book.asks == ((12.5, 4.0), (13.0, 2.0))


@pytest.mark.parametrize("first", [[depth(6)], [depth(5), touch(6)], []])
def test_a_touch_that_says_nothing_new_is_no_book(frames, first):
    for payload in first:
        frames.received("AUSDT", 1, payload)
    assert not frames.received("AUSDT", 2, touch(6))


def test_levels_with_a_larger_number_count_alone(frames):
    for at_ns, payload in enumerate((depth(5), touch(7), depth(6), depth(7))):
        assert frames.received("AUSDT", at_ns, payload)
    tops = [read(one).bids[0] for one in frames.since("AUSDT", -1)]
    assert tops == [(10.0, 1.0), (10.5, 3.0), (10.5, 3.0), (10.0, 1.0)]


def test_each_connection_counts_for_itself(frames):
    frames.received("AUSDT", 1, depth(5), 1)
    frames.received("AUSDT", 2, touch(9), 1)
    assert not frames.received("AUSDT", 3, touch(9), 2)
    frames.lost(1)
    assert not frames.received("AUSDT", 4, touch(10), 1)


def test_levels_that_are_behind_for_too_long_are_no_book_with_a_touch(frames):
    frames.received("AUSDT", 0, depth(5))
    assert frames.received("AUSDT", 1, touch(6))
    assert not frames.received("AUSDT", 1 + 501 * MS, touch(7))
    assert frames.received("AUSDT", 2 + 501 * MS, depth(7))
