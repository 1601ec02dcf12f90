"""Which points are tried."""

import pytest

from arbshard.config import Config
from arbshard.errors import UsageError
from arbshard.sweep.searching import GENERATION, search_of
from arbshard.sweep.space import SearchSpace, parse_axes

BASE = Config()
SPACE = SearchSpace(BASE, parse_axes(["entry_bps=20:60:5", "max_hold_s=10:90:10"], BASE))
WIDE = SearchSpace(BASE, parse_axes(["entry_bps=20:60:1", "max_hold_s=1:40:1"], BASE))


def score(point):
    return -((point[0] - 14) ** 2) - (point[1] - 22) ** 2


def walk(search, scored=score):
    points = []
    while asked := search.ask():
        points += asked
        search.learn([scored(one) for one in asked])
    return points


def test_a_grid_is_tried_as_a_whole():
    search = search_of("grid", SPACE, 5, 0, lambda _: True)
    points = walk(search)
    assert len(points) == len(set(points)) == SPACE.size == search.total == 81


def test_random_points_are_different_and_valid_and_a_seed_repeats_them():
    found = [walk(search_of("random", SPACE, 30, seed, lambda one: one[0] != 3)) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert len(set(found[0])) == 30
    assert all(point[0] != 3 for point in found[0])
    assert len(walk(search_of("random", SPACE, 500, 1, lambda _: True))) == 81


def test_random_points_of_a_huge_lattice():
    texts = [f"{key}=1:1000:1" for key in ("stop_loss_bps", "max_hold_s", "cooldown_ms", "max_book_age_ms")]
    huge = SearchSpace(BASE, parse_axes(texts, BASE))
    assert len(set(walk(search_of("random", huge, 50, 1, lambda _: True)))) == 50
    with pytest.raises(UsageError, match="--search grid: the grid has 1,000,000,000,000 points"):
        search_of("grid", huge, 50, 1, lambda _: True)


@pytest.mark.needs("sweep")
def test_optuna_finds_the_top_and_a_seed_repeats_its_points():
    found = [walk(search_of("optuna", WIDE, 60, seed, lambda _: True)) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert len(found[0]) == 60
    for points in found:
        assert max(map(score, points)) >= -10
        first, last = points[: 2 * GENERATION], points[-2 * GENERATION :]
        assert sum(map(score, last)) > sum(map(score, first)) / 2


@pytest.mark.needs("sweep")
def test_optuna_goes_on_where_points_fail():
    points = walk(search_of("optuna", WIDE, 30, 1, lambda _: True), lambda one: None if one[0] > 2 else 1.0)
    assert len(points) == 30
