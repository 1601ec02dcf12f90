"""Computes figures of a market's trades: klines, tickers over a window, the average price. It is pure.

``tradedata`` answers requests with it, and ``frames`` sends streams. All figures come from ``TradeHistory``.
"""

import re
from collections.abc import Mapping

import msgspec

from arbshard.exchanges.binance.refusals import Json
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.trades import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    TRADES_KEPT,
    Candle,
    Interval,
    PublicTrade,
    flat_candle,
    without_gaps,
)
from arbshard.exchanges.units import UNIT, fixed8

INTERVALS: Mapping[str, Interval] = {
    "1s": Interval(1, "s"),
    **{f"{count}m": Interval(count, "m") for count in (1, 3, 5, 15, 30)},
    **{f"{count}h": Interval(count, "h") for count in (1, 2, 4, 6, 8, 12)},
    **{f"{count}d": Interval(count, "d") for count in (1, 3)},
    "1w": Interval(1, "w"),
    "1M": Interval(1, "M"),
}
AVERAGE_MINUTES = 5
_AVERAGE_MS = AVERAGE_MINUTES * MINUTE_MS
WINDOW_STREAMS = {"1h": HOUR_MS, "4h": 4 * HOUR_MS, "1d": DAY_MS}
_ZONE = re.compile(r"([+-]?)([0-9]{1,2})(?::([0-9]{2}))?")
_ZONE_MIN_MS = -12 * HOUR_MS
_ZONE_MAX_MS = 14 * HOUR_MS


def interval_of(name: str) -> tuple[Interval, int]:
    """Return the interval and the time zone of a kline stream's name: ``1m``, ``1d@+08:00``."""
    text, _, zone = name.partition("@")
    return INTERVALS[text], zone_ms(zone) or 0 if zone else 0


def zone_ms(text: str) -> int | None:
    """Return how far a time zone is from UTC, in milliseconds; None for an invalid zone."""
    match = _ZONE.fullmatch(text)
    if match is None:
        return None
    sign, hours, minutes = match[1], int(match[2]), int(match[3] or 0)
    offset_ms = (hours * HOUR_MS + minutes * MINUTE_MS) * (-1 if sign == "-" else 1)
    return offset_ms if minutes < 60 and _ZONE_MIN_MS <= offset_ms <= _ZONE_MAX_MS else None


def last_trade(market: SimMarket, now_ms: int) -> PublicTrade:
    """Return the last trade; a market without a history has one with the present time."""
    last = market.last_print
    return market.history.last or PublicTrade(last.number, now_ms, last.price, last.size, last.taker_buys)


def klines(market: SimMarket, interval: Interval, now_ms: int, offset_ms: int) -> list[Candle]:
    """Return all klines that are kept, oldest first and the present one last. A time without a trade has
    a flat one.
    """
    until_ms = interval.start(now_ms, offset_ms) + 1
    return list(without_gaps(market.history.candles(interval, 0, offset_ms), interval, until_ms, offset_ms))


def kline_row(candle: Candle, end_ms: int) -> list[Json]:
    """Return a kline as REST prints it."""
    return [
        candle.start_ms,
        *(fixed8(one) for one in (candle.open, candle.high, candle.low, candle.close, candle.volume)),
        end_ms - 1,
        fixed8(candle.turnover),
        candle.count,
        fixed8(candle.bought),
        fixed8(candle.bought_turnover),
        "0",
    ]


def kline_event(market: SimMarket, name: str, start_ms: int, now_ms: int, *, is_closed: bool) -> str:
    """Return the event of the kline that begins at ``start_ms``."""
    interval, offset_ms = interval_of(name)
    end_ms = interval.after(start_ms, offset_ms)
    found = market.history.candles(interval, start_ms, offset_ms)
    if found and found[0].start_ms == start_ms:
        one = found[0]
    else:
        before = market.history.last_before(start_ms) or last_trade(market, now_ms)
        one = flat_candle(start_ms, before.price, before.number + 1)
    first, last = (one.first, one.last) if one.count else (-1, -1)
    return (
        f'{{"e":"kline","E":{now_ms},"s":"{market.symbol}","k":{{"t":{start_ms},"T":{end_ms - 1},'
        f'"s":"{market.symbol}","i":"{name.partition("@")[0]}","f":{first},"L":{last},'
        f'"o":"{fixed8(one.open)}","c":"{fixed8(one.close)}","h":"{fixed8(one.high)}","l":"{fixed8(one.low)}",'
        f'"v":"{fixed8(one.volume)}","n":{one.count},"x":{"true" if is_closed else "false"},'
        f'"q":"{fixed8(one.turnover)}","V":"{fixed8(one.bought)}","Q":"{fixed8(one.bought_turnover)}","B":"0"}}}}'
    )


def average(market: SimMarket, now_ms: int) -> int:
    """Return the average price of the last five minutes, weighted by size; the last price when there was no trade."""
    history = market.history
    recent = history.trades(history.first_since(now_ms - _AVERAGE_MS), TRADES_KEPT)
    size = sum(trade.size for trade in recent)
    if not size:
        return last_trade(market, now_ms).price
    return sum(trade.size * trade.price for trade in recent) // size


