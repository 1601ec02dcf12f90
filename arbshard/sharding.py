"""Assigns pairs to shards by rendezvous hashing (Thaler and Ravishankar, 1998).

A pair goes to the shard with the highest hash of (shard, base). Adding or removing a shard moves only the pairs that
must move. The hash is blake2b, because Python's ``hash`` differs from process to process.
"""

from collections.abc import Sequence
from hashlib import blake2b


def preference(base: str, shards: int) -> list[int]:
    """Return the shard numbers for ``base``, the preferred one first."""
    assert shards > 0, shards
    weights = [blake2b(f"{shard}:{base}".encode(), digest_size=8).digest() for shard in range(shards)]
    return sorted(range(shards), key=weights.__getitem__, reverse=True)


def split(bases: Sequence[str], shards: int) -> tuple[tuple[str, ...], ...]:
    """Return all ``bases`` by shard; within a shard in the given order.

    Pure rendezvous hashing distributes small universes unevenly, so no shard gets two pairs more than another: one
    that is full passes the rest on to their next choice.
    """
    least, larger = divmod(len(bases), shards)
    taken: list[list[str]] = [[] for _ in range(shards)]
    for base in bases:
        most = least + 1 if larger else least
        shard = next(shard for shard in preference(base, shards) if len(taken[shard]) < most)
        taken[shard].append(base)
        if len(taken[shard]) > least:
            larger -= 1
    return tuple(tuple(one) for one in taken)
