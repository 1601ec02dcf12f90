"""Which worker owns which pair: rendezvous hashing (Thaler and Ravishankar, 1998).

A pair goes to the shard with the highest hash of (shard, base). Adding or removing a shard moves only the
pairs that must move. blake2b, because Python's ``hash`` differs from process to process.
"""

from collections.abc import Sequence
from hashlib import blake2b


def preference(base: str, shards: int) -> list[int]:
    """Shard numbers for ``base``, most wanted first."""
    assert shards > 0, shards
    weights = [blake2b(f"{shard}:{base}".encode(), digest_size=8).digest() for shard in range(shards)]
    return sorted(range(shards), key=weights.__getitem__, reverse=True)


def split(bases: Sequence[str], shards: int) -> tuple[tuple[str, ...], ...]:
    """All ``bases`` by shard; within a shard in the order given.

    Pure rendezvous hashing leaves small universes lopsided, so a shard takes at most ceil(n / shards) pairs
    and passes the rest on to their next choice.
    """
    most = -(-len(bases) // shards)
    taken: list[list[str]] = [[] for _ in range(shards)]
    for base in bases:
        taken[next(shard for shard in preference(base, shards) if len(taken[shard]) < most)].append(base)
    return tuple(tuple(one) for one in taken)