def window(market: SimMarket, start_ms: int, now_ms: int) -> Candle:
    """Return all trades since ``start_ms``, which begins a minute, as a candle; it is flat when there was none."""
    found = market.history.window(start_ms)
    last = last_trade(market, now_ms)
    return found or flat_candle(start_ms, last.price, last.number + 1)


def rolling_start(length_ms: int, now_ms: int) -> int:
    """Return the beginning of a window that is at most a minute longer than ``length_ms``."""
    return (now_ms - length_ms) // MINUTE_MS * MINUTE_MS


def day_window(market: SimMarket, now_ms: int) -> Candle:
    """Return the last 24 hours, in whole minutes."""
    return window(market, rolling_start(DAY_MS, now_ms) + MINUTE_MS, now_ms)


def _change(one: Candle) -> tuple[str, str, str]:
    """Return the change of the price, in quote and in percent, and the average price weighted by size."""
    moved = one.close - one.open
    average_price = one.turnover * UNIT // one.volume if one.volume else 0
    return signed8(moved), f"{100 * moved / one.open:.3f}", fixed8(average_price)


def signed8(units: int) -> str:
    """Return ``units``, which may be negative, with 8 decimals."""
    return f"-{fixed8(-units)}" if units < 0 else fixed8(units)


def mini(market: SimMarket, one: Candle, open_ms: int, now_ms: int) -> dict[str, Json]:
    """Return a ticker of type MINI."""
    first, last = (one.first, one.last) if one.count else (-1, -1)
    return {
        "symbol": market.symbol,
        "openPrice": fixed8(one.open),
        "highPrice": fixed8(one.high),
        "lowPrice": fixed8(one.low),
        "lastPrice": fixed8(one.close),
        "volume": fixed8(one.volume),
        "quoteVolume": fixed8(one.turnover),
        "openTime": open_ms,
        "closeTime": now_ms,
        "firstId": first,
        "lastId": last,
        "count": one.count,
    }


def full(market: SimMarket, one: Candle, open_ms: int, now_ms: int) -> dict[str, Json]:
    """Return a ticker of type FULL."""
    moved, percent, average_price = _change(one)
    head: dict[str, Json] = {
        "symbol": market.symbol,
        "priceChange": moved,
        "priceChangePercent": percent,
        "weightedAvgPrice": average_price,
    }
    return head | mini(market, one, open_ms, now_ms)


def day_full(market: SimMarket, now_ms: int) -> dict[str, Json]:
    """Return a ticker of the last 24 hours of type FULL: it also has the best quotes."""
    one, book = day_window(market, now_ms), market.book
    ticker = full(market, one, now_ms - DAY_MS, now_ms)
    before = market.history.close_before(one.start_ms)
    quotes: dict[str, Json] = {
        "prevClosePrice": fixed8(market.previous_close if before is None else before),
        "lastPrice": ticker["lastPrice"],
        "lastQty": fixed8(last_trade(market, now_ms).size),
        "bidPrice": book.bids.prices[0],
        "bidQty": book.bids.amounts[0],
        "askPrice": book.asks.prices[0],
        "askQty": book.asks.amounts[0],
    }
    head = ("symbol", "priceChange", "priceChangePercent", "weightedAvgPrice")
    return {name: ticker[name] for name in head} | quotes | ticker


_STREAM_NAMES = {
    "priceChange": "p", "priceChangePercent": "P", "weightedAvgPrice": "w", "prevClosePrice": "x", "lastPrice": "c",
    "lastQty": "Q", "bidPrice": "b", "bidQty": "B", "askPrice": "a", "askQty": "A", "openPrice": "o",
    "highPrice": "h", "lowPrice": "l", "volume": "v", "quoteVolume": "q", "openTime": "O", "closeTime": "C",
    "firstId": "F", "lastId": "L", "count": "n",
}  # fmt: skip
_MINI_NAMES = ("lastPrice", "openPrice", "highPrice", "lowPrice", "volume", "quoteVolume")


def event(market: SimMarket, kind: str, now_ms: int) -> str:
    """Return the event of a ticker stream or of the average price. ``kind`` is what follows the symbol's ``@``."""
    fields: dict[str, Json]
    if kind == "avgPrice":
        name, last = "avgPrice", last_trade(market, now_ms)
        fields = {"i": f"{AVERAGE_MINUTES}m", "w": fixed8(average(market, now_ms)), "T": last.at_ms}
    elif kind == "ticker":
        name, fields = "24hrTicker", _shortened(day_full(market, now_ms))
    elif kind == "miniTicker":
        ticker = mini(market, day_window(market, now_ms), now_ms - DAY_MS, now_ms)
        name, fields = "24hrMiniTicker", {_STREAM_NAMES[key]: ticker[key] for key in _MINI_NAMES}
    else:
        length = kind.removeprefix("ticker_")
        open_ms = rolling_start(WINDOW_STREAMS[length], now_ms)
        ticker = full(market, window(market, open_ms, now_ms), open_ms, now_ms)
        name, fields = f"{length}Ticker", _shortened(ticker)
    return msgspec.json.encode({"e": name, "E": now_ms, "s": market.symbol, **fields}).decode()


def _shortened(ticker: dict[str, Json]) -> dict[str, Json]:
    return {_STREAM_NAMES[name]: value for name, value in ticker.items() if name != "symbol"}
