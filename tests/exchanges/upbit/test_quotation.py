"""Trades and candles by REST: fields, order, ranges, gaps, and that they agree with each other and the ticker."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import SECOND_NS, Query, SharedStream
from arbshard.exchanges.trades import DAY_MS, MINUTE_MS
from arbshard.exchanges.units import UNIT
from arbshard.exchanges.upbit.frames import UpbitFeed
from arbshard.exchanges.upbit.rest import UpbitRest
from arbshard.exchanges.world import SimWorld

NOW_MS = 1_795_001_400_000
"""Eleven and a half hours after midnight UTC, on a Wednesday."""
STEP_MS = 500


class Asker:
    def __init__(self, world: SimWorld) -> None:
        self.rest = UpbitRest(world.upbit)
        self.second = 0

    def reply(self, path: str, **params: object) -> Any:
        self.second += 1
        sent = tuple((name, str(value)) for name, value in params.items())
        query = Query("GET", f"/v1/{path}", sent, "me", self.second * SECOND_NS, NOW_MS)
        return self.rest.answer(query)

    def get(self, path: str, **params: object) -> Any:
        answer = self.reply(path, market="KRW-BTC", **params)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)


@pytest.fixture
def market(world: SimWorld) -> SimMarket:
    """KRW-BTC with a trade of yesterday, and ten minutes of trades up to now with a pause of three minutes."""
    market = world.upbit["KRW-BTC"]
    market.open(NOW_MS - DAY_MS)
    price = market.best_bid / UNIT
    for step in range(1_200):
        at_ms = NOW_MS - 600_000 + step * STEP_MS
        if 4 * MINUTE_MS <= step * STEP_MS < 7 * MINUTE_MS:
            continue
        market.advance(price * (1 + 0.0001 * (step % 9)), STEP_MS / 1000)
        market.record(at_ms)
    return market


@pytest.fixture
def asker(world: SimWorld) -> Asker:
    return Asker(world)


TRADE = [
    "market", "trade_date_utc", "trade_time_utc", "timestamp", "trade_price", "trade_volume", "prev_closing_price",
    "change_price", "ask_bid", "sequential_id",
]  # fmt: skip
CANDLE = [
    "market", "candle_date_time_utc", "candle_date_time_kst", "opening_price", "high_price", "low_price",
    "trade_price", "timestamp", "candle_acc_trade_price", "candle_acc_trade_volume",
]  # fmt: skip


def test_trades_come_newest_first(asker: Asker, market: SimMarket) -> None:
    (last,) = asker.get("trades/ticks")
    kept = market.history.last
    assert kept is not None
    assert list(last) == TRADE
    assert (last["sequential_id"], last["timestamp"]) == (kept.number, kept.at_ms)
    assert last["trade_price"] == kept.price / UNIT
    assert last["ask_bid"] == ("BID" if kept.taker_buys else "ASK")
    (first, *_) = market.history.trades(0, 1)
    assert last["prev_closing_price"] == first.price / UNIT  # of yesterday
    assert last["change_price"] == pytest.approx((kept.price - first.price) / UNIT)
    some = asker.get("trades/ticks", count=500)
    numbers = [one["sequential_id"] for one in some]
    assert numbers == list(range(kept.number, kept.number - len(numbers), -1))
    assert first.number not in numbers


def test_pages_and_days_of_trades(asker: Asker, market: SimMarket) -> None:
    some = asker.get("trades/ticks", count=500)
    assert asker.get("trades/ticks", count=3, cursor=some[2]["sequential_id"]) == some[3:6]
    (yesterday,) = asker.get("trades/ticks", count=5, days_ago=1)
    assert yesterday["sequential_id"] == market.history.first_number
    assert asker.get("trades/ticks", count=5, days_ago=2) == []
    clock = datetime.fromtimestamp(some[10]["timestamp"] / 1000, UTC) + timedelta(seconds=1)
    for form in ("%H:%M:%S", "%H%M%S"):
        until = asker.get("trades/ticks", to=clock.strftime(form), count=500)
        assert until[0]["timestamp"] < int(clock.timestamp()) * 1000
        assert until[0]["sequential_id"] >= some[10]["sequential_id"]


def test_minutes_agree_with_trades_and_have_gaps(asker: Asker, market: SimMarket) -> None:
    candles = asker.get("candles/minutes/1", count=200)
    assert list(candles[0]) == [*CANDLE, "unit"]
    assert {one["unit"] for one in candles} == {1}
    starts = [one["candle_date_time_utc"][11:16] for one in candles]
    assert starts == ["11:29", "11:28", "11:27", "11:23", "11:22", "11:21", "11:20", "11:30"]
    assert candles[0]["candle_date_time_kst"][11:] == "20:29:00"
    trades = asker.get("trades/ticks", count=500)
    trades += asker.get("trades/ticks", count=500, cursor=trades[-1]["sequential_id"])
    for candle in candles[:-1]:
        within = [one for one in trades if one["trade_time_utc"][:5] == candle["candle_date_time_utc"][11:16]]
        prices = [one["trade_price"] for one in within]
        assert (candle["opening_price"], candle["trade_price"]) == (prices[-1], prices[0])
        assert (candle["high_price"], candle["low_price"]) == (max(prices), min(prices))
        assert candle["timestamp"] == within[0]["timestamp"]
        assert candle["candle_acc_trade_volume"] == pytest.approx(sum(one["trade_volume"] for one in within))
    assert market.history.next_number - market.history.first_number == len(trades) + 1


@pytest.mark.usefixtures("market")
def test_ranges_of_candles(asker: Asker) -> None:
    candles = asker.get("candles/minutes/1", count=200)
    assert asker.get("candles/minutes/1") == candles[:1]
    for to in ("2026-11-18T11:28:00Z", "2026-11-18 11:28:00", "2026-11-18T20:28:00+09:00"):
        assert asker.get("candles/minutes/1", count=2, to=to) == candles[2:4]
    assert len(asker.get("candles/seconds", count=999)) == 200


@pytest.mark.usefixtures("market")
@pytest.mark.parametrize(
    ("path", "more", "start", "count"),
    [
        ("seconds", [], None, 5),
        ("minutes/240", ["unit"], "2026-11-18T08:00:00", 2),
        ("minutes/60", ["unit"], "2026-11-18T11:00:00", 2),
        ("minutes/15", ["unit"], "2026-11-18T11:15:00", 2),
        ("days", ["prev_closing_price", "change_price", "change_rate"], "2026-11-18T00:00:00", 2),
        ("weeks", ["first_day_of_period"], "2026-11-16T00:00:00", 1),
        ("months", ["first_day_of_period"], "2026-11-01T00:00:00", 1),
        ("years", ["first_day_of_period"], "2026-01-01T00:00:00", 1),
    ],
)
def test_every_length(asker: Asker, path: str, more: list[str], start: str | None, count: int) -> None:
    candles = asker.get(f"candles/{path}", count=5)
    assert list(candles[0]) == [*CANDLE, *more]
    assert start is None or candles[0]["candle_date_time_utc"] == start
    assert len(candles) == count
    if "first_day_of_period" in candles[0]:
        assert start is not None
        assert candles[0]["first_day_of_period"] == start[:10]


@pytest.mark.usefixtures("market")
def test_days_follow_each_other_and_agree_with_the_ticker(asker: Asker) -> None:
    today, yesterday = asker.get("candles/days", count=2, converting_price_unit="KRW")
    assert today["prev_closing_price"] == yesterday["trade_price"]
    assert today["change_price"] == pytest.approx(today["trade_price"] - yesterday["trade_price"])
    assert today["converted_trade_price"] == today["trade_price"]
    (ticker,) = asker.get("ticker")
    for name, of_candle in (
        ("opening_price", "opening_price"),
        ("high_price", "high_price"),
        ("low_price", "low_price"),
        ("trade_price", "trade_price"),
        ("acc_trade_volume", "candle_acc_trade_volume"),
        ("acc_trade_price", "candle_acc_trade_price"),
        ("prev_closing_price", "prev_closing_price"),
        ("signed_change_rate", "change_rate"),
    ):
        assert ticker[name] == today[of_candle], name
    assert ticker["acc_trade_volume_24h"] == ticker["acc_trade_volume"]  # yesterday's trade is 24 hours old
    assert ticker["highest_52_week_price"] == max(today["high_price"], yesterday["high_price"])


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("candles/days", {}, 404),
        ("candles/days", {"market": "KRW-NONE"}, 404),
        ("candles/days", {"market": "KRW-BTC", "count": "0"}, 400),
        ("candles/days", {"market": "KRW-BTC", "count": "many"}, 400),
        ("candles/days", {"market": "KRW-BTC", "to": "yesterday"}, 400),
        ("trades/ticks", {}, 404),
        ("trades/ticks", {"market": "KRW-BTC", "days_ago": "8"}, 400),
        ("trades/ticks", {"market": "KRW-BTC", "to": "noon"}, 400),
        ("trades/ticks", {"market": "KRW-BTC", "cursor": "x"}, 400),
    ],
)
def test_errors_have_a_number_as_their_name(
    asker: Asker, path: str, params: dict[str, str], status: int
) -> None:
    answer = asker.reply(path, **params)
    assert answer.status == status
    assert json.loads(answer.body)["error"]["name"] == status


def test_a_length_that_does_not_exist(asker: Asker) -> None:
    assert asker.reply("candles/minutes/7", market="KRW-BTC").status == 404


@pytest.mark.parametrize(("path", "group"), [("candles/days", "candle"), ("trades/ticks", "trade")])
def test_groups_of_the_limits(asker: Asker, path: str, group: str) -> None:
    answer = asker.reply(path, market="KRW-BTC")
    assert answer.headers["Remaining-Req"] == f"group={group}; min=600; sec=9"


def test_candles_are_streamed_once_a_second_when_something_was_traded(world: SimWorld) -> None:
    market, told = world.upbit["KRW-BTC"], []
    market.open(NOW_MS)
    feed = UpbitFeed(market)
    stream = SharedStream("KRW-BTC", "candle.1m", 0, slow=False, form="DEFAULT", name="KRW-BTC")
    price, traded = market.best_bid / UNIT, set()
    for step in range(300):
        now_ms = NOW_MS + step * 100
        market.advance(price, 0.1)
        market.record(now_ms)
        if market.prints:
            traded.add(now_ms // 1000)
        feed.on_step()
        told += [(now_ms, json.loads(one)) for one in feed.payloads(stream, now_ms)]
        feed.on_sent()
    seconds = [now_ms // 1000 for now_ms, _ in told]
    assert len(set(seconds)) == len(seconds)  # never twice in a second
    assert 0.5 * len(traded) < len(told) <= len(traded) + 1
    assert told[-1][1]["type"] == "candle.1m"
    assert told[-1][1]["stream_type"] == "REALTIME"
