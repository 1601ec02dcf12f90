"""Draws faults of hosts, processes, network and NATS from the seed.

Each ends by itself, at the latest with ``end_all``.
"""

from collections.abc import Callable, Mapping

from arbshard.virtual.cluster.hosts import ClusterHost
from arbshard.virtual.cluster.kv import VirtualNats
from arbshard.virtual.cluster.world import MS, ClusterWorld, HostProcess, S

End = Callable[[], None]
KINDS = (
    "isolate",
    "one_way",
    "slow_network",
    "lossy_votes",
    "mute",
    "pause_host",
    "pause_process",
    "kill_host",
    "kill_process",
    "kill_at",
    "slow_disk",
    "risk_refuses",
    "no_ready_risk",
    "slow_takeover",
    "nats_unreachable",
    "nats_down",
    "nats_wiped",
    "nats_restored",
    "nats_split",
    "nats_stale",
    "nats_loses",
    "nats_blind",
    "nats_silent",
)
POINTS = ("promise", "promised", "commit", "reply", "stored")
_BETWEEN_NS = (50 * MS, 2500 * MS)


class ClusterFaults:
    """Begins faults at random until ``end_all``."""

    def __init__(
        self,
        world: ClusterWorld,
        hosts: Mapping[str, ClusterHost],
        nats: VirtualNats,
        only: tuple[str, ...] = (),
    ) -> None:
        self._world = world
        self._hosts = hosts
        self._nats = nats
        self._kinds = only or KINDS
        self._running: dict[int, End] = {}
        self._serial = 0
        self.counts: dict[str, int] = {}
        self.is_over = False

    def start(self) -> None:
        """Begin the first fault soon."""
        self._world.after(self._world.rng.randrange(*_BETWEEN_NS), None, self._next)

    def end_all(self) -> None:
        """End every fault, and begin no more."""
        self.is_over = True
        for end in list(self._running.values()):
            end()
        self._running.clear()

    def _next(self) -> None:
        if self.is_over:
            return
        self.begin(self._world.rng.choice(self._kinds))
        self._world.after(self._world.rng.randrange(*_BETWEEN_NS), None, self._next)

    def begin(self, kind: str) -> None:
        """Begin a fault of this kind for a drawn time."""
        rng = self._world.rng
        self.counts[kind] = self.counts.get(kind, 0) + 1
        end = getattr(self, f"_{kind}")()
        if end is None:
            return
        self._serial += 1
        number = self._serial
        self._running[number] = end
        # Mostly about as long as a lease, sometimes much longer.
        longest = 30 * S if rng.random() < 0.1 else 4 * S
        self._world.after(rng.randrange(100 * MS, longest), None, self._end, number)

    def _end(self, number: int) -> None:
        end = self._running.pop(number, None)
        if end is not None:
            end()

    def _any_host(self) -> ClusterHost:
        """Return a host; the leader more often than others."""
        rng = self._world.rng
        leaders = [one for one in self._hosts.values() if one.risk is not None]
        return (
            rng.choice(leaders) if leaders and rng.random() < 0.4 else rng.choice(list(self._hosts.values()))
        )

    def _log(self, what: str) -> None:
        self._world.log(f"fault: {what}")

    # The network.

    def _isolate(self) -> End:
        host, is_held = self._any_host().name, self._world.rng.random() < 0.5
        self._log(f"{host} is cut off from the other hosts ({'held' if is_held else 'lost'})")
        others = [one for one in self._hosts if one != host]
        ends = [self._world.cut(host, one, is_held=is_held) for one in others]
        ends += [self._world.cut(one, host, is_held=is_held) for one in others]
        return lambda: _all(ends)

    def _one_way(self) -> End | None:
        rng = self._world.rng
        source = self._any_host().name
        others = [one for one in self._hosts if one != source]
        if not others:
            return None
        target, is_held = rng.choice(others), rng.random() < 0.5
        if rng.random() < 0.5:
            source, target = target, source
        self._log(f"nothing arrives from {source} at {target} ({'held' if is_held else 'lost'})")
        return self._world.cut(source, target, is_held=is_held)

    def _slow_network(self) -> End:
        rng, slow = self._world.rng, self._world.slow_ns
        host = self._any_host().name
        slow_ns = rng.choice((50 * MS, 400 * MS, 2 * S))
        pairs = [(host, one) for one in self._hosts if one != host]
        pairs += [(one, host) for one in self._hosts if one != host]
        for pair in pairs:
            slow[pair] = slow_ns
        self._log(f"messages from and to {host} take up to {slow_ns // MS} ms")

        def end() -> None:
            for pair in pairs:
                slow.pop(pair, None)

        return end

    def _lossy_votes(self) -> End:
        self._world.loss = self._world.rng.choice((0.3, 0.49))
        return lambda: setattr(self._world, "loss", 0.0)

    def _mute(self) -> End:
        """Lose all votes and gossip of one host, in both directions, while its other connections are well."""
        host = self._any_host()
        pairs = [(host, one.name) for one in self._hosts.values() if one is not host]
        pairs += [(one, host.name) for one in self._hosts.values() if one is not host]
        for one, name in pairs:
            one.muted[name] = one.muted.get(name, 0) + 1
        self._log(f"agents of {host.name} and the others do not reach each other")

        def end() -> None:
            for one, name in pairs:
                one.muted[name] -= 1

        return end

    # Hosts and processes.

    def _pause_host(self) -> End:
        host = self._any_host()
        processes = host.processes()
        self._log(f"{host.name} is paused")
        return self._pause(processes)

    def _pause_process(self) -> End | None:
        host = self._any_host()
        processes = host.processes()
        if not processes:
            return None
        process = self._world.rng.choice(processes)
        self._log(f"{process.name} is paused")
        return self._pause([process])

    def _pause(self, processes: list[HostProcess]) -> End:
        for process in processes:
            self._world.pause(process)
        return lambda: _all([lambda one=one: self._world.resume(one) for one in processes])  # type: ignore[misc]

    def _kill_host(self) -> End | None:
        host = self._any_host()
        if not host.is_up:
            return None
        self._log(f"{host.name} loses its power")
        host.stop()
        return host.start

    def _kill_process(self) -> None:
        host = self._any_host()
        victims = [one for one in host.processes() if one is not host.supervisor]
        if victims:
            victim = self._world.rng.choice(victims)
            self._log(f"{victim.name} is killed")
            host.kill(victim)

    def _kill_at(self) -> End:
        host, point = self._any_host(), self._world.rng.choice(POINTS)
        host.crash = (point, 0.5 if point.startswith("promise") else 0.1)
        return lambda: setattr(host, "crash", None)

    def _slow_disk(self) -> End:
        host = self._any_host()
        host.disk_ns = self._world.rng.choice((20 * MS, 200 * MS, 800 * MS))
        self._log(f"the disk of {host.name} takes up to {host.disk_ns // MS} ms")
        return lambda: setattr(host, "disk_ns", 0)

    def _risk_refuses(self) -> End:
        """Have risk of a host end as one that may not lead: at once, and whenever it is started."""
        host = self._any_host()
        self._log(f"risk of {host.name} does not lead")
        host.refusals += 1
        if host.risk is not None:
            self._world.enter(host.risk.process, host.risk.end, "a fault")
        return lambda: setattr(host, "refusals", host.refusals - 1)

    def _no_ready_risk(self) -> None:
        """Kill every risk process that is kept ready, and now and again that of the leader."""
        for host in self._hosts.values():
            if host.ready is not None:
                host.kill(host.ready.process)
        leaders = [one for one in self._hosts.values() if one.risk is not None]
        if leaders and self._world.rng.random() < 0.5:
            host = self._world.rng.choice(leaders)
            assert host.risk is not None
            self._log(f"no risk is ready, and that of {host.name} is killed")
            host.kill(host.risk.process)

    def _slow_takeover(self) -> End:
        """Have risk that is kept ready take longer to lead than one that is started."""
        host = self._any_host()
        host.slow_takeovers += 1
        self._log(f"risk that {host.name} keeps ready is slow")
        return lambda: setattr(host, "slow_takeovers", host.slow_takeovers - 1)

    # NATS.

    def _nats_unreachable(self) -> End:
        host, out = self._any_host().name, self._nats.unreachable
        out[host] = out.get(host, 0) + 1
        self._log(f"{host} does not reach NATS")
        return lambda: out.__setitem__(host, out[host] - 1)

    def _nats_down(self) -> End:
        self._nats.is_down += 1
        self._log("NATS is down")
        return lambda: setattr(self._nats, "is_down", self._nats.is_down - 1)

    def _nats_wiped(self) -> None:
        self._log("NATS is wiped")
        self._nats.wipe()

    def _nats_restored(self) -> End:
        self._nats.save()
        self._log("NATS will go back to what it has now")
        return self._nats.restore

    def _nats_split(self) -> End:
        rng = self._world.rng
        self._nats.split({host: rng.randrange(2) for host in self._hosts})
        self._log("NATS is two")
        return lambda: self._nats.join(rng.randrange(2))

    def _nats_stale(self) -> End:
        return self._share("stale", 0.5)

    def _nats_loses(self) -> End:
        return self._share("lost", 0.3)

    def _nats_blind(self) -> End:
        return self._share("blind", 0.7)

    def _nats_silent(self) -> End:
        return self._share("unanswered", 0.4)

    def _share(self, name: str, share: float) -> End:
        self._log(f"NATS: {name} {share}")
        setattr(self._nats, name, share)
        return lambda: setattr(self._nats, name, 0.0)


def _all(ends: list[End]) -> None:
    for end in ends:
        end()
