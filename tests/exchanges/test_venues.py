"""Handshakes: which sockets there are, and how many connections an address may open."""

import json

import pytest

from arbshard.clock import ManualClock
from arbshard.config import SimConfig
from arbshard.exchanges.accounts.account import seeded_accounts
from arbshard.exchanges.binance.session import BinanceSession
from arbshard.exchanges.counters import Counters
from arbshard.exchanges.session import SECOND_NS, Query, RestReply
from arbshard.exchanges.upbit.session import UpbitSession
from arbshard.exchanges.venues import Common, VenueCore, binance_core, upbit_core
from arbshard.exchanges.world import SimWorld

CONFIG = SimConfig(coins=1)


@pytest.fixture
def upbit(world: SimWorld) -> VenueCore:
    accounts, _ = seeded_accounts(CONFIG.accounts, world.upbit, world.binance)
    return upbit_core(Common(world, CONFIG, ManualClock(), Counters(), 1), accounts)


@pytest.fixture
def binance(world: SimWorld) -> VenueCore:
    _, accounts = seeded_accounts(CONFIG.accounts, world.upbit, world.binance)
    return binance_core(Common(world, CONFIG, ManualClock(), Counters(), 1), accounts)


def handshake(path: str, second: float = 1.0, peer: str = "me", query: str = "", **headers: str) -> Query:
    params = tuple(
        (name, value) for name, _, value in (one.partition("=") for one in query.split("&") if one)
    )
    return Query("GET", path, params, peer, int(second * SECOND_NS), 0, query, b"", headers)


def status(venue: VenueCore, query: Query) -> int:
    opened = venue.open_session(query)
    return opened.status if isinstance(opened, RestReply) else 404 if opened is None else 101


def test_upbit_takes_five_connections_a_second_from_an_address(upbit: VenueCore) -> None:
    path = "/websocket/v1"
    assert isinstance(upbit.open_session(handshake(path)), UpbitSession)
    assert [status(upbit, handshake(path)) for _ in range(5)] == [101] * 4 + [429]
    assert status(upbit, handshake(path, peer="you")) == 101
    assert status(upbit, handshake(path, second=2)) == 101
    refused = upbit.open_session(handshake(path, second=2))
    assert isinstance(refused, UpbitSession)


def test_upbit_takes_one_connection_with_an_origin_in_ten_seconds(upbit: VenueCore) -> None:
    def at(second: float) -> int:
        return status(upbit, handshake("/websocket/v1", second, origin="http://127.0.0.1"))

    assert [at(11), at(12), at(19), at(21)] == [101, 429, 429, 101]
    query = Query("GET", "/v1/ticker", (("markets", "KRW-BTC"),), "me", 22 * SECOND_NS, 0)
    assert upbit.rest.answer(query._replace(headers={"origin": "x"})).status == 429  # it is one limit
    assert upbit.rest.answer(query).status == 200


@pytest.mark.parametrize("path", ["/ws/btcusdt@trade", "/stream", "/ws-api/v3"])
def test_binance_takes_300_connections_in_five_minutes_from_an_address(binance: VenueCore, path: str) -> None:
    assert {status(binance, handshake(path)) for _ in range(300)} == {101}
    refused = binance.open_session(handshake("/ws"))
    assert isinstance(refused, RestReply)
    assert (refused.status, refused.headers) == (429, {"Retry-After": "299"})
    assert status(binance, handshake("/ws", peer="you")) == 101
    assert status(binance, handshake("/ws", second=300)) == 101


def test_binance_refuses_a_handshake_for_a_stream_it_does_not_serve(binance: VenueCore) -> None:
    refused = binance.open_session(handshake("/stream", query="streams=btcusdt@trade/btcusdt@blockTrade"))
    assert isinstance(refused, RestReply)
    assert refused.status == 400
    assert json.loads(refused.body)["error"]["msg"].endswith("btcusdt@blockTrade")


def test_binance_reads_the_time_unit_of_the_address(binance: VenueCore) -> None:
    query = "streams=btcusdt@trade&timeUnit=microsecond"
    session = binance.open_session(handshake("/stream", query=query))
    assert isinstance(session, BinanceSession)
    assert {stream.form for stream in session.streams} == {"combined-us"}


@pytest.mark.parametrize("path", ["/", "/api/v3/ping", "/websocket/v2"])
def test_there_is_no_other_socket(upbit: VenueCore, binance: VenueCore, path: str) -> None:
    assert (status(upbit, handshake(path)), status(binance, handshake(path))) == (404, 404)
