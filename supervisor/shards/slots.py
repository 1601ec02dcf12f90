"""Knows which slots of the feed are free for markets that come while the run goes on. Pure; ``assignments`` uses it.

A freed slot is given to another market only when all processes use a universe that no longer names its old one: a
frame of one market must never be mistaken for a book of another.
"""

from collections.abc import Iterable


class SlotPool:
    """Holds the free slots of one feed."""

    def __init__(self, count: int, used: Iterable[int]) -> None:
        taken = frozenset(used)
        self._free = [slot for slot in reversed(range(count)) if slot not in taken]
        self._freed: list[tuple[int, tuple[int, ...]]] = []

    def reserve(self, count: int, passed: int) -> list[int] | None:
        """Return ``count`` free slots, lowest first; None when there are too few. ``passed``: the serial that all
        use.
        """
        for serial, slots in self._freed:
            if serial <= passed:
                self._free.extend(slots)
        self._freed = [one for one in self._freed if one[0] > passed]
        self._free.sort(reverse=True)
        if len(self._free) < count:
            return None
        return [self._free.pop() for _ in range(count)]

    def free(self, slots: Iterable[int], serial: int) -> None:
        """Free ``slots``, which are not written any more from the universe of ``serial`` on."""
        self._freed.append((serial, tuple(slots)))
