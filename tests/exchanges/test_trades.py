"""Trades, candles and windows of a market agree with each other whatever is traded, and memory is bounded."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.trades import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    MINUTES_KEPT,
    TRADES_KEPT,
    Candle,
    Interval,
    PublicTrade,
    TradeHistory,
    without_gaps,
)
from support.effort import effort

START_MS = 1_795_000_000_000 - 1_795_000_000_000 % DAY_MS
UNIT = 100_000_000
INTERVALS = [
    Interval(1, "s"), Interval(1, "m"), Interval(5, "m"), Interval(1, "h"), Interval(4, "h"), Interval(1, "d"),
    Interval(1, "w"), Interval(1, "M"), Interval(1, "y"),
]  # fmt: skip


class Deal(NamedTuple):
    """What is drawn for a trade."""

    wait_ms: int
    price: int
    size: int
    taker_buys: bool


deals = st.builds(
    Deal,
    st.one_of(st.integers(-50, 2_000), st.integers(0, 3 * HOUR_MS), st.integers(0, 40 * DAY_MS)),
    st.integers(1, 200_000_000 * UNIT),
    st.integers(1, 10 * UNIT),
    st.booleans(),
)


def history_of(drawn: list[Deal]) -> tuple[TradeHistory, list[PublicTrade]]:
    history, trades, at_ms = TradeHistory(), list[PublicTrade](), START_MS
    for number, deal in enumerate(drawn, start=77):
        at_ms = max(at_ms, at_ms + deal.wait_ms)
        # The clock may go back, the history may not.
        asked_ms = at_ms + min(deal.wait_ms, 0) if trades else at_ms
        history.add(number, deal.price, deal.size, asked_ms, taker_buys=deal.taker_buys)
        trades.append(PublicTrade(number, at_ms, deal.price, deal.size, deal.taker_buys))
    return history, trades


def candle_by_hand(trades: list[PublicTrade], start_ms: int) -> Candle:
    """The definition of a candle, written once more."""
    bought = [one for one in trades if one.taker_buys]
    return Candle(
        start_ms,
        trades[0].price,
        max(one.price for one in trades),
        min(one.price for one in trades),
        trades[-1].price,
        sum(one.size for one in trades),
        sum(one.size * one.price // UNIT for one in trades),
        sum(one.size for one in bought),
        sum(one.size * one.price // UNIT for one in bought),
        trades[0].number,
        len(trades),
        trades[-1].at_ms,
    )


@settings(max_examples=effort(100, 1000), deadline=None)
@given(st.lists(deals, min_size=1, max_size=80), st.sampled_from(INTERVALS), st.sampled_from([0, 9, -5.5]))
def test_a_candle_is_the_fold_of_its_trades(drawn: list[Deal], interval: Interval, zone_hours: float) -> None:
    history, trades = history_of(drawn)
    offset_ms = int(zone_hours * HOUR_MS)
    by_start: dict[int, list[PublicTrade]] = {}
    for trade in trades:
        by_start.setdefault(interval.start(trade.at_ms, offset_ms), []).append(trade)
    assert history.trades(0, 10_000) == trades
    expected = [candle_by_hand(those, start_ms) for start_ms, those in by_start.items()]
    assert history.candles(interval, offset_ms=offset_ms) == expected
    since_ms = trades[-1].at_ms
    assert history.candles(interval, since_ms, offset_ms) == expected[-1:]


@settings(max_examples=effort(100, 1000), deadline=None)
@given(st.lists(deals, min_size=1, max_size=80), st.integers(0, 26 * 60))
def test_a_window_is_the_fold_of_its_minutes(drawn: list[Deal], minutes: int) -> None:
    history, trades = history_of(drawn)
    start_ms = trades[-1].at_ms // MINUTE_MS * MINUTE_MS - minutes * MINUTE_MS
    within = [trade for trade in trades if trade.at_ms >= start_ms]
    assert history.window(start_ms) == candle_by_hand(within, start_ms)
    assert history.window(trades[-1].at_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS) is None


@settings(max_examples=effort(50, 500), deadline=None)
@given(st.lists(deals, min_size=1, max_size=40), st.sets(st.integers(0, 39)), st.sampled_from(INTERVALS))
def test_reading_in_between_changes_nothing(drawn: list[Deal], reads: set[int], interval: Interval) -> None:
    """Trades become a part of the candles when somebody asks for these."""
    expected, trades = history_of(drawn)
    history = TradeHistory()
    for index, trade in enumerate(trades):
        history.add(trade.number, trade.price, trade.size, trade.at_ms, taker_buys=trade.taker_buys)
        if index in reads:
            assert history.candles(interval)[-1].last == trade.number
    assert history.candles(interval) == expected.candles(interval)
    assert history.window(START_MS) == expected.window(START_MS)
    assert history.close_before(trades[-1].at_ms) == expected.close_before(trades[-1].at_ms)


def test_trades_that_nobody_asks_for_are_in_the_candles_all_the_same() -> None:
    history, trades = history_of([Deal(20, UNIT + step, UNIT, step % 3 == 0) for step in range(1_700)])
    assert history.candles(Interval(1, "d")) == [candle_by_hand(trades, START_MS)]
    minutes = history.candles(Interval(1, "m"))
    assert [one.count for one in minutes] == [
        sum(one.at_ms // MINUTE_MS == minute.start_ms // MINUTE_MS for one in trades) for minute in minutes
    ]


def test_what_is_kept_is_bounded_and_the_newest() -> None:
    history = TradeHistory()
    for number in range(3_000):
        history.add(number, UNIT, UNIT, START_MS + number * MINUTE_MS, taker_buys=True)
    assert history.first_number == 3_000 - TRADES_KEPT
    assert [one.number for one in history.trades(0, 2)] == [1_000, 1_001]
    assert [one.number for one in history.trades(2_998, 5)] == [2_998, 2_999]
    minutes = history.candles(Interval(1, "m"))
    assert len(minutes) == MINUTES_KEPT + 1
    assert minutes[-1].first == 2_999
    assert sum(one.count for one in history.candles(Interval(1, "d"))) == 3_000


def test_trades_are_found_by_their_time() -> None:
    history, trades = history_of([Deal(1_000, UNIT + step, UNIT, True) for step in range(5)])
    assert history.first_since(0) == 77
    assert history.first_since(trades[2].at_ms) == 79
    assert history.first_since(trades[2].at_ms + 1) == 80
    assert history.first_since(trades[4].at_ms + 1) == 82
    assert history.last_before(trades[2].at_ms) == trades[1]
    assert history.last_before(trades[0].at_ms) is None


def test_gaps_are_filled_with_the_last_price() -> None:
    history, _ = history_of([Deal(0, 5 * UNIT, UNIT, True), Deal(3 * MINUTE_MS, 6 * UNIT, UNIT, False)])
    minute = Interval(1, "m")
    filled = list(without_gaps(history.candles(minute), minute, START_MS + 5 * MINUTE_MS))
    assert [one.start_ms for one in filled] == [START_MS + step * MINUTE_MS for step in range(5)]
    assert [one.close // UNIT for one in filled] == [5, 5, 5, 6, 6]
    assert [one.count for one in filled] == [1, 0, 0, 1, 0]
    assert list(without_gaps([], minute, START_MS)) == []


@pytest.mark.parametrize(
    ("interval", "start", "after"),
    [
        (Interval(1, "w"), 1_794_787_200_000, 1_795_392_000_000),  # Monday, 16 November 2026
        (Interval(1, "M"), 1_793_491_200_000, 1_796_083_200_000),
        (Interval(1, "y"), 1_767_225_600_000, 1_798_761_600_000),
        (Interval(4, "h"), 1_794_988_800_000, 1_795_003_200_000),
    ],
)
def test_where_candles_begin(interval: Interval, start: int, after: int) -> None:
    assert interval.start(1_795_000_000_000) == start
    assert interval.start(start) == start
    assert interval.start(after - 1) == start
    assert interval.after(start) == after


def test_an_empty_history_has_nothing() -> None:
    history = TradeHistory()
    assert history.last is None
    assert history.trades(0, 10) == []
    assert history.candles(Interval(1, "m")) == []
    assert history.window(0) is None


def test_the_history_of_a_market_is_what_it_printed(make_market: Callable[..., SimMarket]) -> None:
    market = make_market()
    market.open(START_MS)
    printed = [market.last_print]
    for step in range(1, 400):
        market.advance(100.0 + 0.02 * (step % 7), 0.1)
        if market.prints:
            market.record(START_MS + step * 100)
            printed += market.prints
    told = market.history.trades(0, 1_000)
    assert [(one.number, one.price, one.size, one.taker_buys) for one in told] == printed
    assert all(one.at_ms <= other.at_ms for one, other in pairwise(told))
