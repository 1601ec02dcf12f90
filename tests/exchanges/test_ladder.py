import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.exchanges.ladder import UPBIT_KRW_BANDS, Ladder, binance_lot, binance_tick
from arbshard.exchanges.units import UNIT, plain

krw = Ladder(UPBIT_KRW_BANDS)
rungs = st.integers(0, krw.ceil(3e8))


@pytest.mark.parametrize(
    ("price", "tick"),
    [
        (137_000_000, "1000"),
        (1_000_000, "1000"),
        (999_500, "500"),
        (100_000, "100"),
        (50_000, "50"),
        (10_000, "10"),
        (9_995, "5"),
        (4_999, "1"),
        (100, "1"),
        (99.9, "0.1"),
        (1, "0.01"),
        (0.1, "0.001"),
        (0.05, "0.0001"),
        (0.005, "0.00001"),
        (0.0005, "0.000001"),
        (0.00005, "0.0000001"),
        (0.000005, "0.00000001"),
    ],
)
def test_upbit_tick_of_a_price(price: float, tick: str) -> None:
    assert plain(krw.tick(price)) == tick


@given(rungs)
def test_prices_rise_by_the_tick_of_their_band(rung: int) -> None:
    price = krw.price(rung)
    tick = krw.price(rung + 1) - price
    assert tick == krw.tick(price / UNIT)
    assert price % tick == 0


@given(st.floats(1e-6, 2e8))
def test_floor_and_ceil_stand_on_either_side(price: float) -> None:
    low, high = krw.floor(price), krw.ceil(price)
    assert high - low in (0, 1)
    slack = price * UNIT * 1e-12 + 1e-6  # a float's last bits
    assert krw.price(low) <= price * UNIT + slack
    assert krw.price(high) >= price * UNIT - slack


@pytest.mark.parametrize(
    ("price", "tick", "lot"),
    [
        (94_500, "0.01", "0.00001"),
        (3_320, "0.01", "0.0001"),
        (188, "0.01", "0.001"),
        (9.4, "0.001", "0.1"),
        (0.96, "0.0001", "1"),
        (0.0000182, "0.00000001", "1"),
    ],
)
def test_binance_tick_and_lot_of_a_price(price: float, tick: str, lot: str) -> None:
    assert plain(binance_tick(price)) == tick
    assert plain(binance_lot(price)) == lot


def test_tick_at_an_exact_price() -> None:
    ladder = Ladder(UPBIT_KRW_BANDS)
    for price, tick in UPBIT_KRW_BANDS:
        assert ladder.tick_at(price) == tick
        assert ladder.tick_at(price + tick) == tick
        if price:
            assert ladder.tick_at(price - 1) < tick
