"""Measures how long an order takes from the call to its last byte at the venue, for the own client and for
ccxt's.

The venue is a process that answers every order at once and stamps the arrival of its last byte. Both
clients send the same order through ``VenueClient.call``, in turns at a fixed rate (open loop), so that the
machine affects both alike: the ratio is what counts. ``python -m perf.clients PORT_FILE`` is the venue.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from arbshard.clock import SystemClock
from arbshard.config import VenueConfig
from arbshard.data.ccxt_client import CcxtClient
from arbshard.data.clients import HttpVenueClient
from arbshard.data.direct_http import DirectHttp
from arbshard.data.http import HttpFetch, HttpSender
from arbshard.data.trust import system_trust
from arbshard.model.market import Market
from arbshard.model.order import Order
from arbshard.venues.base.client import VenueClient
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.keys import Keys
from arbshard.venues.registry import get_adapter
from perf.running import MeasurementFailed

GROUP = "order clients, call → last byte at the venue"
_VENUE, _CCXT_VENUE = "binance", "binanceus"
_RATE = 20.0
"""Orders per second of all clients together. ccxt's own pause between calls is on, as in a real run."""
_WARM_UP = 30
_READY_S = 10.0
_FILL = {"price": "60000", "qty": "0.001", "commission": "0.000001", "commissionAsset": "BTC", "tradeId": 5}
_PLACED = msgspec.json.encode(
    {
        "symbol": "BTCUSDT", "orderId": 7, "clientOrderId": "x", "transactTime": 1, "price": "60000",
        "origQty": "0.001", "executedQty": "0.001", "cummulativeQuoteQty": "60", "status": "FILLED",
        "timeInForce": "IOC", "type": "LIMIT", "side": "BUY", "fills": [_FILL],
    }
)  # fmt: skip
_LISTED = msgspec.json.encode(
    {
        "symbols": [
            {
                "symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT",
                "isSpotTradingAllowed": True, "permissionSets": [["SPOT"]], "orderTypes": ["LIMIT"],
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.00001"},
                ],
            }
        ]
    }
)  # fmt: skip


def measure(seconds: float) -> dict[str, float]:
    """Return times in microseconds, and ratios, by name. Raises ``MeasurementFailed``.

    Without ccxt only the project's own client is measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder, "port")
        venue = subprocess.Popen([sys.executable, "-m", "perf.clients", str(ready)])
        try:
            end_s = time.monotonic() + _READY_S
            while not ready.exists():
                if venue.poll() is not None or time.monotonic() > end_s:
                    raise MeasurementFailed("the venue that stamps orders did not come up")
                time.sleep(0.02)
            return uvloop.run(_compare(f"http://127.0.0.1:{ready.read_text()}", seconds))
        finally:
            venue.kill()
            venue.wait()


async def _compare(url: str, seconds: float) -> dict[str, float]:
    direct = DirectHttp(system_trust(), timeout_s=5.0, body_bytes_max=1 << 20)
    ways: dict[str, tuple[VenueClient, VenueRequest]] = {
        "own": _own(url, direct),
        "own, aiohttp": _own(url, HttpFetch()),
    }
    if find_spec("ccxt") is not None:
        ways["ccxt"] = _ccxts(url)
    wires: dict[str, list[float]] = {name: [] for name in ways}
    cpu_s = dict.fromkeys(ways, 0.0)
    try:
        for _ in range(_WARM_UP):
            for client, request in ways.values():
                await client.call(request)
        due_s = time.monotonic()
        for _ in range(int(seconds * _RATE / len(ways))):
            for name, (client, request) in ways.items():
                due_s += 1 / _RATE
                await asyncio.sleep(max(due_s - time.monotonic(), 0.0))
                cpu_before_s, began_ns = time.process_time(), time.monotonic_ns()
                answer = await client.call(request)
                if answer.status != 200:
                    raise MeasurementFailed(f"{name}: HTTP {answer.status} {answer.body[:200]!r}")
                wires[name].append((int(answer.headers["x-stamp"]) - began_ns) / 1e3)
                cpu_s[name] += time.process_time() - cpu_before_s
    finally:
        for client, _ in ways.values():
            await client.close()
    return _figures(wires, cpu_s)


def _figures(wires: dict[str, list[float]], cpu_s: dict[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, wire in wires.items():
        wire.sort()
        found[f"{name}, p50"], found[f"{name}, p99"] = wire[len(wire) // 2], wire[int(len(wire) * 0.99)]
        found[f"{name}, CPU of this process per order"] = cpu_s[name] / len(wire) * 1e6
    for name in wires:
        if name != "own":
            found[f"{name} to own, p50"] = found[f"{name}, p50"] / found["own, p50"]
    return found


def _own(url: str, http: HttpSender) -> tuple[VenueClient, VenueRequest]:
    adapter = get_adapter(_VENUE)
    assert adapter.signing is not None
    keys = Keys(_VENUE, "key", "s" * 64)
    client = HttpVenueClient(_VENUE, url, adapter.signing, keys, http, SystemClock(), 5000)
    return client, adapter.orders.place(_order(_VENUE, "BTCUSDT"), "ab1cd-s1-0-1-1-a0")


def _ccxts(url: str) -> tuple[VenueClient, VenueRequest]:
    settings = VenueConfig(
        adapter="ccxt",
        client_id_param="clientOrderId",
        rest_url=url,
        buy_fee_bps=Decimal(0),
        sell_fee_bps=Decimal(0),
    )
    client = CcxtClient(_CCXT_VENUE, settings, Keys(_CCXT_VENUE, "key", "s" * 64), timeout_s=5.0)
    order = _order(_CCXT_VENUE, "BTC/USDT")
    return client, get_adapter(_CCXT_VENUE).orders.place(order, "ab1cd-s1-0-1-1-a0")


def _order(venue: str, symbol: str) -> Order:
    market = Market(venue, symbol, "BTC", "USDT")
    return Order("s1-0-1-1-a0", market, "buy", Decimal("0.001"), Decimal(60_000))


class _Stamper(asyncio.Protocol):
    """Answers a request when its last byte has arrived."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].partition(b":")[2]) if lengths else 0
        if not found or len(rest) < length:
            return
        stamp_ns = time.monotonic_ns()
        self._received = rest[length:]
        body = _PLACED if head.startswith(b"POST") else _LISTED
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Stamp: %d\r\nContent-Length: %d\r\n\r\n%b"
            % (stamp_ns, len(body), body)
        )


async def _stamp(ready: Path) -> None:
    server = await asyncio.get_running_loop().create_server(_Stamper, "127.0.0.1", 0)
    partial = ready.with_suffix(".part")
    partial.write_text(str(server.sockets[0].getsockname()[1]))
    partial.rename(ready)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_stamp(Path(sys.argv[1])))
