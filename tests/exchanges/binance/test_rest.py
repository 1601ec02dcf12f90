from typing import Any
from urllib.parse import quote

import pytest

SYMBOL_KEYS = [
    "symbol", "status", "baseAsset", "baseAssetPrecision", "quoteAsset", "quotePrecision", "quoteAssetPrecision",
    "baseCommissionPrecision", "quoteCommissionPrecision", "orderTypes", "icebergAllowed", "ocoAllowed", "otoAllowed",
    "opoAllowed", "quoteOrderQtyMarketAllowed", "allowTrailingStop", "cancelReplaceAllowed", "amendAllowed",
    "pegInstructionsAllowed", "isSpotTradingAllowed", "isMarginTradingAllowed", "filters", "permissions",
    "permissionSets", "defaultSelfTradePreventionMode", "allowedSelfTradePreventionModes",
]  # fmt: skip
MINUTE_MS = 60_000


def test_ping_and_time(venue: Any) -> None:
    assert venue.get("ping").body == {}
    assert venue.get("time").body == {"serverTime": venue.now_ms}


def test_depth(venue: Any) -> None:
    book = venue.get("depth", symbol="BTCUSDT", limit="5").body
    assert [len(book["bids"]), len(book["asks"])] == [5, 5]
    assert book["lastUpdateId"] == venue.book().update_id
    assert len(venue.get("depth", symbol="BTCUSDT", limit="99999").body["bids"]) == 30
    assert len(venue.get("depth", symbol="BTCUSDT").body["bids"]) == 30


def test_exchange_info_has_all_that_clients_read(venue: Any) -> None:
    info = venue.get("exchangeInfo").body
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


def test_exchange_info_of_some_symbols(venue: Any) -> None:
    one = venue.get("exchangeInfo", symbol="ETHUSDT").body
    assert [entry["symbol"] for entry in one["symbols"]] == ["ETHUSDT"]
    two = venue.get("exchangeInfo", symbols='["XRPUSDT","BTCUSDT"]').body
    assert [entry["symbol"] for entry in two["symbols"]] == ["XRPUSDT", "BTCUSDT"]
    assert venue.get("exchangeInfo", symbolStatus="HALT").body["symbols"] == []
    assert venue.get("exchangeInfo", permissions="MARGIN").body["symbols"] == []
    assert len(venue.get("exchangeInfo", permissions='["MARGIN","SPOT"]').body["symbols"]) == 3


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
        ("depth", {"symbol": "BTCUSDT", "symbolStatus": "HALT"}, -1220),
        ("depth", {"symbol": "BTCUSDT", "symbolStatus": "NOPE"}, -1122),
        ("exchangeInfo", {"symbolStatus": "NOPE"}, -1122),
        ("exchangeInfo", {"symbol": "BTCUSDT", "symbolStatus": "TRADING"}, -1128),
        ("exchangeInfo", {"symbol": "BTCUSDT", "permissions": "SPOT"}, -1128),
        ("exchangeInfo", {"symbols": '["BTCUSDT","BTCUSDT"]'}, -1151),
        ("exchangeInfo", {"permissions": '["SPOT"'}, -1100),
        ("exchangeInfo", {"symbol": "NONEUSDT"}, -1121),
        ("exchangeInfo", {"symbol": ""}, -1105),
        ("exchangeInfo", {"symbols": '["BTCUSDT","NONEUSDT"]'}, -1121),
        ("exchangeInfo", {"symbols": "BTCUSDT"}, -1100),
        ("exchangeInfo", {"symbols": "[]"}, -1100),
        ("exchangeInfo", {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, -1128),
    ],
)
def test_errors(venue: Any, call: str, params: dict[str, str], code: int) -> None:
    answer = venue.get(call, **params)
    assert answer.status == 400
    assert answer.code == code
    assert answer.body["msg"]
    assert "X-MBX-USED-WEIGHT-1M" in answer.headers


