"""The library over real sockets: the embedded exchanges as a process, and venues that misbehave."""

import asyncio
import importlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web
from websockets.asyncio.server import serve

from arbshard.clock import SystemClock
from arbshard.config import load_config
from arbshard.data import (
    RestMarketDataProvider,
    WebSocketMarketDataProvider,
    find_universe,
)
from arbshard.errors import UsageError, VenueUnavailable
from arbshard.ledger.verify import verify
from arbshard.model.market import Market
from arbshard.runner import ArbitrageLiveRunner
from support.exchanges import running_exchanges

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

ROOT = Path(__file__).parents[2]
BTC, BTC_AWAY = Market("upbit", "KRW-BTC", "BTC", "KRW"), Market("binance", "BTCUSDT", "BTC", "USDT")
ETH = Market("upbit", "KRW-ETH", "ETH", "KRW")


@pytest.fixture(scope="module")
def exchanges(tmp_path_factory):
    """The ready file of a running embedded exchange process."""
    folder = tmp_path_factory.mktemp("sim")
    with running_exchanges(folder, coins=6, seed=11, regime="high-win"):
        yield folder / "sim.json"


@pytest.fixture(scope="module")
def config(exchanges):
    ready = json.loads(exchanges.read_text())
    venues = {name: ready[name] for name in ("upbit", "binance")}
    return load_config(
        None,
        {
            "venues": venues,
            "baseline": {"is_required": False},
            "strategy": {"max_hold_s": 2.0, "rearm_pause_max_s": 0.0, "no_reversion_exits": 0},
        },
    )


async def until(condition, timeout_s=60.0):
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


# --- the runner ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["ws", "rest"])
async def test_entries_and_exits_over_real_sockets(config, source, tmp_path):
    ledger = tmp_path / "ledger.sqlite"
    runner = await ArbitrageLiveRunner.acreate(config, data_source=source, ledger=ledger)

    def enough(_):
        results = [report.result for report in runner.reports]
        if results.count("opened") >= 2 and results.count("closed") >= 2:
            runner.request_stop()

    async with runner:
        reports = await runner.arun_multisymbol_loop(duration_s=40, on_report=enough)
        once = await runner.arun_once()
    assert [report.result for report in reports].count("closed") >= 2
    assert runner.portfolio.positions == {}
    assert runner.portfolio.trades == {}
    assert all(report.at_ms >= reports[-1].at_ms for report in once)
    checked = verify(ledger)
    assert checked.is_clean, checked.differences
    assert checked.closed == runner.portfolio.results.run[""].exits >= 2
    assert checked.kinds["Stopped"] == 1
    assert runner.counters["silent"] == 0
    assert runner.counters["books"] >= len(reports)  # it may have traded enough after few books
    assert [name for name in runner.provider.counters if name.startswith(("bad", "lost", "http"))] == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_books_go_on_between_synchronous_calls(config):
    with ArbitrageLiveRunner.create(config, ["BTC"], "ws") as runner:
        first = runner.provider.get_latest_snapshot("KRW-BTC").received_ns
        time.sleep(1.0)
        runner.run_once()
        newest = runner.provider.get_latest_snapshot("KRW-BTC").received_ns
        assert newest - first > 500_000_000
        assert time.monotonic_ns() - newest < 500_000_000
        assert runner.counters.get("stalls", 0) == 0
        assert [pair.base for pair in runner.pairs] == ["BTC"]


def test_what_was_recorded_can_be_replayed(config):
    """Books taken off the wire, traded on again in their own time: twice the same."""

    async def record():
        universe = await find_universe(config, ["BTC", "ETH", "XRP"])
        provider = WebSocketMarketDataProvider(config, [leg.market for leg in universe.legs()], SystemClock())
        records = []
        await provider.start()
        ends = asyncio.get_running_loop().time() + 6
        while asyncio.get_running_loop().time() < ends:
            records += [provider.get_latest_snapshot(symbol) for symbol in await provider.changes(1)]
        await provider.stop()
        return universe, sorted((book for book in records if book), key=lambda book: book.received_ns)

    universe, records = asyncio.run(record())
    assert len(records) > 200
    eager = load_config(
        None,
        {
            "baseline": {"is_required": False},
            "strategy": {"entry_bps": -40.0, "min_edge_bps": -50.0, "round_trip_bps": -200.0},
            "limits": {"edge_bps_min": -50.0},
        },
    )

    def play():
        with ArbitrageLiveRunner.create(eager, data_source=records, universe=universe) as runner:
            runner.run_multisymbol_loop()
        return runner

    first, again = play(), play()
    assert first.reports == again.reports
    assert "opened" in {report.result for report in first.reports}
    assert first.portfolio.positions == {}


def test_the_programs_of_the_manual_run_as_they_stand(exchanges, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/library.md").read_text(), re.DOTALL)
    ten_lines, metrics = blocks  # the second goes on where the first ends
    assert len([line for line in ten_lines.splitlines() if line.strip()]) <= 12
    (tmp_path / "sim.json").write_bytes(exchanges.read_bytes())
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ten_lines + metrics],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    *_, totals, counted = done.stdout.splitlines()
    assert "Totals(" in totals or totals == "{}"
    assert "'refused'" in counted
    assert verify(tmp_path / "trades.sqlite").is_clean
    assert {path.name for path in tmp_path.iterdir()} >= {"sim.json", "trades.sqlite"}


