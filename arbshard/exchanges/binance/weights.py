"""Enforces the simulated Binance's rate limits: request weight per address, unfilled orders per account.

Windows are whole ones of the wall clock, as on the venue: a minute starts at :00, ten seconds at :00, :10,
:20, a day at midnight UTC. A caller that goes on after 429 is banned. ``rest`` and ``wsapi`` use it.
"""

from typing import NamedTuple

from arbshard.exchanges.accounts.order import SimOrder
from arbshard.exchanges.binance.refusals import BinanceRefusal, Json

WEIGHT_MAX = 6000
ORDERS_10S_MAX = 100
ORDERS_DAY_MAX = 200_000
WARNINGS_MAX = 20
"""Requests per minute that are answered with 429 before the address is banned. The venue does not publish it."""
BAN_S = 120
BAN_S_MAX = 3 * 86_400
_MINUTE_MS = 60_000
_CALLERS_MAX = 1024

RATE_LIMITS: tuple[dict[str, Json], ...] = (
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT_MAX},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": ORDERS_10S_MAX},
    {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": ORDERS_DAY_MAX},
    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000},
)
_TAIL = "Please use WebSocket Streams for live updates to avoid "


class _Caller:
    """Holds what one address has used."""

    __slots__ = ("ban_s", "banned_until_ms", "minute", "spent", "warnings")

    def __init__(self) -> None:
        self.minute = -1
        self.spent = 0
        self.warnings = 0
        self.banned_until_ms = 0
        self.ban_s = BAN_S


class Weights:
    """Enforces the limit of request weight, per address."""

    def __init__(self) -> None:
        self._callers: dict[str, _Caller] = {}

    def spend(self, address: str, weight: int, now_ms: int) -> None:
        """Count ``weight``. Raises ``BinanceRefusal`` (429, then 418) with the time to wait when it is too much."""
        caller = self._caller(address, now_ms)
        caller.spent += weight
        if now_ms < caller.banned_until_ms:
            raise _banned(caller, now_ms)
        if caller.spent <= WEIGHT_MAX:
            return
        caller.warnings += 1
        if caller.warnings > WARNINGS_MAX:
            caller.banned_until_ms = now_ms + caller.ban_s * 1000
            caller.ban_s = min(caller.ban_s * 2, BAN_S_MAX)
            caller.warnings = 0
            raise _banned(caller, now_ms)
        message = (
            f"Too much request weight used; current limit is {WEIGHT_MAX} request weight per 1 MINUTE. "
            f"{_TAIL}polling the API."
        )
        raise _wait(BinanceRefusal(-1003, message, 429), (caller.minute + 1) * _MINUTE_MS, now_ms)

    def refund(self, address: str, weight: int, now_ms: int) -> None:
        """Subtract the weight of a request that turned out to cost nothing."""
        caller = self._caller(address, now_ms)
        caller.spent = max(0, caller.spent - weight)

    def spent(self, address: str, now_ms: int) -> int:
        """Return what ``address`` has used in this minute."""
        return self._caller(address, now_ms).spent

    def _caller(self, address: str, now_ms: int) -> _Caller:
        caller = self._callers.get(address)
        if caller is None:
            if len(self._callers) >= _CALLERS_MAX:
                self._callers.clear()
            caller = self._callers[address] = _Caller()
        minute = now_ms // _MINUTE_MS
        if caller.minute != minute:
            caller.minute, caller.spent, caller.warnings = minute, 0, 0
        return caller


def _banned(caller: _Caller, now_ms: int) -> BinanceRefusal:
    message = f"Way too much request weight used; IP banned until {caller.banned_until_ms}. {_TAIL}bans."
    return _wait(BinanceRefusal(-1003, message, 418), caller.banned_until_ms, now_ms)


def _wait(refused: BinanceRefusal, until_ms: int, now_ms: int) -> BinanceRefusal:
    refused.retry_after_s = max(1, -(-(until_ms - now_ms) // 1000))
    refused.retry_at_ms = until_ms
    return refused


class OrderCount(NamedTuple):
    """Describes one window in which an account's orders are counted."""

    interval: str
    interval_num: int
    header: str
    window_ms: int
    limit: int


ORDER_WINDOWS = (
    OrderCount("SECOND", 10, "X-MBX-ORDER-COUNT-10S", 10_000, ORDERS_10S_MAX),
    OrderCount("DAY", 1, "X-MBX-ORDER-COUNT-1D", 86_400_000, ORDERS_DAY_MAX),
)


class OrderCounts:
    """Counts the unfilled orders of one account. An order's first fill reduces the counts of that moment's windows.

    Fills are looked for whenever the counts are asked for: a fill in an earlier window changes nothing, because that
    window's count is gone.
    """

    def __init__(self) -> None:
        self._windows = [-1 for _ in ORDER_WINDOWS]
        self._counts = [0 for _ in ORDER_WINDOWS]
        self._unfilled: list[SimOrder] = []

    def check(self, now_ms: int) -> None:
        """Raise ``BinanceRefusal`` (429) when one more order would be one too many."""
        self._turn(now_ms)
        for window, count in zip(ORDER_WINDOWS, self._counts, strict=True):
            if count >= window.limit:
                message = (
                    f"Too many new orders; current limit is {window.limit} orders per "
                    f"{window.interval_num} {window.interval}."
                )
                until_ms = (now_ms // window.window_ms + 1) * window.window_ms
                raise _wait(BinanceRefusal(-1015, message, 429), until_ms, now_ms)

    def add(self, now_ms: int, order: SimOrder | None = None) -> None:
        """Count an order; None is one that counts but was not placed."""
        self._turn(now_ms)
        self._counts = [count + 1 for count in self._counts]
        if order is not None:
            self._unfilled.append(order)

    def headers(self, now_ms: int) -> dict[str, str]:
        """Return the counts as headers of REST replies to orders."""
        self._turn(now_ms)
        return {window.header: str(count) for window, count in zip(ORDER_WINDOWS, self._counts, strict=True)}

    def listed(self, now_ms: int) -> list[Json]:
        """Return the counts as ``rateLimit/order`` and the WebSocket API show them."""
        self._turn(now_ms)
        return [
            {
                "rateLimitType": "ORDERS",
                "interval": window.interval,
                "intervalNum": window.interval_num,
                "limit": window.limit,
                "count": count,
            }
            for window, count in zip(ORDER_WINDOWS, self._counts, strict=True)
        ]

    def _turn(self, now_ms: int) -> None:
        for index, window in enumerate(ORDER_WINDOWS):
            number = now_ms // window.window_ms
            if self._windows[index] != number:
                self._windows[index], self._counts[index] = number, 0
        filled = sum(1 for order in self._unfilled if order.executed)
        if filled:
            self._counts = [max(0, count - filled) for count in self._counts]
        self._unfilled = [order for order in self._unfilled if order.is_open and not order.executed]
