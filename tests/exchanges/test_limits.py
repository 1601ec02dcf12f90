from arbshard.exchanges.limits import WeightBudget
from arbshard.exchanges.session import SECOND_NS


def test_callers_are_counted_apart_and_windows_end() -> None:
    budget = WeightBudget(10, 1)
    assert [budget.spend("a", 3, 0), budget.spend("a", 3, 1), budget.spend("b", 1, 2)] == [3, 6, 1]
    assert budget.spend("a", 1, SECOND_NS) == 1


def test_wait_is_whole_seconds_to_the_end_of_the_window() -> None:
    budget = WeightBudget(10, 60)
    assert budget.wait_s(60 * SECOND_NS) == 60
    assert budget.wait_s(119 * SECOND_NS + 1) == 1


def test_many_callers_do_not_pile_up() -> None:
    budget = WeightBudget(10, 60)
    for index in range(5000):
        budget.spend(f"10.0.{index // 256}.{index % 256}", 1, 0)
    assert len(budget._spent) <= 1024
