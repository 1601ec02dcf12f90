"""Venues that refuse for long, revoke a key, close markets and change their rules, over real sockets."""

import time
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.integration

UPBIT_ERRORS = [
    ("insufficient_funds", 400, "insufficient_funds_bid"),
    ("insufficient_funds_ask", 400, "insufficient_funds_ask"),
    ("invalid_price", 400, "invalid_price_bid"),
    ("", 400, "create_bid_error"),
    ("market_offline", 403, "market_offline"),
    ("out_of_scope", 403, "out_of_scope"),
    ("no_authorization_ip", 401, "no_authorization_ip"),
    ("expired_access_key", 401, "expired_access_key"),
]
BINANCE_CODES = [(-1008, 503), (-1013, 400), (-2010, 400), (-2015, 401), (-1121, 400)]


@pytest.mark.parametrize(("error", "status", "name"), UPBIT_ERRORS)
async def test_upbit_refuses_the_orders_of_a_market(
    venues: dict[str, Any], error: str, status: int, name: str
) -> None:
    venue = venues["upbit"]
    await venue.faults(set={"reject": {"share": 1.0, "market": "BTC", "upbit_error": error}})
    for number in range(3):
        answer = await venue.place(f"no-{number}")
        assert (answer[0], answer[1]["error"]["name"]) == (status, name)
        assert answer[1]["error"]["message"]
    await venue.faults(set={"reject": {"share": 1.0, "market": "ETH", "upbit_error": error}})
    assert (await venue.place("yes"))[0] == 201


@pytest.mark.parametrize(("code", "status"), BINANCE_CODES)
async def test_binance_refuses_the_orders_of_a_market(binance: Any, code: int, status: int) -> None:
    await binance.faults(set={"reject": {"share": 1.0, "market": "BTCUSDT", "binance_code": code}})
    for number in range(3):
        answer = await binance.place(f"no-{number}")
        assert (answer[0], answer[1]["code"]) == (status, code)
    await binance.faults(clear=["reject"])
    assert (await binance.place("yes"))[0] == 200


@pytest.mark.parametrize("status", [401, 403, 418, 451, 503])
async def test_a_venue_denies_access(venue: Any, status: int) -> None:
    await venue.faults(set={"denied": {"share": 1.0, "calls": "all", "status": status}})
    assert (await venue.get_text(venue.ping))[0] == status
    with pytest.raises(InvalidStatus):
        await venue.public()
    await venue.faults(set={"denied": {"share": 1.0, "status": status}})
    assert (await venue.get_text(venue.ping))[0] == 200, "only orders are denied"
    assert (await venue.place_text("no"))[0] == status
    assert await venue.listed() == []


async def test_a_denial_says_what_the_venue_says(venues: dict[str, Any]) -> None:
    said = {}
    for name, venue in venues.items():
        for status in (401, 403, 418, 451, 503):
            await venue.faults(set={"denied": {"share": 1.0, "status": status}})
            said[name, status] = (await venue.place_text("no"))[1]
    assert "-2015" in said["binance", 401]
    assert "<html>" in said["binance", 403]
    assert "-1003" in said["binance", 418]
    assert "restricted location" in said["binance", 451]
    assert "-1008" in said["binance", 503]
    assert "no_authorization_ip" in said["upbit", 401]
    assert "out_of_scope" in said["upbit", 403]


async def test_a_revoked_key_opens_nothing(venue: Any) -> None:
    private, public = await venue.private(), await venue.public()
    await venue.faults(set={"key_revoked": {"share": 1.0}})
    await venue.closed(private)
    assert (await venue.place("no"))[0] == 401
    assert await venue.account_status() == 401
    assert (await venue.get(venue.ping))[0] == 200, "public calls need no key"
    await venue.told(public)
    with pytest.raises((InvalidStatus, AssertionError)):
        await venue.private()
    await venue.faults(clear=["key_revoked"])
    assert (await venue.place("yes"))[0] in (200, 201)
    assert await venue.account_status() == 200
    await venue.private()