@pytest.mark.parametrize("name", ["watch_gaps", "trade_paper"])
def test_the_examples_run(name, exchanges, tmp_path, capsys, monkeypatch):
    ready = json.loads(exchanges.read_text())
    lines = [
        f'[venues.{venue}]\nws_url = "{ready[venue]["ws_url"]}"\nrest_url = "{ready[venue]["rest_url"]}"'
        for venue in ("upbit", "binance")
    ]
    lines.append("[baseline]\nis_required = false")
    (tmp_path / "c.toml").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    example = importlib.import_module(name)
    if name == "watch_gaps":
        asyncio.run(example.main(["BTC"], str(tmp_path / "c.toml"), 2))
        assert re.search(r"^BTC +-?\d+\.\d bp$", capsys.readouterr().out, re.MULTILINE)
    else:
        example.main(str(tmp_path / "c.toml"), ["BTC"], 1.0)
        assert capsys.readouterr().out.strip()


async def test_what_is_listed_and_what_is_not(config):
    universe = await find_universe(config, ["krw-eth", "BTCUSDT"], shards=2)
    assert {pair.base for pair in universe.pairs} == {"BTC", "ETH"}
    assert universe.fx.market.symbol == "KRW-USDT"
    assert len(universe.shards) == 2
    with pytest.raises(UsageError, match="NOSUCH"):
        await find_universe(config, ["NOSUCH"])


# --- venues that misbehave -----------------------------------------------------------------------------------------


def upbit_frame(bid, ask, code="KRW-BTC"):
    unit = {"ap": ask, "bp": bid, "as": 1.0, "bs": 1.0}
    book = {"ty": "orderbook", "cd": code, "tms": 1, "tas": 1.0, "tbs": 1.0, "obu": [unit], "st": "REALTIME"}
    return json.dumps(book, separators=(",", ":")).encode()


class Venue:
    """A WebSocket server that hands every client to ``script``, and counts them."""

    def __init__(self, script):
        self.script = script
        self.clients = 0

    async def __call__(self, socket):
        self.clients += 1
        await socket.recv()  # the subscription
        await self.script(self.clients, socket)


def ws_config(server):
    port = server.sockets[0].getsockname()[1]
    return load_config(None, {"venues": {"upbit": {"ws_url": f"ws://127.0.0.1:{port}"}}})


async def test_a_lost_connection_is_made_anew_and_not_live_meanwhile():
    gone = asyncio.Event()

    async def script(number, socket):
        await socket.send(upbit_frame(100.0 + number, 200.0))
        if number == 1:
            await gone.wait()
        else:
            await socket.wait_closed()

    venue = Venue(script)
    async with serve(venue, "127.0.0.1", 0) as server:
        provider = WebSocketMarketDataProvider(ws_config(server), [BTC], SystemClock())
        assert not provider.is_live("KRW-BTC")
        await provider.start()
        await until(lambda: provider.is_live("KRW-BTC") and provider.get_latest_snapshot("KRW-BTC"))
        assert provider.get_latest_snapshot("KRW-BTC").best_bid == 101.0
        seen = []
        live = provider.is_live
        gone.set()
        await until(lambda: seen.append(live("KRW-BTC")) or not seen[-1] or venue.clients >= 2)
        await until(lambda: provider.get_latest_snapshot("KRW-BTC").best_bid == 102.0)
        assert live("KRW-BTC")
        assert provider.counters["lost_upbit"] == 1
        assert provider.last_error
        await provider.stop()
        assert not live("KRW-BTC")


async def test_bad_frames_are_counted_by_reason_and_the_book_is_distrusted():
    go_on = asyncio.Event()

    async def script(_, socket):
        await socket.send(upbit_frame(100.0, 200.0))
        await socket.send(upbit_frame(300.0, 200.0))
        await socket.send(b'{"ty":"orderbook","cd":"KRW-B')
        await socket.send(b'{"error":{"name":"WRONG_FORMAT","message":"no"}}')
        await socket.send(upbit_frame(1.0, 2.0, "KRW-DOGE"))
        await go_on.wait()
        await socket.send(upbit_frame(101.0, 200.0))
        await socket.wait_closed()

    async with serve(Venue(script), "127.0.0.1", 0) as server:
        provider = WebSocketMarketDataProvider(ws_config(server), [BTC], SystemClock())
        await provider.start()
        await until(lambda: provider.counters["frames"] >= 5)
        assert provider.is_bad("KRW-BTC")
        assert provider.get_latest_snapshot("KRW-BTC").best_bid == 100.0
        expected = {"bad_upbit_crossed": 1, "garbage_upbit": 1, "error_upbit": 1, "unasked_upbit": 1}
        assert {name: provider.counters[name] for name in expected} == expected
        assert "KRW-DOGE" not in provider.latest_snapshots
        go_on.set()
        await until(lambda: not provider.is_bad("KRW-BTC"))
        await provider.stop()


