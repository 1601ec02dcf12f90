"""Rows made from the pages of a run that stands still, and changes as the test has it."""

import os
import subprocess
import sys

import msgspec
import pytest

from arbshard.clock import ManualClock
from arbshard.config import Config
from arbshard.errors import SharedMemoryError
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.notes import ChildNote, SupervisorNote, VenueNote, WorkerNote
from arbshard.model.phase import WorkerState
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.series.sampling import FUNNEL_COLUMNS, RunSampler
from arbshard.series.schemas import SCHEMAS
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.pages import PageWriter
from arbshard.worker.counters import counters, histograms
from supervisor.status_publisher import COUNTERS as SUPERVISOR_COUNTERS
from supervisor.status_publisher import HISTOGRAMS as SUPERVISOR_HISTOGRAMS

TEN_S = 10_000


class Pages:
    """A run directory with a supervisor, one worker, and books without frames."""

    def __init__(self, folder, make):
        self.files = RunFiles(folder)
        self.clock = ManualClock()
        self.books = BooksWriter.create(self.files.books, 8, epoch=1)
        self.files.universe.write_bytes(msgspec.json.encode(Universe(make.fx_leg, (make.pair,), (("BTC",),))))
        self.supervisor = PageWriter.create(
            self.files.supervisor_page, SUPERVISOR_COUNTERS, SUPERVISOR_HISTOGRAMS
        )
        self.worker = None
        self.reader = BooksReader.attach(self.files.books)
        self.rows = []
        self.set_note(restarts=0)
        self.start_worker(os.getpid())

    def close(self):
        for one in (self.reader, self.books, self.supervisor, self.worker):
            one.close()

    def set_note(self, *, restarts, child_pid=None):
        child = ChildNote("worker-0", "running", child_pid or os.getpid(), epoch=1, restarts=restarts)
        series = ChildNote("series", "running", 0, epoch=4, restarts=3)
        venue = VenueNote("upbit", "connected", 1, 2, frames=3, msg_s=4.0, reconnects=5, bad_frames=6)
        self.supervisor.set(self.supervisor.counter("beat_ns"), self.clock.monotonic_ns())
        note = SupervisorNote(
            name="t", mode="paper", data="sim", state="running", pid=os.getpid(), started_ms=1, state_dir="/s",
            shards=1, pairs=1, venues=(venue,), children=(child, series),
        )  # fmt: skip
        self.supervisor.write_note(msgspec.json.encode(note))

    def start_worker(self, pid):
        if self.worker is not None:
            self.worker.close()
        self.worker = PageWriter.create(self.files.worker_page(0), counters(), histograms())
        self.set_counter("pid", pid)
        self.set_counter("state", WorkerState.RUNNING)

    def set_counter(self, name, value):
        self.worker.set(self.worker.counter(name), value)

    def set_funnel(self, **funnels):
        self.worker.write_note(msgspec.json.encode(WorkerNote({}, funnels)))

    def sampler(self, funnel=None):
        return RunSampler(
            self.files, Config(), self.reader, self.clock, lambda *row: self.rows.append(row), funnel or {}
        )

    def take(self, sampler, ms=1000, **options):
        """The rows of one sample by table, checked against the tables' columns."""
        self.clock.advance_ms(ms)
        self.rows.clear()
        sampler.sample(**options)
        found = {}
        for table, at_ms, row in self.rows:
            assert at_ms == self.clock.wall_ms()
            assert row.keys() <= set(SCHEMAS[table].names), table
            found.setdefault(table, []).append(row)
        return found


@pytest.fixture
def pages(tmp_path, make):
    pages = Pages(tmp_path, make)
    yield pages
    pages.close()


def test_a_sample_has_what_status_shows(pages):
    pages.set_counter("ticks", 50)
    found = pages.take(pages.sampler())
    (system,), (shard,), (venue,) = found["system"], found["shards"], found["venues"]
    assert (system["restarts"], system["entries"], system["disk_free_mb"]) == (0, 0, None)
    assert "risk is starting" in system["problems"]
    assert (shard["shard"], shard["state"], shard["ticks"]) == (0, "running", 50)
    assert (venue["venue"], venue["frames"], venue["bad_frames"]) == ("upbit", 3, 6)
    (process,) = found["processes"]
    assert process["rss_mb"] > 1
    assert process["fds"] > 3


def test_a_last_sample_says_nothing_of_what_has_been_ended_in_order(pages):
    found = pages.take(pages.sampler(), is_last=True)
    assert found["system"][0]["problems"] == ""
    assert not {"pairs", "venues"} & found.keys()


def test_latencies_are_of_the_time_since_the_sample_before(pages):
    sampler = pages.sampler()
    pages.worker.record(pages.worker.histogram("receive_decision"), 900_000)
    assert pages.take(sampler)["shards"][0].get("decision_count") is None  # nobody knows since when
    assert pages.take(sampler)["shards"][0]["decision_p50_us"] is None
    for _ in range(4):
        pages.worker.record(pages.worker.histogram("receive_decision"), 100_000)
    row = pages.take(sampler)["shards"][0]
    assert row["decision_count"] == 4
    assert 100 <= row["decision_p99_us"] <= 113
    assert 100 <= row["decision_max_us"] <= 113
    assert row["approval_count"] == 0
    pages.start_worker(1)
    assert pages.take(sampler)["shards"][0].get("decision_count") is None


