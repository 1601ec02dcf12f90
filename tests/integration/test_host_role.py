"""A host of a cluster runs what its agent shows: workers of granted shards, risk while it leads, and no more.

The agent is a fake one that shows what the test wants; all other processes are real.
"""

import msgspec
import psutil
import pytest

from arbshard.config.cluster import ClusterConfig, HostConfig
from arbshard.wire import control
from arbshard.wire.operator_client import send_order
from support import fake_agent
from support.fake_agent import Shown
from support.instance import SMALL, Instance

pytestmark = pytest.mark.integration

CLUSTER = ClusterConfig(
    "c",
    {name: HostConfig("127.0.0.1", "k" * 40, port) for name, port in (("a", 7400), ("b", 7410), ("c", 7420))},
    ("nats://127.0.0.1:4222",),
    shards=2,
    host="a",
)


class Host(Instance):
    """One host; ``show`` steers its agent."""

    def __init__(self, folder, spares=0):
        super().__init__(
            folder,
            SMALL.replace("[run]\n", f"[run]\nspare_workers = {spares}\n"),
            program=("-m", "support.host_run", "run"),
            environment={"CLUSTER": msgspec.json.encode(CLUSTER).decode(), "PYTHONPATH": "tests:."},
        )
        self.shown = Shown((0, 0))

    def show(self, **changes):
        """Have the agent show something else."""
        self.shown = msgspec.structs.replace(self.shown, **changes)
        fake_agent.show(self.state, self.shown)

    def epochs(self):
        """Epochs of the workers that run, by shard."""
        return {
            shard: child.epoch
            for shard in range(2)
            if (child := self.children().get(f"worker-{shard}")) is not None and child.state == "running"
        }

    def until_epochs(self, **epochs):
        """Wait until exactly these workers run."""
        wanted = {int(name.removeprefix("s")): epoch for name, epoch in epochs.items()}
        self.wait_for(lambda: self.epochs() == wanted, 30, lambda: (self.children(), wanted))
        self.remember_children()

    def page(self):
        """What the supervisor shows to the agent."""
        return self.counters(self.files.supervisor_page)


@pytest.fixture
def spares():
    """How many spare workers the host keeps."""
    return 0


@pytest.fixture
def host(tmp_path, spares):
    with Host(tmp_path, spares) as one:
        yield one


def test_a_host_runs_what_it_holds_and_no_more(host):
    host.show(grants=(1, 0))
    host.start()
    host.until_running()
    host.until_epochs(s0=1001)
    assert host.page()["risk_term"] == 1
    assert (host.page()["epoch_0"], host.page()["epoch_1"]) == (1001, 0)
    status = host.until(lambda one: one["shards"][0]["ticks"] > 0 and one["portfolio"]["entries"])
    assert [shard["state"] for shard in status["shards"]] == ["running", "elsewhere"]
    assert not [line for line in status["problems"] if line.startswith("shard")]

    host.show(grants=(1, 7))
    host.until_epochs(s0=1001, s1=7001)

    host.show(is_valid=False)  # every worker pauses
    host.show(is_valid=True)
    entries = host.status()["portfolio"]["entries"]
    host.until(lambda one: one["portfolio"]["entries"] > entries)
    host.until_epochs(s0=1001, s1=7001)
    host.show(is_valid=False)  # after a while every worker ends
    host.until_epochs()
    host.show(is_valid=True)
    host.until_epochs(s0=1002, s1=7002)

    host.kill("worker-0")
    host.until_epochs(s0=1003, s1=7002)
    host.show(grants=(0, 8))
    host.until_epochs(s1=8001)

    host.show(leads=False)
    host.wait_for(lambda: host.page()["risk_term"] == 0)
    host.wait_for(lambda: "risk" not in host.children())
    assert host.page()["risk_ended"] == 1
    host.show(leads=True, term=2)
    host.wait_for(lambda: host.page()["risk_term"] == 2)
    host.wait_for(lambda: host.risk().get("ready") == 1)
    host.kill("agent")  # the workers' time runs out; what its successor shows counts then
    host.show(term=3)  # which leads in no term of its predecessor
    host.wait_for(lambda: host.epochs() == {1: 8001} or host.epochs() == {1: 8002})

    host.show(others=("b",))
    host.wait_for(lambda: any("host c was never seen" in line for line in host.status()["problems"]))
    done = host.do("stop", "--keep-positions")
    assert "; c cannot be reached" in done
    end = host.ended()
    assert end.code in (0, 1), end.err  # the agent was killed, which a summary states
    assert not host.leftovers()


