"""The order in which workers side by side get the tests."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from support.order import slow_first

tests = st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=60).map(
    lambda drawn: [(module, is_slow, number) for number, (module, is_slow) in enumerate(sorted(drawn))]
)


@given(tests, st.integers(1, 4))
def test_nothing_is_lost_and_modules_stay_together(items, workers):
    ordered = slow_first(items, workers, lambda item: item[1], lambda item: item[0])
    assert sorted(ordered) == sorted(items)
    slow = [item[0] for item in ordered if item[1]]
    assert sum(a != b for a, b in pairwise(slow)) <= max(len(set(slow)) - 1, 0)


def test_each_piece_begins_with_slow_tests():
    items = [("quick", False, number) for number in range(90)]
    items += [(module, True, number) for module in "abc" for number in range(10)]
    ordered = slow_first(items, 3, lambda item: item[1], lambda item: item[0])
    for begin in (0, 40, 80):
        assert all(item[1] for item in ordered[begin : begin + 10])
        assert not any(item[1] for item in ordered[begin + 10 : begin + 40])
