import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.schedule import GRID_NS, STANDSTILL_NS, Schedule

START_NS = 5_000_000_000
SECOND_NS = 1_000_000_000
MANY = 10**9


def test_one_message_per_point_at_low_rates():
    schedule = Schedule(START_NS, 1000)
    assert schedule.grid_ns == 1_000_000
    due = list(schedule.take(START_NS + 3_000_000, MANY))
    assert [(one.at_ns, one.first, one.end) for one in due] == [
        (START_NS + 1_000_000, 0, 1),
        (START_NS + 2_000_000, 1, 2),
        (START_NS + 3_000_000, 2, 3),
    ]


def test_several_messages_per_point_at_high_rates():
    schedule = Schedule(START_NS, 50_000)
    assert schedule.grid_ns == GRID_NS
    due = list(schedule.take(START_NS + GRID_NS, MANY))
    assert [(one.first, one.end) for one in due] == [(0, 10)]


def test_nothing_is_due_before_its_time():
    schedule = Schedule(START_NS, 50_000)
    assert list(schedule.take(START_NS + GRID_NS - 1, MANY)) == []


def test_late_messages_keep_the_time_at_which_they_were_due():
    schedule = Schedule(START_NS, 5_000)
    late = list(schedule.take(START_NS + 10 * GRID_NS, MANY))
    assert [one.at_ns for one in late] == [START_NS + n * GRID_NS for n in range(1, 11)]


def test_a_turn_is_bounded_and_the_rest_comes_with_the_next():
    schedule = Schedule(START_NS, 50_000)
    now_ns = START_NS + 100 * GRID_NS
    first = list(schedule.take(now_ns, 25))
    assert first[-1].end == 30
    assert next(iter(schedule.take(now_ns, 25))).first == 30


def test_a_standstill_is_skipped_and_counted():
    schedule = Schedule(START_NS, 1000)
    list(schedule.take(START_NS + SECOND_NS, MANY))
    after = list(schedule.take(START_NS + 5 * SECOND_NS, MANY))
    assert schedule.skipped == pytest.approx(4000, abs=3)
    assert sum(one.end - one.first for one in after) <= 1


@given(
    rate=st.floats(min_value=1, max_value=200_000),
    steps=st.lists(st.integers(min_value=1, max_value=STANDSTILL_NS // 2), min_size=1, max_size=20),
)
def test_every_message_is_due_once_in_order_and_the_rate_is_exact(rate, steps):
    schedule = Schedule(START_NS, rate)
    now_ns, expected = START_NS, 0
    for step in steps:
        now_ns += step
        for due in schedule.take(now_ns, MANY):
            assert due.first == expected
            assert due.end > due.first
            assert due.at_ns <= now_ns
            expected = due.end
    assert schedule.skipped == 0
    whole = (now_ns - START_NS) * rate / SECOND_NS
    # Up to one point of the grid behind; the rate is kept to a thousandth of a message per second.
    assert whole - rate * schedule.grid_ns / SECOND_NS - 2 <= expected <= whole * 1.001 + 1
