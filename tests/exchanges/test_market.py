from collections.abc import Callable

from arbshard.exchanges.market import SimMarket


def test_prints_stand_on_the_book(make_market: Callable[..., SimMarket]) -> None:
    market = make_market()
    seen = 0
    for step in range(400):
        bid, ask = market.best_bid, market.best_ask
        market.advance(100.0 + 0.02 * (step % 7), 0.1)
        for one in market.prints:
            seen += 1
            assert one == market.last_print
            assert one.size > 0
            assert one.price == (market.best_ask if one.taker_buys else market.best_bid)
        assert bid < ask
    assert 30 < seen < 100  # 1.5 a second for 40 s


def test_print_numbers_have_no_gaps(make_market: Callable[..., SimMarket]) -> None:
    market = make_market()
    last = market.last_print.number
    for _ in range(200):
        market.advance(100.0, 0.1)
        for one in market.prints:
            assert one.number == last + 1
            last = one.number
