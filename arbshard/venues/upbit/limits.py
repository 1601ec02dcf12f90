"""Holds Upbit's rate limits, what each call costs of them, and how answers report their use. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from arbshard.shm.budget import Window
from arbshard.venues.base.limits import WindowUse

_S = 1_000_000_000

WINDOWS = (
    Window("upbit_default", "upbit", 30, _S, is_of_account=True),
    Window("upbit_order", "upbit", 12, _S, is_of_account=True),
    Window("upbit_order_test", "upbit", 8, _S, is_of_account=True),
    Window("upbit_orderbook", "upbit", 10, _S),
    # Upbit counts private connections by account and those for market data by address.
    Window("upbit_connects", "upbit", 5, _S, is_of_account=True),
)
CONNECT: Final[Mapping[str, int]] = {"upbit_connects": 1}
ORDER: Final[Mapping[str, int]] = {"upbit_order": 1}
TEST: Final[Mapping[str, int]] = {"upbit_order_test": 1}
READ: Final[Mapping[str, int]] = {"upbit_default": 1}
BOOK: Final[Mapping[str, int]] = {"upbit_orderbook": 1}

_LIMITS = {window.name: window.limit for window in WINDOWS}
_GROUPS = {
    "default": "upbit_default",
    "order": "upbit_order",
    "order-test": "upbit_order_test",
    "orderbook": "upbit_orderbook",
}
_REMAINING = re.compile(r"group=([a-z-]+);.*sec=(\d+)")
_BLOCK_WORDS = re.compile(r"(\d+)\s*(?:s\b|sec|초)")


class UpbitLimits:
    """Implements ``RateLimits``."""

    windows = WINDOWS
    connect = CONNECT

    def read_headers(self, headers: Mapping[str, str]) -> Iterable[WindowUse]:
        """Read the header that names the group of the call and what is left of its second."""
        found = _REMAINING.search(headers.get("remaining-req", ""))
        window = _GROUPS.get(found[1]) if found else None
        if found and window is not None:
            yield WindowUse(window, _LIMITS[window] - int(found[2]))

    def block_s(self, body: bytes) -> float | None:
        """Find the seconds that the text names."""
        found = _BLOCK_WORDS.search(body.decode(errors="replace"))
        return float(found[1]) if found else None
