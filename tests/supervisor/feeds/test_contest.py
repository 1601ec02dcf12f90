"""Of two connections the newer frame wins; an older one never follows a newer one."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor.feeds.contest import RESET_NS, Contest

S = 10**9


def test_the_first_to_bring_a_mark_wins():
    contest = Contest("a", 100)
    assert not contest.wins("b", 100, S)
    assert contest.wins("b", 101, S)
    assert not contest.wins("a", 101, S)
    assert not contest.wins("a", 100, S)
    assert contest.wins("a", 102, S)


def test_a_mark_may_stand_still_on_the_connection_that_brought_it():
    contest = Contest("a", 100)
    assert contest.wins("a", 100, S)
    assert not contest.wins("b", 100, S)


def test_anything_wins_over_nothing():
    contest = Contest("a", None)
    assert contest.wins("b", 5, S)
    assert not contest.wins("a", 4, S)


def test_a_venue_that_counts_anew_is_believed_after_a_while():
    contest = Contest("a", 100)
    assert not contest.wins("a", 1, 0)
    assert not contest.wins("b", 90, RESET_NS - 2)  # slow, and not the one to say so
    assert not contest.wins("a", 2, RESET_NS - 1)
    assert contest.wins("a", 3, RESET_NS)
    assert not contest.wins("b", 3, RESET_NS + 1)
    assert contest.wins("b", 4, RESET_NS + 2)


def test_a_slow_connection_is_never_believed_beside_a_sound_one():
    contest = Contest("a", 0)
    for step in range(100):
        now_ns = step * S
        assert contest.wins("a", 10 * step + 10, now_ns)
        assert not contest.wins("b", 10 * step, now_ns)


def test_the_last_one_left_is_believed_after_a_while():
    contest = Contest("a", 100)
    contest.leave("a")
    assert not contest.wins("b", 98, 0)
    assert not contest.wins("b", 99, S)
    assert contest.wins("b", 101, 2 * S)
    contest.leave("b")
    assert not contest.wins("c", 50, 10 * S)
    assert contest.wins("c", 51, 10 * S + RESET_NS)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), max_size=60))
def test_marks_never_go_back_within_the_time(frames):
    contest, newest = Contest("a", None), -1
    for step, (lane, mark) in enumerate(frames):
        if contest.wins(lane, mark, step * 1_000_000):
            assert mark >= newest
            newest = mark
        else:
            assert mark <= newest
