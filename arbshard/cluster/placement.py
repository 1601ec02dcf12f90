"""Decides which host shall run which shard. ``place`` and ``move`` are pure; the leader's ``ShardPlacer`` uses them.

A shard stays where it is as long as its host is there. The shards of a host that is gone go to the hosts with the
least load for their capacity. Otherwise one shard moves at a time, and only when the loads are clearly unequal.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from arbshard.cluster.neighbours import Neighbours
from arbshard.cluster.terms import LeaseTimes
from arbshard.config.cluster import ClusterConfig
from arbshard.wire.cluster import Placement

IMBALANCE_MAX = 1.5
"""A shard moves when the load for its capacity of one host is this many times that of another after the move."""
_LEAST_LOAD = 1e-6
"""A shard without load counts as this, so that idle shards are spread, too."""
_BALANCE_PAUSE_NS = 10_000_000_000
"""How long nothing has changed before a shard moves for the sake of balance."""
_PAIRS_PATIENCE = 5
"""For how many leases the leader waits for the supervisor of a host to get the pairs of the cluster: until the first
placement, and until it takes shards away from a host that has lost them."""


def place(
    shards: int,
    placed: Mapping[int, str],
    capacities: Mapping[str, float],
    loads: Mapping[int, float],
    keeping: Collection[str] = (),
) -> dict[int, str]:
    """Return a host for each shard, with none moved from a host that is in ``capacities`` or ``keeping``.

    ``capacities`` has the hosts that can run shards; when there is none, all stays as it is. The hosts ``keeping``
    keep the shards that they have, and get no other ones. ``loads`` is per shard, in any unit.
    """
    result = {shard: host for shard, host in placed.items() if 0 <= shard < shards}
    if not capacities:
        return result
    result = {shard: host for shard, host in result.items() if host in capacities or host in keeping}
    carried = _carried(result, capacities, loads)
    lost = sorted(set(range(shards)) - set(result), key=lambda shard: (-_load(loads, shard), shard))
    for shard in lost:
        load = _load(loads, shard)
        host = min(capacities, key=lambda one: ((carried[one] + load) / capacities[one], one))
        result[shard] = host
        carried[host] += load
    return dict(sorted(result.items()))


def move(
    placed: Mapping[int, str], capacities: Mapping[str, float], loads: Mapping[int, float]
) -> tuple[int, str] | None:
    """Return one shard and the host to which it should move, or None when the loads are equal enough.

    The shard moves from the host with the most load for its capacity to the one with the least, and only if the
    former still has ``IMBALANCE_MAX`` times as much as the latter would have with it. So it never moves back.
    """
    if len(capacities) < 2:
        return None
    carried = _carried(placed, capacities, loads)
    ratios = {host: carried[host] / capacities[host] for host in capacities}
    source = max(sorted(ratios), key=ratios.__getitem__)
    target = min(sorted(ratios), key=ratios.__getitem__)
    best: tuple[float, int] | None = None
    for shard, host in sorted(placed.items()):
        after = (carried[target] + _load(loads, shard)) / capacities[target]
        if host == source and ratios[source] >= IMBALANCE_MAX * after:
            rest = (carried[source] - _load(loads, shard)) / capacities[source]
            outcome = (max(rest, after), shard)
            best = outcome if best is None else min(best, outcome)
    return None if best is None else (best[1], target)


def _carried(
    placed: Mapping[int, str], capacities: Mapping[str, float], loads: Mapping[int, float]
) -> dict[str, float]:
    carried = dict.fromkeys(capacities, 0.0)
    for shard, host in sorted(placed.items()):
        if host in carried:
            carried[host] += _load(loads, shard)
    return carried


def _load(loads: Mapping[int, float], shard: int) -> float:
    return max(loads.get(shard, 0.0), _LEAST_LOAD)


class OwnHost(NamedTuple):
    """States what the leader's agent knows of its own host."""

    term: int
    is_leaving: bool
    frames_s: float
    """Frames per second that its feeds receive."""
    shards: Collection[int]
    """The shards that it was granted."""


