"""The real thing, briefly: generator, supervisor, workers, and what is read off them."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise

import msgspec
import psutil
import pytest
from aiohttp import ClientSession
from websockets.asyncio.client import connect

from arbshard.config import SimConfig
from perf import load
from perf.running import ROOT, MeasurementFailed, System, end_process
from perf.stamp import sent_ns_of

pytestmark = pytest.mark.integration


def test_a_short_run_measures_both_latencies_and_leaves_nothing_behind():
    # A venue's first snapshot has no stamp, and has to come before the window.
    row = load.measure(500.0, 2.0, coins=5, warm_up_s=1.5)
    assert row.decided > 0
    assert row.receive_us.count > 0
    assert row.unstamped <= 1  # one decision may be half recorded when the page is read
    # What was sent came before what was received.
    assert row.send_us.p50 >= row.receive_us.p50
    assert row.delivered == pytest.approx(row.offered, rel=0.1)
    assert (row.lost, row.bad_frames, row.skipped) == (0, 0, 0)
    assert set(row.cpu_s) == {"supervisor", "generator", "risk", "worker-0", "worker-1"}
    children = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not [line for line in children if "perf" in line or "arbshard" in line]


@contextmanager
def running_generator(place, **sim):
    ready = place / "ready"
    settings = msgspec.json.encode(SimConfig(**sim)).decode()
    command = [sys.executable, "-m", "perf.generator", "--settings", settings, "--ready-file", str(ready)]
    process = subprocess.Popen(
        [*command, "--parent-pid", str(os.getpid())], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None, "the generator ended"
            assert time.monotonic() < deadline, "the generator did not start"
            time.sleep(0.02)
        yield json.loads(ready.read_bytes())
    finally:
        end_process(process, 3.0)
    assert process.returncode == 0


async def test_diff_events_join_the_snapshot_without_a_gap(tmp_path):
    """What ccxt and cryptofeed insist on."""
    with running_generator(tmp_path, coins=5, updates_per_s=50.0) as at:
        stream = "btcusdt@depth@100ms"
        async with connect(f"{at['binance']['ws_url']}/stream/ws", compression=None) as socket:
            await socket.send(json.dumps({"method": "SUBSCRIBE", "params": [stream], "id": 1}))
            messages = [json.loads(await socket.recv()) for _ in range(5)]
            url = f"{at['binance']['rest_url']}/api/v3/depth?symbol=BTCUSDT&limit=1000"
            async with ClientSession() as session, session.get(url) as answer:
                snapshot = json.loads(await answer.read())
            messages += [json.loads(await socket.recv()) for _ in range(50)]
        events = [message["data"] for message in messages if "stream" in message]
        assert len(events) >= 54
        assert all(after["U"] == before["u"] + 1 for before, after in pairwise(events))
        assert any(event["U"] <= snapshot["lastUpdateId"] + 1 <= event["u"] for event in events)
        assert [price for price, _ in snapshot["bids"]] == [price for price, _ in events[-1]["b"]]
        sent_ns = sent_ns_of(float(events[-1]["b"][0][1]))
        assert sent_ns is not None
        assert 0 <= time.monotonic_ns() - sent_ns < 60_000_000_000


async def test_upbit_says_its_snapshot_first_and_keeps_the_rate(tmp_path):
    with running_generator(tmp_path, coins=2, updates_per_s=50.0) as at:
        async with connect(at["upbit"]["ws_url"], compression=None) as socket:
            request = [{"ticket": "t"}, {"type": "orderbook", "codes": ["KRW-BTC", "KRW-USDT"]}]
            await socket.send(json.dumps(request))
            messages = [json.loads(await socket.recv()) for _ in range(42)]
    assert [message["stream_type"] for message in messages[:2]] == ["SNAPSHOT"] * 2
    moving = [message for message in messages if message["stream_type"] == "REALTIME"]
    assert len(moving) == 40
    times = [sent_ns_of(one["orderbook_units"][0]["bid_size"]) for one in moving if one["code"] == "KRW-BTC"]
    steps = [after - before for before, after in pairwise(times)]
    # Each market every 20 ms by the grid, however busy this machine is.
    assert all(step == pytest.approx(20_000_000, abs=5_000_000) for step in steps)


def test_a_system_that_cannot_start_says_why():
    config = {"run": {"shards": 0}}
    with System(("-m", "perf.system"), config) as system, pytest.raises(MeasurementFailed, match="shards"):
        system.until_running()
