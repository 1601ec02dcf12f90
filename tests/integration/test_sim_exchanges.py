"""The simulated exchanges as their users meet them: a process, real sockets, clients that know nothing of it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from arbshard.clock import SystemClock
from arbshard.config import SimConfig
from arbshard.exchanges.coins import coin_table
from arbshard.exchanges.exchanges import Exchanges

pytestmark = pytest.mark.integration

Addresses = dict[str, dict[str, str]]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts simulator processes; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **settings: object) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "arbshard.exchanges",
            "--settings",
            json.dumps({"coins": 3} | settings),
        ]
        command += ["--ready-file", str(tmp_path / "ready.json"), *arguments]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def ready(tmp_path: Path, process: subprocess.Popen[str]) -> Any:
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready.json").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.02)
    return json.loads((tmp_path / "ready.json").read_text())


@pytest.fixture
def sim(start: Start, tmp_path: Path) -> Addresses:
    """Addresses of a running simulator with three coins."""
    addresses: Addresses = ready(tmp_path, start())
    return addresses


def get(url: str) -> tuple[int, dict[str, str], Any]:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status, dict(reply.headers), reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


async def receive(client: ClientConnection) -> Any:
    async with asyncio.timeout(5):
        return await client.recv()


async def read_to_the_end(client: ClientConnection) -> None:
    while True:
        await receive(client)


async def receive_json(client: ClientConnection) -> Any:
    return json.loads(await receive(client))


# --- Upbit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_upbit_simple_flow(sim: Addresses, compression: str | None) -> None:
    async with connect(sim["upbit"]["ws_url"], compression=compression) as client:
        assert client.response is not None
        assert client.response.headers["Server"] == "arbshard simulated exchange"
        assert bool(client.response.headers.get("Sec-WebSocket-Extensions")) is (compression is not None)
        codes = ["KRW-BTC.15", "KRW-USDT.1"]
        await client.send(
            json.dumps([{"ticket": "t"}, {"type": "orderbook", "codes": codes}, {"format": "SIMPLE"}])
        )
        first, second = await receive(client), await receive(client)
        assert isinstance(first, bytes)
        assert [json.loads(one)["st"] for one in (first, second)] == ["SNAPSHOT", "SNAPSHOT"]
        seen: set[str] = set()
        for _ in range(6):
            message = await receive_json(client)
            assert message["st"] == "REALTIME"
            depth = {"KRW-BTC": 15, "KRW-USDT": 1}[message["cd"]]
            assert len(message["obu"]) == depth
            assert message["obu"][0]["bp"] < message["obu"][0]["ap"]
            seen.add(message["cd"])
        assert seen == {"KRW-BTC", "KRW-USDT"}


async def test_upbit_resubscription_replaces(sim: Addresses) -> None:
    async with connect(sim["upbit"]["ws_url"]) as client:
        await client.send(json.dumps([{"ticket": "1"}, {"type": "orderbook", "codes": ["KRW-BTC"]}]))
        assert (await receive_json(client))["code"] == "KRW-BTC"
        await client.send(json.dumps([{"ticket": "2"}, {"type": "orderbook", "codes": ["KRW-ETH.5"]}]))
        while (message := await receive_json(client))["code"] != "KRW-ETH":
            pass
        assert message["stream_type"] == "SNAPSHOT"
        for _ in range(5):
            message = await receive_json(client)
            assert (message["code"], message["stream_type"]) == ("KRW-ETH", "REALTIME")
        await client.send("PING")
        while message.get("status") != "UP":
            message = await receive_json(client)
        await client.send("what?")
        while "error" not in message:
            message = await receive_json(client)
        assert message["error"]["name"] == "WRONG_FORMAT"


def test_upbit_rest(sim: Addresses) -> None:
    status, headers, body = get(sim["upbit"]["rest_url"] + "/v1/market/all?is_details=true")
    assert status == 200
    assert headers["Server"] == "arbshard simulated exchange"
    assert headers["Remaining-Req"].startswith("group=market; min=600; sec=")
    assert headers["Content-Type"].startswith("application/json")
    assert [market["market"] for market in json.loads(body)] == ["KRW-USDT", "KRW-BTC", "KRW-ETH", "KRW-XRP"]
    status, headers, body = get(sim["upbit"]["rest_url"] + "/v1/orderbook?markets=KRW-NONE")
    assert (status, json.loads(body)["error"]["name"]) == (404, 404)
    assert "Remaining-Req" in headers


# --- Binance -------------------------------------------------------------------------------------------------------


async def test_binance_combined_and_raw(sim: Addresses) -> None:
    base = sim["binance"]["ws_url"]
    async with connect(f"{base}/stream?streams=btcusdt@depth20@100ms/ethusdt@depth5@100ms") as client:
        seen = {}
        for _ in range(6):
            text = await receive(client)
            assert isinstance(text, str)
            message = json.loads(text)
            seen[message["stream"]] = len(message["data"]["bids"])
        assert seen == {"btcusdt@depth20@100ms": 20, "ethusdt@depth5@100ms": 5}
    async with connect(f"{base}/ws/btcusdt@depth5@100ms") as client:
        assert set(await receive_json(client)) == {"lastUpdateId", "bids", "asks"}
    async with connect(f"{base}/stream/ws/0") as client:
        request = {"method": "SUBSCRIBE", "params": ["xrpusdt@bookTicker"], "id": "a1"}
        await client.send(json.dumps(request))
        assert await receive_json(client) == {"result": None, "id": "a1"}
        assert (await receive_json(client))["data"]["s"] == "XRPUSDT"


async def test_binance_diff_stream_and_rest_snapshot_make_one_book(sim: Addresses) -> None:
    base, rest = sim["binance"]["ws_url"], sim["binance"]["rest_url"]
    url = f"{base}/ws/ethusdt@depth@100ms/ethusdt@depth20@100ms"
    async with connect(url) as client, aiohttp.ClientSession() as http:
        first = await receive_json(client)
        while "U" not in first:
            first = await receive_json(client)
        async with http.get(f"{rest}/api/v3/depth", params={"symbol": "ETHUSDT", "limit": "5000"}) as reply:
            snapshot = await reply.json()
        assert snapshot["lastUpdateId"] >= first["U"]
        book = {"b": dict(snapshot["bids"]), "a": dict(snapshot["asks"])}
        last_id, compared, applied = snapshot["lastUpdateId"], 0, 0
        partial = snapshot
        deadline = time.monotonic() + 60
        while compared < 25:
            assert time.monotonic() < deadline
            message = await receive_json(client)
            if "U" not in message:
                partial = message
            elif message["u"] > last_id:
                assert message["U"] == last_id + 1 if applied else message["U"] <= last_id + 1
                for side in ("b", "a"):
                    book[side].update(message[side])
                    book[side] = {price: size for price, size in book[side].items() if float(size)}
                last_id, applied = message["u"], applied + 1
            # The two streams say the same in either order.
            if partial["lastUpdateId"] == last_id:
                assert best_levels(book["b"], -1, len(partial["bids"])) == partial["bids"]
                assert best_levels(book["a"], 1, len(partial["asks"])) == partial["asks"]
                compared += 1
        assert applied >= 20


def best_levels(side: dict[str, str], sign: int, count: int) -> list[list[str]]:
    ordered = sorted(side.items(), key=lambda level: sign * float(level[0]))
    return [list(level) for level in ordered[:count]]


def test_binance_rest(sim: Addresses) -> None:
    rest = sim["binance"]["rest_url"]
    status, headers, body = get(rest + "/api/v3/exchangeInfo?symbol=BTCUSDT")
    assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, "20")
    assert json.loads(body)["symbols"][0]["filters"][0]["tickSize"] == "0.01000000"
    status, headers, body = get(rest + "/api/v3/depth?symbol=NONE")
    assert (status, json.loads(body)["code"]) == (400, -1121)
    assert headers["X-MBX-USED-WEIGHT-1M"] == "25"
    status, _, body = get(rest + "/")
    assert status == 200
    assert b"simulated" in body
    stats = json.loads(get(rest + "/sim/stats")[2])
    assert stats["venues"]["binance"]["rest_requests"] == 2


# --- the process ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly_with_clients_connected(
    start: Start, tmp_path: Path, number: int
) -> None:
    process = start()
    addresses = ready(tmp_path, process)
    assert addresses["pid"] == process.pid
    async with connect(addresses["binance"]["ws_url"] + "/ws/btcusdt@depth20@100ms") as client:
        await receive(client)
        process.send_signal(number)
        with pytest.raises(ConnectionClosed) as closed:
            await read_to_the_end(client)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
    assert await asyncio.to_thread(process.wait, 5) == 0
    assert process.stderr is not None
    first, last = process.stderr.read().splitlines()
    assert "no real market" in first
    assert "stopped" in last
    for venue in ("upbit", "binance"):
        port = int(addresses[venue]["rest_url"].rpartition(":")[2])
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["ready.json"]


async def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-m', 'arbshard.exchanges', '--settings', '{\"coins\":1}', "
        "'--ready-file', sys.argv[1], '--parent-pid', str(os.getpid())])\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "ready.json")], stderr=subprocess.DEVNULL
    )
    child = 0
    try:
        child = ready(tmp_path, parent)["pid"]
        await asyncio.sleep(0.6)
        os.kill(child, 0)  # alive while its parent is
        parent.kill()
        parent.wait(5)
        deadline = time.monotonic() + 60
        while _alive(child):
            assert time.monotonic() < deadline, "outlived its parent"
            await asyncio.sleep(0.05)
    finally:
        parent.kill()
        parent.wait(5)
        if child and _alive(child):
            os.kill(child, signal.SIGKILL)


def _alive(pid: int) -> bool:
    """Whether ``pid`` runs; a zombie that nobody reaps does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_port_in_use(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(binance_port=port)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said == f"sim.binance_port: 127.0.0.1:{port} is already in use\n"


# --- clients that do not read --------------------------------------------------------------------------------------


@pytest.fixture
async def exchanges() -> AsyncIterator[Exchanges]:
    """In this process, with a small write buffer."""
    exchanges = Exchanges(SimConfig(coins=20, updates_per_s=100), SystemClock(), write_buffer_max=100_000)
    await exchanges.start()
    try:
        yield exchanges
    finally:
        await exchanges.stop()


async def test_a_slow_client_is_dropped_and_a_quick_one_is_not(exchanges: Exchanges) -> None:
    url = f"ws://{exchanges.upbit_at}/websocket/v1"
    codes = [f"KRW-{coin.base}" for coin in coin_table(20)]
    wanted = json.dumps([{"ticket": "t"}, {"type": "orderbook", "codes": codes}])
    counters = exchanges.counters.venues["upbit"]
    slow_socket = socket.socket()
    slow_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = exchanges.upbit_at.rpartition(":")
    slow_socket.connect((host, int(port)))
    slow_socket.setblocking(False)
    async with connect(url, compression=None, max_queue=None) as quick:
        await quick.send(wanted)
        # A client that pauses reading after a few messages, with a small receive buffer of its own.
        async with connect(url, compression=None, sock=slow_socket, max_queue=1, close_timeout=0.1) as slow:
            await slow.send(wanted)
            deadline = time.monotonic() + 60
            while counters.dropped_slow == 0:
                assert time.monotonic() < deadline
                await receive(quick)
        assert counters.dropped_slow == 1
        await receive(quick)
        while counters.clients > 1:
            assert time.monotonic() < deadline
            await receive(quick)
        assert counters.clients == 1


@pytest.mark.parametrize(("venue", "tail"), [("upbit", ""), ("binance", "/stream")])
async def test_a_clients_ping_is_answered(sim: Addresses, venue: str, tail: str) -> None:
    """Or every client that keeps alive by pings drops a healthy connection after its time-out."""
    async with connect(sim[venue]["ws_url"] + tail, compression=None, ping_interval=None) as client:
        pong = await client.ping(b"are you there")
        await asyncio.wait_for(pong, 5)
