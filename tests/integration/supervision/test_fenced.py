"""A worker that stood still and wakes after it was replaced: it ends by itself, and has sent nothing."""

import signal
import time

import pytest

from arbshard.ledger.verify import verify

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

FENCED = 5
STUCK_AFTER_S = 0.3


def test_it_ends_itself_and_has_sent_nothing(stage, is_fence):
    risk = stage.spawn("arbshard.risk")
    stage.until(lambda: stage.risk_page.value("ready") == 1, "risk")
    old = stage.worker(epoch=1)
    stage.until(lambda: stage.risk_page.value("approvals") >= 3, "the first worker trades")

    old.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    stage.until(lambda: stage.risk_page.value("fence_0") > 1, "the fence")
    took_s = time.monotonic() - stopped
    assert took_s >= STUCK_AFTER_S * 0.9, "a shorter stop is no reason to fence a worker"
    assert stage.risk_page.value("fenced") == 1

    new = stage.worker(epoch=2)
    approvals = stage.risk_page.value("approvals")
    stage.until(lambda: stage.risk_page.value("approvals") >= approvals + 3, "the second worker trades")

    assert old.poll() is None
    old.send_signal(signal.SIGCONT)
    stage.until(lambda: old.poll() is not None, "the first worker ends", 5.0)
    assert old.returncode == FENCED
    approvals = stage.risk_page.value("approvals")
    stage.until(lambda: stage.risk_page.value("approvals") > approvals, "the second worker trades on")
    assert new.poll() is None

    for process in (new, risk):
        process.send_signal(signal.SIGTERM)
        stage.until(lambda process=process: process.poll() is not None, "the end")
        assert process.returncode == 0
    found = verify(stage.state_dir / "ledger.sqlite")
    assert not found.differences, found.differences
    events = stage.events()
    fences = [number for number, event in enumerate(events) if is_fence(event)]
    assert len(fences) == 1
    assert (events[fences[0]].shard, events[fences[0]].epoch) == (0, 1)
    # An intent's id names the incarnation that decided on it.
    decided = [event.intent.intent_id for event in events[fences[0] :] if hasattr(event, "intent")]
    assert decided
    assert not [intent_id for intent_id in decided if intent_id.split("-")[2] == "1"]


def test_a_silent_feed_is_nobody_s_fault(stage):
    """Without quotes a worker that stands still is not stuck: there is nothing it should do."""
    stage.spawn("arbshard.risk")
    stage.until(lambda: stage.risk_page.value("ready") == 1, "risk")
    worker = stage.worker(epoch=1)
    stage.until(lambda: stage.worker_page.value("ticks") > 10, "decisions")
    time.sleep(0.05)
    worker.send_signal(signal.SIGSTOP)
    end = time.monotonic() + 3 * STUCK_AFTER_S
    while time.monotonic() < end:
        stage.books.beat(time.monotonic_ns())
        time.sleep(0.02)
    assert stage.risk_page.value("fenced") == 0
    worker.send_signal(signal.SIGCONT)
    ticks = stage.worker_page.value("ticks")
    stage.until(lambda: stage.worker_page.value("ticks") > ticks, "decisions")
    assert worker.poll() is None
