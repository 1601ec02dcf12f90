import pytest

from perf.criterion import LATE_RETRIES_MAX, faults, highest_sustained
from perf.figures import Percentiles

LADDER = (1_000, 2_000, 5_000, 10_000)


def test_a_rate_that_holds_has_no_faults(row):
    assert faults(row()) == ()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"delivered": 9_899}, "delivered"),
        ({"lost": 1}, "lost"),
        ({"late": 101}, "late"),
        ({"skipped": 101}, "late"),
        ({"slot_age_ms": 100.1}, "slot"),
        ({"send_us": Percentiles(p999=100_001.0, count=1)}, "p99.9"),
        ({"decided": 0}, "nothing decided"),
    ],
)
def test_each_rule_alone_makes_it_fail(row, changes, word):
    (fault,) = faults(row(**changes))
    assert word in fault


@pytest.mark.parametrize(
    "changes",
    [
        {"delivered": 9_900},
        {"late": 100},
        {"slot_age_ms": 100.0},
        {"send_us": Percentiles(p999=100_000.0, count=1)},
    ],
)
def test_the_limits_themselves_still_hold(row, changes):
    assert faults(row(**changes)) == ()


@pytest.mark.parametrize("limit", [0, *LADDER])
@pytest.mark.parametrize("start", [1, 1_000, 3_000, 10_000, 99_999])
def test_the_search_finds_the_limit_from_anywhere(row, limit, start):
    def measure(rate):
        return row(rate=rate, delivered=10_000 if rate <= limit else 5_000)

    found, rows = highest_sustained(measure, start, LADDER)
    assert found == limit
    assert len(rows) <= 2 * len(LADDER) + 1


def test_one_failure_alone_is_the_machine_s(row):
    tried = []

    def measure(rate):
        tried.append(rate)
        return row(rate=rate, delivered=0 if tried.count(rate) == 1 else 10_000)

    assert highest_sustained(measure, 1_000, LADDER)[0] == 10_000


@pytest.mark.parametrize(("times", "found"), [(LATE_RETRIES_MAX, 10_000), (LATE_RETRIES_MAX + 1, 2_000)])
def test_a_rate_is_tried_again_after_the_generator_alone_was_late(row, times, found):
    tried = []

    def measure(rate):
        tried.append(rate)
        return row(rate=rate, late=101 if rate > 2_000 and tried.count(rate) <= times else 0)

    assert highest_sustained(measure, 1_000, LADDER, tries=1)[0] == found