def test_unknown_path_and_method(venue: Any) -> None:
    unknown = venue.get("nothing")
    assert unknown.status == 404
    assert "X-MBX-USED-WEIGHT-1M" in unknown.headers
    assert venue.send("POST", "/api/v3/ping").status == 405


def test_weights_add_up_and_too_much_is_refused_until_the_minute_is_over(venue: Any) -> None:
    assert venue.get("ping").headers["X-MBX-USED-WEIGHT-1M"] == "1"
    assert venue.get("exchangeInfo").headers["X-MBX-USED-WEIGHT-1M"] == "21"
    assert venue.get("depth", symbol="BTCUSDT").headers["X-MBX-USED-WEIGHT-1M"] == "26"
    statuses = [venue.get("depth", symbol="BTCUSDT", limit="5000").status for _ in range(24)]
    assert statuses == [200] * 23 + [429]
    venue.now_ms += 7_000
    refused = venue.get("ping")
    assert refused.code == -1003
    assert refused.headers["Retry-After"] == "53"
    assert venue.send("GET", "/api/v3/ping", peer="another").status == 200
    venue.now_ms += 53_000
    assert venue.get("ping").status == 200


def test_who_goes_on_after_429_is_banned(venue: Any) -> None:
    for _ in range(24):
        venue.get("depth", symbol="BTCUSDT", limit="5000")
    answers = [venue.get("depth", symbol="BTCUSDT", limit="5000") for _ in range(40)]
    assert {one.status for one in answers} == {429, 418}
    banned = answers[-1]
    assert (banned.status, banned.headers["Retry-After"]) == (418, "120")
    venue.now_ms += MINUTE_MS
    assert venue.get("ping").status == 418
    venue.now_ms += MINUTE_MS
    assert venue.get("ping").status == 200


@pytest.mark.parametrize(
    ("params", "weight"),
    [
        (("GET", "account"), 20),
        (("GET", "openOrders"), 80),
        (("GET", "openOrders", "symbol"), 6),
        (("GET", "allOrders", "symbol"), 20),
        (("GET", "myTrades", "symbol"), 20),
        (("GET", "rateLimit/order"), 40),
        (("GET", "account/commission", "symbol"), 20),
    ],
)
def test_weights_of_private_calls(venue: Any, params: tuple[str, ...], weight: int) -> None:
    method, call, *names = params
    answer = venue.call(method, call, **dict.fromkeys(names, "BTCUSDT"))
    assert answer.status == 200
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


def test_orders_weigh_nothing_unless_they_fail(venue: Any) -> None:
    placed = venue.order(price=venue.far())
    assert (placed.status, placed.headers["X-MBX-USED-WEIGHT-1M"]) == (200, "0")
    assert placed.headers["X-MBX-ORDER-COUNT-10S"] == placed.headers["X-MBX-ORDER-COUNT-1D"] == "1"
    failed = venue.order(price="1")
    assert (failed.status, failed.headers["X-MBX-USED-WEIGHT-1M"]) == (400, "1")
    assert "X-MBX-ORDER-COUNT-10S" not in failed.headers
    canceled = venue.call("DELETE", "order", symbol="BTCUSDT", orderId=str(placed.body["orderId"]))
    assert (canceled.status, canceled.headers["X-MBX-USED-WEIGHT-1M"]) == (200, "1")


# --- signatures ----------------------------------------------------------------------------------------------------


def test_parameters_may_stand_in_query_and_body_and_the_query_wins(venue: Any, sign: Any) -> None:
    query = f"symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&timestamp={venue.now_ms}"
    body = f"side=SELL&quantity=0.01&price={venue.far()}"
    signature = sign(venue.account.secret, query + body)
    placed = venue.send("POST", "/api/v3/order", query, f"{body}&signature={signature}")
    assert (placed.status, placed.body["side"]) == (200, "BUY")
    body = f"symbol=BTCUSDT&timestamp={venue.now_ms}&orderId={placed.body['orderId']}"
    canceled = venue.send(
        "DELETE", "/api/v3/order", f"signature={sign(venue.account.secret, body).upper()}", body
    )
    assert (canceled.status, canceled.body["status"]) == (200, "CANCELED")


