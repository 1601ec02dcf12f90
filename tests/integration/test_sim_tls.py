"""The simulated exchanges with TLS: a process, real sockets, clients that trust the authority it made."""

import json
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

pytestmark = [pytest.mark.integration, pytest.mark.needs("tls")]

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts simulator processes; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **settings: object) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "arbshard.exchanges",
            "--settings",
            json.dumps({"coins": 2} | settings),
        ]
        process = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


@pytest.fixture
def begin(start: Start, tmp_path: Path) -> Callable[..., Any]:
    """What is in the ready file of a started simulator."""

    def begin(**settings: object) -> Any:
        path = tmp_path / "sim.json"
        process = start("--ready-file", str(path), **settings)
        deadline = time.monotonic() + 60
        while not path.exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "not ready in time"
            time.sleep(0.02)
        return json.loads(path.read_text())

    return begin


def get(url: str, context: ssl.SSLContext | None = None, token: str = "") -> Any:
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(asked, timeout=5, context=context) as reply:
        return json.loads(reply.read())


async def test_both_ways_in(begin: Callable[..., Any], tmp_path: Path) -> None:
    ready = begin(tls=True)
    tls = ready["tls"]
    assert tls["ca_file"] == str(tmp_path / "sim-ca.pem")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sim-ca.pem", "sim.json"]
    context = ssl.create_default_context(cafile=tls["ca_file"])
    for addresses, secure in ((ready, None), (tls, context)):
        letter = "s" if secure else ""
        upbit, binance = addresses["upbit"], addresses["binance"]
        assert upbit["rest_url"].startswith(f"http{letter}://127.0.0.1:")
        assert len(get(f"{upbit['rest_url']}/v1/market/all", secure)) == 3
        assert len(get(f"{binance['rest_url']}/api/v3/exchangeInfo", secure)["symbols"]) == 2
        assert get(f"{upbit['rest_url']}/sim/stats", secure)["venues"]["upbit"]["faults"] == {}
        async with connect(upbit["ws_url"], ssl=secure) as client:
            await client.send('[{"ticket":"t"},{"type":"orderbook","codes":["KRW-BTC"]}]')
            assert [json.loads(await client.recv())["stream_type"] for _ in range(3)] == [
                "SNAPSHOT", "REALTIME", "REALTIME",
            ]  # fmt: skip
        async with connect(f"{binance['ws_url']}/ws/btcusdt@depth20@100ms", ssl=secure) as client:
            assert json.loads(await client.recv())["bids"]
        async with connect(f"{binance['ws_url']}/ws-api/v3", ssl=secure) as client:
            await client.send('{"id":1,"method":"ping"}')
            assert json.loads(await client.recv())["status"] == 200
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{upbit['ws_url']}/private", ssl=secure)
        assert refused.value.response.status_code == 401


async def test_cut_connections_end_with_tls_too(begin: Callable[..., Any]) -> None:
    tls = begin(tls=True, faults={"lost_request": {"times": 1, "calls": "all"}})["tls"]
    context = ssl.create_default_context(cafile=tls["ca_file"])
    for venue in ("upbit", "binance"):
        url = tls[venue]["rest_url"] + ("/v1/market/all" if venue == "upbit" else "/api/v3/ping")
        with pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)):
            get(url, context)
        get(url, context)
        assert get(f"{tls[venue]['rest_url']}/sim/stats", context)["venues"][venue]["faults"] == {
            "lost_request": 1
        }


def test_strangers_to_the_authority_are_warned(begin: Callable[..., Any]) -> None:
    tls = begin(tls=True)["tls"]
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        get(f"{tls['binance']['rest_url']}/api/v3/ping")


def test_none_unless_wanted(begin: Callable[..., Any], tmp_path: Path) -> None:
    assert begin()["tls"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["sim.json"]


def test_without_a_ready_file_the_certificate_goes_with_the_process(start: Start) -> None:
    process = start(tls=True)
    assert process.stderr is not None
    process.stderr.readline()
    path = Path(process.stderr.readline().rstrip().rpartition("trust ")[2])
    assert path.read_text().startswith("-----BEGIN CERTIFICATE-----")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not path.parent.exists()


def test_a_folder_that_cannot_be_written(start: Start, tmp_path: Path) -> None:
    process = start("--ready-file", str(tmp_path / "none" / "sim.json"), tls=True)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.startswith("sim.tls: ")


def test_ports_of_ones_own(begin: Callable[..., Any], start: Start) -> None:
    tls = begin(tls=True)["tls"]
    port = int(tls["binance"]["rest_url"].rpartition(":")[2])
    process = start(tls=True, binance_tls_port=port)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (2, f"sim.binance_tls_port: 127.0.0.1:{port} is already in use\n")


def test_accounts_are_those_of_the_settings(begin: Callable[..., Any]) -> None:
    accounts = {"upbit_key": "mine", "quote_home": "5", "quote_away": "0.5", "coins_notional": "0"}
    ready = begin(accounts=accounts)
    upbit = get(f"{ready['upbit']['rest_url']}/sim/accounts", token=ready["token"])
    binance = get(f"{ready['binance']['rest_url']}/sim/accounts", token=ready["token"])
    assert upbit["mine"]["opening"]["KRW"] == "5"
    assert upbit["mine"]["opening"]["BTC"] == "0"
    assert binance["sim-binance-key"]["opening"]["USDT"] == "0.5"


def test_settings_of_the_supervisor_are_understood(begin: Callable[..., Any]) -> None:
    """As ``msgspec`` writes them: every key, amounts as text."""
    from arbshard.config import SimConfig

    settings = msgspec.json.decode(msgspec.json.encode(SimConfig(coins=1)))
    assert begin(**settings)["upbit"]["rest_url"]
