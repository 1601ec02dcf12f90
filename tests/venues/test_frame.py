"""The check every decoded book goes through."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import FrameError
from arbshard.venues.frame import FRAME_REASONS, checked_book, number_after, refusal_of

BIDS = ((100.0, 1.0), (99.0, 2.0))
ASKS = ((101.0, 1.0), (102.0, 2.0))


def reason_of(bids, asks) -> str:
    with pytest.raises(FrameError) as caught:
        checked_book("v", "S", tuple(bids), tuple(asks), None, 1)
    assert len(str(caught.value)) < 300
    return caught.value.reason


def test_sound_book_is_returned_as_given():
    book = checked_book("v", "S", BIDS, ASKS, 5, 7)
    assert (book.venue, book.symbol, book.bids, book.asks) == ("v", "S", BIDS, ASKS)
    assert (book.exchange_ms, book.received_ns) == (5, 7)


@pytest.mark.parametrize("bad", [0.0, -0.0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("field", [0, 1])
@pytest.mark.parametrize("side", ["bids", "asks"])
def test_number_that_is_not_finite_and_positive(bad, rank, field, side):
    sides = {"bids": [list(level) for level in BIDS], "asks": [list(level) for level in ASKS]}
    sides[side][rank][field] = bad
    assert reason_of(*(tuple(map(tuple, sides[name])) for name in ("bids", "asks"))) == "number"


def test_empty_side():
    assert reason_of((), ASKS) == reason_of(BIDS, ()) == reason_of((), ()) == "empty"


def test_unsorted_side_and_repeated_price():
    assert reason_of(BIDS[::-1], ASKS) == "unsorted"
    assert reason_of(BIDS, ASKS[::-1]) == "unsorted"
    assert reason_of((BIDS[0], BIDS[0]), ASKS) == "unsorted"
    assert reason_of(BIDS, (ASKS[0], ASKS[0])) == "unsorted"


def test_crossed_and_locked():
    assert reason_of(((101.0, 1.0),), ASKS) == "crossed"
    assert reason_of(((101.5, 1.0),), ASKS) == "crossed"


LEVELS = st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), max_size=4).map(tuple)


@given(LEVELS, LEVELS)
def test_whatever_passes_satisfies_every_invariant(bids, asks):
    try:
        book = checked_book("v", "S", bids, asks, None, 1)
    except FrameError as refused:
        reason = refused.reason
        book = None
    if book is None:
        assert reason in FRAME_REASONS
        return
    for side, sign in ((book.bids, -1), (book.asks, 1)):
        assert side
        assert all(math.isfinite(value) and value > 0 for level in side for value in level)
        ranks = [sign * price for price, _ in side]
        assert ranks == sorted(set(ranks))
    assert book.best_bid < book.best_ask


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        (list[float], b"[1", "cut"),
        (list[float], b"[1]x", "cut"),
        (list[float], b"", "cut"),
        (list[str], b'["\xff"]', "cut"),
        (list[float], b'["a"]', "shape"),
        (list[float], b"[1e400]", "number"),
    ],
)
def test_reason_for_what_msgspec_refuses(kind, body, reason):
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)) as caught:
        msgspec.json.Decoder(kind).decode(body)
    assert refusal_of(caught.value).reason == reason


def test_nesting_without_end_is_a_shape():
    class Thing(msgspec.Struct):
        a: int

    with pytest.raises(RecursionError) as caught:
        msgspec.json.Decoder(Thing).decode(b'{"b":' + b"[" * 100_000)
    assert refusal_of(caught.value).reason == "shape"


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (b'{"n":17,"m":1}', 17),
        (b'{"n":0}', 0),
        (b'{"n":9', 9),
        (b'{"n":"17"}', None),
        (b'{"n":-1}', None),
        (b'{"n":', None),
        (b'{"m":17}', None),
        (b"", None),
        (b'{"n":1234567890123456789012}', None),
    ],
)
def test_number_after(frame, found):
    assert number_after(frame, b'"n":') == found
