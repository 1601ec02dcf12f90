"""The order of tests for workers side by side: each begins with the slow tests, and ends with quick ones.

xdist gives each worker an equal piece of the list, one after the other, and lets idle workers steal from the ends of
the others' pieces. With slow tests at the end, the last worker runs several of them alone.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import TypeVar

T = TypeVar("T")


def slow_first(
    items: Sequence[T], workers: int, is_slow: Callable[[T], bool], module_of: Callable[[T], str]
) -> list[T]:
    """Return ``items`` in as many equal pieces as there are workers, each with its share of slow tests first.

    The slow tests of a module stay together, because they may share a run.
    """
    shares: list[list[T]] = [[] for _ in range(workers)]
    for _, module in groupby((item for item in items if is_slow(item)), module_of):
        min(shares, key=len).extend(module)
    quick: Iterator[T] = (item for item in items if not is_slow(item))
    ordered: list[T] = []
    for number, share in enumerate(shares):
        left = len(items) - len(ordered) - sum(map(len, shares[number + 1 :]))
        size = max(len(items) // workers - len(share), 0) if number < workers - 1 else left
        ordered += share
        ordered += islice(quick, size)
    return ordered
