"""Streams and figures of trades: klines, tickers and the average price say the same as the trades they come from."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from arbshard.exchanges.binance import statistics
from arbshard.exchanges.binance.frames import BinanceFeed
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import SharedStream
from arbshard.exchanges.trades import DAY_MS, HOUR_MS, MINUTE_MS
from arbshard.exchanges.units import fixed8

START_MS = 1_795_000_020_000
"""Forty seconds before a minute begins."""
STEP_MS = 100


def stream(kind: str, form: str = "raw") -> SharedStream:
    return SharedStream("ABCUSDT", kind, 0, slow=True, form=form, name="abcusdt@" + kind)


class Told:
    """A market that is stepped in time, and what its streams say."""

    def __init__(self, market: SimMarket, *kinds: str, form: str = "raw") -> None:
        self.market, self.now_ms = market, START_MS
        market.open(START_MS)
        self.feed = BinanceFeed(market, 10, [market])
        self.streams = [stream(kind, form) for kind in kinds]
        self.events: dict[str, list[Any]] = {kind: [] for kind in kinds}
        self.at: dict[str, list[int]] = {kind: [] for kind in kinds}

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 1000 / STEP_MS)):
            self.now_ms += STEP_MS
            self.market.advance(100.0 + 0.02 * (self.market.steps % 7), STEP_MS / 1000)
            self.market.record(self.now_ms)
            self.feed.on_step()
            for one in self.streams:
                payloads = self.feed.payloads(one, self.now_ms)
                self.events[one.kind] += map(json.loads, payloads)
                self.at[one.kind] += [self.now_ms] * len(payloads)
            self.feed.on_sent()


@pytest.fixture
def told(make_market: Callable[..., SimMarket]) -> Callable[..., Told]:
    return lambda *kinds, **form: Told(make_market(), *kinds, **form)


def test_klines_are_closed_once_and_hold_all_trades(told: Callable[..., Told]) -> None:
    run = told("kline_1s", "kline_1m")
    run.run(130)
    for kind, length_ms in (("kline_1s", 1_000), ("kline_1m", MINUTE_MS)):
        closed = [event["k"] for event in run.events[kind] if event["k"]["x"]]
        first_ms = closed[0]["t"]
        assert [one["t"] for one in closed] == [first_ms + n * length_ms for n in range(len(closed))]
        for one in closed:
            history = run.market.history
            within = [trade for trade in history.trades(0, 2_000) if one["t"] <= trade.at_ms <= one["T"]]
            assert one["T"] == one["t"] + length_ms - 1
            assert one["n"] == len(within)
            assert one["v"] == fixed8(sum(trade.size for trade in within))
            if within:
                assert (one["o"], one["c"]) == (fixed8(within[0].price), fixed8(within[-1].price))
                assert (one["f"], one["L"]) == (within[0].number, within[-1].number)
            else:
                assert (one["o"], one["f"], one["L"]) == (one["c"], -1, -1)


def test_klines_come_every_second_or_two(told: Callable[..., Told]) -> None:
    run = told("kline_1s", "kline_1m", "kline_1d@+08:00")
    run.run(30)
    current = {kind: sum(not event["k"]["x"] for event in events) for kind, events in run.events.items()}
    assert current == {"kline_1s": 30, "kline_1m": 15, "kline_1d@+08:00": 15}
    assert run.events["kline_1d@+08:00"][0]["k"]["t"] % DAY_MS == 16 * HOUR_MS
    assert run.events["kline_1m"][0]["k"]["i"] == "1m"


def test_after_a_halt_few_klines_are_closed_at_once(told: Callable[..., Told]) -> None:
    run = told("kline_1s", "kline_1m")
    run.run(2)
    run.now_ms += HOUR_MS
    run.run(1)
    closed = {kind: [one["k"] for one in events if one["k"]["x"]] for kind, events in run.events.items()}
    assert len(closed["kline_1s"]) == 61  # one before the halt
    assert [one["t"] for one in closed["kline_1m"]] == [
        START_MS // MINUTE_MS * MINUTE_MS + minute * MINUTE_MS for minute in range(60)
    ]


def test_fields_of_the_streams(told: Callable[..., Told]) -> None:
    run = told("ticker", "miniTicker", "ticker_1h", "avgPrice", "miniTicker@arr")
    run.run(20)
    assert {kind: list(events[-1]) for kind, events in run.events.items() if kind[-4:] != "@arr"} == {
        "ticker": ["e", "E", "s", *"pPwxcQbBaAohlvqOCFLn"],
        "miniTicker": ["e", "E", "s", *"cohlvq"],
        "ticker_1h": ["e", "E", "s", *"pPwohlcvqOCFLn"],
        "avgPrice": ["e", "E", "s", "i", "w", "T"],
    }
    assert [events[-1]["e"] for kind, events in run.events.items() if kind[-4:] != "@arr"] == [
        "24hrTicker",
        "24hrMiniTicker",
        "1hTicker",
        "avgPrice",
    ]
    assert [len(events) for kind, events in run.events.items() if kind[-4:] != "@arr"] == [20] * 4
    changed = run.events["miniTicker@arr"]
    assert 1 < len(changed) < 20  # only the seconds in which something was traded
    assert changed[-1][0]["e"] == "24hrMiniTicker"


def test_the_ticker_is_the_fold_of_the_klines(told: Callable[..., Told]) -> None:
    run = told("ticker")
    run.run(200)
    event, history = run.events["ticker"][-1], run.market.history
    trades = history.trades(0, 2_000)
    assert (event["n"], event["F"], event["L"]) == (len(trades), trades[0].number, trades[-1].number)
    rows = [
        statistics.kline_row(one, 0)
        for one in statistics.klines(run.market, statistics.INTERVALS["1m"], run.now_ms, 0)
    ]
    assert (event["o"], event["c"]) == (rows[0][1], rows[-1][4])
    assert event["h"] == max((str(row[2]) for row in rows), key=float)
    assert event["l"] == min((str(row[3]) for row in rows), key=float)
    assert float(event["v"]) == pytest.approx(sum(float(str(row[5])) for row in rows))
    assert float(event["q"]) == pytest.approx(sum(float(str(row[7])) for row in rows))
    assert float(event["p"]) == pytest.approx(float(event["c"]) - float(event["o"]))
    assert float(event["w"]) == pytest.approx(float(event["q"]) / float(event["v"]), abs=1e-7)
    assert (event["b"], event["a"]) == (run.market.book.bids.prices[0], run.market.book.asks.prices[0])


def test_the_average_price_is_that_of_five_minutes(told: Callable[..., Told]) -> None:
    run = told()
    run.run(400)
    recent = [one for one in run.market.history.trades(0, 2_000) if one.at_ms >= run.now_ms - 5 * MINUTE_MS]
    assert run.market.history.trades(0, 1)[0] not in recent
    expected = sum(one.price * one.size for one in recent) // sum(one.size for one in recent)
    assert statistics.average(run.market, run.now_ms) == expected
    last = run.market.last_print.price
    assert statistics.average(run.market, run.now_ms + HOUR_MS) == last


def test_a_market_without_a_history_has_flat_figures(make_market: Callable[..., SimMarket]) -> None:
    market = make_market()
    ticker = statistics.day_full(market, START_MS)
    assert (ticker["volume"], ticker["count"], ticker["firstId"]) == ("0.00000000", 0, -1)
    assert ticker["openPrice"] == ticker["lastPrice"] == fixed8(market.last_print.price)
    assert statistics.klines(market, statistics.INTERVALS["1m"], START_MS, 0) == []


def test_streams_in_microseconds(told: Callable[..., Told]) -> None:
    run = told("kline_1s", "ticker", "avgPrice", form="combined-us")
    run.run(3)
    kline = run.events["kline_1s"][-1]["data"]
    assert kline["E"] == run.now_ms * 1000
    assert (kline["k"]["t"], kline["k"]["T"]) == (kline["k"]["t"] // 10**6 * 10**6, kline["k"]["t"] + 999_000)
    ticker = run.events["ticker"][-1]["data"]
    assert (ticker["C"], ticker["O"]) == (run.now_ms * 1000, (run.now_ms - DAY_MS) * 1000)
    assert ticker["L"] == run.market.last_print.number
    assert len(str(run.events["avgPrice"][-1]["data"]["T"])) == 16


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("0", 0.0), ("8", 8.0), ("+08:00", 8.0), ("-1:00", -1.0), ("05:45", 5.75), ("14:00", 14.0), ("-12", -12.0),
    ],
)  # fmt: skip
def test_time_zones(text: str, hours: float) -> None:
    assert statistics.zone_ms(text) == hours * HOUR_MS


@pytest.mark.parametrize("text", ["", "14:01", "-13", "5:60", "Seoul", "1:2"])
def test_what_is_not_a_time_zone(text: str) -> None:
    assert statistics.zone_ms(text) is None
