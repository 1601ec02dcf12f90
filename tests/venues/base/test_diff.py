"""The venue's rules for a local book, rule by rule, then the whole on a captured session."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import FrameError
from arbshard.venues.base.diff import (
    DepthSnapshot,
    DepthUpdate,
    DiffBook,
    DiffOutcome,
)
from arbshard.venues.binance.diff import BinanceDiff


def event(first: int, last: int, bids=(), asks=()) -> DepthUpdate:
    return DepthUpdate("BTCUSDT", 1, first, last, tuple(bids), tuple(asks))


SNAPSHOT = DepthSnapshot(
    100, (("10.0", "1.0"), ("9.0", "2.0"), ("8.0", "3.0")), (("11.0", "1.0"), ("12.0", "2.0"))
)


def started(**limits) -> DiffBook:
    book = DiffBook(**limits)
    assert book.apply_snapshot(SNAPSHOT) is DiffOutcome.APPLIED
    return book


# ---- rules


def test_rule_1_events_are_held_until_a_snapshot_comes():
    book = DiffBook()
    assert book.needs_snapshot
    assert book.apply_event(event(99, 101, bids=[("10.0", "5.0")])) is DiffOutcome.HELD
    assert book.top(5) == ((), ())
    assert book.last_id is None


def test_rule_2_snapshot_older_than_the_first_event_is_fetched_again():
    book = DiffBook()
    book.apply_event(event(103, 104, bids=[("10.0", "5.0")]))
    assert book.apply_snapshot(SNAPSHOT) is DiffOutcome.STALE
    assert book.needs_snapshot
    newer = DepthSnapshot(103, SNAPSHOT.bids, SNAPSHOT.asks)
    assert book.apply_snapshot(newer) is DiffOutcome.APPLIED
    assert book.last_id == 104
    assert book.top(1)[0] == ((10.0, 5.0),)


def test_rule_2_snapshot_that_ends_right_before_the_first_event_will_do():
    book = DiffBook()
    book.apply_event(event(101, 102, bids=[("10.0", "5.0")]))
    assert book.apply_snapshot(SNAPSHOT) is DiffOutcome.APPLIED
    assert book.last_id == 102


def test_rule_3_events_the_snapshot_contains_are_dropped():
    book = DiffBook()
    book.apply_event(event(95, 99, bids=[("10.0", "99.0")]))
    book.apply_event(event(100, 100, bids=[("9.0", "99.0")]))
    book.apply_event(event(101, 101, bids=[("8.0", "7.0")]))
    assert book.apply_snapshot(SNAPSHOT) is DiffOutcome.APPLIED
    assert book.top(3)[0] == ((10.0, 1.0), (9.0, 2.0), (8.0, 7.0))


def test_rule_4_the_book_is_the_snapshot():
    book = started()
    assert book.last_id == 100
    assert not book.needs_snapshot
    assert book.top(2) == (((10.0, 1.0), (9.0, 2.0)), ((11.0, 1.0), (12.0, 2.0)))


def test_rule_5_sizes_are_absolute_and_zero_deletes():
    book = started()
    changes = event(
        101, 105, bids=[("10.0", "0.00000000"), ("9.5", "4.0")], asks=[("11.0", "9.0"), ("13.0", "1.0")]
    )
    assert book.apply_event(changes) is DiffOutcome.APPLIED
    assert book.last_id == 105
    assert book.top(9) == (
        ((9.5, 4.0), (9.0, 2.0), (8.0, 3.0)),
        ((11.0, 9.0), (12.0, 2.0), (13.0, 1.0)),
    )


def test_rule_5_deleting_a_level_that_is_not_there_is_no_error():
    book = started()
    assert book.apply_event(event(101, 101, bids=[("7.7", "0.0")])) is DiffOutcome.APPLIED
    assert book.top(9)[0] == ((10.0, 1.0), (9.0, 2.0), (8.0, 3.0))


@pytest.mark.parametrize("ids", [(90, 99), (90, 100), (100, 100)])
def test_rule_5_old_event_is_ignored(ids):
    book = started()
    assert book.apply_event(event(*ids, bids=[("10.0", "99.0")])) is DiffOutcome.IGNORED
    assert book.last_id == 100
    assert book.top(1)[0] == ((10.0, 1.0),)


def test_rule_5_overlapping_event_is_applied():
    book = started()
    assert book.apply_event(event(98, 101, bids=[("10.0", "3.0")])) is DiffOutcome.APPLIED
    assert book.top(1)[0] == ((10.0, 3.0),)


def test_rule_5_gap_voids_the_book_and_a_snapshot_that_reaches_it_mends_it():
    book = started()
    assert book.apply_event(event(102, 103, bids=[("10.0", "3.0")])) is DiffOutcome.GAP
    assert book.needs_snapshot
    assert book.top(5) == ((), ())
    assert book.apply_snapshot(SNAPSHOT) is DiffOutcome.STALE, "it does not reach the event after the gap"
    assert book.apply_snapshot(DepthSnapshot(101, SNAPSHOT.bids, SNAPSHOT.asks)) is DiffOutcome.APPLIED
    assert book.last_id == 103
    assert book.top(1)[0] == ((10.0, 3.0),)


def test_gap_among_the_events_held_is_found_and_the_later_ones_stay_held():
    book = DiffBook()
    for ids in ((100, 101), (103, 103), (104, 104)):
        book.apply_event(event(*ids, bids=[("10.0", str(ids[1]))]))
    assert book.apply_snapshot(SNAPSHOT) is DiffOutcome.GAP
    assert book.needs_snapshot
    assert book.apply_snapshot(DepthSnapshot(102, SNAPSHOT.bids, SNAPSHOT.asks)) is DiffOutcome.APPLIED
    assert book.last_id == 104
    assert book.top(1)[0] == ((10.0, 104.0),)


# ---- bounds and bad input


def test_held_events_are_bounded_and_losing_the_oldest_only_asks_for_a_newer_snapshot():
    book = DiffBook(events_held_max=2)
    for number in (101, 102, 103):
        assert book.apply_event(event(number, number)) is DiffOutcome.HELD
    assert book.apply_snapshot(SNAPSHOT) is DiffOutcome.STALE
    assert book.apply_snapshot(DepthSnapshot(101, SNAPSHOT.bids, SNAPSHOT.asks)) is DiffOutcome.APPLIED
    assert book.last_id == 103


def test_too_many_levels_void_the_book():
    book = started(levels_max=3)
    assert book.apply_event(event(101, 101, asks=[("13.0", "1.0")])) is DiffOutcome.APPLIED
    assert book.apply_event(event(102, 102, asks=[("14.0", "1.0")])) is DiffOutcome.FULL
    assert book.needs_snapshot
    assert book.top(5) == ((), ())


def test_book_that_crosses_itself_is_void():
    book = started()
    assert book.apply_event(event(101, 101, bids=[("11.0", "1.0")])) is DiffOutcome.CROSSED
    assert book.needs_snapshot
    crossed = DepthSnapshot(200, (("12.0", "1.0"),), (("11.0", "1.0"),))
    assert book.apply_snapshot(crossed) is DiffOutcome.CROSSED
    assert book.needs_snapshot


def test_older_snapshot_does_not_turn_the_book_back():
    book = started()
    book.apply_event(event(101, 101, bids=[("10.0", "5.0")]))
    assert book.apply_snapshot(SNAPSHOT) is DiffOutcome.IGNORED
    assert book.top(1)[0] == ((10.0, 5.0),)


@pytest.mark.parametrize("bad", ["nan", "inf", "-1.0", "", "1_0", " 1", "1e5", "9" * 400, "x"])
@pytest.mark.parametrize("field", [0, 1])
def test_bad_number_is_refused_and_changes_nothing(bad, field):
    book = started()
    level = [("10.5", "1.0"), ("10.6", "1.0")]
    level[1] = (bad, "1.0") if field == 0 else ("10.6", bad)
    with pytest.raises(FrameError) as caught:
        book.apply_event(event(101, 101, bids=level))
    assert caught.value.reason == "number"
    assert book.last_id == 100
    assert book.top(1)[0] == ((10.0, 1.0),)
    with pytest.raises(FrameError):
        book.apply_snapshot(DepthSnapshot(200, tuple(level), ()))
    assert book.last_id == 100


def test_price_of_zero_is_refused():
    with pytest.raises(FrameError):
        started().apply_event(event(101, 101, bids=[("0.0", "1.0")]))


def test_event_that_ends_before_it_begins_is_refused():
    with pytest.raises(FrameError) as caught:
        started().apply_event(event(103, 102))
    assert caught.value.reason == "shape"


@pytest.mark.parametrize(
    ("frame", "reason"), [(b'{"data":{', "cut"), (b'{"data":{"s":"X"}}', "shape"), (b"[]", "shape")]
)
def test_frames_that_are_no_events(frame, reason):
    for decode in (BinanceDiff().update_of, BinanceDiff().snapshot_of):
        with pytest.raises(FrameError) as caught:
            decode(frame)
        assert caught.value.reason == reason


# ---- against a plain model

CHANGE = st.tuples(st.integers(1, 30), st.integers(0, 3))


@given(st.lists(st.tuples(st.integers(1, 3), st.lists(CHANGE, max_size=4)), max_size=30), st.integers(0, 31))
def test_snapshot_at_any_point_of_a_stream_gives_the_same_book(steps, taken_after):
    """Whatever the snapshot's id, the book equals the one a dictionary would hold."""
    model: dict[int, int] = {}
    book, last, snapshot = DiffBook(), 0, DepthSnapshot(0, (), ())
    for number, (ids, changes) in enumerate(steps):
        model.update(changes)
        levels = [(f"{price}.00", f"{size}.0") for price, size in changes]
        outcome = book.apply_event(event(last + 1, last + ids, bids=levels))
        assert outcome is DiffOutcome.HELD
        last += ids
        if number == taken_after:
            bids = tuple((f"{price}.00", f"{size}.0") for price, size in model.items() if size)
            snapshot = DepthSnapshot(last, bids, ())
    assert book.apply_snapshot(snapshot) is DiffOutcome.APPLIED
    expected = sorted(((float(price), float(size)) for price, size in model.items() if size), reverse=True)
    assert book.top(100) == (tuple(expected), ())
    assert book.last_id == last


