"""Encodes Upbit's messages: orderbook, trade, ticker and candle in all four formats.

``session`` uses it for snapshots, and ``UpbitFeed`` for real-time messages. Order books are formatted by hand
because they are most of the traffic; the rest is encoded by ``msgspec``.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

import msgspec

from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import FeedTurn, SharedStream
from arbshard.exchanges.trades import DAY_MS, MINUTE_MS, Candle, Interval, PublicTrade, flat_candle
from arbshard.exchanges.units import UNIT, plain

KST = timezone(timedelta(hours=9))
DAY = Interval(1, "d")
MINUTES = (1, 3, 5, 10, 15, 30, 60, 240)
CANDLES: dict[str, Interval] = {
    "candle.1s": Interval(1, "s"),
    **{f"candle.{count}m": Interval(count, "m") for count in MINUTES if count < 60},
    "candle.60m": Interval(1, "h"),
    "candle.240m": Interval(4, "h"),
}
"""The candles of which there are streams, by type."""
_YEAR_MS = 364 * DAY_MS

DEPTHS = (1, 5, 15, 30)
FORMATS = ("DEFAULT", "SIMPLE", "JSON_LIST", "SIMPLE_LIST")

_UNIT_DEFAULT = '{"ask_price":%s,"bid_price":%s,"ask_size":%s,"bid_size":%s}'
_UNIT_SIMPLE = '{"ap":%s,"bp":%s,"as":%s,"bs":%s}'
_BOOK_DEFAULT = (
    '{"type":"orderbook","code":"%s","timestamp":%d,"total_ask_size":%s,"total_bid_size":%s,'
    '"orderbook_units":[%s],"stream_type":"%s","level":0}'
)
_BOOK_SIMPLE = '{"ty":"orderbook","cd":"%s","tms":%d,"tas":%s,"tbs":%s,"obu":[%s],"st":"%s","lv":0}'
_BOOK_REST = (
    '{"market":"%s","timestamp":%d,"total_ask_size":%s,"total_bid_size":%s,"orderbook_units":[%s],"level":0}'
)

_SHORT = {
    "type": "ty", "code": "cd", "timestamp": "tms", "trade_date": "td", "trade_time": "ttm",
    "trade_timestamp": "ttms", "trade_price": "tp", "trade_volume": "tv", "ask_bid": "ab",
    "prev_closing_price": "pcp", "change": "c", "change_price": "cp", "sequential_id": "sid",
    "best_ask_price": "bap", "best_ask_size": "bas", "best_bid_price": "bbp", "best_bid_size": "bbs",
    "stream_type": "st",
}  # fmt: skip
_SHORT_TICKER = _SHORT | {
    "opening_price": "op", "high_price": "hp", "low_price": "lp", "signed_change_price": "scp",
    "change_rate": "cr", "signed_change_rate": "scr", "acc_trade_volume": "atv",
    "acc_trade_volume_24h": "atv24h", "acc_trade_price": "atp", "acc_trade_price_24h": "atp24h",
    "trade_date": "tdt", "acc_ask_volume": "aav", "acc_bid_volume": "abv",
    "highest_52_week_price": "h52wp", "highest_52_week_date": "h52wdt", "lowest_52_week_price": "l52wp",
    "lowest_52_week_date": "l52wdt", "market_state": "ms", "delisting_date": "dd",
}  # fmt: skip

_SHORT_CANDLE = _SHORT | {
    "candle_date_time_utc": "cdttmu", "candle_date_time_kst": "cdttmk", "opening_price": "op",
    "high_price": "hp", "low_price": "lp", "candle_acc_trade_volume": "catv", "candle_acc_trade_price": "catp",
}  # fmt: skip

Value = str | int | float | None


def is_short(form: str) -> bool:
    """Return whether ``form`` has the short keys."""
    return form.startswith("SIMPLE")


def in_list(form: str, payload: bytes) -> bytes:
    """Return ``payload``, in an array where ``form`` says so."""
    return b"[" + payload + b"]" if form.endswith("_LIST") else payload


def _book_parts(market: SimMarket, depth: int, unit: str) -> tuple[str, str, str]:
    """Return total ask size, total bid size and units as JSON text."""
    asks, bids = market.book.asks, market.book.bids
    levels = zip(asks.prices[:depth], bids.prices, asks.amounts, bids.amounts, strict=False)
    units = ",".join([unit % level for level in levels])
    return plain(sum(asks.sizes[:depth])), plain(sum(bids.sizes[:depth])), units


def orderbook(market: SimMarket, depth: int, form: str, stream_type: str, now_ms: int) -> bytes:
    """Return an order book message; ``stream_type`` is SNAPSHOT or REALTIME."""
    short = is_short(form)
    parts = _book_parts(market, depth, _UNIT_SIMPLE if short else _UNIT_DEFAULT)
    text = (_BOOK_SIMPLE if short else _BOOK_DEFAULT) % (market.symbol, now_ms, *parts, stream_type)
    return in_list(form, text.encode())


def rest_orderbook(market: SimMarket, depth: int, now_ms: int) -> str:
    """Return an element of the REST reply ``/v1/orderbook``."""
    return _BOOK_REST % (market.symbol, now_ms, *_book_parts(market, depth, _UNIT_DEFAULT))


def last_trade(market: SimMarket, now_ms: int) -> PublicTrade:
    """Return the last trade; a market without a history has one with the present time."""
    last = market.last_print
    return market.history.last or PublicTrade(last.number, now_ms, last.price, last.size, last.taker_buys)


class _Days(NamedTuple):
    """Holds what a market's ticker says of days, which begin at midnight UTC."""

    today: Candle
    previous_close: int
    year: list[Candle]
    """The days of the last 52 weeks, today among them."""


