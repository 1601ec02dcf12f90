"""How old the books of a run are, by its universe, which may be replaced while it runs."""

import os

import msgspec
import pytest

from arbshard.clock import ManualClock
from arbshard.model.notes import SupervisorNote, VenueNote
from arbshard.model.rundir import RunFiles
from arbshard.shm.books import BooksWriter
from arbshard.shm.pages import PageWriter
from arbshard.status.collect import Collector
from support.world import make_universe

NOW_NS = 5_000_000_000


def venue(name):
    return VenueNote(name, "connected", 1, 3, 0, 0.0, 0, 0)


@pytest.fixture
def run(tmp_path):
    files = RunFiles(tmp_path)
    page = PageWriter.create(
        files.supervisor_page,
        ("pid", "beat_ns", "errors", "messages", "bad_orders"),
        ("loop_gap", "loop_cpu"),
    )
    note = SupervisorNote(
        name="t", mode="paper", data="sim", state="running", pid=os.getpid(), started_ms=1, state_dir=str(tmp_path),
        shards=0, pairs=0, venues=(venue("upbit"), venue("binance")),
    )  # fmt: skip
    page.write_note(msgspec.json.encode(note))
    page.set(page.counter("beat_ns"), NOW_NS)
    with BooksWriter.create(files.books, 8, epoch=1) as books:
        yield files, books


def publish(files, *bases):
    unfinished = files.dir / "new"
    unfinished.write_bytes(msgspec.json.encode(make_universe(*bases)))
    unfinished.replace(files.universe)


def test_the_oldest_live_book_counts_and_a_new_universe_is_read(run):
    files, books = run
    collector = Collector(files.dir, ManualClock(wall_ms=1, monotonic_ns=NOW_NS))

    def ages():
        return {one.name: one.oldest_ms for one in collector.collect().venues}

    assert ages() == {"upbit": 0.0, "binance": 0.0}  # neither a universe nor a book
    for slot, age_ms in ((1, 40), (2, 70), (3, 900), (4, 800)):
        books.write(slot, b"frame", NOW_NS - age_ms * 1_000_000)
        books.set_live(slot, slot != 4)
    publish(files, "BTC")
    assert ages() == {"upbit": 40.0, "binance": 70.0}
    publish(files, "BTC", "ETH")
    assert ages() == {"upbit": 900.0, "binance": 70.0}  # the old book of ETH away is not live
    publish(files, *(f"C{number}" for number in range(9)))
    assert ages() == {"upbit": 0.0, "binance": 0.0}  # there are no such slots
