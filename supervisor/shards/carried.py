"""Divides the universe of a cluster: which pairs a host carries, and what a lost leader left undone."""

from msgspec.structs import replace

from arbshard.model.universe import Universe


def carried_by(universe: Universe, shards: frozenset[int], before: Universe | None) -> Universe:
    """Return ``universe`` with those pairs alone whose markets this host carries: the pairs of ``shards``.

    A pair that is on its way between two shards is carried if it was ``before``: its former shard may still need it.
    """
    owners = universe.owners()
    had = {pair.base for pair in before.pairs} if before is not None else frozenset[str]()
    pairs = tuple(
        pair
        for pair in universe.pairs
        if (owners[pair.base] in shards if pair.base in owners else pair.base in had)
    )
    bases = {pair.base for pair in pairs}
    mine = tuple(tuple(base for base in shard if base in bases) for shard in universe.shards)
    return replace(universe, pairs=pairs, shards=mine)


def lost_pairs(universe: Universe) -> tuple[str, ...]:
    """Return the pairs that a former leader had taken out of their shards, or was closing, when it was lost."""
    return tuple(dict.fromkeys((*universe.unassigned(), *universe.leaving)))
