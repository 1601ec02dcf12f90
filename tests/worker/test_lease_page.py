"""A worker of a cluster sends nothing without a valid grant, whatever has become of the agent."""

import pytest

from arbshard.execution.paper_port import PaperPort
from arbshard.model.cluster_note import counters
from arbshard.shm.pages import PageWriter
from arbshard.worker.fence import Fence
from arbshard.worker.lease_page import LeasePage

SHARD, EPOCH = 1, 7003


class Agent:
    """Writes the page."""

    def __init__(self, path):
        self.path = path
        self.page = None

    def write(self, until_ns, grant):
        self.begin()
        self.set(until_ns, grant)

    def begin(self):
        """A new agent begins a new page."""
        if self.page is not None:
            self.page.close()
        self.page = PageWriter.create(self.path, counters(2), note_bytes=0)

    def set(self, until_ns, grant):
        self.page.set(self.page.counter("valid_until_ns"), until_ns)
        self.page.set(self.page.counter(f"grant_{SHARD}"), grant)


@pytest.fixture
def agent(tmp_path):
    one = Agent(tmp_path / "page-cluster")
    yield one
    if one.page is not None:
        one.page.close()


@pytest.fixture
def now():
    return [1_000]


@pytest.fixture
def permit(agent, now):
    with LeasePage(agent.path, SHARD, EPOCH, lambda: now[0]) as one:
        yield one


def test_without_a_page_nothing_may_be_sent(permit):
    assert "page-cluster" in permit.why_not()


@pytest.mark.parametrize(
    ("until_ns", "grant", "why"),
    [
        (1_000, 7, ""),
        (999, 7, "may not trade since"),
        (0, 7, "may not trade since"),
        (5_000, 0, "no grant of shard 1"),
        (5_000, 6, "grant 6 of shard 1"),
        (5_000, 8, "grant 8 of shard 1"),
    ],
)
def test_what_the_page_shows_decides(agent, permit, until_ns, grant, why):
    agent.write(until_ns, grant)
    assert why in permit.why_not()
    assert bool(permit.why_not()) is bool(why)


def test_the_time_runs_out_by_itself(agent, permit, now):
    agent.write(2_000, 7)
    assert not permit.why_not()
    now[0] = 2_001
    assert permit.why_not()


def test_a_successor_of_the_agent_is_followed(agent, permit, now):
    agent.write(2_000, 7)
    assert not permit.why_not()
    agent.begin()
    agent.set(9_000, 7)
    now[0] = 3_000
    assert not permit.why_not()
    agent.set(9_000, 0)
    assert permit.why_not()


class Risk:
    lowest = 0

    def fence(self, shard, now_ns):
        return self.lowest


@pytest.fixture
def pausing(agent, now):
    """A permit whose time may be over for 500 ns."""
    with LeasePage(agent.path, SHARD, EPOCH, lambda: now[0], 500) as one:
        yield one


@pytest.mark.parametrize(
    ("until_ns", "grant", "is_paused"),
    [
        (1_000, 7, False),  # it may trade
        (999, 7, True),
        (999, 0, True),  # without time the agent shows no grant
        (500, 0, True),
        (499, 0, False),  # for too long
        (999, 8, False),
        (999, 6, False),
        (5_000, 0, False),
        (0, 7, False),
    ],
)
def test_only_time_that_has_just_run_out_is_a_pause(agent, pausing, until_ns, grant, is_paused):
    agent.write(5_000, 7)
    assert not pausing.why_not()
    agent.set(until_ns, grant)
    assert pausing.is_paused() is is_paused
    if is_paused:
        assert pausing.why_not(), "no order is sent in a pause"


def test_without_a_page_there_is_no_pause(pausing):
    assert not pausing.is_paused()


def test_a_pause_ends_with_the_page_of_another_agent(agent, pausing, now):
    agent.write(2_000, 7)
    assert not pausing.why_not()
    now[0] = 2_100
    assert pausing.is_paused()
    agent.begin()
    assert not pausing.is_paused()


def test_a_worker_must_wait_in_a_pause_and_goes_on(agent, pausing, now, clock):
    told = []
    fence = Fence(Risk(), SHARD, EPOCH, clock, told.append, pausing)
    agent.write(2_000, 7)
    assert not fence.must_wait()
    agent.set(2_000, 0)
    now[0] = 2_100
    assert fence.must_wait()
    assert not told
    agent.set(3_000, 7)  # the next leader has confirmed the same grant
    assert not fence.must_wait()
    now[0] = 3_501
    assert fence.must_wait()
    assert told, "it was over for too long"


def test_an_order_in_a_pause_ends_the_worker(agent, pausing, now, clock):
    told = []
    fence = Fence(Risk(), SHARD, EPOCH, clock, told.append, pausing)
    agent.write(2_000, 7)
    now[0] = 2_100
    assert fence.must_wait()
    assert fence.is_fenced()
    assert told
    agent.set(9_000, 7)
    assert fence.must_wait(), "it has ended"


def test_a_worker_that_was_replaced_ends_in_a_pause_too(agent, pausing, now, clock):
    told, risk = [], Risk()
    fence = Fence(risk, SHARD, EPOCH, clock, told.append, pausing)
    agent.write(2_000, 7)
    now[0] = 2_100
    risk.lowest = EPOCH + 1
    assert fence.must_wait()
    assert told


def test_the_fence_is_for_good(agent, permit, clock):
    told = []
    fence = Fence(Risk(), SHARD, EPOCH, clock, told.append, permit)
    agent.write(5_000, 7)
    assert not fence.is_fenced()
    agent.set(5_000, 0)
    assert fence.is_fenced()
    agent.set(5_000, 7)
    assert fence.is_fenced()
    assert [str(one) for one in told] == ["this host has no grant of shard 1, and this worker is of grant 7"]


async def test_a_paper_order_is_not_sent_by_a_fenced_worker(monkeypatch):
    port = PaperPort.__new__(PaperPort)
    port.is_fenced = lambda: True
    result = await PaperPort.send(port, order := object())
    assert (result.order, result.state) == (order, "NOT_ACCEPTED")
    assert "may not trade the shard" in result.detail