@pytest.mark.parametrize(
    ("state", "listed", "refusal"),
    [
        ("break", "BREAK", -2010),
        ("halt", "HALT", -2010),
        ("cancel_only", "CANCEL_ONLY", -2010),
        ("delisted", None, -1121),
    ],
)
async def test_binance_closes_a_market(binance: Any, state: str, listed: str | None, refusal: int) -> None:
    await binance.faults(set={"market_state": {"share": 1.0, "market": "BTC", "state": state}})
    symbols = (await binance.get("/api/v3/exchangeInfo"))[1]["symbols"]
    assert [one["status"] for one in symbols] == ([listed] if listed else [])
    reply = await binance.ask(
        "POST", "order", symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="IOC", quantity="0.001",
        price="95000.00",
    )  # fmt: skip
    assert (reply[0], reply[1]["code"]) == (400, refusal)
    await binance.faults(clear=["market_state"])
    assert (await binance.get("/api/v3/exchangeInfo"))[1]["symbols"][0]["status"] == "TRADING"
    assert (await binance.place("yes"))[0] == 200


@pytest.mark.parametrize(
    ("state", "refusal"),
    [("break", (403, "market_offline")), ("delisted", (404, "notfoundmarket")), ("warned", None)],
)
async def test_upbit_closes_a_market(
    venues: dict[str, Any], state: str, refusal: tuple[int, str] | None
) -> None:
    venue = venues["upbit"]
    await venue.faults(set={"market_state": {"share": 1.0, "market": "KRW-BTC", "state": state}})
    listed = {one["market"]: one for one in (await venue.get("/v1/market/all?is_details=true"))[1]}
    assert ("KRW-BTC" in listed) is (state != "delisted")
    if state != "delisted":
        assert listed["KRW-BTC"]["market_event"]["warning"] is (state == "warned")
    status, body = await venue.place("order")
    assert (status, body["error"]["name"]) == refusal if refusal is not None else status == 201
    await venue.faults(clear=["market_state"])
    assert (await venue.place("yes"))[0] == 201


async def test_upbit_changes_its_rules(venues: dict[str, Any]) -> None:
    venue = venues["upbit"]
    await venue.faults(set={"changed_rules": {"share": 1.0, "market": "BTC", "tick": 10, "minimum": 100}})
    instruments = (await venue.get("/v1/orderbook/instruments?markets=KRW-BTC"))[1]
    assert instruments[0]["tick_size"] == "10000"
    assert (await venue.place("small", volume="0.001"))[1]["error"]["name"] == "under_min_total_bid"
    assert (await venue.place("off", price="200001000", volume="0.01"))[1]["error"][
        "name"
    ] == "invalid_price_bid"
    assert (await venue.place("on", volume="0.01"))[0] == 201
    await venue.faults(clear=["changed_rules"])
    assert (await venue.place("small again"))[0] == 201


