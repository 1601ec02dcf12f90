"""Keeps the public trades of one simulated market and the candles made of them. It is pure.

``TradeHistory`` is the only source of what both venues report about the past: trades, candles, tickers and average
prices all come from it, so that they agree with each other. Its memory is bounded: the last 2,000 trades, and
candles of 25 hours by the minute, of six weeks by the hour, and of 400 days by the day. Candles of seconds are made
of the trades.
"""

import struct
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Literal, NamedTuple

import msgspec

TRADES_KEPT = 2_000
_UNFOLDED_MAX = 500
"""Largest number of trades that are not yet part of candles."""
MINUTES_KEPT = 25 * 60
HOURS_KEPT = 42 * 24
DAYS_KEPT = 400
SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
_WEEK_MS = 7 * DAY_MS
_FIRST_MONDAY_MS = 4 * DAY_MS
"""Start of the first whole week: the Unix epoch was a Thursday, and weeks begin on Monday."""
_UNITS = 100_000_000
_PACKED = struct.Struct("<12q")
"""A closed candle of a minute. The turnover of a minute fits into 64 bits; that of a day may not."""
_FIRST = struct.Struct("<q")
"""The first field of a packed candle, its start."""

Unit = Literal["s", "m", "h", "d", "w", "M", "y"]
_FIXED_MS: dict[Unit, int] = {
    "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": _WEEK_MS,
}  # fmt: skip


class PublicTrade(NamedTuple):
    """Describes a trade as every participant sees it."""

    number: int
    at_ms: int
    price: int
    """Price in units of 1e-8."""
    size: int
    """Size in units of 1e-8."""
    taker_buys: bool

    @property
    def turnover(self) -> int:
        """Return what was paid, in units of 1e-8 of the quote."""
        return self.size * self.price // _UNITS