def test_what_is_signed_is_what_was_sent_encoded(venue: Any, sign: Any) -> None:
    """A name that has to be percent-encoded: signed encoded it passes, signed decoded or sent raw it does not."""
    symbols = '["BTCUSDT"]'
    encoded = f"symbol={quote(symbols)}&timestamp={venue.now_ms}"
    decoded = f"symbol={symbols}&timestamp={venue.now_ms}"
    good, bad = (sign(venue.account.secret, text) for text in (encoded, decoded))
    assert venue.send("GET", "/api/v3/openOrders", f"{encoded}&signature={good}").code == -1100
    assert venue.send("GET", "/api/v3/openOrders", f"{encoded}&signature={bad}").code == -1022
    raw = f"symbol=币&timestamp={venue.now_ms}"
    answer = venue.send("GET", "/api/v3/openOrders", f"{raw}&signature={sign(venue.account.secret, raw)}")
    assert answer.code == -1022


def test_a_body_that_is_no_text_does_no_harm(venue: Any) -> None:
    answer = venue.send(
        "POST", "/api/v3/order", "timestamp=1", "\udcff=\ud800".encode(errors="replace").decode()
    )
    assert answer.status == 400


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [("", 401, -2014), ("not a key", 401, -2014), ("another-key", 401, -2015)],
)
def test_keys(venue: Any, key: str, status: int, code: int) -> None:
    answer = venue.send("GET", "/api/v3/account", venue.signed({}), key=key)
    assert (answer.status, answer.code) == (status, code)


def test_signature_and_timestamp_are_needed_and_checked(venue: Any) -> None:
    assert venue.send("GET", "/api/v3/account", f"timestamp={venue.now_ms}").code == -1102
    assert venue.send("GET", "/api/v3/account", "").code == -1102
    assert (
        venue.send("GET", "/api/v3/account", f"timestamp={venue.now_ms}&signature={'0' * 64}").code == -1022
    )
    assert venue.call("GET", "account", timestamp=str(venue.now_ms - 5001)).code == -1021
    assert venue.call("GET", "account", timestamp=str(venue.now_ms - 5001), recvWindow="6000").status == 200
    assert venue.call("GET", "account", timestamp=str(venue.now_ms * 1000)).status == 200
    assert venue.call("GET", "account", colour="red").code == -1104


# --- the rest of the house -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_listen_keys_are_gone(venue: Any, method: str) -> None:
    assert venue.send(method, "/api/v3/userDataStream").status == 410


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/fapi/v1/exchangeInfo", {"symbols": []}),
        ("/dapi/v1/exchangeInfo", {"symbols": []}),
        ("/sapi/v1/margin/allPairs", []),
        ("/sapi/v1/margin/isolated/allPairs", []),
    ],
)
def test_other_interfaces_have_nothing(venue: Any, path: str, body: object) -> None:
    answer = venue.send("GET", path)
    assert (answer.status, answer.body) == (200, body)


def test_wallets_are_told_to_who_has_a_key(venue: Any) -> None:
    assert venue.send("GET", "/sapi/v1/capital/config/getall").status == 400
    answer = venue.send("GET", "/sapi/v1/capital/config/getall", venue.signed({}))
    bitcoin = next(one for one in answer.body if one["coin"] == "BTC")
    assert (bitcoin["name"], bitcoin["depositAllEnable"], bitcoin["withdrawAllEnable"]) == (
        "Bitcoin",
        True,
        True,
    )
    assert [one["depositEnable"] for one in bitcoin["networkList"]] == [True]


def test_the_body_of_a_get_is_not_looked_at(venue: Any) -> None:
    query = venue.signed({"symbol": "BTCUSDT"})
    assert venue.send("GET", "/api/v3/openOrders", query, "colour=red").body == []
    assert venue.send("GET", "/api/v3/ping", "", "colour=red").body == {}
