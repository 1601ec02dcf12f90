"""When a child that ended is started again, and when it is given up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.config import RunConfig
from supervisor.processes.restarts import RestartPolicy

S = 1_000_000_000


def policy(tries=5, window_s=60.0):
    return RestartPolicy(RunConfig(restart_tries=tries, restart_window_s=window_s))


def test_at_once_then_with_doubling_pauses_then_given_up():
    one = policy(tries=5)
    assert [one.after_end(n * S) for n in range(7)] == [0.0, 0.1, 0.2, 0.4, 0.8, None, None]


def test_pause_has_a_limit():
    one = policy(tries=100)
    pauses = [one.after_end(n) for n in range(20)]
    assert max(pauses) == 5.0
    assert pauses == sorted(pauses)


def test_no_tries_is_given_up_at_once():
    assert policy(tries=0).after_end(0) is None


def test_what_lies_outside_the_window_is_forgotten():
    one = policy(tries=1, window_s=60.0)
    assert one.after_end(0) == 0.0
    assert one.after_end(60 * S + 1) == 0.0
    assert one.after_end(120 * S + 1) is None  # just inside


def test_what_never_came_up_counts_double():
    one = policy(tries=5)
    assert [one.after_end(n, came_up=False) for n in range(3)] == [0.1, 0.4, None]


def test_a_person_can_have_it_begin_anew():
    one = policy(tries=1)
    assert [one.after_end(0), one.after_end(1)] == [0.0, None]
    one.reset()
    assert one.after_end(2) == 0.0


@given(
    gaps=st.lists(st.integers(0, 100 * S), min_size=1, max_size=40),
    tries=st.integers(0, 10),
    window_s=st.integers(1, 100),
)
def test_given_up_exactly_when_it_ended_too_often_within_the_window(gaps, tries, window_s):
    one = policy(tries, float(window_s))
    ends, now_ns = [], 0
    for gap in gaps:
        now_ns += gap
        ends.append(now_ns)
        pause = one.after_end(now_ns)
        recent = sum(1 for end in ends if now_ns - end <= window_s * S)
        assert (pause is None) == (recent > tries)
        if pause is not None:
            assert 0.0 <= pause <= 5.0
            assert (pause == 0.0) == (recent == 1)


@pytest.mark.parametrize("ends", [1000])
def test_memory_is_bounded(ends):
    one = policy(tries=3)
    for n in range(ends):
        one.after_end(n)
    assert len(one._ends) == 4
