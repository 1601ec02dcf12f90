"""Slots are given away once each, and freed ones only when nobody can take them for what they were."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor.shards.slots import SlotPool


def test_lowest_first_and_none_twice():
    pool = SlotPool(8, used=[0, 1, 2])
    assert pool.reserve(2, passed=0) == [3, 4]
    assert pool.reserve(2, passed=0) == [5, 6]
    assert pool.reserve(2, passed=0) is None
    assert pool.reserve(1, passed=0) == [7]


def test_a_freed_slot_waits_until_all_are_past_its_serial():
    pool = SlotPool(3, used=[0, 1, 2])
    pool.free([1, 2], serial=7)
    assert pool.reserve(2, passed=6) is None
    assert pool.reserve(2, passed=7) == [1, 2]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.integers(0, 3)), max_size=40))
def test_no_slot_is_in_two_hands(script):
    pool, held, passed = SlotPool(10, used=[0]), [], 0
    waiting = []
    for serial, (takes, count, behind) in enumerate(script, 1):
        passed = max(passed, serial - behind)
        waiting = [one for one in waiting if one[0] > passed]
        if takes:
            taken = pool.reserve(count, passed)
            if taken is not None:
                mine = set(taken)
                assert mine.isdisjoint({slot for slots in held for slot in slots} | {0})
                assert mine.isdisjoint({slot for _, slots in waiting for slot in slots})
                held.append(taken)
        elif held:
            slots = held.pop(0)
            pool.free(slots, serial)
            waiting.append((serial, slots))