async def test_binance_changes_its_rules(binance: Any) -> None:
    await binance.faults(set={"changed_rules": {"share": 1.0, "tick": 10, "lot": 100, "minimum": 4}})
    (symbol,) = (await binance.get("/api/v3/exchangeInfo"))[1]["symbols"]
    filters = {one["filterType"]: one for one in symbol["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.10000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00100000"
    assert filters["NOTIONAL"]["minNotional"] == "20.00000000"
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "IOC"}
    refused = await binance.ask("POST", "order", **order, quantity="0.0012", price="95000.10")
    assert refused[1] == {"code": -1013, "msg": "Filter failure: LOT_SIZE"}
    refused = await binance.ask("POST", "order", **order, quantity="0.001", price="95000.11")
    assert refused[1] == {"code": -1013, "msg": "Filter failure: PRICE_FILTER"}


async def test_fees_change_and_orders_keep_theirs(venue: Any) -> None:
    await venue.place("usual")
    await venue.faults(set={"changed_fees": {"share": 1.0, "bps": 40}})
    await venue.place("changed")
    usual, changed = (await venue.audit())["orders"]
    usual_bps = 5 if venue.name == "upbit" else 10
    for order, bps in ((usual, usual_bps), (changed, 40)):
        base = float(order["executed_funds"] if venue.name == "upbit" else order["executed"])
        assert float(order["fee_paid"]) == pytest.approx(base * bps / 10_000)


async def test_a_quiet_book_is_sent_so_often(venue: Any) -> None:
    await venue.faults(set={"quiet_book": {"share": 1.0, "every_s": 3600}})
    client = await venue.public_stream()
    with pytest.raises(TimeoutError):
        await venue.told(client, wait_s=0.5)
    await venue.faults(clear=["quiet_book"])
    await venue.told(client)


async def test_late_frames_come_in_their_order_with_the_time_of_then(venues: dict[str, Any]) -> None:
    venue = venues["upbit"]
    client = await venue.public_stream()

    async def told() -> tuple[float, int]:
        """How late the next frame comes, in milliseconds, and the time in it."""
        made_ms = (await venue.told(client))["timestamp"]
        return time.time() * 1000 - made_ms, made_ms

    assert (await told())[0] < 1_500
    await venue.faults(set={"late_frames": {"share": 1.0, "late_ms": 1_500}})
    times: list[int] = []
    while len(times) < 5:
        lag_ms, made_ms = await told()
        if times or lag_ms >= 1_500:  # what was under way when the fault began is not late
            assert lag_ms >= 1_499
            times.append(made_ms)
    await venue.faults(clear=["late_frames"])
    while lag_ms >= 1_000:  # what was held back comes at once, and before what is made from now on
        lag_ms, made_ms = await told()
        times.append(made_ms)
    assert times == sorted(times)


async def test_a_wrong_frame_is_sent_and_then_the_right_one(venue: Any) -> None:
    client = await venue.public_stream()
    before = venue.best_bid(await venue.told(client))
    await venue.once("wrong_frame", bps=-1_000)
    bids = [venue.best_bid(await venue.told(client)) for _ in range(12)]
    wrong = [number for number, bid in enumerate(bids) if bid < 0.95 * before]
    assert len(wrong) == 1
    assert all(bid > 0.98 * before for number, bid in enumerate(bids) if number not in wrong)


async def test_the_owner_withdraws_and_trades_beside_the_program(venue: Any) -> None:
    private = await venue.private()
    quote = "KRW" if venue.name == "upbit" else "USDT"
    held = (await venue.audit())["balances"]
    await venue.once("hand_transfer", currency=quote, part=-0.25)
    await venue.told(private) if venue.name == "binance" else None
    now = (await venue.audit())["balances"]
    assert float(now[quote]["free"]) == pytest.approx(0.75 * float(held[quote]["free"]))
    await venue.once("hand_trade", market="BTC", side="sell", part=0.5)
    order = (await venue.audit())["orders"][-1]
    assert (order["client_id"], order["side"], order["status"] != "open") == ("", "sell", True)
    assert (await venue.audit())["balances"]["BTC"]["locked"] == "0"
    while "BTC" not in str(await venue.told(private)):
        pass


async def test_upbit_prints_what_it_shows_and_doubles(venues: dict[str, Any]) -> None:
    venue = venues["upbit"]
    await venue.place("first", volume="0.00123457")
    exact = (await venue.audit())["balances"]["KRW"]["free"]
    assert len(exact.partition(".")[2]) > 8, "otherwise this test shows nothing"
    await venue.faults(set={"rounded_statement": {"share": 1.0}, "figures_as_doubles": {"share": 1.0}})
    (krw,) = [one for one in await venue.accounts() if one["currency"] == "KRW"]
    assert krw["balance"] == exact[: exact.index(".") + 9].rstrip("0")
    private = await venue.private()
    await venue.place("second", volume="0.00123457")
    said = await venue.told(private)
    assert said["reserved_fee"] == pytest.approx(200000000 * 0.00123457 * 0.0005)
    assert isinstance(said["price"], float)
