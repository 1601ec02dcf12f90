"""Answers the simulated Binance's public calls about trades: lists of trades, klines, tickers, the average price.

It is pure. REST and the WebSocket API both ask here, through ``operations``. The figures come from ``statistics``.
"""

import re
from collections.abc import Callable

import msgspec

from arbshard.exchanges.binance import statistics
from arbshard.exchanges.binance.marketdata import MarketData
from arbshard.exchanges.binance.params import BinanceParams
from arbshard.exchanges.binance.refusals import BinanceRefusal, Json, illegal, missing_both, not_valid
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.trades import DAY_MS, HOUR_MS, MINUTE_MS, TRADES_KEPT, Interval, PublicTrade
from arbshard.exchanges.units import fixed8

LIMIT = 500
LIMIT_MAX = 1000
SYMBOLS_MAX = 100
_WINDOW_FORM = r"^([1-9]|[1-5][0-9])m|([1-9]|1[0-9]|2[0-3])h|[1-7]d$"
_WINDOW = re.compile(r"(?P<count>[1-9][0-9]?)(?P<unit>[mhd])")
_WINDOW_UNITS = {"m": (MINUTE_MS, 59), "h": (HOUR_MS, 23), "d": (DAY_MS, 7)}

FiguresOf = Callable[[SimMarket], Json]


class TradeData:
    """Handles the calls about trades and figures made of them. Answers are finished JSON."""

    def __init__(self, data: MarketData) -> None:
        self._data = data

    def recent_trades(self, params: BinanceParams, now_ms: int) -> bytes:  # noqa: ARG002 - the shape of calls
        """Return the last trades of a symbol, oldest first."""
        market, limit = self._data.listed_market(params.symbol()), _limit(params)
        params.finish()
        return _listed(_newest(market, limit), _trade)

    def historical_trades(self, params: BinanceParams, now_ms: int) -> bytes:  # noqa: ARG002 - the shape of calls
        """Return trades of a symbol from an id on, or the last ones."""
        market, limit = self._data.listed_market(params.symbol()), _limit(params)
        from_id = params.integer("fromId")
        params.finish()
        found = _newest(market, limit) if from_id is None else market.history.trades(from_id, limit)
        return _listed(found, _trade)

    def aggregate_trades(self, params: BinanceParams, now_ms: int) -> bytes:  # noqa: ARG002 - the shape of calls
        """Return aggregate trades from an id or a time on, or the last ones. Each of them is a single trade here."""
        market, limit = self._data.listed_market(params.symbol()), _limit(params)
        from_id, (start_ms, end_ms) = params.integer("fromId"), _span(params)
        params.finish()
        if from_id is None and start_ms is None and end_ms is None:
            return _listed(_newest(market, limit), _aggregate)
        history = market.history
        first = max(from_id or 0, 0 if start_ms is None else history.first_since(start_ms))
        found = history.trades(first, TRADES_KEPT)
        if end_ms is not None:
            found = [trade for trade in found if trade.at_ms <= end_ms]
        from_the_end = from_id is None and start_ms is None
        return _listed(found[-limit:] if from_the_end else found[:limit], _aggregate)

    def klines(self, params: BinanceParams, now_ms: int) -> bytes:
        """Return klines of a symbol, oldest first: the first ones from a start on, or the last ones."""
        market, limit = self._data.listed_market(params.symbol()), _limit(params)
        refusal = BinanceRefusal(-1120, "Invalid interval.")
        name = params.one_of("interval", statistics.INTERVALS, refusal)
        if name is None:
            params.need("interval")
        interval, offset_ms = statistics.INTERVALS[name or ""], _zone(params)
        start_ms, end_ms = _span(params)
        params.finish()
        rows: list[Json] = [
            statistics.kline_row(one, interval.after(one.start_ms, offset_ms))
            for one in statistics.klines(market, interval, now_ms, offset_ms)
            if (start_ms is None or one.start_ms >= start_ms) and (end_ms is None or one.start_ms <= end_ms)
        ]
        return msgspec.json.encode(rows[-limit:] if start_ms is None else rows[:limit])

    def average_price(self, params: BinanceParams, now_ms: int) -> bytes:
        """Return the average price of a symbol."""
        market = self._data.listed_market(params.symbol())
        params.finish()
        return msgspec.json.encode(
            {
                "mins": statistics.AVERAGE_MINUTES,
                "price": fixed8(statistics.average(market, now_ms)),
                "closeTime": statistics.last_trade(market, now_ms).at_ms,
            }
        )

    def day_ticker(self, params: BinanceParams, now_ms: int) -> bytes:
        """Return the figures of the last 24 hours of one symbol, of some, or of all."""
        is_full = _is_full(params)

        def figures(market: SimMarket) -> Json:
            if is_full:
                return statistics.day_full(market, now_ms)
            window = statistics.day_window(market, now_ms)
            return statistics.mini(market, window, now_ms - DAY_MS, now_ms)

        return self._answer(params, figures)

    def price_ticker(self, params: BinanceParams, now_ms: int) -> bytes:
        """Return the last price of one symbol, of some, or of all."""
        return self._answer(
            params,
            lambda market: {
                "symbol": market.symbol,
                "price": fixed8(statistics.last_trade(market, now_ms).price),
            },
        )

    def book_ticker(self, params: BinanceParams, now_ms: int) -> bytes:  # noqa: ARG002 - the shape of calls
        """Return the best quotes of one symbol, of some, or of all."""
        return self._answer(params, _best_quotes)

    def rolling_ticker(self, params: BinanceParams, now_ms: int) -> bytes:
        """Return the figures of a window of some symbols. It begins with a minute, so that it may be longer."""
        is_full, length_ms = _is_full(params), _window_ms(params)
        open_ms = statistics.rolling_start(length_ms, now_ms)
        return self._answer(params, _of_window(open_ms, now_ms, is_full=is_full), needs_symbols=True)

    def day_of_trading_ticker(self, params: BinanceParams, now_ms: int) -> bytes:
        """Return the figures since midnight of a time zone of some symbols."""
        is_full, offset_ms = _is_full(params), _zone(params)
        open_ms = Interval(1, "d").start(now_ms, offset_ms)
        figures = _of_window(open_ms, now_ms, close_ms=open_ms + DAY_MS - 1, is_full=is_full)
        return self._answer(params, figures, needs_symbols=True)

    def _answer(self, params: BinanceParams, figures: FiguresOf, *, needs_symbols: bool = False) -> bytes:
        """Return one object when a single symbol was requested, otherwise an array."""
        if needs_symbols and not params.peek("symbol") and not params.peek("symbols"):
            raise missing_both("symbol", "symbols")
        is_single = params.peek("symbol") is not None
        symbols = self._data.asked_symbols(params)
        if needs_symbols and len(symbols) > SYMBOLS_MAX:
            raise not_valid("symbols")
        symbols = self._data.of_status(params, symbols, is_single=is_single)
        params.finish()
        found = [figures(self._data.listed_market(symbol)) for symbol in symbols]
        return msgspec.json.encode(found[0] if is_single else found)


