"""Upbit's messages as bytes: orderbook, trade and ticker in all four formats.

Used by ``session`` for snapshots and by ``UpbitFeed`` for what follows. Order books are written by hand because they
are most of the traffic; the rest goes through ``msgspec``.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import SharedStream
from arbshard.exchanges.units import UNIT, plain

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

Value = str | int | float | None


def is_short(form: str) -> bool:
    """Whether ``form`` has the short keys."""
    return form.startswith("SIMPLE")


def in_list(form: str, payload: bytes) -> bytes:
    """``payload`` in an array, where ``form`` says so."""
    return b"[" + payload + b"]" if form.endswith("_LIST") else payload


def _book_parts(market: SimMarket, depth: int, unit: str) -> tuple[str, str, str]:
    """(total ask size, total bid size, units) as JSON text."""
    asks, bids = market.book.asks, market.book.bids
    levels = zip(asks.prices[:depth], bids.prices, asks.amounts, bids.amounts, strict=False)
    units = ",".join([unit % level for level in levels])
    return plain(sum(asks.sizes[:depth])), plain(sum(bids.sizes[:depth])), units


def orderbook(market: SimMarket, depth: int, form: str, stream_type: str, now_ms: int) -> bytes:
    """A whole order book message; ``stream_type`` is SNAPSHOT or REALTIME."""
    short = is_short(form)
    parts = _book_parts(market, depth, _UNIT_SIMPLE if short else _UNIT_DEFAULT)
    text = (_BOOK_SIMPLE if short else _BOOK_DEFAULT) % (market.symbol, now_ms, *parts, stream_type)
    return in_list(form, text.encode())


def rest_orderbook(market: SimMarket, depth: int, now_ms: int) -> str:
    """An element of the REST reply ``/v1/orderbook``."""
    return _BOOK_REST % (market.symbol, now_ms, *_book_parts(market, depth, _UNIT_DEFAULT))


def _change(market: SimMarket) -> dict[str, Value]:
    now, before = market.last_print.price, market.previous_close
    word = "RISE" if now > before else "FALL" if now < before else "EVEN"
    return {"prev_closing_price": before / UNIT, "change": word, "change_price": abs(now - before) / UNIT}


def trade(market: SimMarket, form: str, stream_type: str, now_ms: int) -> bytes:
    """The market's last trade."""
    last, book, at = market.last_print, market.book, datetime.fromtimestamp(now_ms / 1000, UTC)
    fields: dict[str, Value] = {
        "type": "trade",
        "code": market.symbol,
        "timestamp": now_ms,
        "trade_date": f"{at:%Y-%m-%d}",
        "trade_time": f"{at:%H:%M:%S}",
        "trade_timestamp": now_ms,
        "trade_price": last.price / UNIT,
        "trade_volume": last.size / UNIT,
        "ask_bid": "BID" if last.taker_buys else "ASK",
        **_change(market),
        "sequential_id": last.number,
        "best_ask_price": market.best_ask / UNIT,
        "best_ask_size": book.asks.sizes[0] / UNIT,
        "best_bid_price": market.best_bid / UNIT,
        "best_bid_size": book.bids.sizes[0] / UNIT,
        "stream_type": stream_type,
    }
    return _encode(fields, form, _SHORT)


def ticker_fields(market: SimMarket, now_ms: int) -> dict[str, Value]:
    """What WebSocket and REST tickers have in common, under the long names."""
    last, at = market.last_print, datetime.fromtimestamp(now_ms / 1000, UTC)
    change = _change(market)
    moved = (last.price - market.previous_close) / UNIT
    rate = moved / (market.previous_close / UNIT)
    return {
        "opening_price": market.open / UNIT,
        "high_price": market.high / UNIT,
        "low_price": market.low / UNIT,
        "trade_price": last.price / UNIT,
        **change,
        "signed_change_price": moved,
        "change_rate": abs(rate),
        "signed_change_rate": rate,
        "trade_volume": last.size / UNIT,
        "acc_trade_volume": market.volume / UNIT,
        "acc_trade_volume_24h": market.volume / UNIT,
        "acc_trade_price": market.turnover / UNIT,
        "acc_trade_price_24h": market.turnover / UNIT,
        "trade_date": f"{at:%Y%m%d}",
        "trade_time": f"{at:%H%M%S}",
        "trade_timestamp": now_ms,
        "highest_52_week_price": market.high / UNIT,
        "highest_52_week_date": f"{at:%Y-%m-%d}",
        "lowest_52_week_price": market.low / UNIT,
        "lowest_52_week_date": f"{at:%Y-%m-%d}",
        "timestamp": now_ms,
    }


def ticker(market: SimMarket, form: str, stream_type: str, now_ms: int) -> bytes:
    """The market's day so far."""
    fields: dict[str, Value] = {"type": "ticker", "code": market.symbol, **ticker_fields(market, now_ms)}
    fields |= {
        "ask_bid": "BID" if market.last_print.taker_buys else "ASK",
        "acc_ask_volume": market.volume // 2 / UNIT,
        "acc_bid_volume": (market.volume - market.volume // 2) / UNIT,
        "market_state": "ACTIVE",
        "delisting_date": None,
        "stream_type": stream_type,
    }
    return _encode(fields, form, _SHORT_TICKER)


def _encode(fields: dict[str, Value], form: str, short: dict[str, str]) -> bytes:
    if is_short(form):
        fields = {short[name]: value for name, value in fields.items()}
    return in_list(form, msgspec.json.encode(fields))


def snapshot(market: SimMarket, stream: SharedStream, now_ms: int) -> bytes | None:
    """What ``stream`` says at once when it is subscribed to; None for kinds without data (candles)."""
    if stream.kind == "orderbook":
        return orderbook(market, stream.depth, stream.form, "SNAPSHOT", now_ms)
    if stream.kind == "trade":
        return trade(market, stream.form, "SNAPSHOT", now_ms)
    if stream.kind == "ticker":
        return ticker(market, stream.form, "SNAPSHOT", now_ms)
    return None


class UpbitFeed:
    """Real-time messages of one market."""

    def __init__(self, market: SimMarket) -> None:
        self.market = market

    def on_step(self) -> None:
        """See ``Feed``."""

    def on_sent(self) -> None:
        """See ``Feed``."""

    def payloads(self, stream: SharedStream, now_ms: int) -> Sequence[bytes]:
        """See ``Feed``. Books with every step; trade and ticker when a trade was printed."""
        market = self.market
        if stream.kind == "orderbook":
            return (orderbook(market, stream.depth, stream.form, "REALTIME", now_ms),)
        if market.prints and stream.kind == "trade":
            return (trade(market, stream.form, "REALTIME", now_ms),)
        if market.prints and stream.kind == "ticker":
            return (ticker(market, stream.form, "REALTIME", now_ms),)
        return ()
