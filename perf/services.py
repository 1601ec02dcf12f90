"""Measures the stages for which another process or a disk is needed: receive, round trip to risk, ledger
commit.

Together with ``stages`` these are all the costs between an exchange's frame and an approved order.
"""

import asyncio
import importlib
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from arbshard.ledger.events import Hold, IntentApproved
from arbshard.ledger.store import LedgerStore
from arbshard.model.intent import FxQuote, Intent
from arbshard.model.market import Market
from arbshard.model.money import exact, use_money_context
from arbshard.model.order import Order
from arbshard.wire.messages import Instructed, Instructions, decode_reply, encode
from arbshard.wire.request import RequestClient
from perf.load import config_of
from perf.running import ROOT, System, end_process

_FRAMES = 32_000
_COMMITS = 300
_ROUND_TRIPS = 500
_TIMEOUT_S = 20.0


def measure() -> dict[str, float]:
    """Return the cost of each stage in microseconds. Raises ``MeasurementFailed``.

    The cost of receiving is CPU time of the process per frame; the others are percentiles of elapsed time.
    """
    use_money_context()
    costs = {}
    for label, module in (("websockets", "websockets.asyncio.client"), ("picows", "picows.websockets")):
        if importlib.util.find_spec(module.partition(".")[0]) is not None:
            costs[f"receive ({label})"] = round(_receive(importlib.import_module(module)), 3)
    for label, durable in (("NORMAL", False), ("FULL", True)):
        costs[f"ledger commit ({label}), p50"] = round(_commit(durable=durable), 1)
    costs.update(_round_trips())
    return costs


def _receive(client: Any) -> float:
    """Return the CPU time of one frame in the client library, in microseconds; nothing else is done with
    the frame.
    """
    command = [sys.executable, "-m", "perf.flood", str(_FRAMES)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        return uvloop.run(_drain(client, f"ws://127.0.0.1:{port}"))
    finally:
        end_process(process, 3.0)
        if process.stdout is not None:
            process.stdout.close()


async def _drain(client: Any, url: str) -> float:
    # The supervisor connects with these settings: no compression, and a deep queue.
    async with (
        asyncio.timeout(_TIMEOUT_S),
        client.connect(url, compression=None, max_queue=4096, ping_interval=None) as socket,
    ):
        receive = socket.recv
        await socket.send("go")
        for _ in range(_FRAMES // 10):
            await receive(decode=False)
        began_s = time.process_time()
        left = _FRAMES - _FRAMES // 10
        for _ in range(left):
            await receive(decode=False)
        return (time.process_time() - began_s) / left * 1e6


def _commit(*, durable: bool) -> float:
    """Return the median time of ``LedgerStore.append`` for the event of an approved intent, in
    microseconds.
    """
    took = []
    with tempfile.TemporaryDirectory(prefix="arbperf-") as folder:
        path = Path(folder) / "ledger.sqlite"
        store = LedgerStore.open(path, name="perf", mode="sim-paper", now_ms=1, durable=durable)
        try:
            for number in range(_COMMITS):
                event = approval_event(number)
                began_ns = time.perf_counter_ns()
                store.append([event])
                took.append((time.perf_counter_ns() - began_ns) / 1000)
        finally:
            store.close()
    return statistics.median(took[_COMMITS // 10 :])


def approval_event(number: int) -> IntentApproved:
    """Return the event that an approved intent adds to the ledger."""
    name = f"s1-0-1-{number}"
    home = Order(
        f"{name}-h0", Market("upbit", "KRW-BTC", "BTC", "KRW"), "buy", exact(0.01), exact(137_000_000), "leg"
    )
    away = Order(
        f"{name}-a0", Market("binance", "BTCUSDT", "BTC", "USDT"), "sell", exact(0.01), exact(94_500), "leg"
    )
    intent = Intent(
        intent_id=name,
        kind="entry",
        pair="BTC",
        direction="buy_home",
        position_id=name,
        home=home,
        away=away,
        reason="net_edge",
        edge_bps=35.0,
        fx=FxQuote(exact(1450), exact(1451)),
        decided_ms=1,
    )
    holds = (
        Hold(home.client_id, "upbit", "KRW", exact(1_370_685)),
        Hold(away.client_id, "binance", "BTC", exact(0.01)),
    )
    return IntentApproved(at_ms=1, intent=intent, holds=holds)


def _round_trips() -> dict[str, float]:
    """Measure a request that risk answers from memory, while the system runs with next to no load.

    The transports take turns, so that other work on the machine affects both alike. Times are in
    microseconds.
    """
    config = config_of(50.0, 1, 1, transport="zmq")  # with this setting risk answers on both transports
    with System(("-m", "perf.system"), config) as system:
        note = system.until_running()
        epoch = next(child.epoch for child in note.children if child.name == "worker-0")
        took = uvloop.run(_ask_in_turn((system.files.risk_zmq_endpoint, system.files.risk_endpoint), epoch))
    costs = {}
    for label, times in zip(("zmq", "unix"), took, strict=True):
        costs[f"risk round trip ({label}), p50"] = round(statistics.median(times), 1)
        costs[f"risk round trip ({label}), p99"] = round(statistics.quantiles(times, n=100)[98], 1)
    return costs


async def _ask_in_turn(endpoints: Sequence[str], epoch: int) -> list[list[float]]:
    """Return how many microseconds each request took, in a list for each endpoint."""
    question = encode(Instructions(0, epoch))
    took: list[list[float]] = [[] for _ in endpoints]
    with ExitStack() as opened:
        clients = [opened.enter_context(RequestClient(one, timeout_ms=1000, tries=3)) for one in endpoints]
        for _ in range(_ROUND_TRIPS):
            for client, times in zip(clients, took, strict=True):
                began_ns = time.perf_counter_ns()
                answer = decode_reply(await client.request(question))
                times.append((time.perf_counter_ns() - began_ns) / 1000)
                assert isinstance(answer, Instructed), msgspec.to_builtins(answer)
                await asyncio.sleep(0.001)
    return took
