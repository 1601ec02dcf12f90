import json
from typing import Any

import pytest

from arbshard.exchanges.session import SECOND_NS, Query, RestReply
from arbshard.exchanges.upbit.rest import UpbitRest
from arbshard.exchanges.world import SimWorld

NOW_MS = 1_795_000_000_000


@pytest.fixture
def rest(world: SimWorld) -> UpbitRest:
    return UpbitRest(world.upbit)


def ask(rest: UpbitRest, path: str, second: int = 1, method: str = "GET", **params: str) -> RestReply:
    return rest.answer(Query(method, path, tuple(params.items()), "127.0.0.1", second * SECOND_NS, NOW_MS))


def ask_pairs(rest: UpbitRest, path: str, *pairs: tuple[str, str]) -> Any:
    return body(rest.answer(Query("GET", path, pairs, "127.0.0.1", SECOND_NS, NOW_MS)))


def body(answer: RestReply) -> Any:
    return json.loads(answer.body)


def test_market_all_says_simulated(rest: UpbitRest) -> None:
    markets = body(ask(rest, "/v1/market/all"))
    assert [market["market"] for market in markets] == ["KRW-USDT", "KRW-BTC", "KRW-ETH", "KRW-XRP"]
    assert markets[1] == {
        "market": "KRW-BTC",
        "korean_name": "비트코인 (모의)",
        "english_name": "Bitcoin (simulated)",
    }


@pytest.mark.parametrize("name", ["is_details", "isDetails"])
def test_market_all_with_details(rest: UpbitRest, name: str) -> None:
    with_details = body(ask(rest, "/v1/market/all", **{name: "true"}))
    assert with_details[0]["market_event"]["warning"] is False
    assert len(with_details[0]["market_event"]["caution"]) == 5
    assert "market_event" not in body(ask(rest, "/v1/market/all", **{name: "false"}))[0]


def test_orderbook_of_several_markets(rest: UpbitRest) -> None:
    books = body(ask(rest, "/v1/orderbook", markets="KRW-BTC,KRW-USDT", count="2"))
    assert [book["market"] for book in books] == ["KRW-BTC", "KRW-USDT"]
    assert [len(book["orderbook_units"]) for book in books] == [2, 2]
    assert "code" not in books[0]
    assert len(body(ask(rest, "/v1/orderbook", markets="KRW-BTC"))[0]["orderbook_units"]) == 30


def test_instruments_name_the_tick_of_the_current_price(rest: UpbitRest) -> None:
    instruments = body(ask(rest, "/v1/orderbook/instruments", markets="KRW-BTC,KRW-XRP,KRW-USDT"))
    assert [entry["tick_size"] for entry in instruments] == ["1000", "1", "1"]
    assert instruments[0]["supported_levels"] == ["0"]


@pytest.mark.parametrize("path", ["/v1/orderbook", "/v1/ticker", "/v1/orderbook/instruments"])
@pytest.mark.parametrize("name", ["markets", "markets[]"])
def test_repeated_parameters_are_all_read(rest: UpbitRest, path: str, name: str) -> None:
    found = ask_pairs(rest, path, (name, "KRW-BTC"), (name, "KRW-ETH,KRW-XRP"))
    assert [one["market"] for one in found] == ["KRW-BTC", "KRW-ETH", "KRW-XRP"]


def test_tickers_of_all_markets(rest: UpbitRest) -> None:
    tickers = body(ask(rest, "/v1/ticker/all", quote_currencies="KRW,BTC"))
    assert [one["market"] for one in tickers] == ["KRW-USDT", "KRW-BTC", "KRW-ETH", "KRW-XRP"]
    assert tickers[1] == body(ask(rest, "/v1/ticker", markets="KRW-BTC"))[0]
    assert body(ask(rest, "/v1/ticker/all", quote_currencies="USDT")) == []
    assert ask(rest, "/v1/ticker/all").status == 400


def test_supported_levels(rest: UpbitRest) -> None:
    levels = body(ask(rest, "/v1/orderbook/supported_levels", markets="KRW-BTC"))
    assert levels == [{"market": "KRW-BTC", "supported_levels": [0]}]


def test_the_ticker_has_the_time_of_seoul(rest: UpbitRest, world: SimWorld) -> None:
    world.upbit["KRW-ETH"].open(NOW_MS - 1000)
    (ticker,) = body(ask(rest, "/v1/ticker", markets="KRW-ETH"))
    assert (ticker["trade_date"], ticker["trade_time"]) == ("20261118", "110639")
    assert (ticker["trade_date_kst"], ticker["trade_time_kst"]) == ("20261118", "200639")
    assert ticker["trade_timestamp"] == NOW_MS - 1000


def test_ticker(rest: UpbitRest, world: SimWorld) -> None:
    (ticker,) = body(ask(rest, "/v1/ticker", markets="KRW-ETH"))
    assert ticker["market"] == "KRW-ETH"
    assert ticker["trade_price"] == world.upbit["KRW-ETH"].last_print.price / 1e8
    assert ticker["change"] in ("RISE", "FALL", "EVEN")
    assert ticker["timestamp"] == NOW_MS


@pytest.mark.parametrize("path", ["/v1/orderbook", "/v1/orderbook/instruments", "/v1/ticker"])
@pytest.mark.parametrize("markets", ["KRW-NONE", "KRW-BTC,KRW-NONE", ""])
def test_unknown_market_is_404_with_an_integer_name(rest: UpbitRest, path: str, markets: str) -> None:
    answer = ask(rest, path, markets=markets)
    assert answer.status == 404
    assert body(answer) == {"error": {"name": 404, "message": "Code not found"}}
    assert "Remaining-Req" in answer.headers


def test_unknown_path_and_method(rest: UpbitRest) -> None:
    lost = ask(rest, "/v1/nothing")
    assert lost.status == 404
    assert lost.headers["Remaining-Req"].startswith("group=default")
    assert ask(rest, "/v1/market/all/").status == 404
    assert ask(rest, "/v1/market/all", method="POST").status == 405


def test_remaining_req_counts_down_and_the_eleventh_is_refused(rest: UpbitRest) -> None:
    answers = [ask(rest, "/v1/ticker", markets="KRW-BTC") for _ in range(11)]
    assert answers[0].headers["Remaining-Req"] == "group=ticker; min=600; sec=9"
    assert answers[9].headers["Remaining-Req"] == "group=ticker; min=600; sec=0"
    assert [answer.status for answer in answers] == [200] * 10 + [429]
    assert body(answers[10])["error"]["name"] == "too_many_requests"
    assert ask(rest, "/v1/market/all").status == 200  # another group
    assert ask(rest, "/v1/ticker", second=2, markets="KRW-BTC").status == 200
