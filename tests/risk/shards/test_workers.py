"""What is read of workers' pages and rings, also when they are replaced."""

import pytest

from arbshard.model.phase import WorkerState
from arbshard.model.rundir import RunFiles
from arbshard.risk.portfolio.state import Shard
from arbshard.risk.shards.workers import WorkerWatch
from arbshard.shm.doorbell import ShardFiles
from arbshard.shm.pages import PageWriter
from arbshard.shm.rings import RingWriter
from arbshard.worker.counters import counters

MS = 1_000_000


class Room:
    """One shard's files, and a watch that looks every 50 ms."""

    def __init__(self, folder):
        self.files = RunFiles(folder)
        self.ring = RingWriter.create(ShardFiles(folder, 0).ring)
        self.watch = WorkerWatch(self.files, 1, 1000 * MS)
        self.now_ns = 10**12
        self.shards = {0: Shard(1, 1)}
        self.pages = []
        self.quotes = 0

    def worker(self, epoch, state=WorkerState.RUNNING):
        page = PageWriter.create(self.files.worker_page(0), counters(), (), 0)
        page.set(page.counter("epoch"), epoch)
        page.set(page.counter("state"), state)
        self.pages.append(page)
        return page

    def run(self, ms, page=None):
        """``page`` beats; the newest verdict."""
        stuck = {}
        for _ in range(ms // 50):
            self.now_ns += 50 * MS
            self.ring.push(0)
            self.quotes += 1
            if page is not None:
                page.add(page.counter("beat"))
                page.set(page.counter("seen"), self.quotes)
            stuck = self.watch.judge(self.now_ns, self.shards)
        return stuck


@pytest.fixture
def room(tmp_path):
    one = Room(tmp_path)
    yield one
    one.watch.close()
    one.ring.close()
    for page in one.pages:
        page.close()


def test_nothing_is_said_before_there_is_a_page(room):
    assert room.run(3000) == {}


def test_one_that_beats_and_then_does_not(room):
    page = room.worker(1)
    assert room.run(3000, page) == {}
    assert room.run(1200)[0].startswith("no beat for")


def test_one_that_is_not_up_yet_or_done(room):
    page = room.worker(1, WorkerState.STARTING)
    assert room.run(3000) == {}
    page.set(page.counter("state"), WorkerState.DRAINED)
    assert room.run(3000) == {}


def test_a_successors_page_is_found(room):
    page = room.worker(1)
    room.run(500, page)
    assert 0 in room.run(1200)
    room.shards[0] = Shard(1, 1, fence=2)
    assert room.run(1200) == {}  # once is enough
    newer = room.worker(2)
    room.shards[0] = Shard(2, 2, fence=2)
    assert room.run(3000, newer) == {}
    assert 0 in room.run(1200)
