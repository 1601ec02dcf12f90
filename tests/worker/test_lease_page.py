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
    def fence(self, shard, now_ns):
        return 0


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