class ShardPlacer:
    """Knows where the shards shall be, and decides it while this host leads."""

    def __init__(self, config: ClusterConfig, times: LeaseTimes, neighbours: Neighbours, now_ns: int) -> None:
        self._config = config
        self._lease_ns = times.lease_ns
        self._neighbours = neighbours
        self.placement: Placement | None = None
        """The newest one that is known."""
        self.has_pairs = False
        """Whether the supervisor of this host has the pairs of the cluster."""
        self._has_pairs_since_ns = self._had_pairs_ns = now_ns
        self._contact_since_ns = now_ns
        """Since when this host, as the leader, is in contact with its own risk."""
        self._unchanged_since_ns = now_ns

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the host of each shard; nothing before the first placement."""
        return self.placement.hosts if self.placement is not None else ()

    def note_pairs(self, now_ns: int, *, has_pairs: bool) -> None:
        """Note whether the supervisor of this host has the pairs of the cluster."""
        if has_pairs:
            if not self.has_pairs:
                self._has_pairs_since_ns = now_ns
            self._had_pairs_ns = now_ns
        self.has_pairs = has_pairs

    def heed(self, placed: Placement | None) -> bool:
        """Note a placement that another host knows. Return whether it is newer than the one that was known."""
        if placed is None or len(placed.hosts) != self._config.shards:
            return False
        known = self.placement
        if known is not None and (placed.term, placed.serial) <= (known.term, known.serial):
            return False
        self.placement = placed
        return True

    def wait(self, now_ns: int) -> None:
        """Note that this host leads, and is not in contact with its own risk."""
        self._contact_since_ns = self._unchanged_since_ns = now_ns

    def decide(self, own: OwnHost, now_ns: int) -> None:
        """Decide where the shards shall be."""
        had_pairs_ns = {
            host: one.had_pairs_ns for host, one in self._neighbours if self._can_run(host, own, now_ns)
        }
        if not own.is_leaving:
            had_pairs_ns[self._config.host] = self._had_pairs_ns
        capacities = {
            host: self._config.hosts[host].capacity for host in had_pairs_ns if self._is_supplied(host)
        }
        # A host whose supervisor has just begun anew keeps its shards for a while, and gets no other ones.
        patience_ns = _PAIRS_PATIENCE * self._lease_ns
        keeping = {
            host
            for host, at_ns in had_pairs_ns.items()
            if host not in capacities and now_ns - at_ns < patience_ns
        }
        known = self.placement
        if known is None:
            is_awaited = (
                len(capacities) < len(had_pairs_ns) and now_ns - self._has_pairs_since_ns < patience_ns
            )
            is_awaited |= len(had_pairs_ns) < len(self._config.hosts) and self._is_early(now_ns)
            if is_awaited or not capacities:
                return
        placed = dict(enumerate(self.hosts))
        loads = self._loads(own)
        result = place(self._config.shards, placed, capacities, loads, keeping)
        if result != placed:
            self._unchanged_since_ns = now_ns
        elif now_ns - self._unchanged_since_ns >= _BALANCE_PAUSE_NS:
            better = move(result, capacities, loads)
            if better is not None:
                result[better[0]] = better[1]
                self._unchanged_since_ns = now_ns
        hosts = tuple(result[shard] for shard in range(self._config.shards))
        if known is None or known.term != own.term:
            self.placement = Placement(own.term, 1, hosts)
        elif known.hosts != hosts:
            self.placement = Placement(own.term, known.serial + 1, hosts)

    def _can_run(self, host: str, own: OwnHost, now_ns: int) -> bool:
        """Return whether shards may be placed on a host: it lives, stays, and is in contact with this leader."""
        neighbour = self._neighbours[host]
        view = neighbour.view
        if view is None or self._neighbours.is_silent(host, now_ns) or view.leaving:
            return False
        if view.term == own.term:
            return True
        return neighbour.joined_term < own.term and self._is_early(now_ns)

    def _is_early(self, now_ns: int) -> bool:
        """Return whether hosts may need more time to join this leader."""
        return now_ns - self._contact_since_ns < 2 * self._lease_ns

    def _is_supplied(self, host: str) -> bool:
        """Return whether the supervisor of a host has the pairs of the cluster. Without them it starts no worker."""
        if host == self._config.host:
            return self.has_pairs
        view = self._neighbours[host].view
        return view is not None and view.universe > 0

    def _loads(self, own: OwnHost) -> dict[int, float]:
        """Return the frames per second of each shard, of which only the sum of each host is known."""
        loads: dict[int, float] = {shard: own.frames_s / len(own.shards) for shard in own.shards}
        for view in self._neighbours.views.values():
            if view.shards:
                loads.update((one.shard, view.frames_s / len(view.shards)) for one in view.shards)
        return loads
