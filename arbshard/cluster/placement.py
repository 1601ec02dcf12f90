"""Decides which host shall run which shard. The leader's ``HostCore`` uses it; pure, and the same for the same input.

A shard stays where it is as long as its host is there. The shards of a host that is gone go to the hosts with the
least load for their capacity. Otherwise one shard moves at a time, and only when the loads are clearly unequal.
"""

from collections.abc import Collection, Mapping

IMBALANCE_MAX = 1.5
"""A shard moves when the load for its capacity of one host is this many times that of another after the move."""
_LEAST_LOAD = 1e-6
"""A shard without load counts as this, so that idle shards are spread, too."""


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
