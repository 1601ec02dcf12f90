"""What the venues allow per second, minute and day, what each call costs of it, and what their headers tell. Pure.

Used by ``gate``. The numbers are the venues' published ones for an ordinary account.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from arbshard.shm.budget import Window

_S = 1_000_000_000
_BLOCKED_S = 1.0
"""A refusal without a time: one window of the stricter kind."""
_BANNED_S = 60.0
_BLOCK_S_MAX = 3 * 86_400.0

WINDOWS = (
    Window("upbit_default", "upbit", 30, _S),
    Window("upbit_order", "upbit", 12, _S),
    Window("upbit_order_test", "upbit", 8, _S),
    Window("upbit_orderbook", "upbit", 10, _S),
    Window("binance_weight", "binance", 6000, 60 * _S),
    Window("binance_orders_10s", "binance", 100, 10 * _S, gives_back=True),
    Window("binance_orders_1d", "binance", 200_000, 86_400 * _S, gives_back=True),
)
_LIMITS = {window.name: window.limit for window in WINDOWS}

UPBIT_ORDER = {"upbit_order": 1}
UPBIT_TEST = {"upbit_order_test": 1}
UPBIT_READ = {"upbit_default": 1}
UPBIT_BOOK = {"upbit_orderbook": 1}
BINANCE_ORDER = {"binance_weight": 1, "binance_orders_10s": 1, "binance_orders_1d": 1}
BINANCE_TEST = {"binance_weight": 1}
BINANCE_TIME = {"binance_weight": 1}
BINANCE_QUERY = {"binance_weight": 4}
BINANCE_TRADES = {"binance_weight": 5}

_UPBIT_GROUPS = {
    "default": "upbit_default",
    "order": "upbit_order",
    "order-test": "upbit_order_test",
    "orderbook": "upbit_orderbook",
}
_BINANCE_HEADERS = {
    "x-mbx-used-weight-1m": "binance_weight",
    "x-mbx-order-count-10s": "binance_orders_10s",
    "x-mbx-order-count-1d": "binance_orders_1d",
}
_REMAINING = re.compile(r"group=([a-z-]+);.*sec=(\d+)")
_BLOCK_WORDS = re.compile(r"(\d+)\s*(?:s\b|sec|초)")


class Said(NamedTuple):
    """A window, and how much of it is gone by the venue's word."""

    window: str
    used: int


def together(*costs: Mapping[str, int]) -> dict[str, int]:
    """The sum of several calls' costs."""
    total: dict[str, int] = {}
    for cost in costs:
        for window, amount in cost.items():
            total[window] = total.get(window, 0) + amount
    return total


def read_headers(venue: str, headers: Mapping[str, str]) -> Iterable[Said]:
    """What an answer's headers (names in lower case) say of the windows; nothing for headers in another form."""
    if venue == "upbit":
        found = _REMAINING.search(headers.get("remaining-req", ""))
        window = _UPBIT_GROUPS.get(found[1]) if found else None
        if found and window is not None:
            yield Said(window, _LIMITS[window] - int(found[2]))
        return
    for header, window in _BINANCE_HEADERS.items():
        value = headers.get(header, "")
        if value.isdecimal():
            yield Said(window, int(value))


def blocked_s(status: int, headers: Mapping[str, str], body: bytes) -> float:
    """How long a venue that answered ``status`` wants to hear nothing; 0 when it does not say so.

    Binance tells seconds in ``Retry-After``, Upbit's block (418) names a time in its text.
    """
    if status not in {418, 429}:
        return 0.0
    told = headers.get("retry-after", "")
    if told.isdecimal():
        return min(float(told), _BLOCK_S_MAX)
    if status == 418:
        found = _BLOCK_WORDS.search(body.decode(errors="replace"))
        return min(float(found[1]), _BLOCK_S_MAX) if found else _BANNED_S
    return _BLOCKED_S
