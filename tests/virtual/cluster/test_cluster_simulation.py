"""Several hosts, simulated: fixed seeds hold all invariants, and the loss of a host costs three seconds at most."""

from collections.abc import Callable

import pytest

from arbshard.virtual.cluster.faults import KINDS, ClusterFaults
from arbshard.virtual.cluster.fuzz import line_of, main, run_many
from arbshard.virtual.cluster.hosts import ClusterHost
from arbshard.virtual.cluster.simulation import ClusterSettings, ClusterSimulation
from arbshard.virtual.cluster.world import MS, ClusterWorld, HostProcess, MessageStream, S
from support.effort import effort

GOAL_MS = 3000
REPEATED_MS = 5000
"""The time when an election has to be repeated."""


@pytest.mark.parametrize(
    "settings",
    [
        ClusterSettings(0),
        ClusterSettings(0, replication="async"),
        ClusterSettings(0, hosts=5, shards=6),
        ClusterSettings(0, hosts=2),
        ClusterSettings(0, hosts=1),
    ],
    ids=["three", "async", "five", "two", "one"],
)
def test_no_seed_has_two_leaders_two_traders_or_a_lost_approval(settings: ClusterSettings) -> None:
    orders = 0
    seeds = effort(3, 100)
    for seed in range(seeds):
        report = ClusterSimulation(settings._replace(seed=seed)).run()
        assert not report.violations, line_of(report)
        orders += report.orders
    assert orders > 80 * seeds


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_fault_happens_and_ends(kind: str) -> None:
    report = ClusterSimulation(ClusterSettings(3, seconds=6, only=(kind,))).run()
    assert not report.violations, line_of(report)
    assert report.faults[kind] >= 1


def test_a_seed_repeats_itself() -> None:
    first, second = (ClusterSimulation(ClusterSettings(5)).run() for _ in range(2))
    assert first._replace(cpu_s=0) == second._replace(cpu_s=0)


def leader_of(simulation: ClusterSimulation) -> ClusterHost:
    return next(one for one in simulation.hosts.values() if one.risk is not None)


def follower_of(simulation: ClusterSimulation) -> ClusterHost:
    return next(one for one in simulation.hosts.values() if one.risk is None)


def lose(simulation: ClusterSimulation, host: ClusterHost) -> None:
    host.stop()


def cut(simulation: ClusterSimulation, host: ClusterHost) -> None:
    for other in simulation.hosts:
        if other != host.name:
            simulation.world.cut(host.name, other, is_held=False)
            simulation.world.cut(other, host.name, is_held=False)
    simulation.nats.unreachable[host.name] = 1


def pause(simulation: ClusterSimulation, host: ClusterHost) -> None:
    for process in host.processes():
        simulation.world.pause(process)


@pytest.mark.parametrize("is_nats_out", [False, True], ids=["with nats", "without nats"])
@pytest.mark.parametrize("which", [leader_of, follower_of], ids=["leader", "follower"])
@pytest.mark.parametrize("fault", [lose, cut, pause])
def test_the_shards_of_a_lost_host_are_decided_on_within_three_seconds(
    fault: Callable[[ClusterSimulation, ClusterHost], None],
    which: Callable[[ClusterSimulation], ClusterHost],
    is_nats_out: bool,
) -> None:
    for seed in range(effort(2, 100)):
        simulation = ClusterSimulation(ClusterSettings(seed, shards=6))
        simulation.start()
        simulation.world.run(simulation.world.now_ns + 3 * S)
        if is_nats_out:
            simulation.nats.is_down += 1
        fault(simulation, which(simulation))
        simulation.world.run(simulation.world.now_ns + 30 * MS)  # What had already left may still arrive.
        settled_ns = simulation.settle(20 * S)
        assert not simulation.checks.violations
        assert 0 <= settled_ns // MS + 30 <= GOAL_MS, seed


def test_risk_that_ends_before_it_leads_costs_an_election() -> None:
    for seed in range(effort(4, 100)):
        simulation = ClusterSimulation(ClusterSettings(seed))
        simulation.start()
        leader_of(simulation).stop()
        others = [one for one in simulation.hosts.values() if one.is_up]
        for one in others:
            one.refusals = 1
        simulation.world.run(
            simulation.world.now_ns + 10 * S, lambda others=others: any(one.ended_term for one in others)
        )
        for one in others:
            one.refusals = 0
        settled_ns = simulation.settle(20 * S)
        assert not simulation.checks.violations
        assert 0 <= settled_ns // MS <= REPEATED_MS, seed


