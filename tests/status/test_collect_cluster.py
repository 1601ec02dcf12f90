"""What a host of a cluster shows of shards that it does not hold, and of the copies of the ledger."""

import os

import msgspec
import pytest

from arbshard.clock import ManualClock
from arbshard.config.cluster import ClusterConfig, HostConfig
from arbshard.model.cluster_note import (
    LEADING_COUNTS,
    LEADING_GAUGES,
    ClusterNote,
    HostSight,
    HostView,
    ShardPlace,
    counters,
)
from arbshard.model.notes import SupervisorNote
from arbshard.model.rundir import RunFiles
from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.shm.pages import PageWriter
from arbshard.status.collect import Collector
from arbshard.status.render import render_status

NOW_NS = 5_000_000_000
CLUSTER = ClusterConfig(
    "c",
    {name: HostConfig("127.0.0.1", "k" * 40) for name in "ab"},
    ("nats://127.0.0.1:4222",),
    shards=3,
    host="a",
)
LED = {"followers": 1, "uncommitted": 2, "held_replies": 3, "unanswered": 4, "link_bad": 5}


def view(host, *shards):
    return HostView(
        host, 0, "1", leads=host == "b", term=4, seq=50, frames_s=1.0, cpu=0.1, nats=True, universe=1,
        shards=tuple(ShardPlace(shard, 3, 3001, 1) for shard in shards),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Host a holds shard 0, host b, which leads, shard 1, and nobody shard 2."""
    files = RunFiles(tmp_path)
    files.config.write_bytes(msgspec.json.encode({"cluster": CLUSTER}))
    page = PageWriter.create(files.supervisor_page, ("pid", "beat_ns", "errors", "messages", "bad_orders"),
                             ("loop_gap", "loop_cpu"))  # fmt: skip
    page.write_note(
        msgspec.json.encode(
            SupervisorNote(
                name="t", mode="paper", data="public", state="running", pid=os.getpid(), started_ms=1,
                state_dir=str(tmp_path), shards=3, pairs=3, children=(), away=(1, 2),
            )
        )
    )  # fmt: skip
    page.set(page.counter("beat_ns"), NOW_NS)
    agent = PageWriter.create(files.cluster_page, counters(3), (), 1 << 16)
    agent.set(agent.counter("beat_ns"), NOW_NS)
    agent.set(agent.counter("grant_0"), 3)
    agent.write_note(
        msgspec.json.encode(
            ClusterNote(
                "c", "a", leader="b", term=4, nats=True, contact_ms=1.0, hosts=(view("a", 0), view("b", 1)),
                sights={"b": HostSight(1.0, 0.0)},
            )
        )
    )  # fmt: skip
    risk = PageWriter.create(files.risk_page, COUNTERS, HISTOGRAMS)
    for name, value in {"beat_ns": NOW_NS, **LED}.items():
        risk.set(risk.counter(name), value)
    return tmp_path


@pytest.fixture
def status(folder):
    return Collector(folder, ManualClock(wall_ms=1, monotonic_ns=NOW_NS)).collect()


def test_a_shard_that_nobody_holds_is_not_elsewhere(status) -> None:
    assert [shard.state for shard in status.shards[1:]] == ["elsewhere", "unplaced"]


def test_it_is_one_problem(status) -> None:
    found = [one for one in status.causes if "shard 2" in one.text]
    assert [one.kind for one in found] == ["unplaced"]


def test_the_copies_of_the_ledger_are_shown(status, drawn) -> None:
    assert status.cluster.leading == dict.fromkeys((*LEADING_GAUGES, *LEADING_COUNTS), 0) | LED
    shown = " ".join(drawn(render_status(status)).split())
    assert "1 of 1 other hosts follow the leader; 2 events and 3 replies wait for a majority" in shown
    assert "since it leads: 4 requests not answered, 5 invalid messages" in shown
