"""Private events: now, later, twice; none is lost."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from arbshard.config import FaultsConfig
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.events import EventFaults
from arbshard.exchanges.session import SendData

EVENTS = tuple(SendData(bytes((number,))) for number in range(5))


def test_on_or_off(make_board):
    assert not EventFaults(make_board()).on
    assert EventFaults(make_board(late_event={"times": 1})).on
    assert EventFaults(make_board(duplicate_event={"share": 0.1})).on


def test_late_ones_are_dealt_for_later(make_board):
    faults = EventFaults(make_board(late_event={"times": 2, "ms_min": 4, "ms_max": 4}))
    dealt = faults.deal(EVENTS)
    assert dealt.now == list(EVENTS[2:])
    assert dealt.later == [(4.0, EVENTS[0]), (4.0, EVENTS[1])]


def test_twice_in_a_row(make_board):
    dealt = EventFaults(make_board(duplicate_event={"times": 1})).deal(EVENTS)
    assert dealt.now == [EVENTS[0], *EVENTS]


def test_late_and_twice(make_board):
    dealt = EventFaults(make_board(duplicate_event={"times": 1}, late_event={"times": 1})).deal(EVENTS[:1])
    assert dealt.now == [EVENTS[0]]
    assert [event for _, event in dealt.later] == [EVENTS[0]]


@given(seed=st.integers(0, 2**32), late=st.floats(0, 1), twice=st.floats(0, 1))
def test_every_event_comes_at_least_once_and_those_in_time_in_order(seed, late, twice):
    faults = {"seed": seed, "late_event": {"share": late}, "duplicate_event": {"share": twice}}
    board = Board("binance", msgspec.convert(faults, FaultsConfig), {})
    dealt = EventFaults(board).deal(EVENTS)
    assert sorted({*dealt.now, *(event for _, event in dealt.later)}) == list(EVENTS)
    assert list(dealt.now) == sorted(dealt.now)
    assert len(dealt.now) + len(dealt.later) == len(EVENTS) + board.duplicate_event.happened
    assert len(dealt.later) == board.late_event.happened