def test_a_busy_start_needs_few_elections() -> None:
    for seed in range(effort(4, 100)):
        simulation = ClusterSimulation(ClusterSettings(seed))
        for host in simulation.hosts.values():
            host.boot_ns, host.disk_ns = (3 * S, 9 * S), 300 * MS
            simulation.world.after(simulation.world.rng.randrange(500 * MS), None, host.start)
        assert simulation.settle(60 * S) >= 0, seed
        assert not simulation.checks.violations
        assert max(host.disk.promise.term for host in simulation.hosts.values()) <= 3, seed


def test_a_host_that_was_cut_off_disturbs_nothing_when_it_is_back() -> None:
    for seed in range(effort(3, 50)):
        simulation = ClusterSimulation(ClusterSettings(seed))
        simulation.start()
        simulation.world.run(simulation.world.now_ns + 3 * S)
        elections = simulation.checks.elections
        host = follower_of(simulation)
        mends = [
            simulation.world.cut(*way, is_held=True)
            for other in simulation.hosts
            if other != host.name
            for way in ((host.name, other), (other, host.name))
        ]
        simulation.world.run(simulation.world.now_ns + 10 * S)
        for mend in mends:
            mend()
        simulation.world.run(simulation.world.now_ns + 5 * S)
        assert simulation.checks.elections == elections, seed
        assert not simulation.checks.violations


def test_nats_that_is_away_wiped_or_two_stops_nothing() -> None:
    for only in (
        ("nats_down",),
        ("nats_wiped",),
        ("nats_split",),
        ("nats_stale", "nats_blind", "nats_loses"),
    ):
        simulation = ClusterSimulation(ClusterSettings(1, only=only))
        report = simulation.run()
        assert not report.violations
        assert report.settled_ms < 500
        assert report.elections == 1, only


def test_a_message_waits_for_the_end_of_a_cut_or_is_lost_with_its_connection() -> None:
    world = ClusterWorld(1)
    got: list[str] = []
    streams = MessageStream(), MessageStream()
    for is_held, stream in zip((True, False), streams, strict=True):
        mend = world.cut("a", "b", is_held=is_held)
        world.send("a", "b", stream, got.append, "held" if is_held else "lost")
        world.run(world.now_ns + S)
        assert not got
        mend()
        world.send("a", "b", stream, got.append, "after")
        world.run(world.now_ns + S)
        assert got == (["held", "after"] if is_held else [])
        got.clear()


def test_a_paused_process_does_later_what_was_due_and_a_dead_one_nothing() -> None:
    world = ClusterWorld(1)
    process, got = HostProcess("x"), list[str]()
    world.pause(process)
    world.after(1, process, got.append, "first")
    world.after(2, process, got.append, "second")
    world.run(S)
    assert not got
    world.resume(process)
    world.run(2 * S)
    assert got == ["first", "second"]
    process.alive = False
    world.after(1, process, got.append, "third")
    world.run(3 * S)
    assert got == ["first", "second"]


def test_every_fault_ends_with_the_simulation() -> None:
    simulation = ClusterSimulation(ClusterSettings(2))
    simulation.start()
    faults: ClusterFaults = simulation.faults
    for kind in KINDS:
        faults.begin(kind)
    faults.end_all()
    assert simulation.nats.is_down == 0
    assert not any(simulation.nats.unreachable.values())
    assert not simulation.world.slow_ns
    assert not any(host.disk_ns or host.refusals or host.slow_takeovers for host in simulation.hosts.values())
    assert not any(one.paused for host in simulation.hosts.values() for one in host.processes())
    assert all(host.is_up for host in simulation.hosts.values())


def test_many_seeds_are_run_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_many(ClusterSettings(0, seconds=1), 2, jobs=1, first=1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("ok") for line in lines] == [True, True, False]
    assert lines[-1].startswith("2 seeds, 0 failed, ")


def test_one_seed_is_run_by_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    command = ClusterSettings(4, hosts=5, seconds=1, only=("isolate",)).command().split()
    assert command[:3] == ["python", "-m", "arbshard.virtual.cluster.fuzz"]
    assert main(command[3:]) == 0
    assert "seed          4  5 hosts" in capsys.readouterr().out


def test_an_unknown_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--seed", "1", "--only", "isolate,flood"])
    assert ended.value.code == 2
    assert "there is no kind of fault flood" in capsys.readouterr().err