async def test_after_a_stall_of_the_loop_nothing_is_live_for_a_while():
    async def script(_, socket):
        while True:
            await socket.send(upbit_frame(100.0, 200.0))
            await asyncio.sleep(0.02)

    async with serve(Venue(script), "127.0.0.1", 0) as server:
        provider = WebSocketMarketDataProvider(ws_config(server), [BTC], SystemClock())
        await provider.start()
        await until(lambda: provider.get_latest_snapshot("KRW-BTC") and provider.is_live("KRW-BTC"))
        before = provider.counters["stalls"]
        time.sleep(0.6)  # what a long notebook cell does
        await until(lambda: provider.counters["stalls"] > before)
        assert not provider.is_live("KRW-BTC")
        await until(lambda: provider.is_live("KRW-BTC"))
        await provider.stop()


class RestVenue:
    """An HTTP server whose answers are given by the test, in order; the last one for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.url = ""

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _answer(self, request):
        self.asked.append((time.monotonic(), request.path_qs))
        status, headers, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=status, headers=headers, body=body)


def upbit_body(bid=100.0, ask=200.0, *markets):
    unit = {"ask_price": ask, "bid_price": bid, "ask_size": 1.0, "bid_size": 1.0}
    return json.dumps(
        [
            {"market": market, "timestamp": 1, "orderbook_units": [unit]}
            for market in markets or ("KRW-BTC", "KRW-ETH")
        ]
    ).encode()


def rest_config(upbit="http://127.0.0.1:1", binance="http://127.0.0.1:1"):
    return load_config(None, {"venues": {"upbit": {"rest_url": upbit}, "binance": {"rest_url": binance}}})


async def test_rest_polls_many_markets_in_one_call_and_keeps_its_pace():
    async with RestVenue((200, {}, upbit_body())) as venue:
        provider = RestMarketDataProvider(rest_config(venue.url), [BTC, ETH], SystemClock(), poll_ms=1)
        await provider.start()
        await until(lambda: len(venue.asked) >= 6)
        await provider.stop()
    assert {path for _, path in venue.asked} == {"/v1/orderbook?markets=KRW-BTC,KRW-ETH&count=15"}
    assert set(provider.latest_snapshots) == {"KRW-BTC", "KRW-ETH"}
    gaps = [later - earlier for (earlier, _), (later, _) in zip(venue.asked, venue.asked[1:], strict=False)]
    assert sum(gaps) / len(gaps) > 0.1  # under ten calls a second
    assert not provider.is_live("KRW-BTC")  # stopped


@pytest.mark.parametrize(("status", "headers", "pause_s"), [(429, {}, 1.0), (418, {"Retry-After": "2"}, 2.0)])
async def test_rest_waits_when_the_venue_says_so(status, headers, pause_s):
    book = (200, {}, b'{"lastUpdateId":1,"bids":[["100","1"]],"asks":[["200","1"]]}')
    other = Market("binance", "ETHUSDT", "ETH", "USDT")
    async with RestVenue((status, headers, b"{}"), book) as venue:
        provider = RestMarketDataProvider(
            rest_config(binance=venue.url), [BTC_AWAY, other], SystemClock(), poll_ms=1
        )
        began = time.monotonic()
        await provider.start()
        await until(lambda: provider.counters.get("books", 0) >= 4)
        await provider.stop()
    assert provider.counters["limited_binance"] == 1
    # At most the other lane's first call, which may have been under way, came before the pause was over.
    assert len([at for at, _ in venue.asked if at - began < pause_s * 0.9]) <= 2


async def test_rest_failures_are_counted_and_cost_the_market_its_trust():
    answers = (
        (200, {}, upbit_body()),
        (500, {}, b"oops"),
        (200, {}, b"<html>"),
        (200, {}, upbit_body(300.0, 200.0, "KRW-BTC")),
        (200, {}, upbit_body(101.0)),
    )
    async with RestVenue(*answers) as venue:
        provider = RestMarketDataProvider(rest_config(venue.url), [BTC, ETH], SystemClock(), poll_ms=1)
        await provider.start()
        states = []

        def seen():
            states.append((provider.is_live("KRW-BTC"), provider.is_bad("KRW-BTC")))
            book = provider.get_latest_snapshot("KRW-BTC")
            return book is not None and book.best_bid == 101.0

        await until(seen)
        await provider.stop()
    assert {(True, False), (False, False)} <= set(states)
    assert any(bad for _, bad in states)
    expected = {"http_upbit": 1, "bad_upbit_cut": 1, "bad_upbit_crossed": 1, "bad_upbit_empty": 1}
    assert {name: provider.counters[name] for name in expected} == expected


async def test_an_unreachable_venue_is_counted_and_tried_again():
    provider = RestMarketDataProvider(rest_config(), [BTC], SystemClock())
    await provider.start()
    await until(lambda: provider.counters["lost_upbit"] >= 2)
    assert provider.get_latest_snapshot("KRW-BTC") is None
    await provider.stop()
    with pytest.raises(VenueUnavailable, match="does not answer"):
        await find_universe(rest_config())
