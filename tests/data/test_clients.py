"""Signed calls over real sockets: each finds its own answer, and an address never carries a key in clear text."""

import asyncio
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from msgspec.structs import replace

from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.data.clients import HttpVenueClient, open_client
from arbshard.data.direct_http import DirectHttp
from arbshard.data.http import HttpFetch
from arbshard.data.trust import system_trust
from arbshard.errors import UsageError
from arbshard.venues.base.client import NoAnswer, Withheld
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.binance.signing import BinanceSigning
from arbshard.venues.keys import Keys

KEYS = Keys("binance", "access", "do-not-show-me")


class Venue:
    """Answers as the path and the parameters of a request say."""

    def __init__(self):
        self.asked = []

    async def answer(self, request):
        text = request.query_string or await request.text()
        asked = {name: values[0] for name, values in parse_qs(text).items()}
        self.asked.append((request.method, request.path, asked, request.headers.get("X-MBX-APIKEY")))
        await asyncio.sleep(float(asked.get("pause", 0)))
        if "cut" in asked:
            request.transport.abort()
        body = b"x" * int(asked["size"]) if "size" in asked else request.path.encode()
        return web.Response(status=int(asked.get("status", 200)), body=body, headers={"X-Name": request.path})


@pytest.fixture
async def venue():
    one = Venue()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", one.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield one
    await runner.cleanup()


@pytest.fixture(params=["general", "direct"])
async def connect(request):
    made = []

    def build(url, body_bytes_max=1 << 22, timeout_s=20.0):
        if request.param == "general":
            http = HttpFetch(timeout_s=timeout_s, body_bytes_max=body_bytes_max)
        else:
            http = DirectHttp(system_trust(), timeout_s=timeout_s, body_bytes_max=body_bytes_max)
        made.append(HttpVenueClient("binance", url, BinanceSigning(), KEYS, http, SystemClock(), 5000))
        return made[-1]

    yield build
    for client in made:
        await client.close()


async def test_each_call_gets_its_own_answer(venue, connect):
    client = connect(venue.url)
    paths = [f"/p{number}" for number in range(20)]
    pauses = [str(0.001 * (7 * number % 5)) for number in range(20)]
    answers = await asyncio.gather(
        *(
            client.call(VenueRequest("GET", path, {"pause": pause}, {}))
            for path, pause in zip(paths, pauses, strict=True)
        )
    )
    assert [answer.body.decode() for answer in answers] == paths
    assert [answer.headers["x-name"] for answer in answers] == paths


async def test_a_bad_answer_is_an_answer(venue, connect):
    assert (await connect(venue.url).call(VenueRequest("GET", "/p", {"status": "429"}, {}))).status == 429


@pytest.mark.parametrize(
    ("params", "timeout_s", "why"),
    [
        ({"cut": "1"}, 20.0, {"binance: ServerDisconnectedError", "binance: ConnectionResetError"}),
        ({"pause": "4"}, 2.0, {"binance: TimeoutError"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_that_is_lost_may_have_been_carried_out(
    venue, connect, method, params, timeout_s, why
):
    client = connect(venue.url, timeout_s=timeout_s)
    with pytest.raises(NoAnswer) as caught:
        await client.call(VenueRequest(method, "/p", params, {}))
    assert caught.value.sent
    assert str(caught.value) in why
    assert caught.value.__cause__ is None
    assert venue.asked


async def test_a_venue_that_cannot_be_reached_was_sent_nothing(connect):
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(NoAnswer) as caught:
        await connect(f"http://127.0.0.1:{port}").call(VenueRequest("POST", "/p", {}, {}))
    assert not caught.value.sent
    assert str(caught.value) in {"binance: ClientConnectorError", "binance: ConnectionRefusedError"}


async def test_an_answer_without_end_is_not_kept(venue, connect):
    client = connect(venue.url, body_bytes_max=1000)
    assert len((await client.call(VenueRequest("GET", "/p", {"size": "1000"}, {}))).body) == 1000
    with pytest.raises(NoAnswer) as caught:
        await client.call(VenueRequest("GET", "/p", {"size": "1001"}, {}))
    assert caught.value.sent


async def test_the_moment_of_sending_is_told_once(venue, connect):
    told = []
    await connect(venue.url).call(VenueRequest("POST", "/p", {"a": "b"}, {}), lambda: told.append(1))
    assert told == [1]


async def test_what_is_objected_to_once_a_connection_is_open_is_not_sent(venue, connect):
    client, objections = connect(venue.url), ["this worker has been replaced", ""]
    order = VenueRequest("POST", "/p", {"a": "b"}, {})
    with pytest.raises(Withheld, match="binance: not sent: this worker has been replaced") as caught:
        await client.call(order, None, None, lambda: objections.pop(0))
    assert not caught.value.sent
    assert venue.asked == []
    assert (await client.call(order, None, None, lambda: "")).status == 200
    assert len(venue.asked) == 1


async def test_only_private_calls_are_signed(venue, connect):
    client = connect(venue.url)
    await client.call(VenueRequest("GET", "/a", {"x": "1,2"}, {}))
    await client.call(VenueRequest("GET", "/b", {"x": "1,2"}, {}, private=False))
    (_, _, signed, key), (_, _, public, none) = venue.asked
    assert (key, none) == ("access", None)
    assert set(signed) == {"x", "recvWindow", "timestamp", "signature"}
    assert public == {"x": "1,2"}


async def test_the_venues_clock_is_signed_with(venue, connect):
    client = connect(venue.url)
    client.set_clock(-3_600_000)
    await client.call(VenueRequest("GET", "/a", {}, {}))
    client.set_clock(3_600_000)
    await client.call(VenueRequest("GET", "/a", {}, {}))
    before, after = (int(asked["timestamp"]) for _, _, asked, _ in venue.asked)
    assert 7_200_000 <= after - before < 7_260_000


def at(rest_url):
    config = Config()
    return replace(
        config, venues=replace(config.venues, binance=replace(config.venues.binance, rest_url=rest_url))
    )


@pytest.mark.parametrize(
    "url", ["http://api.binance.com", "http://10.0.0.1:80", "ftp://127.0.0.1", "api.binance.com", "http://"]
)
def test_keys_do_not_travel_in_clear_text(url):
    with pytest.raises(UsageError, match="https only"):
        open_client("binance", at(url), KEYS, SystemClock())


def test_an_address_is_needed():
    with pytest.raises(UsageError, match="rest_url is empty"):
        open_client("binance", at(""), KEYS, SystemClock())