def test_the_time_of_a_venue_to_answer_is_of_the_orders_since_the_sample_before(pages):
    sampler = pages.sampler()
    answer = pages.worker.histogram("answer_upbit")
    pages.worker.record(answer, 900_000_000)
    assert pages.take(sampler)["venues"][0]["answer_p50_us"] is None  # it may have been long ago
    for ms in (20, 20, 80):
        pages.worker.record(answer, ms * 1_000_000)
    row = pages.take(sampler)["venues"][0]
    assert 20_000 <= row["answer_p50_us"] <= 22_500
    assert 80_000 <= row["answer_p99_us"] <= 90_000
    assert pages.take(sampler)["venues"][0]["answer_p50_us"] is None
    pages.start_worker(1)
    assert pages.take(sampler)["venues"][0]["answer_p50_us"] is None


def test_counts_have_rows_on_a_change_only(pages):
    sampler = pages.sampler()
    assert "refusals" not in pages.take(sampler)
    pages.set_counter("refusal_BOOK_STALE", 7)
    pages.set_counter("followed_BOOK_STALE", 2)
    pages.set_counter("would_win_BOOK_STALE", 1)
    pages.set_counter("would_bring_BOOK_STALE", -500)
    found = pages.take(sampler)
    assert found["refusals"] == [{"source": "worker-0", "reason": "BOOK_STALE", "count": 7}]
    assert found["followed"] == [{"reason": "BOOK_STALE", "followed": 2, "won": 1, "pnl": -500.0}]
    assert not {"refusals", "followed"} & pages.take(sampler).keys()


def test_edges_of_workers_are_added_up_over_replaced_workers_and_pairs_that_return(pages):
    sampler = pages.sampler()
    pages.set_funnel(BTC=EdgeFunnel(wanted=5, wanted_bps=200.0, decided=1))
    (row,) = pages.take(sampler, TEN_S)["funnel"]
    assert (row["pair"], row["wanted"], row["wanted_bps"], row["decided"]) == ("BTC", 5, 200.0, 1)
    assert set(FUNNEL_COLUMNS) == row.keys() - {"pair"}
    assert "funnel" not in pages.take(sampler, TEN_S)
    pages.set_funnel(BTC=EdgeFunnel(wanted=7, wanted_bps=280.0, decided=1))
    assert "funnel" not in pages.take(sampler)  # at most once in ten seconds
    assert pages.take(sampler, TEN_S)["funnel"][0]["wanted"] == 7
    pages.set_funnel(BTC=EdgeFunnel(wanted=3))  # it was with another shard meanwhile
    assert pages.take(sampler, TEN_S)["funnel"][0]["wanted"] == 10
    pages.start_worker(1)
    pages.set_funnel(BTC=EdgeFunnel(wanted=100))
    assert pages.take(sampler, TEN_S)["funnel"][0]["wanted"] == 110


def test_a_successor_goes_on_from_what_was_written(pages):
    pages.set_funnel(BTC=EdgeFunnel(wanted=9))
    before = dict.fromkeys(FUNNEL_COLUMNS, 0) | {"wanted": 6, "sampled": 40}
    sampler = pages.sampler({"BTC": before})
    pages.take(sampler)
    pages.set_funnel(BTC=EdgeFunnel(wanted=11))
    (row,) = pages.take(sampler, TEN_S)["funnel"]
    assert (row["wanted"], row["sampled"]) == (8, 40)  # the three that only the predecessor saw are lost


def test_a_pair_without_books_has_a_row_that_says_so(pages):
    (row,) = pages.take(pages.sampler())["pairs"]
    assert row == {
        "pair": "BTC", "gap_bps": None, "home_edge_bps": None, "away_edge_bps": None, "depth_edge_bps": None,
        "level_bps": None, "age_ms": None,
    }  # fmt: skip


def test_a_run_whose_pages_are_gone_is_an_error_or_nothing(pages, tmp_path):
    sampler = pages.sampler()
    pages.files.worker_page(0).unlink()
    assert pages.take(sampler)["shards"][0].keys() >= {"shard", "state"}
    pages.files.supervisor_page.unlink()
    assert pages.take(sampler) == {}
    pages.files.universe.unlink()
    with pytest.raises(SharedMemoryError):
        pages.sampler()


def test_restarts_of_the_writer_are_no_restarts_of_the_run(pages):
    pages.set_note(restarts=2)
    assert pages.take(pages.sampler())["system"][0]["restarts"] == 2


def test_a_child_that_has_ended_has_no_row(pages):
    child = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        pages.set_note(restarts=0, child_pid=child.pid)
        assert [row["name"] for row in pages.take(pages.sampler())["processes"]] == ["supervisor"]
    finally:
        child.wait()
