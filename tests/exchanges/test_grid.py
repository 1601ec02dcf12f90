from hypothesis import given
from hypothesis import strategies as st

from arbshard.exchanges.grid import Grid
from arbshard.exchanges.session import SECOND_NS

START = 5 * SECOND_NS
MS = 1_000_000


def test_each_market_once_per_step_evenly_spread() -> None:
    grid = Grid(START, 0.1, 4)
    seen = []
    for now in range(START, START + 200 * MS, 5 * MS):
        while (taken := grid.next_due(now)) is not None:
            seen.append(((now - START) // MS, taken[0]))
            assert taken[1]
    assert seen == [(0, 0), (25, 1), (50, 2), (75, 3), (100, 0), (125, 1), (150, 2), (175, 3)]


def test_nothing_is_due_before_its_time() -> None:
    grid = Grid(START, 0.1, 4)
    assert grid.next_due(START - 1) is None
    assert grid.next_due(START) == (0, True)
    assert grid.next_due(START) is None
    assert grid.due_ns == START + 25 * MS


def test_late_updates_are_made_in_order_but_not_sent() -> None:
    grid = Grid(START, 0.1, 2)
    taken = []
    while (one := grid.next_due(START + 250 * MS)) is not None:
        taken.append(one)
    assert [place for place, _ in taken] == [0, 1, 0, 1, 0, 1]
    assert [in_time for _, in_time in taken] == [False, False, False, True, True, True]


def test_after_a_standstill_the_grid_goes_on_from_now() -> None:
    grid = Grid(START, 0.1, 2)
    grid.next_due(START)
    assert not grid.jumped(START + 5 * SECOND_NS)
    assert grid.jumped(START + 3600 * SECOND_NS)
    assert grid.next_due(START + 3600 * SECOND_NS) == (1, True)
    assert grid.next_due(START + 3600 * SECOND_NS) is None


@given(st.integers(1, 300), st.floats(0.01, 2.0), st.integers(0, 10_000))
def test_due_times_never_drift(markets: int, step_s: float, positions: int) -> None:
    grid = Grid(START, step_s, markets)
    grid._position = positions
    exact = START + positions * int(step_s * SECOND_NS) / markets
    assert abs(grid.due_ns - exact) <= 1 + exact * 1e-15
