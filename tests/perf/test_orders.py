"""Figures of orders at the exchange: medians over the turns, and ratios of each turn."""

import pytest

from perf import order_exchange, orders


def turn(p50: float, venues: tuple[str, ...] = ("upbit", "binance")) -> dict[str, float]:
    return {f"{venue}, {name}": value for venue in venues for name, value in (("orders", 10), ("p50", p50))}


def test_ratios_are_those_of_each_turn() -> None:
    found = orders._figures(
        {
            "arbshard": [turn(2.0), turn(4.0), turn(1.0)],
            "ccxt.pro": [turn(10.0), turn(12.0), turn(9.0)],
            "one leg": [turn(6.0, ("binance",)), turn(8.0, ("binance",)), turn(5.0, ("binance",))],
        }
    )
    assert found["arbshard: upbit, p50"] == 2.0
    assert found["ccxt.pro to arbshard, upbit, p50"] == 5.0
    assert found["ccxt.pro to arbshard, upbit, p50, least"] == 3.0
    assert found["ccxt.pro to arbshard, upbit, p50, most"] == 9.0
    assert found["one leg to arbshard, binance, p50"] == 3.0
    assert not any(name.startswith("one leg") and "upbit" in name for name in found)


@pytest.mark.parametrize(("symbol", "coin"), [("KRW-BTC", "BTC"), ("BTCUSDT", "BTC"), ("KRW-USDT", "USDT")])
def test_both_markets_of_a_coin_have_one_stamp(symbol: str, coin: str) -> None:
    assert order_exchange._coin(symbol) == coin
