import subprocess
import sys

from arbshard.exchanges.coins import COINS_MAX, coin_table
from arbshard.exchanges.units import UNIT


def test_a_thousand_coins_all_different() -> None:
    coins = coin_table(COINS_MAX)
    assert len({coin.base for coin in coins}) == COINS_MAX
    assert all(coin.base.isalnum() and coin.base.isupper() for coin in coins)
    assert "USDT" not in {coin.base for coin in coins}


def test_a_shorter_table_is_the_beginning_of_a_longer_one() -> None:
    assert coin_table(COINS_MAX)[:100] == coin_table(100)
    assert [coin.base for coin in coin_table(3)] == ["BTC", "ETH", "XRP"]


def test_prices_over_many_magnitudes_with_ticks_and_lots_that_suit_them() -> None:
    coins = coin_table(COINS_MAX)
    assert min(coin.price_usdt for coin in coins) < 0.0001
    assert max(coin.price_usdt for coin in coins) > 50_000
    for coin in coins:
        tick_bps = coin.tick / UNIT / coin.price_usdt * 1e4
        assert 0 < tick_bps <= 6, coin
        lot_value = coin.lot / UNIT * coin.price_usdt
        assert lot_value <= 1.0, coin
        assert lot_value > 0.05 or coin.lot == UNIT, coin


def test_the_table_is_the_same_in_another_process() -> None:
    code = "from arbshard.exchanges.coins import coin_table; print(coin_table(200)[-1])"
    seen = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    assert seen.stdout.strip() == str(coin_table(200)[-1])