def weight_by_symbols(one: int, some: int) -> Callable[[BinanceParams], int]:
    """Return what a ticker weighs: ``one`` for a single symbol, ``some`` for more or all."""
    return lambda params: one if params.peek("symbol") is not None else some


def day_ticker_weight(params: BinanceParams) -> int:
    """Return what a call of ``day_ticker`` weighs."""
    if params.peek("symbol") is not None:
        return 2
    count = _symbols_in(params)
    return 80 if not count or count > SYMBOLS_MAX else 40 if count > 20 else 2


def rolling_ticker_weight(params: BinanceParams) -> int:
    """Return what a call of ``rolling_ticker`` or ``day_of_trading_ticker`` weighs."""
    return min(4 * max(1, _symbols_in(params)), 200)


def _symbols_in(params: BinanceParams) -> int:
    """Return how many symbols a list has, before it is read."""
    listed = params.peek("symbols")
    return listed.count(",") + 1 if listed else 0


def _limit(params: BinanceParams) -> int:
    limit = params.integer("limit")
    if limit == 0:
        raise not_valid("limit")
    return min(limit or LIMIT, LIMIT_MAX)


def _span(params: BinanceParams) -> tuple[int | None, int | None]:
    """Return start and end as milliseconds; both may be sent in microseconds."""
    start, end = params.integer("startTime"), params.integer("endTime")
    if start is not None and end is not None and end < start:
        raise BinanceRefusal(-1128, "Combination of optional parameters invalid.")
    return _in_ms(start), _in_ms(end)


def _in_ms(time: int | None) -> int | None:
    return time // 1000 if time is not None and time >= 10**15 else time


def _zone(params: BinanceParams) -> int:
    text = params.text("timeZone")
    offset_ms = 0 if text is None else statistics.zone_ms(text)
    if offset_ms is None:
        raise not_valid("timeZone")
    return offset_ms


def _is_full(params: BinanceParams) -> bool:
    return params.one_of("type", ("FULL", "MINI")) != "MINI"


def _window_ms(params: BinanceParams) -> int:
    text = params.text("windowSize")
    if text is None:
        return DAY_MS
    match = _WINDOW.fullmatch(text)
    if match is not None:
        length_ms, largest = _WINDOW_UNITS[match["unit"]]
        if int(match["count"]) <= largest:
            return int(match["count"]) * length_ms
    raise illegal("windowSize", _WINDOW_FORM)


def _of_window(open_ms: int, now_ms: int, *, is_full: bool, close_ms: int | None = None) -> FiguresOf:
    figures = statistics.full if is_full else statistics.mini
    return lambda market: figures(
        market, statistics.window(market, open_ms, now_ms), open_ms, now_ms if close_ms is None else close_ms
    )


def _newest(market: SimMarket, limit: int) -> list[PublicTrade]:
    return market.history.trades(market.history.next_number - limit, limit)


def _listed(trades: list[PublicTrade], printed: Callable[[PublicTrade], dict[str, Json]]) -> bytes:
    return msgspec.json.encode([printed(trade) for trade in trades])


def _trade(trade: PublicTrade) -> dict[str, Json]:
    return {
        "id": trade.number,
        "price": fixed8(trade.price),
        "qty": fixed8(trade.size),
        "quoteQty": fixed8(trade.turnover),
        "time": trade.at_ms,
        "isBuyerMaker": not trade.taker_buys,
        "isBestMatch": True,
    }


def _aggregate(trade: PublicTrade) -> dict[str, Json]:
    return {
        "a": trade.number,
        "p": fixed8(trade.price),
        "q": fixed8(trade.size),
        "f": trade.number,
        "l": trade.number,
        "T": trade.at_ms,
        "m": not trade.taker_buys,
        "M": True,
    }


def _best_quotes(market: SimMarket) -> Json:
    book = market.book
    return {
        "symbol": market.symbol,
        "bidPrice": book.bids.prices[0],
        "bidQty": book.bids.amounts[0],
        "askPrice": book.asks.prices[0],
        "askQty": book.asks.amounts[0],
    }
