"""Answers Upbit's REST calls about trades and candles. It is pure; ``rest`` routes here.

The newest is first, and a time without a trade has no candle. Errors of quotation calls have an integer as their
name.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import Query
from arbshard.exchanges.trades import DAY_MS, TRADES_KEPT, Candle, Interval
from arbshard.exchanges.units import UNIT
from arbshard.exchanges.upbit import frames
from arbshard.exchanges.upbit.refusals import error_body

TRADES_MAX = 500
CANDLES_MAX = 200
_DAYS_AGO_MAX = 7
_CLOCK = re.compile(r"([0-9]{2}):?([0-9]{2}):?([0-9]{2})")

StatusAndBody = tuple[int, bytes]
Fields = dict[str, frames.Value]
AnswerQuery = Callable[[Query], StatusAndBody]


class QuotationError(Exception):
    """Is raised for a request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.reply: StatusAndBody = (status, error_body(status, message))


class Quotation:
    """Handles the calls about the trades of the markets."""

    def __init__(self, markets: Mapping[str, SimMarket]) -> None:
        self._markets = markets
        self.routes: dict[str, tuple[str, AnswerQuery]] = {
            "/v1/trades/ticks": ("trade", self._trades),
            "/v1/candles/seconds": ("candle", self._candles(Interval(1, "s"))),
            "/v1/candles/days": ("candle", self._candles(frames.DAY, _day_fields)),
            **{
                f"/v1/candles/minutes/{count}": (
                    "candle",
                    self._candles(_minutes(count), _unit_fields(count)),
                )
                for count in frames.MINUTES
            },
            "/v1/candles/weeks": ("candle", self._candles(Interval(1, "w"), _period_fields)),
            "/v1/candles/months": ("candle", self._candles(Interval(1, "M"), _period_fields)),
            "/v1/candles/years": ("candle", self._candles(Interval(1, "y"), _period_fields)),
        }
        """Group of the request limits and handler, by path."""

    def _market(self, query: Query) -> SimMarket:
        market = self._markets.get(query.get("market") or "")
        if market is None or market.state == "delisted":
            raise QuotationError(404, "Code not found")
        return market

    def _trades(self, query: Query) -> StatusAndBody:
        """Answer ``GET /v1/trades/ticks``: the trades of one day, up to a time or before one of them."""
        market, limit = self._market(query), _count(query, TRADES_MAX)
        days_ago = query.get("days_ago")
        if days_ago and not (
            days_ago.isascii() and days_ago.isdigit() and 1 <= int(days_ago) <= _DAYS_AGO_MAX
        ):
            raise QuotationError(400, f"days_ago must be between 1 and {_DAYS_AGO_MAX}")
        day_ms = frames.DAY.start(query.now_ms) - int(days_ago or 0) * DAY_MS
        until_ms = min(day_ms + DAY_MS, _clock_ms(query.get("to"), day_ms))
        history = market.history
        before = history.first_since(until_ms)
        cursor = query.get("cursor")
        if cursor:
            if not cursor.isascii() or not cursor.isdigit():
                raise QuotationError(400, "cursor is not valid")
            before = min(before, int(cursor))
        first = max(before - limit, history.first_since(day_ms))
        found = history.trades(first, min(before - first, TRADES_KEPT)) if before > first else []
        close = frames.previous_close(market, day_ms)
        rows = [
            {
                "market": market.symbol,
                "trade_date_utc": f"{datetime.fromtimestamp(one.at_ms / 1000, UTC):%Y-%m-%d}",
                "trade_time_utc": f"{datetime.fromtimestamp(one.at_ms / 1000, UTC):%H:%M:%S}",
                "timestamp": one.at_ms,
                "trade_price": one.price / UNIT,
                "trade_volume": one.size / UNIT,
                "prev_closing_price": close / UNIT,
                "change_price": (one.price - close) / UNIT,
                "ask_bid": "BID" if one.taker_buys else "ASK",
                "sequential_id": one.number,
            }
            for one in reversed(found)
        ]
        return 200, msgspec.json.encode(rows)

    def _candles(
        self,
        interval: Interval,
        more: "Callable[[Candle, int, Query], Fields] | None" = None,
    ) -> AnswerQuery:
        """Return the handler for candles of one length; ``more`` makes the fields that only these have."""

        def answer(query: Query) -> StatusAndBody:
            market, limit, to_ms = self._market(query), _count(query, CANDLES_MAX), _to_ms(query.get("to"))
            candles = market.history.candles(interval)
            end = len(candles)
            while to_ms is not None and end and candles[end - 1].start_ms >= to_ms:
                end -= 1
            rows: list[Fields] = []
            for index in range(end - 1, max(end - limit, 0) - 1, -1):
                one, close = candles[index], candles[index - 1].close if index else market.previous_close
                fields: Fields = {"market": market.symbol, **frames.candle_fields(one)}
                rows.append(fields | (more(one, close, query) if more is not None else {}))
            return 200, msgspec.json.encode(rows)

        return answer


def _minutes(count: int) -> Interval:
    return Interval(count // 60, "h") if count % 60 == 0 else Interval(count, "m")


def _unit_fields(count: int) -> Callable[[Candle, int, Query], Fields]:
    return lambda _one, _close, _query: {"unit": count}


def _day_fields(one: Candle, close: int, query: Query) -> Fields:
    moved = (one.close - close) / UNIT
    fields: Fields = {
        "prev_closing_price": close / UNIT,
        "change_price": moved,
        "change_rate": moved / (close / UNIT),
    }
    if query.get("converting_price_unit"):
        fields["converted_trade_price"] = one.close / UNIT  # every market here is in KRW already
    return fields


def _period_fields(one: Candle, _close: int, _query: Query) -> Fields:
    return {"first_day_of_period": f"{datetime.fromtimestamp(one.start_ms / 1000, UTC):%Y-%m-%d}"}


def _count(query: Query, largest: int) -> int:
    """Return how many are requested, cut to ``largest``."""
    text = query.get("count")
    if not text:
        return 1
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise QuotationError(400, "count is not valid")
    return min(int(text), largest)


def _to_ms(text: str | None) -> int | None:
    """Return an ISO 8601 time in wall ms; it is UTC unless it names a zone."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise QuotationError(400, "to is not valid") from None
    return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _clock_ms(text: str | None, day_ms: int) -> int:
    """Return the time of a day that ``HHmmss`` or ``HH:mm:ss`` names, in wall ms; the end of the day for no text."""
    if not text:
        return day_ms + DAY_MS
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise QuotationError(400, "to is not valid")
    hours, minutes, seconds = map(int, match.groups())
    return day_ms + ((hours * 60 + minutes) * 60 + seconds) * 1000
