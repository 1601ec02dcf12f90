"""What the run publishes about itself: all that is so to a new subscriber, then each change once."""

import msgspec
import pytest

from arbshard.clock import ManualClock
from arbshard.model.notes import ChildNote, SupervisorNote
from arbshard.model.risk_note import NO_NOTE, ApartNote, HaltNote, TightNote
from arbshard.model.universe import Universe
from arbshard.wire import topics
from arbshard.wire.bus import Prefixes
from supervisor.topics import RunTopics


class Bus:
    """A publisher whose subscriptions the test says."""

    def __init__(self):
        self.prefixes = Prefixes()
        self.published = []
        self.callbacks = []

    def on_subscriptions(self, callback):
        self.callbacks.append(callback)

    def subscribe(self, *prefixes):
        for prefix in prefixes:
            self.prefixes.add(prefix)
        for callback in self.callbacks:
            callback(Prefixes(prefixes))

    def wanted(self, topic):
        return self.prefixes.match(topic)

    def publish(self, topic, parts):
        self.published.append((topic, topics.decode(list(parts))))

    def take(self):
        found, self.published = self.published, []
        return [(one.what, one.name, one.value) for _, one in found]


def note(**changes):
    child = ChildNote("worker-0", "running", 7, 1, 0)
    known = {"name": "t", "mode": "paper", "data": "sim", "state": "running", "pid": 1, "started_ms": 0,
             "state_dir": "", "shards": 1, "pairs": 1, "children": (child,)}  # fmt: skip
    return SupervisorNote(**{**known, **changes})


@pytest.fixture
def universe(make):
    return Universe(make.fx_leg, (make.pair, make.other_pair("ETH", (3, 4))), (("BTC", "ETH"),))


@pytest.fixture
def bus():
    return Bus()


class Risk:
    def __init__(self):
        self.note = NO_NOTE
        self.reads = 0

    def __call__(self):
        self.reads += 1
        return msgspec.json.encode(self.note)


@pytest.fixture
def risk():
    return Risk()


@pytest.fixture
def run(bus, risk):
    return RunTopics(bus, ManualClock(), risk)


STARTED = ("process", "worker-0", "running, pid 7, epoch 1, 0 restarts")


def test_without_a_subscriber_nothing_is_read_or_published(run, bus, risk):
    run.report(note(), None)
    run.beat(1)
    run.alert("x")
    assert (risk.reads, bus.published) == (0, [])


def test_a_new_subscriber_gets_all_that_is_so_and_then_what_changes(run, bus, risk, make):
    risk.note = msgspec.structs.replace(
        NO_NOTE, limits_changed={"open_max": "3"}, tightened={"BTC": TightNote("0.5", "errors", 1)}
    )
    bus.subscribe(b"control.")
    run.report(note(), None)
    assert bus.take() == [
        ("run", "", "running"), STARTED, ("limit", "open_max", "3"), ("tightened", "BTC", "to 0.5: errors"),
    ]  # fmt: skip
    run.report(note(), None)
    assert bus.take() == []
    risk.note = msgspec.structs.replace(
        NO_NOTE, limits_changed={"open_max": "4"}, halt=HaltNote(1, "operator", "lunch"), closing={"BTC": "manual"},
        apart={"SOL": ApartNote(1, "stuck", "no venue takes it")}, fences={"0": "stuck"}, broken="1 KRW is missing",
    )  # fmt: skip
    restarted = ChildNote("worker-0", "running", 8, 2, 1, reason="killed")
    run.report(note(children=(restarted,), unattended=("ETH p1",)), None)
    assert sorted(bus.take()) == sorted([
        ("process", "worker-0", "running, pid 8, epoch 2, 1 restarts: killed"),
        ("unattended", "ETH p1", "is closed by no process"),
        ("limit", "open_max", "4"), ("halt", "", "operator: lunch"), ("closing", "BTC", "manual"),
        ("apart", "SOL", "stuck: no venue takes it"),
        ("fence", "0", "stuck"), ("ledger", "", "1 KRW is missing"), ("tightened", "BTC", ""),
    ])  # fmt: skip
    risk.note = NO_NOTE
    run.report(note(), None)
    assert ("halt", "", "") in bus.take()
    bus.subscribe(b"control.")
    run.report(note(), None)
    assert bus.take() == [("run", "", "running"), STARTED]


def test_pairs_are_published_with_their_shard(run, bus, universe):
    bus.subscribe(b"control.")
    run.report(note(), universe)
    pairs = [(name, value) for kind, name, value in bus.take() if kind == "pair"]
    assert pairs == [(pair.base, "shard 0") for pair in universe.pairs]
    moved = universe.without_shard([universe.pairs[0].base]).with_leaving([universe.pairs[0].base])
    run.report(note(), moved)
    assert bus.take() == [("pair", universe.pairs[0].base, "no shard, leaving")]


def test_alerts_and_beats_have_topics_of_their_own(run, bus):
    bus.subscribe(b"alert.", b"beat.")
    run.alert("risk was restarted")
    run.beat(77)
    run.report(note(), None)
    assert bus.published == [
        (b"alert.", topics.Alert(ManualClock().wall_ms(), "risk was restarted")), (b"beat.", topics.Beat(77)),
    ]  # fmt: skip
