from collections.abc import Callable

import pytest

from arbshard.config import Regime, SimConfig
from arbshard.exchanges.upbit.frames import orderbook
from arbshard.exchanges.world import FX_SYMBOL, SimWorld

Advance = Callable[[SimWorld, int], None]


def picture(world: SimWorld) -> list[bytes]:
    markets = [*world.upbit.values(), *world.binance.values()]
    return [orderbook(market, 30, "DEFAULT", "REALTIME", 0) for market in markets]


@pytest.mark.parametrize("regime", ["mixed", "crash", "trending"])
def test_same_settings_same_books_step_by_step(regime: Regime, advance: Advance) -> None:
    one = SimWorld(SimConfig(seed=9, regime=regime, coins=4))
    two = SimWorld(SimConfig(seed=9, regime=regime, coins=4))
    for _ in range(20):
        advance(one, 1)
        advance(two, 1)
        assert picture(one) == picture(two)


def test_another_seed_gives_other_books(advance: Advance) -> None:
    one, two = SimWorld(SimConfig(seed=1, coins=2)), SimWorld(SimConfig(seed=2, coins=2))
    advance(one, 1)
    advance(two, 1)
    assert picture(one) != picture(two)


def test_more_coins_leave_the_first_ones_alone(advance: Advance) -> None:
    few, many = SimWorld(SimConfig(seed=1, coins=2)), SimWorld(SimConfig(seed=1, coins=20))
    advance(few, 10)
    advance(many, 10)
    assert few.binance["ETHUSDT"].book.bids.keys == many.binance["ETHUSDT"].book.bids.keys


def test_both_venues_list_every_coin_and_upbit_the_fx(world: SimWorld) -> None:
    assert list(world.upbit) == [FX_SYMBOL, "KRW-BTC", "KRW-ETH", "KRW-XRP"]
    assert list(world.binance) == ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
    assert len(world.places) == 7


def test_fx_book_is_one_tick_of_one_krw_around_the_rate(world: SimWorld, advance: Advance) -> None:
    book = world.upbit[FX_SYMBOL].book
    for _ in range(50):
        advance(world, 1)
        bid, ask = int(book.bids.prices[0]), int(book.asks.prices[0])
        assert ask == bid + 1
        assert bid - 0.3 <= world.fx_rate <= ask + 0.3


def test_prices_of_the_venues_belong_together(world: SimWorld) -> None:
    upbit, binance = world.upbit["KRW-ETH"], world.binance["ETHUSDT"]
    gap = upbit.best_bid / (binance.best_bid * world.fx_rate) - 1
    assert abs(gap) < 0.03
    top_krw = upbit.best_ask / 1e8 * upbit.book.asks.sizes[0] / 1e8
    assert 200_000 < top_krw < 10_000_000


def test_no_book_is_ever_crossed_or_off_its_lots(advance: Advance) -> None:
    world = SimWorld(SimConfig(seed=2, regime="crash", coins=70, depth=8))
    for _ in range(150):
        advance(world, 1)
        for _, market in world.places:
            assert market.best_bid < market.best_ask
            assert all(size % market.listing.lot == 0 for size in market.book.bids.sizes)
