"""Calls about trades, by REST and by the WebSocket API: fields, ranges, weights and refusals."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import Query
from arbshard.exchanges.trades import DAY_MS, HOUR_MS, MINUTE_MS
from arbshard.exchanges.units import UNIT, fixed8

STEP_MS = 250


@pytest.fixture
def market(venue: Any) -> SimMarket:
    """BTCUSDT with ten minutes of trades up to now."""
    for market in venue.world.binance.values():
        market.open(venue.now_ms - 600_000)
    traded: SimMarket = venue.world.binance["BTCUSDT"]
    price = traded.best_bid / UNIT
    for step in range(1, 2_400):
        traded.advance(price * (1 + 0.0001 * (step % 9)), STEP_MS / 1000)
        traded.record(venue.now_ms - 600_000 + step * STEP_MS)
    return traded


def test_lists_of_trades(venue: Any, market: SimMarket) -> None:
    history = market.history
    recent = venue.get("trades", symbol="BTCUSDT", limit="3").body
    assert [one["id"] for one in recent] == [history.next_number - n for n in (3, 2, 1)]
    (last,) = history.trades(history.next_number - 1, 1)
    assert recent[-1] == {
        "id": last.number,
        "price": fixed8(last.price),
        "qty": fixed8(last.size),
        "quoteQty": fixed8(last.turnover),
        "time": last.at_ms,
        "isBuyerMaker": not last.taker_buys,
        "isBestMatch": True,
    }
    assert venue.get("historicalTrades", symbol="BTCUSDT", limit="3").body == recent
    first = history.first_number
    assert [
        one["id"]
        for one in venue.get("historicalTrades", symbol="BTCUSDT", fromId=str(first), limit="2").body
    ] == [first, first + 1]
    assert len(venue.get("trades", symbol="BTCUSDT", limit="5000").body) == min(
        1000, history.next_number - first
    )


def test_aggregate_trades_and_their_ranges(venue: Any, market: SimMarket) -> None:
    everything = venue.get("aggTrades", symbol="BTCUSDT", limit="1000").body
    assert list(everything[0]) == ["a", "p", "q", "f", "l", "T", "m", "M"]
    assert [one["a"] for one in everything] == [one.number for one in market.history.trades(0, 2_000)[-1000:]]

    def ids(**params: int) -> list[int]:
        sent = {name: str(value) for name, value in params.items()}
        return [one["a"] for one in venue.get("aggTrades", symbol="BTCUSDT", **sent).body]

    some = everything[10:20]
    start, end = some[0]["T"], some[-1]["T"]
    assert ids(startTime=start, endTime=end) == [one["a"] for one in some]
    assert ids(startTime=start * 1000, endTime=end * 1000) == [one["a"] for one in some]
    assert ids(startTime=start, limit=4) == [one["a"] for one in some[:4]]
    assert ids(endTime=end, limit=4) == [one["a"] for one in some[-4:]]
    assert ids(fromId=some[0]["a"], limit=10) == [one["a"] for one in some]


def test_klines_have_no_gaps_and_end_now(venue: Any, market: SimMarket) -> None:
    rows = venue.get("klines", symbol="BTCUSDT", interval="1m").body
    assert [row[0] for row in rows] == [venue.now_ms - n * MINUTE_MS for n in range(10, -1, -1)]
    assert all(len(row) == 12 for row in rows)
    assert all(row[6] == row[0] + MINUTE_MS - 1 for row in rows)
    assert rows[-1][1:6] == [rows[-2][4]] * 4 + ["0.00000000"]  # nothing was traded in it yet
    trades = market.history.trades(0, 2_000)
    assert sum(row[8] for row in rows) == len(trades)
    (five,) = venue.get("klines", symbol="BTCUSDT", interval="5m", limit="2").body[:1]
    parts = [row for row in rows if five[0] <= row[0] < five[0] + 5 * MINUTE_MS]
    assert (five[1], five[4]) == (parts[0][1], parts[-1][4])
    assert five[2] == max((row[2] for row in parts), key=float)
    assert float(five[5]) == pytest.approx(sum(float(row[5]) for row in parts))
    assert venue.get("uiKlines", symbol="BTCUSDT", interval="1m").body == rows
    seconds = venue.get("klines", symbol="BTCUSDT", interval="1s", limit="1000").body
    assert [row[0] for row in seconds] == list(range(seconds[0][0], venue.now_ms + 1, 1000))


def test_ranges_and_time_zones_of_klines(venue: Any, market: SimMarket) -> None:
    rows = venue.get("klines", symbol="BTCUSDT", interval="1m").body

    def starts(**params: object) -> list[int]:
        sent = {name: str(value) for name, value in params.items()}
        return [row[0] for row in venue.get("klines", symbol="BTCUSDT", interval="1m", **sent).body]

    all_starts = [row[0] for row in rows]
    assert starts(startTime=all_starts[3]) == all_starts[3:]
    assert starts(startTime=all_starts[3] + 1, limit=2) == all_starts[4:6]
    assert starts(endTime=all_starts[3], limit=2) == all_starts[2:4]
    assert starts(startTime=all_starts[2], endTime=all_starts[4]) == all_starts[2:5]
    assert starts(startTime=venue.now_ms + 1) == []
    (utc,) = venue.get("klines", symbol="BTCUSDT", interval="1d", limit="1").body
    (seoul,) = venue.get("klines", symbol="BTCUSDT", interval="1d", limit="1", timeZone="9").body
    assert (utc[0] % DAY_MS, seoul[0] % DAY_MS) == (0, 15 * HOUR_MS)
    assert utc[8] == seoul[8] == len(market.history.trades(0, 2_000))


def test_the_average_price(venue: Any, market: SimMarket) -> None:
    answer = venue.get("avgPrice", symbol="BTCUSDT").body
    recent = [one for one in market.history.trades(0, 2_000) if one.at_ms >= venue.now_ms - 5 * MINUTE_MS]
    price = sum(one.price * one.size for one in recent) // sum(one.size for one in recent)
    assert answer == {"mins": 5, "price": fixed8(price), "closeTime": recent[-1].at_ms}


FULL = [
    "symbol", "priceChange", "priceChangePercent", "weightedAvgPrice", "openPrice", "highPrice", "lowPrice",
    "lastPrice", "volume", "quoteVolume", "openTime", "closeTime", "firstId", "lastId", "count",
]  # fmt: skip
OF_DAY = [
    *FULL[:4], "prevClosePrice", "lastPrice", "lastQty", "bidPrice", "bidQty", "askPrice", "askQty", "openPrice",
    "highPrice", "lowPrice", "volume", "quoteVolume", "openTime", "closeTime", "firstId", "lastId", "count",
]  # fmt: skip
MINI = ["symbol", *FULL[4:]]


@pytest.mark.usefixtures("market")
@pytest.mark.parametrize(
    ("call", "params", "fields"),
    [
        ("ticker/24hr", {}, OF_DAY),
        ("ticker/24hr", {"type": "MINI"}, MINI),
        ("ticker/tradingDay", {}, FULL),
        ("ticker/tradingDay", {"type": "MINI", "timeZone": "9"}, MINI),
        ("ticker", {"windowSize": "4h"}, FULL),
        ("ticker", {"type": "MINI"}, MINI),
        ("ticker/price", {}, ["symbol", "price"]),
        ("ticker/bookTicker", {}, ["symbol", "bidPrice", "bidQty", "askPrice", "askQty"]),
    ],
)
def test_fields_of_tickers(venue: Any, call: str, params: dict[str, str], fields: list[str]) -> None:
    one = venue.get(call, symbol="BTCUSDT", **params).body
    assert list(one) == fields
    some = venue.get(call, symbols='["ETHUSDT","BTCUSDT"]', **params).body
    assert [ticker["symbol"] for ticker in some] == ["ETHUSDT", "BTCUSDT"]
    assert some[1] == one
    halted = venue.get(call, symbols='["BTCUSDT"]', symbolStatus="HALT", **params)
    assert halted.body == []
    assert venue.get(call, symbol="BTCUSDT", symbolStatus="HALT", **params).code == -1220


@pytest.mark.usefixtures("market")
def test_tickers_of_all_symbols(venue: Any) -> None:
    for call in ("ticker/24hr", "ticker/price", "ticker/bookTicker"):
        assert [one["symbol"] for one in venue.get(call).body] == ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
    for call in ("ticker", "ticker/tradingDay"):
        assert venue.get(call).code == -1102


def test_tickers_agree_with_klines_and_book(venue: Any, market: SimMarket) -> None:
    day = venue.get("ticker/24hr", symbol="BTCUSDT").body
    rows = venue.get("klines", symbol="BTCUSDT", interval="1m").body
    assert (day["openPrice"], day["lastPrice"]) == (rows[0][1], rows[-1][4])
    assert day["highPrice"] == max((row[2] for row in rows), key=float)
    assert day["lowPrice"] == min((row[3] for row in rows), key=float)
    assert day["count"] == sum(row[8] for row in rows) == day["lastId"] - day["firstId"] + 1
    assert (day["bidPrice"], day["askPrice"]) == (market.book.bids.prices[0], market.book.asks.prices[0])
    assert day["closeTime"] - day["openTime"] == DAY_MS
    window = venue.get("ticker", symbol="BTCUSDT", windowSize="3m").body
    assert window["openTime"] == venue.now_ms - 3 * MINUTE_MS
    assert float(window["volume"]) == pytest.approx(sum(float(row[5]) for row in rows[-4:]))
    today = venue.get("ticker/tradingDay", symbol="BTCUSDT").body
    assert today["openTime"] % DAY_MS == 0
    assert today["closeTime"] == today["openTime"] + DAY_MS - 1
    assert today["volume"] == day["volume"]


@pytest.mark.parametrize(
    ("call", "params", "code"),
    [
        ("klines", {"symbol": "BTCUSDT"}, -1102),
        ("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("klines", {"interval": "1m"}, -1102),
        ("klines", {"symbol": "NONEUSDT", "interval": "1m"}, -1121),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "timeZone": "15"}, -1130),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "2", "endTime": "1"}, -1128),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "colour": "red"}, -1104),
        ("trades", {"symbol": "BTCUSDT", "limit": "0"}, -1130),
        ("trades", {}, -1102),
        ("avgPrice", {"symbol": "btcusdt"}, -1100),
        ("ticker", {"symbol": "BTCUSDT", "windowSize": "60m"}, -1100),
        ("ticker", {"symbol": "BTCUSDT", "windowSize": "1d2h"}, -1100),
        ("ticker/24hr", {"symbol": "BTCUSDT", "type": "HUGE"}, -1100),
        ("ticker/price", {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, -1128),
        ("ticker/price", {"symbols": '["BTCUSDT","BTCUSDT"]'}, -1151),
        ("ticker/price", {"symbolStatus": "NOPE"}, -1122),
    ],
)
def test_refusals(venue: Any, call: str, params: dict[str, str], code: int) -> None:
    answer = venue.get(call, **params)
    assert (answer.status, answer.code) == (400, code)


ALL = '["BTCUSDT","ETHUSDT","XRPUSDT"]'


@pytest.mark.parametrize(
    ("call", "params", "weight"),
    [
        ("klines", {"symbol": "BTCUSDT", "interval": "1m"}, 2),
        ("trades", {"symbol": "BTCUSDT"}, 25),
        ("historicalTrades", {"symbol": "BTCUSDT"}, 25),
        ("aggTrades", {"symbol": "BTCUSDT"}, 4),
        ("avgPrice", {"symbol": "BTCUSDT"}, 2),
        ("ticker/24hr", {"symbol": "BTCUSDT"}, 2),
        ("ticker/24hr", {"symbols": ALL}, 2),
        ("ticker/24hr", {}, 80),
        ("ticker/price", {"symbol": "BTCUSDT"}, 2),
        ("ticker/price", {}, 4),
        ("ticker/bookTicker", {"symbols": ALL}, 4),
        ("ticker", {"symbols": ALL}, 12),
        ("ticker/tradingDay", {"symbol": "BTCUSDT"}, 4),
    ],
)
def test_weights(venue: Any, call: str, params: dict[str, str], weight: int) -> None:
    assert venue.get(call, **params).headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


@pytest.mark.usefixtures("market")
@pytest.mark.parametrize(
    ("method", "call", "params"),
    [
        ("trades.recent", "trades", {"symbol": "BTCUSDT", "limit": 5}),
        ("trades.historical", "historicalTrades", {"symbol": "BTCUSDT", "limit": 5}),
        ("trades.aggregate", "aggTrades", {"symbol": "BTCUSDT", "limit": 5}),
        ("klines", "klines", {"symbol": "BTCUSDT", "interval": "1m"}),
        ("uiKlines", "uiKlines", {"symbol": "BTCUSDT", "interval": "1m"}),
        ("avgPrice", "avgPrice", {"symbol": "BTCUSDT"}),
        ("ticker.24hr", "ticker/24hr", {"symbols": ["BTCUSDT", "ETHUSDT"]}),
        ("ticker.tradingDay", "ticker/tradingDay", {"symbol": "BTCUSDT"}),
        ("ticker", "ticker", {"symbol": "BTCUSDT", "windowSize": "1h"}),
        ("ticker.price", "ticker/price", {"symbol": "BTCUSDT"}),
        ("ticker.book", "ticker/bookTicker", {}),
    ],
)
def test_the_websocket_api_answers_as_rest_does(
    venue: Any, client: Any, method: str, call: str, params: dict[str, object]
) -> None:
    sent = {
        name: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for name, value in params.items()
    }
    rest = venue.get(call, **sent)
    assert rest.status == 200
    reply = client.ask(method, params)
    assert (reply["status"], reply["result"]) == (200, rest.body)


@pytest.mark.usefixtures("market")
def test_times_in_microseconds(venue: Any, make_client: Callable[..., Any]) -> None:
    def get(call: str, query: str) -> Any:
        return json.loads(venue.rest.answer(_in_microseconds(venue, call, query)).body)

    assert get("time", "") == {"serverTime": venue.now_ms * 1000}
    (row,) = get("klines", "symbol=BTCUSDT&interval=1m&limit=1")
    assert (row[0], row[6]) == (venue.now_ms * 1000, (venue.now_ms + MINUTE_MS - 1) * 1000)
    (trade,) = get("trades", "symbol=BTCUSDT&limit=1")
    (plain,) = venue.get("trades", symbol="BTCUSDT", limit="1").body
    assert trade == plain | {"time": plain["time"] * 1000}
    client = make_client(in_microseconds=True)
    assert client.ask("time")["result"] == {"serverTime": venue.now_ms * 1000}
    client.signed("userDataStream.subscribe.signature")
    placed = venue.order(price=venue.far())
    client.deliver()
    report = next(one["event"] for one in client.events if one["event"]["e"] == "executionReport")
    assert report["T"] == placed.body["transactTime"] * 1000
    assert (report["i"], report["t"]) == (placed.body["orderId"], -1)
    position = next(one["event"] for one in client.events if one["event"]["e"] == "outboundAccountPosition")
    assert len(str(position["u"])) == 16


def _in_microseconds(venue: Any, call: str, raw_query: str) -> Query:
    headers = {"x-mbx-time-unit": "microsecond"}
    return Query("GET", f"/api/v3/{call}", (), "me", 0, venue.now_ms, raw_query, b"", headers)


def test_filters_and_prevented_matches_of_the_account(venue: Any, client: Any) -> None:
    filters = venue.call("GET", "myFilters", symbol="BTCUSDT").body
    assert list(filters) == ["exchangeFilters", "symbolFilters", "assetFilters"]
    assert {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200} in filters["symbolFilters"]
    assert client.signed("myFilters", symbol="BTCUSDT")["result"] == filters
    assert venue.call("GET", "myPreventedMatches", symbol="BTCUSDT", orderId="7").body == []
    assert client.signed("myPreventedMatches", symbol="BTCUSDT", preventedMatchId=1)["result"] == []
    assert venue.call("GET", "myPreventedMatches", symbol="BTCUSDT").code == -1102
    assert venue.get("myFilters", symbol="BTCUSDT").code == -1102


def test_what_the_key_may_do(make_venue: Callable[..., Any]) -> None:
    venue = make_venue()
    answer = venue.send("GET", "/sapi/v1/account/apiRestrictions", venue.signed({}))
    rights = answer.body
    assert rights["enableReading"] is rights["enableSpotAndMarginTrading"] is True
    assert rights["enableWithdrawals"] is False
    assert rights["ipRestrict"] is True
