"""`arbshard replay` in real processes: clients get the recorded books, and unchanged runs trade on them."""

import asyncio
import json
import re
import signal
import urllib.request
from contextlib import contextmanager

import msgspec
import pytest
import websockets
from msgspec.structs import replace

from arbshard.ledger.reader import LedgerReader
from arbshard.tape.reading import Tape
from support.effort import effort
from support.instance import SMALL, Instance
from support.tapes import RECORDING, UNIVERSE, Recording, binance, upbit
from tests.replay.test_events import ONE, traded, with_eth

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(200),
    pytest.mark.needs("analysis", "tape"),
]


@contextmanager
def replaying(desk, tape, *arguments):
    """A replay that runs: (its process, what its ready file holds). It is ended at the end."""
    ready = desk.folder / "ready.json"
    process = desk.launch("replay", str(tape), "--ready-file", str(ready), *arguments)
    printed = desk.folder / "err-0.txt"
    desk.wait_for(lambda: ready.exists() or process.poll() is not None, describe=printed.read_text)
    try:
        yield process, json.loads(ready.read_bytes())
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        desk.ended(process)


def answer(address):
    with urllib.request.urlopen(address, timeout=10) as reply:
        return json.loads(reply.read())


def closed_in(instance):
    """How many positions were closed."""
    with LedgerReader(instance.ledger) as ledger:
        return len(list(ledger.rows(["PositionClosed"])))


def desk_in(folder):
    folder.mkdir()
    return Instance(folder)


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """Some 12 s of a real run."""
    with Instance(tmp_path_factory.mktemp("recorded"), SMALL) as instance:
        instance.start()
        instance.until_running()
        process = instance.launch(
            "record", "--config", str(instance.config), "--free-mb", "0", "--duration", "12"
        )
        ended = instance.ended(process)
        assert ended.code == 0, ended
        assert instance.stop().code == 0
        return instance.state / "tape"


def books_of(tape, symbol):
    """(asks, bids) of the recorded frames of a market at home, one of equal ones in a row."""
    found = []
    for _, row in Tape(tape).rows():
        if row.kind in ("frame", "known") and f'"cd":"{symbol}"'.encode() in row.data:
            units = msgspec.json.decode(row.data)["obu"]
            book = [(unit["ap"], unit["as"], unit["bp"], unit["bs"]) for unit in units]
            if not found or found[-1] != book:
                found.append(book)
    return found


async def received(address, symbol, seconds):
    found = []
    async with websockets.connect(address) as socket:
        await socket.send(
            json.dumps([{"ticket": "t"}, {"type": "orderbook", "codes": [symbol]}, {"format": "SIMPLE"}])
        )
        try:
            async with asyncio.timeout(seconds):
                async for message in socket:
                    units = json.loads(message)["obu"]
                    book = [(unit["ap"], unit["as"], unit["bp"], unit["bs"]) for unit in units]
                    if not found or found[-1] != book:
                        found.append(book)
        except TimeoutError:
            pass
    return found


def test_a_client_gets_the_recorded_books_in_their_order(tape, tmp_path):
    wanted = books_of(tape, "KRW-BTC")
    with desk_in(tmp_path / "desk") as desk, replaying(desk, tape, "--speed", "2") as (process, ready):
        found = asyncio.run(received(ready["upbit"]["ws_url"], "KRW-BTC", 4.0))
        assert len(found) > 20
        start = wanted.index(found[0])
        assert found == wanted[start : start + len(found)]
        listed = answer(f"{ready['binance']['rest_url']}/api/v3/exchangeInfo")["symbols"]
        assert len(listed) == 8
        ticker = answer(f"{ready['binance']['rest_url']}/api/v3/ticker/24hr?symbol=BTCUSDT")
        assert float(ticker["lastPrice"]) == pytest.approx(float(ticker["askPrice"]), rel=0.01)
        ended = desk.ended(process, 60)
        assert ended.code == 0, ended
        assert re.search(r"replay: [0-9]+ events played, 1 times to the end\n", ended.err), ended.err


def test_unchanged_runs_trade_a_recorded_stretch_on_paper_and_with_orders(tape, tmp_path):
    configs = tmp_path / "configs"
    with (
        desk_in(tmp_path / "desk") as desk,
        replaying(desk, tape, "--loop", "--config-dir", str(configs)) as (_, ready),
    ):
        for mode, extra in (("live", ("--live",)), ("paper", ()))[: effort(1, 2)]:
            folder = tmp_path / mode
            folder.mkdir()
            text = (configs / f"{mode}.toml").read_text().replace(f'name = "replay-{mode}"\n', "")
            text = text.replace(
                "[venues.upbit]", "[run]\nshards = 1\n[strategy]\nmax_hold_s = 3.0\n[venues.upbit]", 1
            )
            with Instance(folder, text, name=mode) as instance:
                instance.start("--new-ledger", *extra)
                instance.until_running()
                instance.wait_for(lambda: closed_in(instance) >= 3)
                ended = instance.stop()
                assert ended.code == 0, ended
                assert "everything agrees" in instance.do("ledger", "verify")
        request = urllib.request.Request(
            f"{ready['upbit']['rest_url']}/sim/accounts",
            headers={"Authorization": f"Bearer {ready['token']}"},
        )
        (account,) = answer(request).values()
        assert any(order["fills"] for order in account["orders"])


