"""Twenty times more than a worker can take: nothing piles up, and what it decides on is the newest book."""

import asyncio
import json
import threading
import time
import tracemalloc

import pytest
from msgspec.structs import replace
from websockets.asyncio.server import serve

from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.doorbell import ShardNotifier, ShardWaiter
from arbshard.venues.registry import get_venue
from arbshard.worker.feed import ShardFeed
from supervisor.feeds.venue import VenueFeed

pytestmark = pytest.mark.integration

LOOK_S = 0.01
"""The worker takes one book in this time."""
PER_LOOK = 20
LAST = 2_500


def frame(number):
    """A padded book whose best bid's size is its number."""
    bids = [["100.00", f"{number}.0"], *([f"{99 - n}.00", "1.00000000"] for n in range(15))]
    data = {
        "lastUpdateId": number,
        "bids": bids,
        "asks": [[f"{101 + n}.00", "1.00000000"] for n in range(15)],
    }
    return json.dumps({"stream": "btcusdt@depth20@100ms", "data": data}, separators=(",", ":"))


class Nobody:
    def on_subscriptions(self, callback):
        """There will be none."""

    def wanted(self, topic):
        return False

    def publish(self, topic, payload):
        return False


class SlowWorker(threading.Thread):
    """Drains as a worker does, and takes its time over every book."""

    def __init__(self, folder, legs):
        super().__init__(daemon=True)
        self._stopped = threading.Event()
        self.reader = BooksReader.attach(folder / "books")
        self.waiter = ShardWaiter.attach(folder, 0)
        self.feed = ShardFeed(
            self.reader, self.waiter, legs, {"binance": get_venue("binance"), "upbit": get_venue("upbit")}
        )
        self.seen = []

    def run(self):
        while not self._stopped.is_set():
            for slot in self.feed.changed():
                view = self.feed.read(slot)
                if view is not None and view.book is not None:
                    self.seen.append(int(view.book.bids[0][1]))
            time.sleep(LOOK_S)

    def stop(self):
        self._stopped.set()
        self.join(5)
        self.waiter.close()
        self.reader.close()


async def test_a_flood_is_conflated(make, tmp_path):
    async def flood(socket):
        await socket.recv()
        for number in range(1, LAST + 1):
            await socket.send(frame(number), text=True)
            if number % PER_LOOK == 0:
                await asyncio.sleep(LOOK_S / 20)
        await socket.wait_closed()

    universe = Universe(make.fx_leg, (make.pair,), (("BTC",),))
    async with serve(flood, "127.0.0.1", 0, compression=None, max_queue=4) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = replace(Config().venues.binance, ws_url=url)
        with (
            BooksWriter.create(tmp_path / "books", 3, epoch=1) as books,
            ShardNotifier.create(tmp_path, 0) as shard,
        ):
            feed = VenueFeed(
                get_venue("binance"), settings, universe, books, [shard], Nobody(), SystemClock()
            )
            worker = SlowWorker(tmp_path, [make.away])
            try:
                worker.start()
                tracemalloc.start()
                await feed.start()
                while feed._fanout.frames < LAST // 4:
                    await asyncio.sleep(0.01)
                early = tracemalloc.get_traced_memory()[0]
                while feed._fanout.frames < LAST:
                    await asyncio.sleep(0.01)
                late = tracemalloc.get_traced_memory()[0]
                await asyncio.sleep(10 * LOOK_S)
            finally:
                tracemalloc.stop()
                worker.stop()
                await feed.stop()
    assert late - early < 300_000  # the frames since then are some 2 MB
    assert worker.seen == sorted(worker.seen)
    assert worker.seen[-1] == LAST
    # What it did not see was replaced, and counted, from its first look on; going live is no frame.
    missed = LAST - worker.seen[0] - (len(worker.seen) - 1)
    assert missed > LAST // 2
    assert worker.feed.conflated == pytest.approx(missed, abs=2)
    assert feed.report().bad_frames == 0