# ---- a session of several markets


def test_a_session_rebuilds_without_a_gap_and_agrees_with_the_best_prices(binance_stream, binance_snapshots):
    updates = [BinanceDiff().update_of(frame) for frame in binance_stream if b"@depth@" in frame]
    symbols = Counter(update.symbol for update in updates)
    assert symbols == {"MOSSUSDT": 150, "REEDETH": 10, "FERNBTC": 15, "CLAYEUR": 2}
    compared = Counter()
    for symbol in symbols:
        compared[symbol] = _rebuild(symbol, updates, binance_snapshots[symbol], binance_stream)
    assert compared["MOSSUSDT"] >= 100, compared
    assert compared["FERNBTC"] >= 5, compared


def _rebuild(symbol, updates, snapshot, stream) -> int:
    """Follow one market through the session; returns how often its best prices could be compared."""
    tickers = [json.loads(frame)["data"] for frame in stream if b"@bookTicker" in frame]
    tickers = [ticker for ticker in tickers if ticker["s"] == symbol]
    book = DiffBook()
    mine = [update for update in updates if update.symbol == symbol]
    assert book.apply_event(mine[0]) is DiffOutcome.HELD
    assert book.apply_snapshot(snapshot) is DiffOutcome.APPLIED
    compared = 0
    for update in mine[1:]:
        outcome = book.apply_event(update)
        assert outcome is (DiffOutcome.IGNORED if update.last_id <= snapshot.last_id else DiffOutcome.APPLIED)
        before = [ticker for ticker in tickers if ticker["u"] <= book.last_id]
        # A ticker tells every change of the best prices, so the last one stands until a later one is known.
        if before and before[-1] is not tickers[-1]:
            bids, asks = book.top(1)
            best = before[-1]
            assert bids == ((float(best["b"]), float(best["B"])),)
            assert asks == ((float(best["a"]), float(best["A"])),)
            compared += 1
    return compared
