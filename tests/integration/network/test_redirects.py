"""A venue that answers with a redirect: nobody follows it, and what it says is not believed."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from aiohttp import web
from msgspec.structs import replace

from arbshard.clock import SystemClock
from arbshard.config import load_config
from arbshard.data.clients import open_client
from arbshard.data.http import HttpFetch
from arbshard.data.listings import find_universe
from arbshard.doctor.reach import probe_public_stream, probe_rest
from arbshard.errors import VenueUnavailable
from arbshard.execution.live.port import LivePort
from arbshard.execution.live.rate_limiter import RateLimiter
from arbshard.execution.live.venue_session import VenueSession
from arbshard.model.order import Order
from arbshard.shm.budget import Budget
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.keys import Keys
from arbshard.venues.registry import rate_windows
from support.reach import reach

pytestmark = pytest.mark.integration

STATUSES = [301, 302, 303, 307, 308]
BELIEVABLE = {
    "orderId": 7,
    "status": "FILLED",
    "executedQty": "1",
    "code": -2013,
    "error": {"name": "order_not_found"},
}


class Crossing:
    """A venue whose every answer leads to another host, and what that host received."""

    def __init__(self):
        self.status = 307
        self.leads_away = True
        self.asked = []
        self.strangers = 0
        self.answer = {}

    async def venue(self, request):
        self.asked.append((request.method, request.path))
        await request.read()
        if not self.leads_away:
            return web.json_response(self.answer)
        elsewhere = self.elsewhere
        if "Upgrade" in request.headers:
            elsewhere = elsewhere.replace("http:", "ws:")  # the only kind a stream could follow
        return web.json_response(
            BELIEVABLE, status=self.status, headers={"Location": f"{elsewhere}{request.path_qs}"}
        )

    async def stranger(self, reader, writer):
        self.strangers += 1
        writer.close()


@pytest.fixture
async def crossing():
    one = Crossing()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", one.venue)
    runner = web.AppRunner(app)
    await runner.setup()
    other = await asyncio.start_server(one.stranger, "127.0.0.2", 0)
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one.host = f"127.0.0.1:{runner.addresses[0][1]}"
        one.elsewhere = f"http://127.0.0.2:{other.sockets[0].getsockname()[1]}"
        yield one
    finally:
        other.close()
        await other.wait_closed()
        await runner.cleanup()
    assert one.asked, "the venue itself was never asked, so the test has shown nothing"
    assert one.strangers == 0, "another host was called"


def config_at(crossing, **live):
    config = load_config(None, {"mode": "live", "live": {"dry_run": False, "order_timeout_s": 2.0, **live}})
    venues = config.venues
    rest, ws = f"http://{crossing.host}", f"ws://{crossing.host}"
    return replace(
        config,
        venues=replace(
            venues,
            upbit=replace(venues.upbit, rest_url=rest, ws_url=ws),
            binance=replace(venues.binance, rest_url=rest, ws_url=ws),
        ),
    )


@asynccontextmanager
async def signing(crossing, venue):
    client = open_client(venue, config_at(crossing), Keys(venue, "key", "s" * 40), SystemClock())
    try:
        yield client
    finally:
        await client.close()


@pytest.mark.parametrize("venue", ["upbit", "binance"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_signed_calls_stay_where_they_were_sent(crossing, venue, method):
    request = VenueRequest(method, "/order", {"symbol": "BTCUSDT", "uuid": "u"}, {})
    async with signing(crossing, venue) as client:
        for status in STATUSES:
            crossing.status = status
            answer = await client.call(request)
            assert answer.status == status
    assert [asked for asked, _ in crossing.asked] == [method] * len(STATUSES)


@pytest.mark.parametrize("venue", ["upbit", "binance"])
async def test_public_calls_of_the_same_client_too(crossing, venue):
    async with signing(crossing, venue) as client:
        assert (await client.call(VenueRequest("GET", "/time", {}, {}, private=False))).status == 307


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("venue", ["upbit", "binance"])
async def test_an_order_is_unknown_until_the_venue_itself_tells(crossing, venue, status, make, tmp_path):
    """Neither believed to be filled nor given up: it is asked about by its name."""
    crossing.status = status
    config = config_at(crossing)
    counts, failures, clock = Counter(), [], SystemClock()
    budget = Budget.open(tmp_path, "worker-0", rate_windows())
    gate = RateLimiter(budget, config.live, clock, lambda name: counts.update((name,)))
    leg = make.home if venue == "upbit" else make.away
    async with signing(crossing, venue) as client:
        line = VenueSession(venue, client, gate, clock, lambda name: counts.update((name,)))
        port = LivePort(
            [leg], {venue: line}, gate, NoBooks(), config.live, clock,
            lambda name: counts.update((name,)), failures.append,
        )  # fmt: skip
        port.tag = "ab1cd"
        price = Decimal(146_000_000) if venue == "upbit" else Decimal(60_000)
        order = Order("s1-0-1-1-h0", leg.market, "buy", Decimal("0.001"), price)
        try:
            sent = await port.send(order)
            assert (sent.state, sent.fills) == ("UNKNOWN", ())
            assert "a redirect, which is not followed" in sent.detail
            asked = await port.ask(order)
            assert asked.state == "UNKNOWN"
            crossing.leads_away = False
            crossing.answer = filled(venue)
            found = await port.ask(order)
            assert (found.state, found.filled) == ("FILLED", Decimal("0.001"))
        finally:
            await port.close()
            budget.close()
    assert failures == []
    assert [method for method, _ in crossing.asked] == ["POST", "GET", "GET"]


class NoBooks:
    def tradable(self, leg):
        return None

    def tradable_fx(self):
        return None

    def fx(self):
        return None


def filled(venue):
    if venue == "upbit":
        trade = {"uuid": "t-1", "price": "146000000", "volume": "0.001", "funds": "146000"}
        return {"uuid": "u", "state": "done", "executed_volume": "0.001", "paid_fee": "73", "trades": [trade]}
    fill = {
        "price": "60000",
        "qty": "0.001",
        "commission": "0.000001",
        "commissionAsset": "BTC",
        "tradeId": 5,
    }
    return {"orderId": 7, "status": "FILLED", "executedQty": "0.001", "fills": [fill]}


@pytest.mark.parametrize("status", STATUSES)
async def test_books_and_snapshots(crossing, status):
    crossing.status = status
    fetch = HttpFetch()
    try:
        with pytest.raises(VenueUnavailable) as caught:
            await fetch(f"http://{crossing.host}/v1/orderbook")
    finally:
        await fetch.close()
    assert str(caught.value) == f"HTTP {status}: a redirect to {crossing.elsewhere}, which is not followed"


async def test_markets(crossing):
    with pytest.raises(VenueUnavailable, match=f"a redirect to {crossing.elsewhere}, which is not followed"):
        await find_universe(config_at(crossing))


async def test_the_doctor(crossing):
    config = config_at(crossing)
    stream_elsewhere = crossing.elsewhere.replace("http:", "ws:")
    for venue in ("upbit", "binance"):
        rest = await probe_rest(config, venue)
        assert rest.why == f"HTTP 307: a redirect to {crossing.elsewhere}, which is not followed"
        stream = await probe_public_stream(config, venue, SystemClock())
        assert stream.why == f"HTTP 307: a redirect to {stream_elsewhere}, which is not followed"
        assert not rest.ok
        assert not stream.ok


@pytest.mark.parametrize("status", STATUSES)
async def test_streams(crossing, receiver, status):
    """The handshake of a private stream carries a token."""
    crossing.status = status
    why = await reach(f"{receiver}+plain", crossing.host, headers=(("Authorization", "Bearer s3cret"),))
    elsewhere = crossing.elsewhere.replace("http:", "ws:")
    assert why == f"HTTP {status}: a redirect to {elsewhere}, which is not followed"
