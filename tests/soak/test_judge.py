"""What is flat, and what is not."""

import pytest

from soaking.judge import Bounds, Sample, judge, slope

LONG = Bounds(growth_mb=1.0, least_s=100.0)


def series(
    count=600, *, rss=lambda n: 40_000_000, descriptors=lambda n: 20, threads=lambda n: 3, pid=lambda n: 7
):
    return [Sample(float(n), pid(n), rss(n), descriptors(n), threads(n)) for n in range(count)]


def test_flat_is_flat():
    row = judge("risk", series(), LONG)
    assert row.faults == ()
    assert row.growth_mb == pytest.approx(0.0)
    assert row.descriptors == (20, 20)


def test_what_grew_at_first_and_stands_still_is_flat():
    row = judge("risk", series(rss=lambda n: 40_000_000 + min(n, 200) * 20_000), LONG)
    assert row.faults == ()


@pytest.mark.parametrize(
    ("leak", "said"),
    [
        ({"rss": lambda n: 40_000_000 + n * 2_000}, "MB in ten minutes"),
        ({"descriptors": lambda n: 20 + n // 100}, "descriptors"),
        ({"descriptors": lambda n: 20 + (n > 500)}, ""),
        ({"threads": lambda n: 3 + n // 250}, "threads"),
        ({"pid": lambda n: 7 + (n > 400)}, "replaced"),
    ],
)
def test_a_leak_is_told(leak, said):
    row = judge("risk", series(**leak), LONG)
    if said:
        assert any(said in fault for fault in row.faults), row.faults
    else:  # a descriptor more for the last fifth of the time: too late to be told from one that is in use
        assert row.faults == ()


def test_one_who_opens_a_file_now_and_then_leaks_nothing():
    assert judge("risk", series(descriptors=lambda n: 20 + (n % 5 == 0)), LONG).faults == ()


def test_a_short_run_says_nothing_of_the_slope():
    assert judge("risk", series(20, rss=lambda n: 40_000_000 + n * 100_000), LONG).faults == ()
    assert judge("risk", series(3), LONG).faults == ("too few samples",)


def test_slope():
    assert slope([0.0, 1.0, 2.0], [5.0, 7.0, 9.0]) == pytest.approx(2.0)
    assert slope([1.0], [5.0]) == 0.0