def _days(market: SimMarket, now_ms: int) -> _Days:
    start_ms = DAY.start(now_ms)
    days = market.history.candles(DAY, now_ms - _YEAR_MS)
    if days and days[-1].start_ms >= start_ms:
        today, earlier = days[-1], days[:-1]
    else:
        last = last_trade(market, now_ms)
        today, earlier = flat_candle(start_ms, last.price, last.number + 1), days
    previous_close = earlier[-1].close if earlier else market.previous_close
    return _Days(today, previous_close, [*earlier, today])


def previous_close(market: SimMarket, at_ms: int) -> int:
    """Return the last price of the day before the one that holds ``at_ms``."""
    days = market.history.candles(DAY, at_ms - _YEAR_MS)
    earlier = [day for day in days if day.start_ms < DAY.start(at_ms)]
    return earlier[-1].close if earlier else market.previous_close


def _change(price: int, before: int) -> dict[str, Value]:
    word = "RISE" if price > before else "FALL" if price < before else "EVEN"
    return {
        "prev_closing_price": before / UNIT,
        "change": word,
        "change_price": abs(price - before) / UNIT,
    }


def trade(market: SimMarket, form: str, stream_type: str, now_ms: int) -> bytes:
    """Return a message with the market's last trade."""
    last, book = last_trade(market, now_ms), market.book
    at = datetime.fromtimestamp(last.at_ms / 1000, UTC)
    fields: dict[str, Value] = {
        "type": "trade",
        "code": market.symbol,
        "timestamp": now_ms,
        "trade_date": f"{at:%Y-%m-%d}",
        "trade_time": f"{at:%H:%M:%S}",
        "trade_timestamp": last.at_ms,
        "trade_price": last.price / UNIT,
        "trade_volume": last.size / UNIT,
        "ask_bid": "BID" if last.taker_buys else "ASK",
        **_change(last.price, previous_close(market, now_ms)),
        "sequential_id": last.number,
        "best_ask_price": market.best_ask / UNIT,
        "best_ask_size": book.asks.sizes[0] / UNIT,
        "best_bid_price": market.best_bid / UNIT,
        "best_bid_size": book.bids.sizes[0] / UNIT,
        "stream_type": stream_type,
    }
    return _encode(fields, form, _SHORT)


def ticker_fields(market: SimMarket, now_ms: int) -> dict[str, Value]:
    """Return what WebSocket and REST tickers have in common, under the long names."""
    last, days = last_trade(market, now_ms), _days(market, now_ms)
    at = datetime.fromtimestamp(last.at_ms / 1000, UTC)
    today = days.today
    window_ms = now_ms - DAY_MS
    day = market.history.window(window_ms - window_ms % MINUTE_MS + MINUTE_MS)
    high, low = max(days.year, key=lambda one: one.high), min(days.year, key=lambda one: one.low)
    moved = (last.price - days.previous_close) / UNIT
    rate = moved / (days.previous_close / UNIT)
    return {
        "opening_price": today.open / UNIT,
        "high_price": today.high / UNIT,
        "low_price": today.low / UNIT,
        "trade_price": last.price / UNIT,
        **_change(last.price, days.previous_close),
        "signed_change_price": moved,
        "change_rate": abs(rate),
        "signed_change_rate": rate,
        "trade_volume": last.size / UNIT,
        "acc_trade_volume": today.volume / UNIT,
        "acc_trade_volume_24h": day.volume / UNIT if day is not None else 0.0,
        "acc_trade_price": today.turnover / UNIT,
        "acc_trade_price_24h": day.turnover / UNIT if day is not None else 0.0,
        "trade_date": f"{at:%Y%m%d}",
        "trade_time": f"{at:%H%M%S}",
        "trade_timestamp": last.at_ms,
        "highest_52_week_price": high.high / UNIT,
        "highest_52_week_date": _date(high.start_ms),
        "lowest_52_week_price": low.low / UNIT,
        "lowest_52_week_date": _date(low.start_ms),
        "timestamp": now_ms,
    }


