import json
from typing import Any

import pytest

from arbshard.sim.binance.rest import BinanceRest
from arbshard.sim.session import SECOND_NS, Answer, Query
from arbshard.sim.world import World

NOW_MS = 1_795_000_000_000
SYMBOL_KEYS = [
    "symbol", "status", "baseAsset", "baseAssetPrecision", "quoteAsset", "quotePrecision", "quoteAssetPrecision",
    "baseCommissionPrecision", "quoteCommissionPrecision", "orderTypes", "icebergAllowed", "ocoAllowed", "otoAllowed",
    "opoAllowed", "quoteOrderQtyMarketAllowed", "allowTrailingStop", "cancelReplaceAllowed", "amendAllowed",
    "pegInstructionsAllowed", "isSpotTradingAllowed", "isMarginTradingAllowed", "filters", "permissions",
    "permissionSets", "defaultSelfTradePreventionMode", "allowedSelfTradePreventionModes",
]  # fmt: skip


@pytest.fixture
def rest(world: World) -> BinanceRest:
    return BinanceRest(world.binance)


def ask(rest: BinanceRest, call: str, minute: int = 1, method: str = "GET", **params: str) -> Answer:
    path = f"/api/v3/{call}"
    return rest.answer(
        Query(
            method, path, tuple(params.items()), "127.0.0.1", minute * 60 * SECOND_NS + 7 * SECOND_NS, NOW_MS
        )
    )


def body(answer: Answer) -> Any:
    return json.loads(answer.body)


def test_ping_and_time(rest: BinanceRest) -> None:
    assert body(ask(rest, "ping")) == {}
    assert body(ask(rest, "time")) == {"serverTime": NOW_MS}


def test_depth(rest: BinanceRest, world: World) -> None:
    book = body(ask(rest, "depth", symbol="BTCUSDT", limit="5"))
    assert [len(book["bids"]), len(book["asks"])] == [5, 5]
    assert book["lastUpdateId"] == world.binance["BTCUSDT"].book.update_id
    assert len(body(ask(rest, "depth", symbol="BTCUSDT", limit="99999"))["bids"]) == 30
    assert len(body(ask(rest, "depth", symbol="BTCUSDT"))["bids"]) == 30


def test_exchange_info_has_all_that_clients_read(rest: BinanceRest) -> None:
    info = body(ask(rest, "exchangeInfo"))
    assert list(info) == ["timezone", "serverTime", "rateLimits", "exchangeFilters", "symbols"]
    assert [entry["symbol"] for entry in info["symbols"]] == ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
    btc = info["symbols"][0]
    assert list(btc) == SYMBOL_KEYS
    assert btc["status"] == "TRADING"
    assert btc["filters"][0] == {
        "filterType": "PRICE_FILTER",
        "minPrice": "0.01000000",
        "maxPrice": "1000000.00000000",
        "tickSize": "0.01000000",
    }
    filters = {entry["filterType"]: entry for entry in btc["filters"]}
    assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
    assert filters["NOTIONAL"]["minNotional"] == "5.00000000"
    assert len(filters) == 10


def test_exchange_info_of_some_symbols(rest: BinanceRest) -> None:
    one = body(ask(rest, "exchangeInfo", symbol="ETHUSDT"))
    assert [entry["symbol"] for entry in one["symbols"]] == ["ETHUSDT"]
    two = body(ask(rest, "exchangeInfo", symbols='["XRPUSDT","BTCUSDT"]'))
    assert [entry["symbol"] for entry in two["symbols"]] == ["XRPUSDT", "BTCUSDT"]
    assert body(ask(rest, "exchangeInfo", symbolStatus="HALT"))["symbols"] == []


@pytest.mark.parametrize(
    ("call", "params", "code"),
    [
        ("depth", {}, -1102),
        ("depth", {"symbol": ""}, -1102),
        ("depth", {"symbol": "NONEUSDT"}, -1121),
        ("depth", {"symbol": "btcusdt"}, -1100),
        ("depth", {"symbol": "BTCUSDT", "limit": "many"}, -1100),
        ("depth", {"symbol": "BTCUSDT", "limit": "0"}, -1130),
        ("depth", {"symbol": "BTCUSDT", "colour": "red"}, -1104),
        ("exchangeInfo", {"symbol": "NONEUSDT"}, -1121),
        ("exchangeInfo", {"symbols": '["BTCUSDT","NONEUSDT"]'}, -1121),
        ("exchangeInfo", {"symbols": "BTCUSDT"}, -1100),
        ("exchangeInfo", {"symbols": "[]"}, -1100),
        ("exchangeInfo", {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, -1128),
    ],
)
def test_errors(rest: BinanceRest, call: str, params: dict[str, str], code: int) -> None:
    answer = ask(rest, call, **params)
    assert answer.status == 400
    assert body(answer)["code"] == code
    assert body(answer)["msg"]
    assert "X-MBX-USED-WEIGHT-1M" in answer.headers


def test_unknown_path_and_method(rest: BinanceRest) -> None:
    assert ask(rest, "nothing").status == 404
    assert ask(rest, "ping", method="POST").status == 405


def test_weights_add_up_and_too_much_is_refused_until_the_minute_is_over(rest: BinanceRest) -> None:
    assert ask(rest, "ping").headers["X-MBX-USED-WEIGHT-1M"] == "1"
    assert ask(rest, "exchangeInfo").headers["X-MBX-USED-WEIGHT-1M"] == "21"
    assert ask(rest, "depth", symbol="BTCUSDT").headers["X-MBX-USED-WEIGHT-1M"] == "26"
    statuses = [ask(rest, "depth", symbol="BTCUSDT", limit="5000").status for _ in range(24)]
    assert statuses == [200] * 23 + [429]
    refused = ask(rest, "ping")
    assert body(refused)["code"] == -1003
    assert refused.headers["Retry-After"] == "53"
    assert ask(rest, "ping", minute=2).status == 200
