"""Calls find their own answers, and an address never carries a key in clear text."""

import asyncio

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.errors import UsageError
from arbshard.execution.live import clients
from arbshard.execution.live.clients import NoAnswer, VenueClient, make_client
from arbshard.venues.keys import Keys

KEYS = Keys("upbit", "access", "do-not-show-me")


class FakeExchange:
    """Behaves as ccxt does around the hooks: tells of an answer, then raises for a bad one."""

    def __init__(self):
        self.options = {}
        self.asked = []

    async def request(self, path, api, method, params):
        self.asked.append((path, api, method, params))
        await asyncio.sleep(float(params.get("pause", 0)))
        if "headers_out" in params:
            await clients._on_headers_sent(None, None, None)
        if "body_out" in params:
            await clients._on_chunk_sent(None, None, None)
        status = int(params.get("status", 200))
        if status:
            clients._on_answer(status, "", "", method, {"X-Name": path}, path, {}, None)
        if status != 200:
            raise NoAnswer("https://venue/order?signature=abc", sent=False)

    async def close(self):
        pass


@pytest.fixture
def exchange():
    return FakeExchange()


@pytest.fixture
def client(exchange, monkeypatch):
    client = VenueClient("upbit", exchange)
    monkeypatch.setattr(client, "_failures", NoAnswer)
    return client


async def test_each_call_gets_its_own_answer(client):
    paths = [f"p{number}" for number in range(20)]
    pauses = [str(0.001 * (7 * number % 5)) for number in range(20)]
    answers = await asyncio.gather(
        *(client.call("GET", path, {"pause": pause}) for path, pause in zip(paths, pauses, strict=True))
    )
    assert [answer.body.decode() for answer in answers] == paths
    assert [answer.headers["x-name"] for answer in answers] == paths


async def test_bad_answer_is_an_answer(client):
    assert (await client.call("GET", "p", {"status": "429"})).status == 429


@pytest.mark.parametrize(
    ("out", "sent"), [({}, False), ({"headers_out": "1"}, True), ({"body_out": "1"}, True)]
)
async def test_no_answer_says_whether_anything_left(client, out, sent):
    with pytest.raises(NoAnswer) as caught:
        await client.call("POST", "p", {"status": "0", **out})
    assert caught.value.sent is sent
    assert "signature" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_moment_of_sending_is_told_once(client):
    told = []
    await client.call("POST", "p", {"body_out": "1"}, on_sent=lambda: told.append(1))
    assert told == [1]


async def test_private_and_public(client, exchange):
    await client.call("GET", "a", {})
    await client.call("GET", "b", {}, private=False)
    assert [api for _, api, _, _ in exchange.asked] == [["private"], ["public"]]


def test_clock(client, exchange):
    client.set_clock(300)
    assert exchange.options == {"timeDifference": -300}


def at(rest_url):
    config = Config()
    return replace(
        config, venues=replace(config.venues, upbit=replace(config.venues.upbit, rest_url=rest_url))
    )


@pytest.mark.parametrize(
    "url", ["http://api.upbit.com", "http://10.0.0.1:80", "ftp://127.0.0.1", "api.upbit.com", "http://"]
)
def test_keys_do_not_travel_in_clear_text(url, monkeypatch):
    monkeypatch.setattr(clients, "require_ccxt", lambda: None)
    with pytest.raises(UsageError, match="https only"):
        make_client("upbit", at(url), KEYS)


def test_address_is_needed(monkeypatch):
    monkeypatch.setattr(clients, "require_ccxt", lambda: None)
    with pytest.raises(UsageError, match="rest_url is empty"):
        make_client("upbit", at(""), KEYS)


def test_ccxt_is_needed(monkeypatch):
    monkeypatch.setattr(clients, "find_spec", lambda _: None)
    with pytest.raises(
        UsageError, match=r"live orders need ccxt: pip install --require-hashes -r requirements-live\.lock$"
    ):
        make_client("upbit", at("https://api.upbit.com"), KEYS)