def _date(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"


def rest_ticker(market: SimMarket, now_ms: int) -> dict[str, Value]:
    """Return an element of the REST replies ``/v1/ticker`` and ``/v1/ticker/all``."""
    at = datetime.fromtimestamp(last_trade(market, now_ms).at_ms / 1000, KST)
    return {
        "market": market.symbol,
        "trade_date_kst": f"{at:%Y%m%d}",
        "trade_time_kst": f"{at:%H%M%S}",
        **ticker_fields(market, now_ms),
    }


def ticker(market: SimMarket, form: str, stream_type: str, now_ms: int) -> bytes:
    """Return a message with the market's day so far."""
    today = _days(market, now_ms).today
    fields: dict[str, Value] = {"type": "ticker", "code": market.symbol, **ticker_fields(market, now_ms)}
    fields |= {
        "ask_bid": "BID" if market.last_print.taker_buys else "ASK",
        "acc_ask_volume": (today.volume - today.bought) / UNIT,
        "acc_bid_volume": today.bought / UNIT,
        "market_state": "ACTIVE",
        "delisting_date": None,
        "stream_type": stream_type,
    }
    return _encode(fields, form, _SHORT_TICKER)


def candle(market: SimMarket, kind: str, form: str, stream_type: str, now_ms: int) -> bytes | None:
    """Return the market's newest candle of ``kind``; None before the first trade.

    A time without a trade has no candle: the newest one is then that of an earlier time.
    """
    last = market.history.last
    if last is None:
        return None
    newest = market.history.candles(CANDLES[kind], last.at_ms)[-1]
    fields: dict[str, Value] = {
        "type": kind,
        "code": market.symbol,
        **candle_fields(newest),
        "timestamp": now_ms,
        "stream_type": stream_type,
    }
    return _encode(fields, form, _SHORT_CANDLE)


def candle_fields(one: Candle) -> dict[str, Value]:
    """Return what WebSocket and REST candles have in common, under the long names."""
    at = datetime.fromtimestamp(one.start_ms / 1000, UTC)
    return {
        "candle_date_time_utc": f"{at:%Y-%m-%dT%H:%M:%S}",
        "candle_date_time_kst": f"{at.astimezone(KST):%Y-%m-%dT%H:%M:%S}",
        "opening_price": one.open / UNIT,
        "high_price": one.high / UNIT,
        "low_price": one.low / UNIT,
        "trade_price": one.close / UNIT,
        "timestamp": one.last_ms,
        "candle_acc_trade_price": one.turnover / UNIT,
        "candle_acc_trade_volume": one.volume / UNIT,
    }


def _encode(fields: dict[str, Value], form: str, short: dict[str, str]) -> bytes:
    if is_short(form):
        fields = {short[name]: value for name, value in fields.items()}
    return in_list(form, msgspec.json.encode(fields))


def snapshot(market: SimMarket, stream: SharedStream, now_ms: int) -> bytes | None:
    """Return the first message of ``stream`` after it is subscribed to; None for a candle before the first trade."""
    if stream.kind == "orderbook":
        return orderbook(market, stream.depth, stream.form, "SNAPSHOT", now_ms)
    if stream.kind == "trade":
        return trade(market, stream.form, "SNAPSHOT", now_ms)
    if stream.kind == "ticker":
        return ticker(market, stream.form, "SNAPSHOT", now_ms)
    return candle(market, stream.kind, stream.form, "SNAPSHOT", now_ms)


class UpbitFeed:
    """Makes the real-time messages of one market."""

    def __init__(self, market: SimMarket) -> None:
        self.market = market
        self._sent_second = 0
        self._sent_trade = 0
        """The second in which candles were sent last, and the number of the first trade that was not in them."""
        self._due_second: int | None = None
        """The second whose candles are being sent."""

    def on_step(self) -> None:
        """Ignore the step: nothing is prepared before it is sent."""

    def payloads(self, stream: SharedStream, now_ms: int) -> Sequence[bytes]:
        """Return books with every step, trade and ticker when a trade was printed, and candles once a second."""
        market = self.market
        if stream.kind == "orderbook":
            return (orderbook(market, stream.depth, stream.form, "REALTIME", now_ms),)
        if stream.kind in CANDLES:
            return self._candles(stream, now_ms)
        if market.prints and stream.kind == "trade":
            return (trade(market, stream.form, "REALTIME", now_ms),)
        if market.prints and stream.kind == "ticker":
            return (ticker(market, stream.form, "REALTIME", now_ms),)
        return ()

    def on_sent(self) -> None:
        """Remember what the candles that were just sent contained."""
        if self._due_second is not None:
            self._sent_second, self._due_second = self._due_second, None
            self._sent_trade = self.market.history.next_number

    def wait_ms(self, now_ms: int) -> int:  # noqa: ARG002 - the protocol's shape
        """Return 0: Upbit sends each change at once."""
        return 0

    def choose(self, turn: FeedTurn) -> None:
        """Ignore the choice, because Upbit has no streams of a fixed interval."""

    def _candles(self, stream: SharedStream, now_ms: int) -> Sequence[bytes]:
        """Return the candle if a trade has changed it since it was sent last, a second ago or longer."""
        second, history = now_ms // 1000, self.market.history
        if second == self._sent_second:
            return ()
        self._due_second = second
        if history.next_number == self._sent_trade:
            return ()
        made = candle(self.market, stream.kind, stream.form, "REALTIME", now_ms)
        return () if made is None else (made,)