def test_a_lost_connection_of_the_recording_is_lost_again(tmp_path):
    recording = Recording(tmp_path / "tape")
    recording.add(0, "upbit", kind="connect", connection="u", detail="carries KRW-BTC")
    recording.both()
    for step in range(1, 40):
        recording.add(step / 4, "upbit", upbit(137_000_000 + step * 1000, 137_100_000), connection="u")
        recording.add(
            step / 4, "binance", binance(step + 1, bid=f"9450{step % 10}.10000000", ask="94520.00000000")
        )
    recording.add(4.1, "upbit", kind="disconnect", connection="u", detail="closed with code 1001: going away")
    folder = recording.end()

    async def until_closed(address):
        async with websockets.connect(address) as socket:
            await socket.send(json.dumps([{"ticket": "t"}, {"type": "orderbook", "codes": ["KRW-BTC"]}]))
            async for _ in socket:
                pass
            return socket.close_code

    with desk_in(tmp_path / "desk") as desk, replaying(desk, folder, "--clock", "recorded") as (_, ready):
        shown_ms = answer(f"{ready['binance']['rest_url']}/api/v3/time")["serverTime"] - RECORDING
        assert 0 <= shown_ms < 60_000
        assert asyncio.run(asyncio.wait_for(until_closed(ready["upbit"]["ws_url"]), 20)) == 1001
        assert answer(f"{ready['upbit']['rest_url']}/v1/orderbook?markets=KRW-BTC")[0]["market"] == "KRW-BTC"
        stats = answer(f"{ready['upbit']['rest_url']}/sim/stats")
        assert stats["venues"]["upbit"]["closed"] == {"connection lost": 1}


def test_a_pair_that_came_is_listed_by_both_venues_from_then_on(tmp_path):
    recording = Recording(tmp_path / "tape", universe=ONE).both()
    traded(recording, 1, replace(UNIVERSE, serial=1))
    for seconds in range(4, 60):
        with_eth(recording.both(seconds), seconds)
    with desk_in(tmp_path / "desk") as desk, replaying(desk, recording.end()) as (_, ready):

        def listed():
            home = answer(f"{ready['upbit']['rest_url']}/v1/market/all")
            away = answer(f"{ready['binance']['rest_url']}/api/v3/exchangeInfo")["symbols"]
            return {one["market"] for one in home} | {one["symbol"] for one in away}

        assert listed() == {"KRW-BTC", "BTCUSDT"}
        desk.wait_for(lambda: {"KRW-ETH", "ETHUSDT"} <= listed())
        book = answer(f"{ready['binance']['rest_url']}/api/v3/depth?symbol=ETHUSDT")
        assert book["bids"]


def test_damage_ends_the_replay_where_it_is_found(tmp_path):
    recording = Recording(tmp_path / "tape").both()
    for step in range(1, 200):
        recording.add(step, "upbit", upbit(137_000_000 + step * 1000, 137_500_000))
    folder = recording.end()
    (path,) = Tape(folder).paths
    data = bytearray(path.read_bytes())
    middle = len(data) * 9 // 10
    data[middle : middle + 64] = bytes(byte ^ 0xFF for byte in data[middle : middle + 64])
    path.write_bytes(data)
    with desk_in(tmp_path / "desk") as desk:
        ended = desk.ended(desk.launch("replay", str(folder), "--speed", "100"))
        assert ended.code == 1, ended
        assert ended.err.splitlines()[-1].startswith(f"arbshard: {path}: batch "), ended.err
        assert re.search(r"replay: 1[0-9]{2} events played, 0 times to the end", ended.err), ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "arbshard: there is no tape in nowhere"),
        ((".", "--speed", "0"), "arbshard: --speed 0: must be from 0.001 to 10000"),
        ((".", "--from", "noon"), "arbshard: --from noon: not a date or time such as"),
        ((".", "--from", "2026-11-02", "--to", "2026-11-01"), "arbshard: --to: must be later than --from"),
        ((".", "--port", "elsewhere=1"), "arbshard: --port elsewhere=1: must be VENUE=PORT"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    with desk_in(tmp_path / "desk") as desk:
        ended = desk.carry_out("replay", *arguments, configured=False)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith(message), ended.err
        assert ended.err.count("\n") == 1
