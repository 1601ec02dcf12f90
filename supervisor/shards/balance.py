"""Decides which pairs to move so that shards carry about the same load. Pure; ``assignments`` carries it out.

A pair's load is its frames per second: nearly all of a worker's work is reading frames. Moving is cheap but not
free, so it begins late (the fullest shard has 1.4 times the mean for a while), ends early (at 1.2), and is left
alone where it would gain little: on steady loads a plan that was carried out is followed by none.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

TRIGGER = 1.4
"""The fullest shard's load divided by the mean, from which pairs are moved automatically."""
GOAL = 1.2
_GAIN_MIN = 0.05
"""By how much a plan must lower that ratio to be worth its moves."""
_CPU_MIN = 0.2
"""Share of a core: below it the busiest worker needs no relief."""

ShardBases = Mapping[int, Sequence[str]]
"""Bases by shard, of those shards that may have any."""


class PairMove(NamedTuple):
    """Is one step of a plan."""

    base: str
    to: int


def ratio(shards: ShardBases, loads: Mapping[str, float]) -> float:
    """Return the fullest shard's load divided by the mean; 1 when there is no load at all."""
    totals = [sum(loads.get(base, 0.0) for base in bases) for bases in shards.values()]
    mean = sum(totals) / len(totals) if totals else 0.0
    return max(totals) / mean if mean > 0 else 1.0


def plan_moves(shards: ShardBases, loads: Mapping[str, float], held: Collection[str] = ()) -> list[PairMove]:
    """Return the moves that bring the ratio to ``GOAL``, or as near as whole pairs allow; none if that gains little.

    Each takes the pair that balances the fullest and the emptiest shard best, so there are few. A pair that is
    ``held`` (has a position or an intent under way) is moved only where no other would do.
    """
    places = {shard: list(bases) for shard, bases in shards.items()}
    totals = {shard: sum(loads.get(base, 0.0) for base in bases) for shard, bases in places.items()}
    mean = sum(totals.values()) / len(totals) if totals else 0.0
    if mean <= 0:
        return []
    moves: dict[str, int] = {}
    for _ in range(sum(map(len, places.values()))):  # more moves than pairs are never needed
        full = max(totals, key=lambda shard: (totals[shard], -shard))
        empty = min(totals, key=lambda shard: (totals[shard], shard))
        if totals[full] <= GOAL * mean:
            break
        gap = totals[full] - totals[empty]
        base = _best(places[full], loads, gap, held)
        if base is None:
            break
        load = loads.get(base, 0.0)
        places[full].remove(base)
        places[empty].append(base)
        totals[full] -= load
        totals[empty] += load
        moves[base] = empty
    first = {base: shard for shard, bases in shards.items() for base in bases}
    plan = [PairMove(base, to) for base, to in moves.items() if first[base] != to]
    return plan if ratio(shards, loads) - ratio(places, loads) >= _GAIN_MIN else []


def _best(bases: Iterable[str], loads: Mapping[str, float], gap: float, held: Collection[str]) -> str | None:
    """Return the base whose move makes two shards most alike, among those whose move makes the larger one smaller."""
    fits = [base for base in bases if 0 < loads.get(base, 0.0) < gap]
    free = [base for base in fits if base not in held]
    return min(free or fits, key=lambda base: (abs(gap / 2 - loads[base]), base), default=None)


def spread(bases: Iterable[str], shards: ShardBases, loads: Mapping[str, float]) -> dict[str, int]:
    """Return a shard for each of ``bases``, which have none: the heaviest first, each to where there is least.

    Pairs of unknown load count as the mean of the others. Raises ``ValueError`` when there is no shard.
    """
    known = [loads[base] for mine in shards.values() for base in mine if base in loads]
    usual = sum(known) / len(known) if known else 1.0
    weight = {base: loads.get(base) or usual for base in bases}
    totals = {shard: sum(loads.get(base) or usual for base in mine) for shard, mine in shards.items()}
    places: dict[str, int] = {}
    for base in sorted(weight, key=lambda base: (-weight[base], base)):
        shard = min(totals, key=lambda one: (totals[one], one))
        places[base] = shard
        totals[shard] += weight[base]
    return places


def fill(shard: int, shards: ShardBases, loads: Mapping[str, float], held: Collection[str]) -> list[PairMove]:
    """Return the moves that give an empty shard its share of the pairs, by number, when it comes back."""
    places = {one: list(bases) for one, bases in shards.items()}
    plan: list[PairMove] = []
    while True:
        full = max(places, key=lambda one: (len(places[one]), -one))
        if len(places[full]) <= len(places[shard]) + 1:
            return plan
        base = min(places[full], key=lambda base: (base in held, -loads.get(base, 0.0), base))
        places[full].remove(base)
        places[shard].append(base)
        plan.append(PairMove(base, shard))


class Judge:
    """Decides when to move pairs without being asked: loads were uneven for the whole of a window, and a worker is
    busy.
    """

    def __init__(self, window_s: float) -> None:
        """Begin a window. ``window_s`` is its length in seconds; 0: never move pairs."""
        self._window_ns = int(window_s * 1e9)
        self._since_ns: int | None = None

    def is_due(self, imbalance: float, cpu: float, now_ns: int) -> bool:
        """Return whether to move pairs now.

        ``imbalance``: the present ``ratio``. ``cpu``: share of a core that the busiest worker uses.
        """
        if not self._window_ns or imbalance <= TRIGGER or cpu < _CPU_MIN:
            self._since_ns = None
            return False
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns - self._since_ns < self._window_ns:
            return False
        self._since_ns = None  # the next window begins once this plan is carried out
        return True
