import pytest

from arbshard.exchanges.binance.marketdata import depth_weight
from arbshard.exchanges.binance.params import BinanceParams


@pytest.mark.parametrize(
    ("limit", "weight"),
    [(None, 5), ("1", 5), ("100", 5), ("101", 25), ("500", 25), ("1000", 50), ("5000", 250), ("many", 5)],
)
def test_weight_of_a_book(limit: str | None, weight: int) -> None:
    assert depth_weight(BinanceParams({} if limit is None else {"limit": limit})) == weight