class Interval(NamedTuple):
    """Describes the length of a candle: a number of units."""

    units: int
    unit: Unit

    def start(self, at_ms: int, offset_ms: int = 0) -> int:
        """Return when the candle that holds ``at_ms`` begins; ``offset_ms`` is the time zone's distance from UTC."""
        local_ms = at_ms + offset_ms
        if self.unit in ("M", "y"):
            day = datetime.fromtimestamp(local_ms // 1000, UTC)
            month = day.month if self.unit == "M" else 1
            return int(datetime(day.year, month, 1, tzinfo=UTC).timestamp()) * 1000 - offset_ms
        length_ms = self.units * _FIXED_MS[self.unit]
        origin_ms = _FIRST_MONDAY_MS if self.unit == "w" else 0
        return local_ms - (local_ms - origin_ms) % length_ms - offset_ms

    def after(self, start_ms: int, offset_ms: int = 0) -> int:
        """Return when the candle after the one that begins at ``start_ms`` begins."""
        if self.unit == "M":
            return self.start(start_ms + 31 * DAY_MS, offset_ms)
        if self.unit == "y":
            return self.start(start_ms + 366 * DAY_MS, offset_ms)
        return start_ms + self.units * _FIXED_MS[self.unit]


class Candle(msgspec.Struct):
    """Summarises the trades of an interval. Prices, volumes and turnovers are in units of 1e-8."""

    start_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover: int
    bought: int
    """The volume that takers bought."""
    bought_turnover: int
    first: int
    """The number of the first trade."""
    count: int
    """The number of trades."""
    last_ms: int
    """When the last trade took place."""

    @property
    def last(self) -> int:
        """Return the number of the last trade."""
        return self.first + self.count - 1

    def add(self, price: int, size: int, turnover: int, at_ms: int, *, taker_buys: bool) -> None:
        """Add the next trade."""
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        self.volume += size
        self.turnover += turnover
        if taker_buys:
            self.bought += size
            self.bought_turnover += turnover
        self.count += 1
        self.last_ms = at_ms

    def merge(self, later: "Candle") -> None:
        """Add the candle that follows."""
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume
        self.turnover += later.turnover
        self.bought += later.bought
        self.bought_turnover += later.bought_turnover
        self.count += later.count
        self.last_ms = later.last_ms


def candle_of(trade: PublicTrade, start_ms: int) -> Candle:
    """Return a candle that holds one trade."""
    price, turnover = trade.price, trade.turnover
    bought, bought_turnover = (trade.size, turnover) if trade.taker_buys else (0, 0)
    return Candle(
        start_ms, price, price, price, price, trade.size, turnover, bought, bought_turnover,
        trade.number, 1, trade.at_ms,
    )  # fmt: skip


def flat_candle(start_ms: int, price: int, number: int) -> Candle:
    """Return a candle without a trade; ``number`` is that of the next trade."""
    return Candle(start_ms, price, price, price, price, 0, 0, 0, 0, number, 0, start_ms)


def fold(candles: Iterable[Candle], start_of: Callable[[int], int]) -> list[Candle]:
    """Merge candles that ``start_of`` gives the same beginning. ``candles`` come oldest first and do not change."""
    folded: list[Candle] = []
    for candle in candles:
        start_ms = start_of(candle.start_ms)
        if folded and folded[-1].start_ms == start_ms:
            folded[-1].merge(candle)
        else:
            folded.append(msgspec.structs.replace(candle, start_ms=start_ms))
    return folded


class TradeHistory:
    """Keeps the last trades and the candles of one market."""

    def __init__(self) -> None:
        self._first_ever = 0
        self._next = 0
        self._folded = 0
        """The number of the first trade that is not yet part of the candles. They are made only when they are asked
        for.
        """
        self._last_ms = 0
        self._times = array("q")
        self._prices = array("q")
        self._sizes = array("q")
        """Sizes, negative where the taker sold."""
        self._minutes: deque[bytes] = deque(maxlen=MINUTES_KEPT)
        self._hours: deque[Candle] = deque(maxlen=HOURS_KEPT)
        self._days: deque[Candle] = deque(maxlen=DAYS_KEPT)
        """Closed candles, those of minutes packed. The current ones follow."""
        self._minute: Candle | None = None
        self._hour: Candle | None = None
        self._day: Candle | None = None

    @property
    def next_number(self) -> int:
        """Return the number that the next trade has; 0 before the first trade."""
        return self._next

    @property
    def first_number(self) -> int:
        """Return the number of the oldest trade that is kept."""
        return self._next - len(self._times)

    @property
    def last(self) -> PublicTrade | None:
        """Return the last trade."""
        return self._trade(self._next - 1) if self._times else None

    def add(self, number: int, price: int, size: int, at_ms: int, *, taker_buys: bool) -> None:
        """Add the next trade. Numbers have no gaps; times never decrease, even when the clock is set back."""
        if not self._times:
            self._first_ever = self._next = self._folded = number
        assert number == self._next, (number, self._next)
        at_ms = self._last_ms = max(at_ms, self._last_ms)
        signed = size if taker_buys else -size
        if len(self._times) < TRADES_KEPT:
            self._times.append(at_ms)
            self._prices.append(price)
            self._sizes.append(signed)
        else:
            slot = (number - self._first_ever) % TRADES_KEPT
            self._times[slot], self._prices[slot], self._sizes[slot] = at_ms, price, signed
        self._next += 1
        if self._next - self._folded >= _UNFOLDED_MAX:
            self._fold()

    def trades(self, first: int, limit: int) -> list[PublicTrade]:
        """Return at most ``limit`` trades from number ``first`` on, oldest first."""
        first = max(first, self.first_number)
        return [self._trade(number) for number in range(first, min(first + limit, self._next))]

    def first_since(self, at_ms: int) -> int:
        """Return the number of the first kept trade at or after ``at_ms``; without one, that of the next trade."""
        low, high = self.first_number, self._next
        while low < high:
            middle = (low + high) // 2
            if self._times[(middle - self._first_ever) % TRADES_KEPT] < at_ms:
                low = middle + 1
            else:
                high = middle
        return low

    def last_before(self, at_ms: int) -> PublicTrade | None:
        """Return the last trade before ``at_ms``, as far as trades are kept."""
        number = self.first_since(at_ms) - 1
        return self._trade(number) if self._times and number >= self.first_number else None

    def close_before(self, at_ms: int) -> int | None:
        """Return the price of the last trade before ``at_ms``, the beginning of a minute; None where none is kept."""
        self._fold()
        if self._minute is not None and self._minute.start_ms < at_ms:
            return self._minute.close
        index = bisect_left(self._minutes, at_ms, key=_start_of_packed)
        return Candle(*_PACKED.unpack(self._minutes[index - 1])).close if index else None

    def candles(self, interval: Interval, since_ms: int = 0, offset_ms: int = 0) -> list[Candle]:
        """Return the candles from the one that holds ``since_ms`` on, oldest first. Times without a trade have none.

        A candle is whole only where all that it is made of is kept: the oldest one may not be.
        """
        self._fold()
        start_ms = interval.start(since_ms, offset_ms) if since_ms else 0
        return fold(
            self._base(interval.unit, start_ms, offset_ms), lambda at_ms: interval.start(at_ms, offset_ms)
        )

    def window(self, start_ms: int) -> Candle | None:
        """Return all trades since ``start_ms``, the beginning of a minute, as one candle; None when there
        was none.
        """
        self._fold()
        hour_ms = -(-start_ms // HOUR_MS) * HOUR_MS
        parts = [*self._minutes_between(start_ms, hour_ms), *_since(self._hours, self._hour, hour_ms)]
        return fold(parts, lambda _: start_ms)[0] if parts else None

    def _trade(self, number: int) -> PublicTrade:
        slot = (number - self._first_ever) % TRADES_KEPT
        size = self._sizes[slot]
        return PublicTrade(number, self._times[slot], self._prices[slot], abs(size), size > 0)

    def _fold(self) -> None:
        """Add the trades since the last call to the candles, minute by minute."""
        minute: Candle | None = None
        for number in range(self._folded, self._next):
            slot = (number - self._first_ever) % TRADES_KEPT
            at_ms, price, size = self._times[slot], self._prices[slot], self._sizes[slot]
            taker_buys = size > 0
            size = abs(size)
            if minute is None or at_ms >= minute.start_ms + MINUTE_MS:
                if minute is not None:
                    self._add_minute(minute)
                trade = PublicTrade(number, at_ms, price, size, taker_buys)
                minute = candle_of(trade, at_ms - at_ms % MINUTE_MS)
            else:
                minute.add(price, size, size * price // _UNITS, at_ms, taker_buys=taker_buys)
        if minute is not None:
            self._add_minute(minute)
        self._folded = self._next

    def _add_minute(self, minute: Candle) -> None:
        """Merge the trades of one minute into the current candles, after closing those that are over."""
        self._hour = _grown(self._hours, self._hour, minute, HOUR_MS)
        self._day = _grown(self._days, self._day, minute, DAY_MS)
        if self._minute is not None and self._minute.start_ms == minute.start_ms:
            self._minute.merge(minute)
            return
        if self._minute is not None:
            self._minutes.append(_PACKED.pack(*msgspec.structs.astuple(self._minute)))
        self._minute = minute

    def _base(self, unit: Unit, start_ms: int, offset_ms: int) -> list[Candle]:
        """Return the coarsest candles of which candles of ``unit`` can be made."""
        if unit == "s":
            number = self.first_since(start_ms)
            return [candle_of(trade, trade.at_ms) for trade in self.trades(number, TRADES_KEPT)]
        if unit == "m" or offset_ms % HOUR_MS:
            return self._minutes_between(start_ms)
        if unit == "h" or offset_ms % DAY_MS:
            return _since(self._hours, self._hour, start_ms)
        return _since(self._days, self._day, start_ms)

    def _minutes_between(self, start_ms: int, until_ms: int | None = None) -> list[Candle]:
        """Return the candles of minutes that begin at ``start_ms`` or later, and before ``until_ms``."""
        current = self._minute
        if current is None or current.start_ms < start_ms:
            return []
        low = bisect_left(self._minutes, start_ms, key=_start_of_packed)
        high = (
            len(self._minutes)
            if until_ms is None
            else bisect_left(self._minutes, until_ms, key=_start_of_packed)
        )
        found = [Candle(*_PACKED.unpack(packed)) for packed in islice(self._minutes, low, high)]
        if until_ms is None or current.start_ms < until_ms:
            found.append(current)
        return found


def _start_of_packed(packed: bytes) -> int:
    start_ms: int = _FIRST.unpack_from(packed)[0]
    return start_ms


def _grown(closed: deque[Candle], current: Candle | None, minute: Candle, length_ms: int) -> Candle:
    """Return the current candle with ``minute`` in it; the one before is closed when it is over."""
    start_ms = minute.start_ms - minute.start_ms % length_ms
    if current is not None:
        if current.start_ms == start_ms:
            current.merge(minute)
            return current
        closed.append(current)
    return msgspec.structs.replace(minute, start_ms=start_ms)


def _since(closed: deque[Candle], current: Candle | None, start_ms: int) -> list[Candle]:
    """Return the candles that begin at ``start_ms`` or later."""
    found = [current] if current is not None and current.start_ms >= start_ms else []
    for candle in reversed(closed):
        if candle.start_ms < start_ms:
            break
        found.append(candle)
    found.reverse()
    return found


def without_gaps(
    candles: Iterable[Candle], interval: Interval, until_ms: int, offset_ms: int = 0
) -> Iterator[Candle]:
    """Yield ``candles``, and a flat one for each time without a trade between them and up to ``until_ms``."""
    before: Candle | None = None
    for candle in candles:
        yield from _flat_between(before, candle.start_ms, interval, offset_ms)
        yield candle
        before = candle
    yield from _flat_between(before, until_ms, interval, offset_ms)


def _flat_between(
    before: Candle | None, until_ms: int, interval: Interval, offset_ms: int
) -> Iterator[Candle]:
    if before is None:
        return
    start_ms = interval.after(before.start_ms, offset_ms)
    while start_ms < until_ms:
        yield flat_candle(start_ms, before.close, before.last + 1)
        start_ms = interval.after(start_ms, offset_ms)
