"""How many files a frame walks through in a worker, from the doorbell's ring to the decision."""

import json

import pytest

from arbshard.config import Config
from arbshard.engine.engine import ArbitrageEngine, Entry
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.doorbell import ShardNotifier, ShardWaiter
from arbshard.venues.registry import codecs
from arbshard.worker.feed import ShardFeed
from support.funds import give
from support.walk import walk

NOW_NS = 1_000_000_000


def upbit_frame(code: str, mid: float, tick: float) -> bytes:
    """A frame as Upbit sends it."""
    units = [{"ap": mid + tick * n, "bp": mid - tick * n, "as": 0.5, "bs": 0.4} for n in range(1, 16)]
    return json.dumps(
        {"ty": "orderbook", "cd": code, "tms": 1795239476126, "obu": units, "st": "REALTIME"}
    ).encode()


def binance_frame(mid: float) -> bytes:
    """A frame as Binance sends it."""
    bids = [[f"{mid - n / 100:.8f}", "0.4"] for n in range(1, 21)]
    asks = [[f"{mid + n / 100:.8f}", "0.5"] for n in range(1, 21)]
    data = {"lastUpdateId": 160, "bids": bids, "asks": asks}
    return json.dumps({"stream": "btcusdt@depth20@100ms", "data": data}).encode()


@pytest.mark.parametrize(("away_mid", "is_trade", "files_max"), [(94_500.0, False, 13), (95_500.0, True, 15)])
def test_a_frame_enters_few_files(tmp_path, make, away_mid, is_trade, files_max) -> None:
    """The supervisor's write and ring, and the worker's look and decision: the way of every frame."""
    engine = ArbitrageEngine([make.pair], make.fx_leg, Config())
    state = engine.pairs["BTC"]
    give(engine, state)
    legs = [make.fx_leg, make.pair.home, make.pair.away]
    decided = []
    with (
        BooksWriter.create(tmp_path / "books", len(legs), epoch=1) as writer,
        BooksReader.attach(tmp_path / "books") as reader,
        ShardNotifier.create(tmp_path, 0) as notifier,
        ShardWaiter.attach(tmp_path, 0) as waiter,
    ):
        feed = ShardFeed(reader, waiter, legs, codecs())

        def tick(slot: int, frame: bytes) -> None:
            writer.set_live(slot, True)
            writer.write(slot, frame, NOW_NS)
            notifier.push(slot)
            for changed in feed.changed():
                view = feed.read(changed)
                assert view is not None
                found = engine.observe(changed, view)
                if found is not None:
                    decided.append(engine.evaluate(found, NOW_NS))

        waiter.drain()
        tick(make.fx_leg.slot, upbit_frame("KRW-USDT", 1450, 0.5))
        tick(make.pair.home.slot, upbit_frame("KRW-BTC", 137_000_000, 1000))
        walked = walk(lambda: tick(make.pair.away.slot, binance_frame(away_mid)))
    assert isinstance(decided[-1], Entry) == is_trade, (decided[-1], state.refusal)
    print(walked)
    assert len(walked.files) <= files_max, str(walked)
