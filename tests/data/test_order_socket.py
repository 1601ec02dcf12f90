"""Orders over a venue's WebSocket: real sockets on this machine, and a venue that does what a test wants."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import WSMsgType, web

from arbshard.clock import SystemClock
from arbshard.data.clients import HttpVenueClient
from arbshard.data.http import HttpFetch
from arbshard.data.order_socket import SocketVenueClient
from arbshard.data.stream import Target, open_stream
from arbshard.secret import Secret
from arbshard.venues.base.client import LogonLost, NoAnswer
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.binance.order_socket import BinanceOrderSocket
from arbshard.venues.binance.signing import BinanceSigning
from arbshard.venues.keys import Keys

KEYS = Keys("binance", "access", "do-not-show-me")
RECEIVERS = ["websockets", pytest.param("picows", marks=pytest.mark.needs("fast"))]
PLACE = VenueRequest("POST", "/api/v3/order", {"newClientOrderId": "ab1cd-1"}, {})
REFUSALS = {
    "revoked": (-2015, "Invalid API-key, IP, or permissions for action.", False),
    "unsigned": (-1102, "Mandatory parameter 'apiKey' was not sent, was empty/null, or malformed.", True),
    "refused": (-2015, "Invalid API-key, IP, or permissions for action.", True),
}
"""Codes, texts, and whether the answer names the call."""
TIME = VenueRequest("GET", "/api/v3/time", {}, {}, private=False)


class Venue:
    """Answers over HTTP and over its WebSocket API, and keeps what was asked and how."""

    def __init__(self):
        self.asked = []
        self.sockets = []
        self.fate = "answer"
        """What becomes of a message: ``answer``, ``silence``, ``cut``, ``late``, ``twice``, ``ban``, or one of
        ``REFUSALS``.
        """
        self.refuses = False

    async def http(self, request):
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self.socket(request)
        self.asked.append(("http", request.path))
        return web.json_response({"serverTime": 1})

    async def socket(self, request):
        if self.refuses:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self.on_text(request, socket, json.loads(message.data))
        return socket

    async def on_text(self, request, socket, message):
        self.asked.append((message["method"], message["params"].get("newClientOrderId")))
        answer = {"id": message["id"], "status": 200, "result": {"orderId": 7}}
        if self.fate == "cut":
            request.transport.abort()
        elif self.fate == "late":
            asyncio.get_running_loop().call_later(0.4, asyncio.ensure_future, socket.send_json(answer))
        elif self.fate == "twice":
            await socket.send_json(answer)
            await socket.send_json(answer)
        elif self.fate in REFUSALS and message["method"] != "session.logon":
            code, text, names_the_call = REFUSALS[self.fate]
            number = message["id"] if names_the_call else None
            await socket.send_json({"id": number, "status": 401, "error": {"code": code, "msg": text}})
        elif self.fate == "ban":
            error = {"code": -1003, "msg": "IP banned.", "data": {"serverTime": 1000, "retryAfter": 61_000}}
            await socket.send_json({"id": message["id"], "status": 418, "error": error})
            await socket.close(code=1008)
        elif self.fate == "answer" or message["method"] == "session.logon":
            await socket.send_json(answer)


@pytest.fixture
async def venue():
    one = Venue()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", one.http)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.host = f"127.0.0.1:{runner.addresses[0][1]}"
    yield one
    await runner.cleanup()


class ShortLived(BinanceOrderSocket):
    life_s = 0.2


class LoggedOn(BinanceOrderSocket):
    """Logs on as with an Ed25519 key, without its signatures."""

    def logon(self, keys, moment):
        return Secret(json.dumps({"id": moment.nonce, "method": "session.logon", "params": {}}))


@pytest.fixture(params=RECEIVERS)
async def connect(request, venue):
    made = []

    async def build(socket=None, *, wait=True, opener=open_stream):
        http = HttpVenueClient(
            "binance",
            f"http://{venue.host}",
            BinanceSigning(),
            KEYS,
            HttpFetch(timeout_s=0.3),
            SystemClock(),
            5000,
        )
        target = Target(f"ws://{venue.host}/ws-api/v3", 30.0)
        client = SocketVenueClient(
            "binance",
            socket or BinanceOrderSocket(),
            target,
            KEYS,
            http,
            SystemClock(),
            0.3,
            request.param,
            opener,
        )
        keeping = asyncio.create_task(client.keep_open())
        made.append((client, keeping))
        if wait:
            await until(lambda: client.is_up)
        return client

    yield build
    for client, keeping in made:
        assert not keeping.done()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await client.close()


async def until(holds):
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


async def test_orders_go_over_the_socket_and_all_else_over_http(venue, connect):
    client = await connect()
    told = []
    answer = await client.call(PLACE, lambda: told.append(1))
    assert (answer.status, json.loads(answer.body)) == (200, {"orderId": 7})
    assert told == [1]
    await client.call(TIME)
    assert venue.asked == [("order.place", "ab1cd-1"), ("http", "/api/v3/time")]


async def test_each_call_gets_its_own_answer(connect):
    client = await connect()
    answers = await asyncio.gather(*(client.call(PLACE) for _ in range(50)))
    assert [answer.status for answer in answers] == [200] * 50


async def test_without_a_connection_orders_go_over_rest(venue, connect):
    venue.refuses = True
    client = await connect(wait=False)
    await until(lambda: not client.is_up)
    assert (await client.call(PLACE)).status == 200
    assert venue.asked == [("http", "/api/v3/order")]
    venue.refuses = False
    await until(lambda: client.is_up)
    await client.call(PLACE)
    assert venue.asked[1:] == [("order.place", "ab1cd-1")]


async def test_an_order_whose_connection_is_cut_may_have_been_carried_out_and_is_not_sent_again(
    venue, connect
):
    client = await connect()
    venue.fate = "cut"
    with pytest.raises(NoAnswer) as caught:
        await client.call(PLACE)
    assert caught.value.sent
    assert "do-not-show-me" not in str(caught.value)
    venue.fate = "answer"
    await until(lambda: len(venue.sockets) == 2 and client.is_up)
    assert venue.asked == [("order.place", "ab1cd-1")]
    await client.call(PLACE)
    assert venue.asked[1:] == [("order.place", "ab1cd-1")]


@pytest.fixture
def opened():
    """The streams that ``keep`` has opened."""
    return []


@pytest.fixture
def keep(opened):
    @asynccontextmanager
    async def open_and_keep(*arguments):
        async with open_stream(*arguments) as stream:
            opened.append(stream)
            yield stream

    return open_and_keep


async def test_an_order_that_meets_the_end_of_the_connection_goes_over_rest(venue, connect, keep, opened):
    client = await connect(opener=keep)
    prepared = client.prepare(PLACE)
    opened[0].abort()
    assert client.is_up  # the end is noticed in a later turn of the loop
    told = []
    assert (await client.call(PLACE, lambda: told.append(1), prepared)).status == 200
    assert venue.asked == [("http", "/api/v3/order")]
    assert told == [1]
    await until(lambda: len(venue.sockets) == 2 and client.is_up)


async def test_after_silence_the_next_call_is_made_elsewhere(venue, connect):
    client = await connect()
    venue.fate = "silence"
    with pytest.raises(NoAnswer, match="binance: TimeoutError") as caught:
        await client.call(PLACE)
    assert caught.value.sent
    venue.fate = "answer"
    assert (await client.call(PLACE)).status == 200
    assert venue.asked[0] == ("order.place", "ab1cd-1")
    await until(lambda: client.is_up)
    assert len(venue.sockets) == 2


async def test_a_late_answer_belongs_to_no_other_call(venue, connect):
    client = await connect()
    venue.fate = "late"
    with pytest.raises(NoAnswer):
        await client.call(PLACE)
    venue.fate = "answer"
    await asyncio.sleep(0.2)
    assert (await client.call(PLACE)).status == 200


async def test_a_ban_is_an_answer_and_states_how_long_it_lasts(venue, connect):
    client = await connect()
    venue.fate = "ban"
    answer = await client.call(PLACE)
    assert (answer.status, answer.pause_s) == (418, 60.0)


async def test_an_announced_end_opens_the_next_connection_before_the_old_one_is_left(venue, connect):
    client = await connect()
    await venue.sockets[0].send_json({"event": {"e": "serverShutdown", "E": 1}})
    while not venue.sockets[0].closed:
        assert (await client.call(PLACE)).status == 200
        assert client.is_up
        await asyncio.sleep(0.005)
    assert len(venue.sockets) == 2
    assert {kind for kind, _ in venue.asked} == {"order.place"}


async def test_a_connection_is_replaced_before_the_venue_ends_it(venue, connect):
    client = await connect(ShortLived())
    async with asyncio.timeout(5):
        while len(venue.sockets) < 3:
            assert (await client.call(PLACE)).status == 200
            await asyncio.sleep(0.01)
    assert {kind for kind, _ in venue.asked} == {"order.place"}
    await until(lambda: venue.sockets[0].closed)


async def test_what_was_signed_beforehand_is_used_once_and_not_when_it_is_old(venue, connect, monkeypatch):
    client = await connect()
    prepared = client.prepare(PLACE)
    assert venue.asked == []
    assert "access" not in repr(prepared)
    assert (await client.call(PLACE, None, prepared)).status == 200
    assert venue.asked == [("order.place", "ab1cd-1")]
    signed, encode = [], BinanceOrderSocket.encode

    def count(*arguments):
        signed.append(1)
        return encode(*arguments)

    monkeypatch.setattr(BinanceOrderSocket, "encode", count)
    recent = client.prepare(PLACE)
    assert len(signed) == 1
    await client.call(PLACE, None, recent)
    assert len(signed) == 1
    old = client.prepare(PLACE)
    client.set_clock(600)  # by the venue's clock it was signed 600 ms ago
    await client.call(PLACE, None, old)
    assert len(signed) == 3


async def test_an_answer_that_comes_twice_ends_one_call(venue, connect):
    client = await connect()
    venue.fate = "twice"
    first = await client.call(PLACE)
    second = await client.call(PLACE)
    assert (first.status, second.status) == (200, 200)
    assert client.is_up


@pytest.mark.parametrize(
    ("fate", "sent"), [("revoked", True), ("unsigned", False)]
)  # an answer without an id does not say whether the call was carried out before
async def test_a_lost_logon_ends_the_call_and_the_next_connection_logs_on_again(venue, connect, fate, sent):
    client = await connect(LoggedOn())
    venue.fate = fate
    with pytest.raises(LogonLost, match="binance: the logon has ended") as caught:
        await client.call(PLACE)
    assert caught.value.sent is sent
    assert not client.is_up
    venue.fate = "answer"
    assert (await client.call(PLACE)).status == 200  # whatever is up by now
    await until(lambda: client.is_up)
    assert (await client.call(PLACE)).status == 200
    placed = [asked for asked in venue.asked if asked[0] in ("order.place", "http")]
    assert len(placed) == 3  # no order was sent twice
    assert [kind for kind, _ in venue.asked].count("session.logon") == 2


@pytest.mark.parametrize("fate", ["revoked", "unsigned", "refused", "silence"])
async def test_a_connection_of_no_more_use_is_closed_while_its_successor_cannot_be_opened(
    venue, connect, fate
):
    client = await connect(LoggedOn())
    venue.fate, venue.refuses = fate, True
    with suppress(NoAnswer):
        await client.call(PLACE)
    await until(lambda: venue.sockets[0].closed)
    assert not client.is_up
    venue.fate, venue.refuses = "answer", False
    await until(lambda: client.is_up)
    assert (await client.call(PLACE)).status == 200
    assert len(venue.sockets) == 2


async def test_a_logged_on_connection_whose_key_is_refused_is_replaced(venue, connect):
    client = await connect(LoggedOn())
    venue.fate = "refused"
    answer = await client.call(PLACE)
    assert answer.status == 401
    assert not client.is_up
    venue.fate = "answer"
    await until(lambda: client.is_up)
    assert [kind for kind, _ in venue.asked].count("session.logon") == 2


async def test_a_refused_key_of_a_connection_whose_calls_are_signed_changes_nothing(venue, connect):
    client = await connect()
    for fate in ("refused", "unsigned"):
        venue.fate = fate
        assert (await client.call(PLACE)).status == 401
        assert client.is_up
    assert len(venue.sockets) == 1
