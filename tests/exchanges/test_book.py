"""Whatever the price does, a book stays sorted, uncrossed, full, on tick and on lot, and tells what changed."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbshard.exchanges.book import GeneratedBook, Shape, SimSide
from arbshard.exchanges.ladder import UPBIT_KRW_BANDS, Ladder
from arbshard.exchanges.units import UNIT, fixed8, plain
from support.effort import effort

LADDERS = {"krw": Ladder(UPBIT_KRW_BANDS), "usdt": Ladder([(0, UNIT // 10_000)])}
moves = st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=30)


def levels(side: SimSide) -> dict[int, int]:
    return dict(zip(side.keys, side.sizes, strict=True))


def check_side(side: SimSide, depth: int, lot: int) -> None:
    assert len(side.keys) == len(side.sizes) == len(side.prices) == len(side.amounts) == depth
    assert side.keys == sorted(set(side.keys))
    assert all(size > 0 and size % lot == 0 for size in side.sizes)
    assert side.prices == [plain(side.ladder.price(key * side.sign)) for key in side.keys]
    assert side.amounts == [plain(size) for size in side.sizes]
    assert side.ladder.price(side.keys[-1] * side.sign) > 0


@settings(max_examples=effort(60, 300), deadline=None)
@given(
    moves,
    st.sampled_from(["krw", "usdt"]),
    st.floats(0.05, 2e6),
    st.integers(5, 30),
    st.sampled_from([1, 1000, UNIT]),
    st.integers(0, 2**32),
)
def test_invariants_and_changes(
    steps: list[float], ladder_name: str, price: float, depth: int, lot: int, seed: int
) -> None:
    ladder = LADDERS[ladder_name]
    shape = Shape(depth, lot, 3.0, 1.0, 1_500_000.0)
    book = GeneratedBook(ladder, shape, plain, price, random.Random(seed))
    for move in steps:
        price = max(0.05, price * (1 + move))
        before = levels(book.bids), levels(book.asks)
        first_id = book.update_id
        book.step(price)
        book.consume(book.asks, 0.5)
        book.number_changes()
        for side, old in zip((book.bids, book.asks), before, strict=True):
            check_side(side, depth, lot)
            new = levels(side)
            really = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
            assert really <= side.changed
            assert all(side.size_at(key) == new.get(key, 0) for key in side.changed)
        assert -book.bids.keys[0] < book.asks.keys[0]
        assert book.update_id - first_id == len(book.bids.changed) + len(book.asks.changed)


def test_levels_persist_while_the_price_stands() -> None:
    book = GeneratedBook(LADDERS["krw"], Shape(30, 1, 3.0, 1.0, 1e6), plain, 137e6, random.Random(1))
    before = levels(book.asks)
    book.step(137e6)
    after = levels(book.asks)
    assert before.keys() == after.keys()
    assert sum(before[key] != after[key] for key in before) <= 2


def test_a_small_move_keeps_most_levels_and_a_large_one_none() -> None:
    book = GeneratedBook(LADDERS["krw"], Shape(30, 1, 3.0, 1.0, 1e6), plain, 137e6, random.Random(1))
    before = set(book.bids.keys)
    book.step(137e6 * 1.0002)
    assert len(before & set(book.bids.keys)) > 20
    book.step(137e6 * 1.05)
    assert not before & set(book.bids.keys)


def test_spread_is_one_tick_where_the_tick_is_coarse_and_some_bps_where_it_is_fine() -> None:
    shape = Shape(10, 1, 3.0, 1.0, 1e6)
    coarse = GeneratedBook(LADDERS["krw"], shape, plain, 151.4, random.Random(1))
    assert (coarse.bids.prices[0], coarse.asks.prices[0]) == ("151", "152")
    fine = GeneratedBook(LADDERS["krw"], shape, plain, 137e6, random.Random(1))
    spread_bps = (int(fine.asks.prices[0]) - int(fine.bids.prices[0])) / 137e6 * 1e4
    assert 2.5 < spread_bps < 4


def test_a_taker_eats_whole_lots_and_never_the_last() -> None:
    book = GeneratedBook(LADDERS["usdt"], Shape(5, UNIT, 3.0, 1.0, 1000.0), fixed8, 100.0, random.Random(1))
    size = book.bids.sizes[0]
    taken = book.consume(book.bids, 0.5)
    assert taken % UNIT == 0
    assert 0 < taken <= size / 2
    assert book.bids.sizes[0] == size - taken
    assert book.consume(book.bids, 1e-9) == 0
    assert book.consume(book.bids, 1.0) == 0


def new_book(depth: int = 5, seed: int = 1) -> GeneratedBook:
    return GeneratedBook(
        LADDERS["usdt"], Shape(depth, 1000, 3.0, 1.0, 1000.0), plain, 100.0, random.Random(seed)
    )


def test_customers_eat_exactly_what_they_take() -> None:
    book = new_book()
    keys, sizes, first_id = list(book.asks.keys), list(book.asks.sizes), book.update_id
    book.eat(book.asks, [sizes[0], sizes[1], 1000])
    assert book.asks.keys == keys[2:]
    assert book.asks.sizes == [sizes[2] - 1000, *sizes[3:]]
    assert book.asks.amounts[0] == plain(sizes[2] - 1000)
    assert book.update_id == first_id + 3
    book.step(100.0, orders=0)
    assert set(keys[:3]) <= book.asks.changed
    check_side(book.asks, 5, 1000)
    book.step(100.0, orders=0)
    assert not book.asks.changed


def test_a_side_that_is_eaten_up_has_somebody_behind_it() -> None:
    book = new_book()
    last, first_id = book.asks.keys[-1], book.update_id
    book.eat(book.asks, list(book.asks.sizes))
    assert len(book.asks.keys) == 1
    assert book.asks.keys[0] > last
    assert book.update_id == first_id + 6
    for price in (100.0, 101.0, 99.0):
        book.step(price)
        check_side(book.asks, 5, 1000)
        check_side(book.bids, 5, 1000)


@pytest.mark.parametrize("sizes", [[], [0], [1000, 1000], [10**18], [1] * 6])
def test_nobody_eats_what_is_not_there(sizes: list[int]) -> None:
    book = new_book()
    before = levels(book.bids)
    with pytest.raises(AssertionError):
        book.eat(book.bids, sizes)
    assert levels(book.bids) == before


@settings(max_examples=effort(40, 200), deadline=None)
@given(
    st.lists(st.tuples(moves.map(lambda found: found[0]), st.integers(0, 6), st.booleans()), max_size=25),
    st.integers(0, 2**16),
)
def test_changes_tell_the_whole_story_of_steps_and_eating(
    plan: list[tuple[float, int, bool]], seed: int
) -> None:
    """Whoever applies every step's changed levels has the book; the id moves whenever the book does."""
    book = new_book(6, seed)
    price = 100.0
    mine = {side: levels(side) for side in (book.bids, book.asks)}
    for move, wanted, asks in plan:
        side = book.asks if asks else book.bids
        count = min(wanted, len(side.keys))
        if count:
            before = book.update_id
            book.eat(side, [*side.sizes[: count - 1], max(1000, side.sizes[count - 1] // 2000 * 1000)])
            assert book.update_id > before
        price *= 1 + move / 10
        book.step(price)
        book.number_changes()
        for one, seen in mine.items():
            for key in one.changed:
                seen[key] = one.size_at(key)
            mine[one] = {key: size for key, size in seen.items() if size}
            assert mine[one] == levels(one)
