"""REST calls under faults, over real sockets: lost, late, limited, half done."""

import time
from typing import Any

import aiohttp
import pytest

pytestmark = pytest.mark.integration


async def test_a_reply_is_late(venue: Any) -> None:
    await venue.once("delay", ms_min=150, ms_max=150)
    begun = time.monotonic()
    status, _, _ = await venue.get(venue.ping)
    assert (status, time.monotonic() - begun >= 0.15) == (200, True)
    assert await venue.happened("delay") == 1


async def test_a_request_is_lost_before_it_is_taken(venue: Any) -> None:
    await venue.once("lost_request")
    with pytest.raises(aiohttp.ClientConnectionError):
        await venue.place("lost")
    assert await venue.listed() == []
    assert (await venue.place("next"))[0] in (200, 201)
    assert await venue.happened("lost_request") == 1


async def test_a_reply_is_lost_after_the_order_was_matched(venue: Any) -> None:
    private = await venue.private()
    await venue.once("lost_reply")
    with pytest.raises(aiohttp.ClientConnectionError):
        await venue.place("lost")
    assert await venue.listed() == [("lost", "done")]
    assert venue.kind(await venue.told(private)) == "new"


@pytest.mark.parametrize("name", ["upbit", "binance"])
async def test_an_error_although_the_order_was_taken(name: str, venues: dict[str, Any]) -> None:
    venue = venues[name]
    await venue.once("error_500")
    expected = {
        "upbit": (500, {"error": {"name": "internal_server_error", "message": "Internal Server Error"}}),
        "binance": (
            408,
            {
                "code": -1007,
                "msg": "Timeout waiting for response from backend server. "
                "Send status unknown; execution status unknown.",
            },
        ),
    }
    assert await venue.place("unsure") == expected[name]
    assert await venue.listed() == [("unsure", "done")]
    if name == "binance":
        _, found = await venue.ask("GET", "order", symbol="BTCUSDT", origClientOrderId="unsure")
        assert found["status"] == "FILLED"


async def test_refused_orders_are_not_lost(venue: Any) -> None:
    await venue.faults(once={"lost_reply": {}, "error_500": {}}, set={"reject": {"times": 1}})
    status, _ = await venue.place("refused")
    assert status == 400
    assert await venue.happened("reject") == 1
    assert await venue.happened("lost_reply") == await venue.happened("error_500") == 0


async def test_too_many_requests(venues: dict[str, Any]) -> None:
    for status in (429, 418):
        for venue in venues.values():
            await venue.once("rate_limited", status=status, retry_after_s=7)
            got, body, headers = await venue.get(venue.ping)
            assert got == status
            if venue.name == "binance":
                assert (headers["Retry-After"], body["code"]) == ("7", -1003)
            else:
                assert body["error"]["name"] == "too_many_requests"
                assert headers["Remaining-Req"].endswith("sec=0")
            assert (await venue.get(venue.ping))[0] == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_call_is_redirected_to_another_host(venue: Any, status: int) -> None:
    await venue.once("redirect", calls="all", status=status, location="http://127.0.0.2:9")
    async with venue.http.get(f"http://{venue.at}{venue.ping}?a=%2B", allow_redirects=False) as reply:
        assert reply.status == status
        assert reply.headers["Location"] == f"http://127.0.0.2:9{venue.ping}?a=%2B"
    assert await venue.happened("redirect") == 1
    assert (await venue.get(venue.ping))[0] == 200


async def test_the_venues_clock_is_wrong(binance: Any) -> None:
    await binance.once("clock_skew", skew_ms=60_000, ms_min=0, ms_max=0)
    status, body = await binance.ask("GET", "account")
    assert (status, body["code"]) == (400, -1021)
    ahead = (await binance.get("/api/v3/time"))[1]["serverTime"] - time.time() * 1000
    assert 50_000 < ahead < 70_000
    await binance.faults(clear=["clock_skew"])
    assert (await binance.ask("GET", "account"))[0] == 200


async def test_a_taker_gets_a_part(venue: Any) -> None:
    await venue.once("partial_fill", fill_share=0.25)
    await venue.place("part")
    await venue.place("whole")
    part, whole = (await venue.audit())["orders"]
    assert (part["status"], part["ended"], part["executed"]) == ("canceled", "ioc", "0.00025")
    assert (whole["status"], whole["executed"]) == ("done", "0.001")
    assert {one["locked"] for one in (await venue.audit())["balances"].values()} == {"0"}


@pytest.mark.parametrize("name", ["upbit", "binance"])
async def test_an_order_is_refused(name: str, venues: dict[str, Any]) -> None:
    venue = venues[name]
    await venue.once("reject", message="No.", upbit_error="market_offline", binance_code=-1013)
    status, body = await venue.place("refused")
    expected = {
        "upbit": (403, {"error": {"name": "market_offline", "message": "No."}}),
        "binance": (400, {"code": -1013, "msg": "No."}),
    }
    assert (status, body) == expected[name]
    assert await venue.listed() == []
