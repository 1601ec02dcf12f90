"""What the worker counts, as a reader of its page sees it."""

import json
from types import SimpleNamespace

import msgspec
import pytest

from arbshard.model.funnel import EdgeFunnel
from arbshard.model.notes import WorkerNote
from arbshard.model.phase import WorkerState
from arbshard.model.refusal import Refusal
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.worker.counters import DATA_REFUSALS, LIVE_COUNTERS, counters, histograms
from arbshard.worker.meter import WorkerMeter


@pytest.fixture
def page(tmp_path):
    with (
        PageWriter.create(tmp_path / "page", counters(), histograms()) as writer,
        PageReader.attach(writer.path) as page,
    ):
        page.meter = WorkerMeter(writer, pid=42, epoch=3, pairs=7)
        yield page


def test_who_it_is(page):
    page.meter.state(WorkerState.DRAINING)
    values = page.values()
    assert (values["pid"], values["epoch"], values["pairs"], values["state"]) == (42, 3, 7, 2)


def test_decisions_and_approvals(page):
    for now_ns in (1_001_000, 1_003_000):
        page.meter.decided(SimpleNamespace(received_ns=1_000_000), now_ns)
    page.meter.approved(250_000)
    assert page.value("ticks") == 2
    assert page.value("approved") == 1
    assert page.histogram("receive_decision").count == 2
    assert page.histogram("receive_decision").max_ns == 3000
    assert page.histogram("decision_approval").max_ns == 250_000


def test_the_time_of_a_venue_to_execute_an_order(page):
    page.meter.answered("upbit", 30_000_000)
    assert page.histogram("answer_upbit").max_ns == 30_000_000
    assert page.histogram("answer_binance").count == 0


def test_how_far_the_ring_was_looked_into_is_shown_with_every_beat(page):
    feed = SimpleNamespace(frames=1, conflated=0, bad={})
    page.meter.beat(1, 0, feed, 0, 0, 0)
    assert page.value("seen") == 0
    ring = SimpleNamespace(seen=17)
    page.meter.follow(ring)
    page.meter.beat(2, 0, feed, 0, 0, 0)
    assert page.value("seen") == 17


def test_live(page):
    page.meter.sent("upbit", 2_000_000, 3_000_000)
    page.meter.sent("binance", 1_000_000, 0)  # no book led to it
    for name in LIVE_COUNTERS:
        page.meter.count(name)
    assert page.histogram("decision_wire").max_ns == 2_000_000
    assert page.histogram("book_wire_upbit").max_ns == 3_000_000
    assert page.histogram("book_wire_binance").count == 0
    assert {page.value(name) for name in LIVE_COUNTERS} == {1}


def test_every_reason_a_worker_can_find(page):
    assert {Refusal.NOT_FUNDED, Refusal.EDGE_TOO_GOOD, Refusal.BOOK_BAD, Refusal.FX_STALE} <= set(
        DATA_REFUSALS
    )
    for reason in DATA_REFUSALS:
        page.meter.doubted(reason)
        assert page.value(f"refusal_{reason.name}") == 1


def test_orders(make, page):
    order = make.order(make.home, "buy", "0.01", 146_000_000)
    for state, quantity in (("FILLED", "0.01"), ("EXPIRED", "0.004"), ("EXPIRED", 0), ("REJECTED", 0)):
        page.meter.order_done(make.result(order, state, quantity))
    values = page.values()
    assert (values["orders"], values["fills"], values["partial"], values["rejected"]) == (4, 2, 1, 1)


def test_beat(page):
    feed = SimpleNamespace(frames=10, conflated=4, bad={"upbit": 1, "binance": 2})
    page.meter.beat(5_000, 700, feed, 3, 2, 1)
    page.meter.beat(6_000, 100, feed, 3, 2, 1)
    page.meter.late()
    values = page.values()
    assert (values["beat"], values["beat_ns"], values["late"]) == (2, 6_000, 1)
    assert (values["frames"], values["conflated"], values["bad_upbit"], values["bad_binance"]) == (
        10,
        4,
        1,
        2,
    )
    assert (values["overflows"], values["torn"], values["busy"]) == (3, 2, 1)
    assert page.histogram("loop_gap").max_ns == 700


def test_what_entries_lack_is_on_the_page_by_venue_and_currency(page):
    feed = SimpleNamespace(frames=1, conflated=0, bad={})
    for account in (("upbit", "KRW"), ("binance", "BTC"), ("upbit", "KRW")):
        page.meter.lacked(*account)
    page.meter.beat(10**9, 0, feed, 0, 0, 0)
    assert json.loads(page.note())["missing"] == {"upbit KRW": 2, "binance BTC": 1}
    page.meter.lacked("upbit", "KRW")
    page.meter.beat(10**9 + 20_000_000, 0, feed, 0, 0, 0)  # a note is written twice a second at most
    assert json.loads(page.note())["missing"]["upbit KRW"] == 2
    page.meter.beat(2 * 10**9, 0, feed, 0, 0, 0)
    assert json.loads(page.note())["missing"]["upbit KRW"] == 3


def test_how_far_edges_come_is_on_the_page_by_pair(page):
    feed = SimpleNamespace(frames=1, conflated=0, bad={})
    states = {base: SimpleNamespace(funnel=EdgeFunnel()) for base in ("BTC", "ETH")}
    page.meter.publish_funnels(states)
    page.meter.beat(10**9, 0, feed, 0, 0, 0)
    assert page.note() == b""
    states["BTC"].funnel.wanted, states["BTC"].funnel.wanted_bps = 2, 70.5
    page.meter.beat(2 * 10**9, 0, feed, 0, 0, 0)
    page.meter.beat(4 * 10**9, 0, feed, 0, 0, 0)  # once in two seconds
    found = msgspec.json.decode(page.note(), type=WorkerNote)
    assert found.funnel == {"BTC": EdgeFunnel(wanted=2, wanted_bps=70.5)}
    states["BTC"].funnel.decided = 1
    page.meter.state(WorkerState.DRAINED)  # the last note has all
    assert msgspec.json.decode(page.note(), type=WorkerNote).funnel["BTC"].decided == 1
