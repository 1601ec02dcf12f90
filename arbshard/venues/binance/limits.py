"""Holds Binance's rate limits, what each call costs of them, and how answers report their use. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from arbshard.shm.budget import Window
from arbshard.venues.base.limits import WindowUse
from arbshard.venues.base.market import RateLimit

_S = 1_000_000_000
FEED_CONNECTS = RateLimit(200, 300.0)
"""The part of 300 attempts to connect in five minutes, by address, that the market data may use."""

WINDOWS = (
    Window("binance_weight", "binance", 6000, 60 * _S),
    Window("binance_orders_10s", "binance", 100, 10 * _S, gives_back=True, is_of_account=True),
    Window("binance_orders_1d", "binance", 200_000, 86_400 * _S, gives_back=True, is_of_account=True),
    Window("binance_connects", "binance", 300 - FEED_CONNECTS.count, 300 * _S),
)
CONNECT: Final[Mapping[str, int]] = {"binance_connects": 1, "binance_weight": 4}
"""With the logon, which most private connections begin with."""
ORDER: Final[Mapping[str, int]] = {"binance_weight": 1, "binance_orders_10s": 1, "binance_orders_1d": 1}
TEST: Final[Mapping[str, int]] = {"binance_weight": 1}
TIME: Final[Mapping[str, int]] = {"binance_weight": 1}
QUERY: Final[Mapping[str, int]] = {"binance_weight": 4}
TRADES: Final[Mapping[str, int]] = {"binance_weight": 5}
ACCOUNT: Final[Mapping[str, int]] = {"binance_weight": 20}
LISTING: Final[Mapping[str, int]] = {"binance_weight": 20}
WALLETS: Final[Mapping[str, int]] = {"binance_weight": 10}
OPEN_ORDERS: Final[Mapping[str, int]] = {"binance_weight": 80}

_HEADERS = {
    "x-mbx-used-weight-1m": "binance_weight",
    "x-mbx-order-count-10s": "binance_orders_10s",
    "x-mbx-order-count-1d": "binance_orders_1d",
}


class BinanceLimits:
    """Implements ``RateLimits``."""

    windows = WINDOWS
    connect = CONNECT

    def read_headers(self, headers: Mapping[str, str]) -> Iterable[WindowUse]:
        """Read one header for each window."""
        for header, window in _HEADERS.items():
            value = headers.get(header, "")
            if value.isdecimal():
                yield WindowUse(window, int(value))

    def block_s(self, body: bytes) -> float | None:
        """Return None, because the seconds are in the header ``Retry-After``."""
        del body
        return None