def test_risk_that_is_kept_ready_leads_when_the_lead_comes(host):
    host.show(leads=False, leader="b", universe=0, grants=(0, 0))
    host.start()
    host.show(leads=True, grants=(1, 1))  # the pairs of the cluster come from its first leader
    host.until_running()
    host.until_epochs(s0=1001, s1=1001)
    assert host.page()["ready_risk"] == 0, "a host that leads keeps none"
    host.show(leads=False, grants=(0, 0), leader="b")
    host.wait_for(lambda: host.page()["ready_risk"] == 1)

    (first,) = ready_risks(host)
    psutil.Process(first).kill()
    host.wait_for(lambda: host.page()["ready_risk_ended"] == 1)
    host.wait_for(lambda: host.page()["ready_risk"] == 1)
    (second,) = ready_risks(host)
    assert second != first
    assert "risk" not in host.children()

    host.show(leads=True, term=2, grants=(2, 2))
    host.wait_for(lambda: host.risk().get("ready") == 1)
    # It serves sooner than the supervisor writes its next note.
    host.wait_for(lambda: "risk" in host.children())
    assert host.children()["risk"].pid == second
    host.until_epochs(s0=2001, s1=2001)
    assert host.page()["ready_risk"] == 0
    host.remember_children()
    host.show(phase=2)
    end = host.ended()
    assert end.code == 0, end.err
    assert not host.leftovers()


def ready_risks(host):
    """Pids of the risk processes that are kept ready."""
    supervisor = psutil.Process(host.pid)
    return [one.pid for one in supervisor.children() if "--ready" in one.cmdline()]


def test_a_host_that_still_waits_ends_with_the_cluster_and_as_asked(host):
    host.show(leads=False, leader="b", why="this host has not got the pairs of the cluster")
    host.start()
    host.wait_for(lambda: host.children().get("agent"))
    host.show(phase=1)
    end = host.ended()
    assert (end.code, "all hosts of the cluster were stopped before this one had begun" in str(end)) == (
        0,
        True,
    )
    assert not host.leftovers()


@pytest.mark.parametrize("spares", [1])
def test_a_host_waits_for_a_leader_and_follows_its_universe(host):
    host.show(leads=False, leader="", why="waiting for a leader: 1 of 3 hosts votes, 2 are needed")
    host.start()
    host.wait_for(lambda: "waiting for a leader: 1 of 3 hosts votes, 2 are needed" in host.alerts())
    assert "waiting for a leader: waiting" not in str(host.alerts())
    assert "spare worker" not in host.output, "a spare cannot attach to shared memory before there is any"
    host.show(leads=True, term=3, leader="a", why="")
    host.until_running()
    universe = host.files.universe
    assert msgspec.json.decode(universe.read_bytes())["serial"] == 3
    host.until(lambda one: one["state"] == "running" and list(one["spares"]) == ["ready"])
    host.show(phase=2)
    end = host.ended()
    assert end.code == 0, end.err


@pytest.mark.nightly  # in the gate hosts/test_cluster_commands.py has a host leave
def test_one_host_leaves(host):
    host.show(grants=(1, 1))
    host.start()
    host.until_running()
    host.until_epochs(s0=1001, s1=1001)
    answer = send_order(host.files, control.Stop(host_only=True), "a test")
    assert "leaves the cluster" in answer.text
    end = host.ended()
    assert end.code == 0, end.err
