"""Defines a price ladder, which numbers the prices of a market from the bottom.

Books count in rungs, never in floats. A rung is an integer; one rung up is one tick, whatever band the price is in.
``book`` and the venues' REST rules use it.
"""

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence

from arbshard.exchanges.units import UNIT

# Upbit, KRW markets, in force since 2025-07-31: (price from, tick) in units of 1e-8 KRW, rising.
UPBIT_KRW_BANDS: tuple[tuple[int, int], ...] = (
    (0, 1),
    (1_000, 10),
    (10_000, 100),
    (100_000, 1_000),
    (1_000_000, 10_000),
    (10_000_000, 100_000),
    (1 * UNIT, UNIT // 100),
    (10 * UNIT, UNIT // 10),
    (100 * UNIT, UNIT),
    (5_000 * UNIT, 5 * UNIT),
    (10_000 * UNIT, 10 * UNIT),
    (50_000 * UNIT, 50 * UNIT),
    (100_000 * UNIT, 100 * UNIT),
    (500_000 * UNIT, 500 * UNIT),
    (1_000_000 * UNIT, 1_000 * UNIT),
)


class Ladder:
    """Converts between prices and rungs, in bands of equal ticks. Rung 0 is price 0."""

    def __init__(self, bands: Sequence[tuple[int, int]]) -> None:
        """Build the ladder of ``bands``: (price from, tick) in units of 1e-8, rising; the first band starts at 0."""
        assert bands[0][0] == 0, bands
        self._from = [price for price, _ in bands]
        self._tick = [tick for _, tick in bands]
        self._rung = [0]
        for (low, tick), (high, _) in itertools.pairwise(bands):
            assert (high - low) % tick == 0, (low, high, tick)
            self._rung.append(self._rung[-1] + (high - low) // tick)

    def price(self, rung: int) -> int:
        """Return the price of ``rung`` in units of 1e-8."""
        band = bisect_right(self._rung, rung) - 1
        return self._from[band] + (rung - self._rung[band]) * self._tick[band]

    def floor(self, price: float) -> int:
        """Return the highest rung that is not above ``price`` (in quote, not in units)."""
        units = price * UNIT
        band = bisect_right(self._from, units) - 1
        return self._rung[band] + math.floor((units - self._from[band]) / self._tick[band])

    def ceil(self, price: float) -> int:
        """Return the lowest rung that is not below ``price`` (in quote, not in units)."""
        units = price * UNIT
        band = bisect_right(self._from, units) - 1
        return self._rung[band] + math.ceil((units - self._from[band]) / self._tick[band])

    def tick(self, price: float) -> int:
        """Return the tick at ``price`` (in quote), in units of 1e-8."""
        return self._tick[bisect_right(self._from, price * UNIT) - 1]

    def tick_at(self, price: int) -> int:
        """Return the tick at ``price``; both are in units of 1e-8 and exact."""
        return self._tick[bisect_right(self._from, price) - 1]

    def tick_bps(self, price: float) -> float:
        """Return the tick at ``price`` (in quote) in basis points of that price."""
        return self.tick(price) / UNIT / price * 10_000


def binance_tick(price_usdt: float) -> int:
    """Return the tick that Binance gives a coin of such a price, in units of 1e-8.

    It is 0.5 to 5 basis points, and between 1e-8 and 0.01.
    """
    digits = math.floor(math.log10(price_usdt / 2) + 1e-9) - 3
    return int(10 ** (8 + min(-2, max(-8, digits))))


def binance_lot(price_usdt: float) -> int:
    """Return the lot that Binance gives a coin of such a price, in units of 1e-8.

    It is worth 0.1 to 1 USDT, and is at most 1 coin.
    """
    digits = math.floor(-math.log10(price_usdt) + 1e-9)
    return int(10 ** (8 + min(0, max(-8, digits))))
