"""Whatever the price does, a book stays sorted, uncrossed, full, on tick and on lot, and tells what changed."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from arbshard.sim.book import Book, Shape, Side
from arbshard.sim.ladder import UPBIT_KRW_BANDS, Ladder
from arbshard.sim.units import UNIT, fixed8, plain

LADDERS = {"krw": Ladder(UPBIT_KRW_BANDS), "usdt": Ladder([(0, UNIT // 10_000)])}
moves = st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=30)


def levels(side: Side) -> dict[int, int]:
    return dict(zip(side.keys, side.sizes, strict=True))


def check_side(side: Side, depth: int, lot: int) -> None:
    assert len(side.keys) == len(side.sizes) == len(side.prices) == len(side.amounts) == depth
    assert side.keys == sorted(set(side.keys))
    assert all(size > 0 and size % lot == 0 for size in side.sizes)
    assert side.prices == [plain(side.ladder.price(key * side.sign)) for key in side.keys]
    assert side.amounts == [plain(size) for size in side.sizes]
    assert side.ladder.price(side.keys[-1] * side.sign) > 0


@settings(max_examples=60, deadline=None)
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
    book = Book(ladder, shape, plain, price, random.Random(seed))
    for move in steps:
        price = max(0.05, price * (1 + move))
        before = levels(book.bids), levels(book.asks)
        first_id = book.update_id
        book.step(price)
        book.take(book.asks, 0.5)
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
    book = Book(LADDERS["krw"], Shape(30, 1, 3.0, 1.0, 1e6), plain, 137e6, random.Random(1))
    before = levels(book.asks)
    book.step(137e6)
    after = levels(book.asks)
    assert before.keys() == after.keys()
    assert sum(before[key] != after[key] for key in before) <= 2


def test_a_small_move_keeps_most_levels_and_a_large_one_none() -> None:
    book = Book(LADDERS["krw"], Shape(30, 1, 3.0, 1.0, 1e6), plain, 137e6, random.Random(1))
    before = set(book.bids.keys)
    book.step(137e6 * 1.0002)
    assert len(before & set(book.bids.keys)) > 20
    book.step(137e6 * 1.05)
    assert not before & set(book.bids.keys)


def test_spread_is_one_tick_where_the_tick_is_coarse_and_some_bps_where_it_is_fine() -> None:
    shape = Shape(10, 1, 3.0, 1.0, 1e6)
    coarse = Book(LADDERS["krw"], shape, plain, 151.4, random.Random(1))
    assert (coarse.bids.prices[0], coarse.asks.prices[0]) == ("151", "152")
    fine = Book(LADDERS["krw"], shape, plain, 137e6, random.Random(1))
    spread_bps = (int(fine.asks.prices[0]) - int(fine.bids.prices[0])) / 137e6 * 1e4
    assert 2.5 < spread_bps < 4


def test_a_taker_eats_whole_lots_and_never_the_last() -> None:
    book = Book(LADDERS["usdt"], Shape(5, UNIT, 3.0, 1.0, 1000.0), fixed8, 100.0, random.Random(1))
    size = book.bids.sizes[0]
    taken = book.take(book.bids, 0.5)
    assert taken % UNIT == 0
    assert 0 < taken <= size / 2
    assert book.bids.sizes[0] == size - taken
    assert book.take(book.bids, 1e-9) == 0
    assert book.take(book.bids, 1.0) == 0
