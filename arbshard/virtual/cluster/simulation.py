"""Simulates a cluster once: a quiet start, then faults, then the time after them until all shards are decided on."""

import time
from typing import Literal, NamedTuple

from arbshard.config.cluster import ClusterConfig, HostConfig
from arbshard.virtual.cluster.checks import ClusterChecks
from arbshard.virtual.cluster.faults import ClusterFaults
from arbshard.virtual.cluster.hosts import ClusterHost
from arbshard.virtual.cluster.kv import VirtualNats
from arbshard.virtual.cluster.world import MS, ClusterWorld, HostClock, S

Replication = Literal["sync", "async"]
SETTLE_NS = 20 * S
"""Within this time after the end of all faults every shard must be decided on again. Nearly always it takes less than
three seconds."""
_START_NS = 6 * S
_NAMES = "abcdefghijklmnop"


class ClusterSettings(NamedTuple):
    """Says what is simulated."""

    seed: int
    hosts: int = 3
    shards: int = 4
    seconds: float = 20.0
    """For how long faults begin, in virtual seconds."""
    replication: Replication = "sync"
    only: tuple[str, ...] = ()
    """Kinds of faults; empty for all."""

    def command(self) -> str:
        """Return the command that repeats it."""
        only = f" --only {','.join(self.only)}" if self.only else ""
        return (
            f"python -m arbshard.virtual.cluster.fuzz --seed {self.seed} --hosts {self.hosts} --shards {self.shards} "
            f"--seconds {self.seconds:g} --replication {self.replication}{only}"
        )


class ClusterReport(NamedTuple):
    """Holds how a simulation of a cluster ended."""

    settings: ClusterSettings
    violations: tuple[str, ...]
    settled_ms: int
    """Time from the end of all faults until every shard had been decided on again; -1 if that did not happen."""
    orders: int
    elections: int
    lost: int
    events_run: int
    cpu_s: float
    faults: dict[str, int]
    last: tuple[str, ...]


class ClusterSimulation:
    """Is one run of one seed."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.world = ClusterWorld(settings.seed)
        self.nats = VirtualNats(self.world)
        names = _NAMES[: settings.hosts]
        config = ClusterConfig(
            name="simulated",
            hosts={name: HostConfig(address=name, key="k" * 40) for name in names},
            nats=("nats://nats:4222",),
            shards=settings.shards,
            replication=settings.replication,
        )
        lag_ns = config.async_lag_ms * MS if settings.replication == "async" else None
        self.checks = ClusterChecks(self.world, lag_ns)
        self.hosts: dict[str, ClusterHost] = {}
        self.checks.ledgers = lambda: (host.disk.ledger for host in self.hosts.values())
        rng = self.world.rng
        for name in names:
            clock = HostClock(rng.randrange(10**15), rng.uniform(0.98, 1.02))
            own = ClusterConfig(
                name=config.name,
                hosts=config.hosts,
                nats=config.nats,
                shards=config.shards,
                replication=config.replication,
                host=name,
            )
            self.hosts[name] = ClusterHost(own, self.world, self.nats, self.checks, clock, self.hosts)
        self.faults = ClusterFaults(self.world, self.hosts, self.nats, settings.only)

    def start(self) -> None:
        """Start all hosts within half a second, and wait until every shard is decided on."""
        for host in self.hosts.values():
            self.world.after(self.world.rng.randrange(500 * MS), None, host.start)
        self.settle(_START_NS)

    def settle(self, longest_ns: int) -> int:
        """Run until every shard has been decided on since now. Returns the time that took, or -1."""
        since_ns = self.world.now_ns

        def is_settled() -> bool:
            decided = self.checks.decided_ns
            return bool(self.checks.violations) or all(
                decided.get(shard, -1) > since_ns for shard in range(self.settings.shards)
            )

        self.world.run(since_ns + longest_ns, is_settled)
        return self.world.now_ns - since_ns if is_settled() else -1

    def run(self) -> ClusterReport:
        """Run it all."""
        begun_s = time.process_time()
        self.start()
        if not self.checks.decided_ns and not self.checks.violations:
            self.checks.violate("the cluster did not start")
        self.faults.start()
        self.world.run(
            self.world.now_ns + int(self.settings.seconds * S), lambda: bool(self.checks.violations)
        )
        self.faults.end_all()
        self.world.log("all faults have ended")
        settled_ns = self.settle(SETTLE_NS)
        if settled_ns < 0 and not self.checks.violations:
            waiting = [
                shard
                for shard in range(self.settings.shards)
                if self.checks.decided_ns.get(shard, -1) <= self.world.now_ns - SETTLE_NS
            ]
            whys = {name: one.agent.core.why(one.now()) for name, one in self.hosts.items() if one.agent}
            self.checks.violate(
                f"shards {waiting} are not decided on {SETTLE_NS // S} s after the end of all faults: {whys}"
            )
        return ClusterReport(
            self.settings,
            tuple(self.checks.violations),
            settled_ns // MS if settled_ns >= 0 else -1,
            self.checks.orders,
            self.checks.elections,
            self.checks.lost,
            self.world.events_run,
            time.process_time() - begun_s,
            dict(self.faults.counts),
            tuple(self.world.trace),
        )
